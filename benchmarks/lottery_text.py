"""Words and tables of the lottery's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lottery import NARROWER, PARTS, STOPS, STORE, comparisons

from pochette.lab.compare import Point, Spread
from pochette.lab.experiment import Control, Cut, Experiment, ancestors_of, name_of, root_of
from pochette.lab.store import Result, Store

SEEDS = (0, 1, 2)
Stored = Mapping[Experiment, Result]


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Markdown."""
    return [f"| {' | '.join(row)} |" for row in (heading, ["---"] * len(heading), *rows)] + [""]


def number(found: Spread | None) -> str:
    """A figure over seeds, for a cell."""
    if found is None:
        return "none"
    if found.seeds == 1:
        return f"{found.mean:.3f} (1 seed)"
    few = " (2 seeds)" if found.seeds == 2 else "" if found.seeds == len(SEEDS) else f" ({found.seeds} seeds)"
    return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]{few}"


def narrower(facts: Mapping[str, Any], model: str, *parts: str) -> Stored:
    """Results of the same model from fewer channels, by magnitude and of other parts; none if it has no such form."""
    if model not in NARROWER:
        return {}
    mark = facts["models"][model]["fingerprint"]
    crossed = [c for part in (PARTS[0], *parts) for c in comparisons(model, mark, SEEDS, part, NARROWER)]
    return Store(STORE).results([e for comparison in crossed for e in comparison.experiments()])


def of_width(wide: Sequence[Point], narrow: Sequence[Point]) -> list[str]:
    """One model from two widths, stop by stop: what it lost, and what is left of it."""
    if not narrow:
        return []
    rows = []
    for stop in (0.0, *STOPS):
        cells = [f"{stop:.0%}" if stop else "dense"]
        for points in (wide, narrow):
            at = next((p for p in points if p.asked_removed == stop and p.curve in ("dense", "magnitude, local")), None)
            cells += ["", "", ""] if at is None else [
                f"{at.weights.mean:,.0f}", number(at.error), number(at.multiplier) if stop else ""
            ]  # fmt: skip
        rows.append(cells)
    heading = [
        "removed",
        "weights left",
        "test error",
        "multiplier",
        "narrower: weights left",
        "test error",
        "multiplier",
    ]
    said = "The same by magnitude, local, from fewer channels, all else alike:"
    dense = [next((p.error.mean for p in points if p.curve == "dense"), None) for points in (wide, narrow)]
    if None in dense:
        return [said, "", *table(heading, rows)]
    better = "less" if dense[0] < dense[1] else "more"
    caution = (
        "" if dense[0] < dense[1]
        else " With as many steps the wider one has learnt less, and goes on learning at the stops: its multipliers "
        "flatter it, and the errors are what to compare."
    )  # fmt: skip
    return [said, "", *table(heading, rows),
            f"Dense, the wider network errs {better} ({dense[0]:.3f}) than the narrower ({dense[1]:.3f}).{caution}",
            ""]  # fmt: skip


def training_behind(results: Stored) -> dict[str, int]:
    """Signature to steps of training that a network's weights have had in all, dense training and stops before."""
    behind = {}
    for experiment, result in results.items():
        chain = ancestors_of(experiment) if isinstance(experiment, Cut) else ()
        behind[name_of(experiment)] = result.steps + sum(results[a].steps for a in chain if a in results)
    return behind


def arithmetic_behind(results: Stored) -> dict[str, float]:
    """Signature to what training has cost a network in all, as a share of its dense network's training."""

    def cost(experiment: Experiment) -> float:
        return results[experiment].steps * results[experiment].macs_per_second if experiment in results else 0.0

    behind = {}
    for experiment in results:
        chain = ancestors_of(experiment) if isinstance(experiment, Cut) else ()
        if whole := cost(root_of(experiment)):
            behind[name_of(experiment)] = sum(map(cost, (experiment, *chain))) / whole
    return behind


def way(experiment: Experiment) -> str:
    """What an experiment is of, for a list of what is missing."""
    if isinstance(experiment, Control):
        return f"control {experiment.kind}"
    if isinstance(experiment, Cut):
        by = "" if experiment.scope == "local" or experiment.scaling == "maximum" else f" per {experiment.scaling}"
        return f"{experiment.criterion}, {experiment.scope.replace('_', ' ')}{by}"
    return type(experiment).__name__.lower()
