"""Crossing models, criteria, scopes, ratios and seeds: which experiments that takes, and what their results say.

Everything is said relative to the dense model of the same seed, so that seeds differ by what the reduction did and not
by how lucky the dense training was. An interval over seeds is Student's at 95 % from three seeds on; of two only their
range is known, of one nothing.
"""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from scipy import stats

from pochette.errors import RecipeError
from pochette.lab.experiment import (
    Anchor,
    Control,
    ControlKind,
    Cut,
    Dense,
    Experiment,
    Of,
    Removal,
    Rewind,
    Timing,
    ancestors_of,
    name_of,
    path,
)
from pochette.lab.store import Result
from pochette.lab.walk import has_anchor
from pochette.reduce.choosing import Scaling, Scope
from pochette.train.loop import Training

CONFIDENCE = 0.95
_SCALINGS = {"operations": "per operation", "bytes": "per byte", "dimension": "per weight", "none": "unscaled"}


@dataclass(frozen=True)
class Comparison:
    """What is crossed with what."""

    corpus: str
    """Fingerprint of the sounds."""
    recipes: Mapping[str, Any]
    """Registered name to recipe, of the models to compare."""
    steps: int
    """Of dense training."""
    stop_steps: int
    """Of training at each stop."""
    criteria: tuple[str, ...] = ("magnitude", "random")
    scopes: tuple[Scope, ...] = ("local",)
    scalings: tuple[Scaling, ...] = ("maximum",)
    """How scores of different layers are made comparable; crossed only with scopes that compare them."""
    removals: tuple[Removal, ...] = ("trim",)
    rewind: Rewind = "learning_rate"
    stops: tuple[float, ...] = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
    """Shares of the dense model removed, ascending."""
    of: Of = "weights"
    """What they are shares of: learnt numbers, or the multiply-accumulates that these take part in."""
    seeds: tuple[int, ...] = (0, 1, 2)
    controls: tuple[ControlKind, ...] = ()
    """Made at stops of the first criterion, trimmed, with the first scope."""
    control_stops: tuple[float, ...] = ()
    """Which of the stops have controls; all if none is named."""
    anchor: bool = True
    """Whether to measure the error of the mean sound, where the model has a synthesiser for it."""
    machines: tuple[str, ...] = ()
    """Tags of machines on which every network is also timed."""
    training: Training = field(default_factory=Training)

    def experiments(self) -> list[Experiment]:
        """All experiments, parents first.

        Returns:
            each once.

        Raises:
            RecipeError: nothing is crossed, or the stops do not ascend.
        """
        self._check()
        made: list[Experiment] = []
        for model, recipe in self.recipes.items():
            if self.anchor and has_anchor(recipe.build()):
                made.append(Anchor(self.corpus, model, recipe))
            for seed in self.seeds:
                made += self._of_seed(model, recipe, seed)
        return made

    def _of_seed(self, model: str, recipe: Any, seed: int) -> list[Experiment]:
        dense = Dense(self.corpus, model, recipe, self.steps, replace(self.training, seed=seed))
        cuts = [
            cut
            for criterion in self.criteria
            for scope in self.scopes
            for scaling in (self.scalings if scope != "local" else ("maximum",))
            for removal in self.removals
            for cut in path(
                dense, self.stops, self.stop_steps, criterion=criterion, scope=scope, scaling=scaling,
                removal=removal, rewind=self.rewind, of=self.of,
            )
        ]  # fmt: skip
        first = [c for c in cuts if c.criterion == self.criteria[0] and c.scope == self.scopes[0]]
        controlled = [cut for cut in first if cut.removal == self.removals[0] and cut.scaling == first[0].scaling]
        if self.control_stops:
            controlled = [cut for cut in controlled if cut.removed in self.control_stops]
        networks: list[Dense | Cut | Control] = [dense, *cuts]
        networks += [Control(cut, kind) for cut in controlled for kind in self.controls]
        return [*networks, *(Timing(network, machine) for network in networks for machine in self.machines)]

    def _check(self) -> None:
        for name in ("recipes", "criteria", "scopes", "scalings", "removals", "stops", "seeds"):
            values = list(getattr(self, name))
            if not values or len(set(values)) < len(values):
                raise RecipeError(
                    f"--{'models' if name == 'recipes' else name} names {'something twice' if values else 'nothing'}.",
                    remedy="Name each thing once, and at least one.",
                )


@dataclass(frozen=True)
class Row:
    """One network of a comparison: a line of the CSV."""

    model: str
    seed: int
    curve: str
    """What it has in common with the networks that it is drawn in line with."""
    criterion: str
    scope: str
    removal: str
    rewind: str
    control: str
    asked_removed: float
    """Share that was to go, of learnt numbers or of operations."""
    removed: float
    """Share of learnt numbers that went."""
    weights: int
    macs_per_second: float
    weight_bytes: int
    error: float
    dense_error: float
    multiplier: float
    """Error per error of the dense model of the same seed."""
    skill: float | None
    """(anchor - error) / (anchor - dense error): 1 as good as dense, 0 no better than the mean sound."""
    steps: int
    training_seconds: float
    inference_seconds: float
    """Wall time of a second of sound on `machine`."""
    machine: str
    timed_on: str
    """Tag of the machine that was asked to take the time; empty for wherever it was trained."""
    signature: str
    of: str = "weights"
    """What the share that was to go is a share of."""


def rows_of(results: Mapping[Experiment, Result]) -> list[Row]:
    """Results as rows, each beside its dense model.

    Args:
        results: of a comparison; networks whose dense model has no result are left out, and so is what is no network.

    Returns:
        one row a network and machine it was timed on, in the order given.
    """
    anchors = {(e.corpus, e.model): r.error for e, r in results.items() if isinstance(e, Anchor)}
    rows = []
    for experiment, result in results.items():
        dense = (experiment, *ancestors_of(experiment))[-1]
        network = isinstance(experiment, Dense | Cut | Control | Timing)
        if network and isinstance(dense, Dense) and dense in results:
            rows.append(_row(experiment, result, dense, results[dense], anchors.get((dense.corpus, dense.model))))
    return rows


def _row(experiment: Experiment, result: Result, dense: Dense, whole: Result, anchor: float | None) -> Row:
    chain = (experiment, *ancestors_of(experiment))
    cut = next((item for item in chain if isinstance(item, Cut)), None)
    control = next((item.kind for item in chain if isinstance(item, Control)), "")
    gap = None if anchor is None else anchor - whole.error
    return Row(
        model=dense.model,
        seed=dense.training.seed,
        curve=curve_of(cut, control),
        criterion=cut.criterion if cut else "",
        scope=cut.scope if cut else "",
        removal=cut.removal if cut else "",
        rewind=cut.rewind if cut else "",
        control=control,
        asked_removed=cut.removed if cut else 0.0,
        removed=1.0 - result.weights / whole.weights,
        weights=result.weights,
        macs_per_second=result.macs_per_second,
        weight_bytes=result.weight_bytes,
        error=result.error,
        dense_error=whole.error,
        multiplier=result.error / whole.error if whole.error else math.nan,
        # A dense model that is no better than the mean sound has no skill to keep.
        skill=(anchor - result.error) / gap if anchor is not None and gap is not None and gap > 0 else None,
        steps=result.steps,
        training_seconds=result.training_seconds,
        inference_seconds=result.inference_seconds,
        machine=result.machine,
        timed_on=experiment.machine if isinstance(experiment, Timing) else "",
        signature=name_of(experiment),
        of=cut.of if cut else "weights",
    )


def curve_of(cut: Cut | None, control: str) -> str:
    """Name of the curve that a network lies on.

    Args:
        cut: where it comes from; None for a dense model.
        control: its kind, empty if it is no control.

    Returns:
        "magnitude, local" or "masked by magnitude, local" or "reinit".
    """
    if cut is None:
        return "dense"
    if control:
        return control.replace("_", ", same ")
    name = f"{cut.criterion}, {cut.scope.replace('_', ' ')}"
    if cut.scope != "local" and cut.scaling != "maximum":
        name += f", {_SCALINGS.get(cut.scaling, cut.scaling)}"
    return f"masked by {name}" if cut.removal == "mask" else name


@dataclass(frozen=True)
class Spread:
    """A figure over seeds."""

    mean: float
    low: float
    high: float
    seeds: int

    @property
    def kind(self) -> str:
        """What low and high are."""
        return {1: "one seed", 2: "range of two seeds"}.get(self.seeds, "95 % interval")


def spread(values: Sequence[float]) -> Spread:
    """Mean and interval of a figure over seeds.

    Args:
        values: one a seed, at least one.

    Returns:
        from three on Student's interval at 95 %, of two the range, of one the value itself.
    """
    count, mean = len(values), statistics.fmean(values)
    if count < 3:
        return Spread(mean, min(values), max(values), count)
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, count - 1)) * statistics.stdev(values) / math.sqrt(count)
    return Spread(mean, mean - half, mean + half, count)


@dataclass(frozen=True)
class Point:
    """One stop of one curve, over its seeds."""

    model: str
    curve: str
    timed_on: str
    asked_removed: float
    machines: tuple[str, ...]
    """That took the times."""
    removed: Spread
    multiplier: Spread
    error: Spread
    skill: Spread | None
    macs_per_second: Spread
    weight_bytes: Spread
    weights: Spread
    inference_seconds: Spread
    """From the smallest to the largest, the smallest for the mean: what else a machine does only ever adds."""
    of: str = "weights"
    """What `asked_removed` is a share of; `removed` is always one of weights."""


def points_of(rows: Sequence[Row]) -> list[Point]:
    """Rows of all seeds brought together.

    Args:
        rows: of a comparison.

    Returns:
        one point for each model, curve, kind of machine and stop, in the order of their first row.
    """
    groups: dict[tuple[str, str, str, float], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.model, row.curve, row.timed_on, row.asked_removed), []).append(row)
    return [_point(key, group) for key, group in groups.items()]


def _point(key: tuple[str, str, str, float], group: list[Row]) -> Point:
    def over(name: str) -> Spread:
        return spread([getattr(row, name) for row in group])

    known = [row.skill for row in group if row.skill is not None]
    times = [row.inference_seconds for row in group]
    model, curve, timed_on, asked_removed = key
    return Point(
        model,
        curve,
        timed_on,
        asked_removed,
        machines=tuple(sorted({row.machine for row in group})),
        removed=over("removed"),
        multiplier=over("multiplier"),
        error=over("error"),
        skill=spread(known) if known else None,
        macs_per_second=over("macs_per_second"),
        weight_bytes=over("weight_bytes"),
        weights=over("weights"),
        inference_seconds=Spread(min(times), min(times), max(times), len(times)),
        of=group[0].of,
    )


def to_csv(rows: Sequence[Row]) -> str:
    """Rows as comma-separated values with a heading.

    Args:
        rows: of a comparison.

    Returns:
        text; what is not known is empty, numbers have all their digits.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, [column.name for column in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()
