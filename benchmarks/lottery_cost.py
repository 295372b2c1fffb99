"""The lottery's chapter on ranking units by what they are worth per operation: where it wins, and where it does not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from lottery import BY_OPERATIONS, OPERATION_STOPS, RECIPES, STEPS, STOPS, STORE, by_operations
from lottery_claims import below_zero, differences, multipliers, told
from lottery_text import SEEDS, Stored, narrower, number, table
from publish import millions

from pochette.lab.compare import Row, points_of, rows_of, spread
from pochette.lab.store import Store

OURS = "magnitude, global, per operation"
OTHERS = ("magnitude, local", "magnitude, global", "information, global")
MEANING = {"holds": "better", "does not hold": "worse"}
TITLE = "## Units by worth per operation"


def chapter(facts: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    """The whole chapter.

    Args:
        facts: what was gathered of sounds and models.
        rows: of the three models of the lottery.

    Returns:
        lines of Markdown.
    """
    every = {model: [row for row in rows if row.model == model] for model in RECIPES}
    for model in RECIPES:
        if few := [row for row in narrower_rows(facts) if row.model == f"{model}, narrower"]:
            every[few[0].model] = few
    apart = {model: rows_of(stored_of(facts, model)) for model in BY_OPERATIONS}
    out = [TITLE, "", *_about(facts)]
    out += [*_verdict(every, STOPS), *_verdict(apart, OPERATION_STOPS)]
    out += ["At the same share of *weights* removed, less than 0 is in favour of ranking per operation:", ""]
    for other in OTHERS:
        if made := [row for model in every if (row := _line(every[model], model, other, STOPS))]:
            out += table([f"error multiplier, less that of {other}", *(f"{stop:.0%}" for stop in STOPS)], made)
    out += [
        "At the same *operations*: the other's multiplier is read between its stops, straight over the logarithm of "
        "MAC/s and seed by seed; a stop of more or fewer than the other ever has is left out:",
        "",
    ]
    for other in OTHERS:
        if made := [row for model in every if (row := _level(every[model], model, other))]:
            out += table([f"error multiplier, less that of {other}", *(f"{stop:.0%}" for stop in STOPS)], made)
    for model, own in apart.items():
        out += _of_operations(model, own)
    return out


def others(facts: Mapping[str, Any]) -> list[Row]:
    """Rows of networks that are none of the three models at their size: for the CSV."""
    made = [row for model in BY_OPERATIONS for row in rows_of(stored_of(facts, model))]
    return [*made, *narrower_rows(facts)]


def narrower_rows(facts: Mapping[str, Any]) -> list[Row]:
    """Rows of models of fewer channels, under names that say so."""
    return [
        replace(row, model=f"{model}, narrower")
        for model in RECIPES
        for row in rows_of(narrower(facts, model, "cost", "published", "more"))
    ]


def stored_of(facts: Mapping[str, Any], model: str) -> Stored:
    """What is stored of a model that is cut to shares of its operations."""
    known = facts["models"].get(model)
    if known is None:
        return {}
    return Store(STORE).results(by_operations(model, known["fingerprint"], SEEDS).experiments())


def _about(facts: Mapping[str, Any]) -> list[str]:
    said = [
        "Our own way ranks units over all layers by what they are worth per multiply-accumulate that they cost: the "
        "fewer are left of a layer the more each is worth, and a layer counts by the weights that it has a part in "
        "(`pochette.reduce.choosing`). Where all weights run equally often all layers lose about the same share, as "
        "by ranking locally, so only models with several rates tell the two apart. How often weights are used, as a "
        "multiple of those that are used least:",
        "",
    ]
    rows = []
    for model in (*RECIPES, *BY_OPERATIONS):
        rates = facts["models"].get(model, {}).get("rates")
        if rates:
            rows.append([model, "; ".join(f"{share:.1%} × {times:g}" for times, share in rates)])
    return [*said, *table(["model", "share of its weights × how often"], rows)] if rows else said


def _verdict(rows: Mapping[str, Sequence[Row]], stops: Sequence[float]) -> list[str]:
    """A sentence a model: at which stops it is told apart from which others."""
    out = []
    for model, own in rows.items():
        found: dict[str, list[str]] = {"better": [], "worse": [], "not told apart": []}
        for other in OTHERS:
            for stop in stops:
                both = _differences(own, model, other, stop)
                if len(both) == len(SEEDS):
                    found[MEANING.get(below_zero(spread(both)), "not told apart")].append(f"{other} at {stop:.0%}")
        told_apart = [f"**{word}** than {_listed(found[word])}" for word in ("better", "worse") if found[word]]
        rest = len(found["not told apart"])
        if told_apart or rest:
            more = f"; of {rest} other pairs these seeds do not tell" if rest else ""
            out.append(f"- {model}: {'; '.join(told_apart) or 'nowhere told apart'}{more}.")
    return [*out, ""] if out else []


def _listed(cells: Sequence[str]) -> str:
    """Every other way once, with all its stops."""
    stops: dict[str, list[str]] = {}
    for cell in cells:
        other, _, stop = cell.rpartition(" at ")
        stops.setdefault(other, []).append(stop)
    return ", and than ".join(f"{other} at {' and '.join(at)}" for other, at in stops.items())


def _differences(rows: Sequence[Row], model: str, other: str, stop: float) -> list[float]:
    name = model.partition(",")[0]
    return differences(multipliers(rows, name, (), OURS, stop), multipliers(rows, name, (), other, stop))


def _line(rows: Sequence[Row], model: str, other: str, stops: Sequence[float]) -> list[str]:
    """Differences of one model, with the operations beside which they stand; empty if there are none."""
    cells = []
    for stop in stops:
        both = _differences(rows, model, other, stop)
        if not both:
            cells.append("")
            continue
        verdict = MEANING.get(below_zero(spread(both)), "open") if len(both) == len(SEEDS) else "too few seeds"
        share = _operations(rows, OURS, other, stop)
        cells.append(f"{told(spread(both), sign=True)}: {verdict}; {share:.2f} of its MAC/s")
    return [model, *cells] if any(cells) else []


def _operations(rows: Sequence[Row], ours: str, other: str, stop: float) -> float:
    """Multiply-accumulates of one way, of another's, over the seeds that both have."""
    one, two = (
        {row.seed: row.macs_per_second for row in rows if (row.curve, row.asked_removed) == (curve, stop)}
        for curve in (ours, other)
    )
    both = one.keys() & two.keys()
    return sum(one[seed] for seed in both) / sum(two[seed] for seed in both)


def _level(rows: Sequence[Row], model: str, other: str) -> list[str]:
    """Differences of one model at the operations that ranking per operation leaves; empty if there are none."""
    cells = []
    for stop in STOPS:
        both = []
        for row in rows:
            if (row.curve, row.asked_removed) == (OURS, stop):
                line = sorted((r.macs_per_second, r.multiplier) for r in rows if (r.curve, r.seed) == (other, row.seed))
                read = between(line, row.macs_per_second)
                both += [] if read is None else [row.multiplier - read]
        verdict = MEANING.get(below_zero(spread(both)), "open") if len(both) == len(SEEDS) else "too few seeds"
        cells.append(f"{told(spread(both), sign=True)}: {verdict}" if both else "")
    return [model, *cells] if any(cells) else []


def between(line: Sequence[tuple[float, float]], at: float) -> float | None:
    """Read a curve between its points.

    Args:
        line: places, ascending and above 0, with what is there.
        at: where it is asked for.

    Returns:
        straight over the logarithm of places; None outside them.
    """
    for (low, first), (high, last) in pairwise(line):
        if low <= at <= high:
            share = math.log(at / low) / math.log(high / low) if high > low else 0.0
            return first + share * (last - first)
    return None


def _of_operations(model: str, rows: Sequence[Row]) -> list[str]:
    """A model that is cut to the same operations by all."""
    points = points_of(rows)
    if not any(point.curve == OURS for point in points):
        return [f"{model}, cut to shares of its operations: not yet computed.", ""]
    steps, stop_steps = STEPS[model]
    dense = next(point for point in points if point.curve == "dense")
    out = [
        f"{model}, cut to the same share of its *operations* by each ({dense.weights.mean:,.0f} weights, "
        f"{millions(dense.macs_per_second.mean)} MAC/s, test error {number(dense.error)}; {steps:,} steps and "
        f"{stop_steps:,} a stop):",
        "",
    ]
    at = {(point.curve, point.asked_removed): point for point in points}
    lines: list[list[str]] = []
    for curve in (OURS, *OTHERS):
        here = [at.get((curve, stop)) for stop in OPERATION_STOPS]
        if any(here):
            lines.append([curve, "multiplier", *("" if p is None else number(p.multiplier) for p in here)])
            lines.append(["", "skill kept", *("" if p is None else number(p.skill) for p in here)])
            lines.append(["", "weights left", *("" if p is None else f"{p.weights.mean:,.0f}" for p in here)])
    heading = ["operations removed", "", *(f"{stop:.0%}" for stop in OPERATION_STOPS)]
    return [*out, *table(heading, lines)]
