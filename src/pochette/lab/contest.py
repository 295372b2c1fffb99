"""Techniques against each other, on equal budgets: which experiments that takes, and who wins where.

A technique is said relative to the dense model of the same seed that was trained for the whole budget. "Keep" counts
what a technique counts by: work, single weights, or bits; only techniques that save the same are ranked together.
"""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from pochette.errors import PochetteError, RecipeError
from pochette.families import methods
from pochette.lab.compare import Spread, spread
from pochette.lab.experiment import Anchor, Dense, Engine, Experiment, Reduced, dense_steps, name_of
from pochette.lab.networks import SPENT, STATE, STORED
from pochette.lab.outcomes import SAME
from pochette.lab.reducing import COUNTED, TIMED
from pochette.lab.store import Result
from pochette.lab.walk import has_anchor
from pochette.models.model import Model
from pochette.models.unpaired import Unpaired
from pochette.train.loop import Training


@dataclass(frozen=True)
class Entry:
    """One model of a contest, and how it is trained."""

    recipe: Any
    corpus: str
    """Fingerprint of its sounds."""
    steps: int
    """The budget of every technique, dense training included."""
    training: Training


@dataclass(frozen=True)
class Contest:
    """What is crossed with what."""

    entries: Mapping[str, Entry]
    """Registered name to entry."""
    methods: tuple[str, ...]
    """Registered names of techniques."""
    keeps: tuple[float, ...] = (1 / 4, 1 / 16)
    seeds: tuple[int, ...] = (0, 1, 2)

    def experiments(self) -> list[Experiment]:
        """All networks, parents first, a whole seed before the next.

        Returns:
            each once.

        Raises:
            RecipeError: nothing is crossed, or something twice, or a technique cannot keep so much.
        """
        for name in ("entries", "methods", "keeps", "seeds"):
            values = list(getattr(self, name))
            if not values or len(set(values)) < len(values):
                raise RecipeError(
                    f"The contest's {name} name {'something twice' if values else 'nothing'}.",
                    remedy="Name each thing once, and at least one.",
                )
        made: list[Experiment] = []
        for seed in self.seeds:
            for keep in self.keeps:
                for model in self.entries:
                    made += [self.whole(model, seed), *(self.asked(model, m, keep, seed) for m in self.methods)]
        return list(dict.fromkeys(made))

    def anchors(self) -> list[Anchor]:
        """What tells how much skill is kept: of every model that has one, the error of having learnt an average."""
        return [
            Anchor(entry.corpus, model, entry.recipe)
            for model, entry in self.entries.items()
            if has_anchor(entry.recipe.build())
        ]

    def whole(self, model: str, seed: int) -> Dense:
        """The dense model that has the whole budget."""
        entry = self.entries[model]
        return Dense(entry.corpus, model, entry.recipe, entry.steps, replace(entry.training, seed=seed))

    def asked(self, model: str, method: str, keep: float, seed: int) -> Reduced:
        """One technique's experiment.

        Args:
            model: registered name.
            method: registered name.
            keep: share to be left.
            seed: of everything.

        Returns:
            the experiment.

        Raises:
            RecipeError: the technique cannot keep so much.
        """
        whole = self.whole(model, seed)
        dense = replace(whole, steps=dense_steps(whole.steps))
        return Reduced(dense, method, in_budget(methods[method].keeping(keep), whole.steps), whole.steps)


MOVES = 20
"""Times that a technique which moves or looks every so many steps does so in a budget."""


def in_budget(technique: Any, steps: int) -> Any:
    """A technique whose period, where it has one, suits a budget: published periods outlast small ones."""
    if "every" in {field.name for field in fields(technique)}:
        return replace(technique, every=max(1, steps // MOVES))
    return technique


def engines(results: Mapping[Experiment, Result], board: str = "pi-4") -> list[Engine]:
    """The engines worth measuring: of dense models, and of networks that have other shapes than theirs.

    Code generated from a network whose weights are masked or shared differs from the dense one's by its numbers alone.

    Args:
        results: of networks.
        board: whose processor counts instructions.

    Returns:
        one experiment an engine.
    """
    made: dict[Engine, None] = {}
    for experiment, result in results.items():
        dense = _reference(experiment) if isinstance(experiment, Reduced) else None
        if dense is None or dense not in results:
            continue
        made[Engine(dense, board)] = None
        if result.macs_per_second < SAME * results[dense].macs_per_second:
            made[Engine(experiment, board)] = None  # type: ignore[arg-type]  # it has a reference, so it is reduced
    return list(made)


def likely_engines(experiments: Iterable[Experiment], board: str = "pi-4") -> list[Engine]:
    """The engines that will be worth measuring, as far as that can be told before any network is there.

    Args:
        experiments: all networks of a contest.
        board: see `engines`.

    Returns:
        of techniques that remove units, or directions of matrices, and of their dense models.
    """
    made: dict[Engine, None] = {}
    for experiment in experiments:
        if isinstance(experiment, Reduced):
            made[Engine(_reference(experiment), board)] = None
            if "removed" in methods[experiment.method].axes.over:
                made[Engine(experiment, board)] = None
    return list(made)


def _reference(experiment: Reduced) -> Dense:
    """The dense model of the whole budget, beside which a reduced one is said."""
    return replace(experiment.parent, steps=experiment.steps)


# -- what came out -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One network of a contest: a line of the CSV; shares are of the dense model's."""

    model: str
    kind: str
    """Sort of model."""
    method: str
    saves: str
    """What became less: "work", "numbers" or "bits"."""
    keep: float
    seed: int
    error: float
    multiplier: float
    anchor: float | None
    """Error of having learnt an average, in the same loss; None where that is not known."""
    skill: float | None
    """(anchor - error) / (anchor - dense error); None where the dense model has none."""
    weights: float
    operations: float
    stored_bytes: float
    state_bytes: float
    engine_time: float | None
    """None where it was not measured, or not on the machine that timed the dense model's; of weights at zero 1, as
    the code is the dense one's."""
    engine_instructions: float | None
    step_time: float | None
    """CPU time a step of training, all that the technique does included, per that of plain training: of the model's
    dense runs the middle one, as one alone may have been slowed by what else the machine did."""
    steps: int
    signature: str


def kind_of(model: Model) -> str:
    """The sort of generative model that a model is."""
    if isinstance(model, Unpaired):
        return "adversarial"
    if hasattr(model, "bits"):
        return "sample by sample"
    return "played by features of sound" if model.features else "auto-encoders"


def rows_of(results: Mapping[Experiment, Result]) -> list[Row]:
    """Results as rows, each beside its dense model; those whose dense model has no result are left out."""
    kinds: dict[str, str] = {}
    engines_of = {e.parent: result for e, result in results.items() if isinstance(e, Engine)}
    anchors = {(e.corpus, e.model, e.recipe): result.error for e, result in results.items() if isinstance(e, Anchor)}
    plain: dict[str, list[float]] = {}
    for whole in dict.fromkeys(_reference(e) for e in results if isinstance(e, Reduced)):
        if whole in results and (spent := results[whole].figures.get(SPENT)):
            plain.setdefault(whole.model, []).append(spent / results[whole].steps)
    middle = {name: statistics.median(steps) for name, steps in plain.items()}
    rows = []
    for experiment, result in results.items():
        if isinstance(experiment, Reduced) and _reference(experiment) in results:
            name = experiment.parent.model
            if name not in kinds:
                kinds[name] = kind_of(experiment.parent.recipe.build())
            dense = experiment.parent
            anchor = anchors.get((dense.corpus, dense.model, dense.recipe))
            beside = results[_reference(experiment)]
            rows.append(_row(experiment, result, beside, engines_of, kinds[name], anchor, middle.get(name)))
    return rows


def _row(
    experiment: Reduced,
    result: Result,
    whole: Result,
    engines_of: Mapping[Dense | Reduced, Result],
    kind: str,
    anchor: float | None,
    plain_step: float | None,
) -> Row:
    operations = result.macs_per_second / whole.macs_per_second
    weights = result.weights / whole.weights
    stored = result.figures[STORED] / whole.figures[STORED]
    own, base = engines_of.get(experiment), engines_of.get(_reference(experiment))

    saves = "work" if operations < SAME else "numbers" if weights < SAME else "bits"

    def engine(figure: str) -> float | None:
        if saves != "work":
            return 1.0 if saves == "numbers" else None  # engines in fewer bits are others, which nobody made here
        measured = own is not None and base is not None and figure in own.figures and figure in base.figures
        if measured and figure == TIMED:
            measured = own.machine == base.machine  # type: ignore[union-attr]
        return own.figures[figure] / base.figures[figure] if measured else None  # type: ignore[union-attr]

    spent = result.figures.get(SPENT)
    per_step = spent / result.steps / plain_step if spent is not None and plain_step and result.steps else None
    return Row(
        model=experiment.parent.model,
        kind=kind,
        method=experiment.method,
        saves=saves,
        keep=round(experiment.options.keep, 6),
        seed=experiment.parent.training.seed,
        error=result.error,
        multiplier=result.error / whole.error,
        anchor=anchor,
        skill=None if anchor is None or anchor <= whole.error else (anchor - result.error) / (anchor - whole.error),
        weights=weights,
        operations=operations,
        stored_bytes=stored,
        state_bytes=result.figures[STATE] / whole.figures[STATE] if whole.figures[STATE] else 1.0,
        engine_time=engine(TIMED),
        engine_instructions=engine(COUNTED),
        step_time=per_step,
        steps=result.steps,
        signature=name_of(experiment),
    )


@dataclass(frozen=True)
class Point:
    """One technique at one ratio on one model, over its seeds."""

    model: str
    kind: str
    method: str
    saves: str
    keep: float
    multiplier: Spread
    skill: Spread | None
    weights: Spread
    operations: Spread
    stored_bytes: Spread
    state_bytes: Spread
    engine_time: Spread | None
    engine_instructions: Spread | None
    step_time: Spread | None


def log_spread(values: Sequence[float]) -> Spread:
    """Geometric mean of ratios, with the interval of their logarithms."""
    log = spread([math.log(value) for value in values])
    return Spread(math.exp(log.mean), math.exp(log.low), math.exp(log.high), log.seeds)


def points_of(rows: Sequence[Row]) -> list[Point]:
    """Rows of all seeds brought together, in the order of their first."""
    groups: dict[tuple[str, str, float], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.model, row.method, row.keep), []).append(row)
    return [_point(group) for group in groups.values()]


def _point(group: list[Row]) -> Point:
    def over(name: str) -> Any:
        known = [getattr(row, name) for row in group if getattr(row, name) is not None]
        # skill may be negative; all else is a ratio, whose interval as it stands may reach below nothing
        return (spread if name == "skill" else log_spread)(known) if known else None

    first = group[0]
    spreads = [field.name for field in fields(Point)][5:]
    return Point(
        first.model, first.kind, first.method, first.saves, first.keep, **{name: over(name) for name in spreads}
    )


def front(points: Iterable[Point], cost: str) -> list[Point]:
    """The points that no other beats at both error and a cost (the Pareto front), cheapest first.

    Args:
        points: of one model.
        cost: a field that holds a spread, or None where it is not known.

    Returns:
        those for which there is none as good and cheaper, nor as cheap and better.
    """
    found: list[Point] = []
    known = [point for point in points if getattr(point, cost) is not None]
    for point in sorted(known, key=lambda p: (getattr(p, cost).mean, p.multiplier.mean)):
        if not found or point.multiplier.mean < found[-1].multiplier.mean:
            found.append(point)
    return found


def able(names: Sequence[str], keeps: Sequence[float]) -> dict[str, str]:
    """Techniques that cannot keep one of these shares at all, and why."""
    found = {}
    for name in names:
        for keep in keeps:
            try:
                methods[name].keeping(keep)
            except PochetteError as error:
                found[name] = f"{error.what} {error.remedy}"
    return found


def to_csv(rows: Sequence[Row]) -> str:
    """Rows as comma-separated values with a heading; what is not known is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [column.name for column in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()
