"""What a contest's page says in sentences: who wins where, what was learnt at all, and what techniques cost."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from pochette.lab.contest import Point, Row, log_spread
from pochette.lab.report import words
from pochette.lab.standings import HARDLY, TELLING, Standing, clearly, comparable, detectable, learnt, standings

SAVES = {
    "work": "units are gone",
    "numbers": "single weights are zero",
    "bits": "weights have fewer bits",
}
"""What became less, in words."""
SMALL_FROM_THE_START = "scratch"


def _keeps(rows: Sequence[Row]) -> list[float]:
    return sorted({row.keep for row in rows}, reverse=True)


def tables(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """A ranking for each ratio and thing that is saved.

    Args:
        rows: of a contest.

    Returns:
        the ratio, what is saved in words, who is ranked, best first, and the rows that left something else.
    """
    made = []
    for keep in _keeps(rows):
        for saves, said in SAVES.items():
            ranked, others = standings(rows, saves, keep), comparable(rows, saves, keep)[1]
            if ranked or others:
                made.append({"keep": keep, "said": said, "ranked": ranked, "others": others})
    return made


def skills(rows: Sequence[Row]) -> list[str]:
    """Whose dense model learnt how much, and how many reduced ones are worse than having learnt an average.

    Args:
        rows: of a contest.

    Returns:
        a sentence a model.
    """
    found = []
    for model in dict.fromkeys(row.model for row in rows):
        own = [row for row in rows if row.model == model]
        shares = [share for row in own if (share := learnt(row)) is not None]
        if not shares:
            found.append(f"{model}: no anchor in its loss, so that it is not known how much skill was kept.")
            continue
        least, at = min(shares), "at least " if len(set(shares)) > 1 else ""
        if least > 0:
            said = f"{model}: the dense model’s error is {at}{words.percent(least)} below that of its anchor"
        else:
            said = f"{model}: the dense model is no better than its anchor"
        if not all(clearly(row) for row in own):
            said += ", hardly better: its multipliers tell little of what was learnt"
        worse = sum(row.anchor is not None and row.error > row.anchor for row in own)
        found.append(
            f"{said}; {worse or 'none'} of {len(own)} reduced networks {'are' if worse > 1 else 'is'} worse than it."
        )
    return found


def sentences(rows: Sequence[Row]) -> list[str]:
    """Who wins at which ratio among those that save the same, and from whom the winner is not told apart.

    Args:
        rows: of a contest.

    Returns:
        a sentence a ranking.
    """
    found = []
    for table in tables(rows):
        if not table["ranked"]:
            continue
        first, *others = table["ranked"]
        level = [other.method for other in others if not other.told_apart]
        kept = words.percent(table["keep"])
        said = f"Where {table['said']}, {kept} being kept, {first.method} stands first"
        said += f" ({words.number(first.multiplier.mean)} times the dense error"
        models = f"{first.models} model{'s' if first.models > 1 else ''}"
        said += f" on average of {models}, {first.runs} runs" if first.runs > 1 else " in the one run there is"
        said += ", of one seed" if first.runs == first.models > 1 else ""
        # A share of the others beaten once is no more than their order.
        enough = first.beaten is not None and first.beaten.seeds >= TELLING
        said += (
            f", better than {_beaten(first, len(others))}{_kept_skill(first)})" if enough else f"{_kept_skill(first)})"
        )
        if not others:
            said += "; nobody else was asked"
        elif not level:
            said += ", and is told apart from all others"
        elif len(level) == len(others):
            said += f"; these runs tell it apart from nobody{_needed(table['ranked'])}"
        else:
            said += f"; these runs do not tell it apart from {', '.join(level)}{_needed(table['ranked'])}"
        found.append(f"{said}.")
        if others and SMALL_FROM_THE_START in (first.method, *level):
            found.append(
                f"{SMALL_FROM_THE_START.capitalize()}, which begins with a network of that size, is among them: on "
                "this budget nothing shows that it pays to begin with a larger one."
            )
    return found


def _needed(ranked: Sequence[Standing]) -> str:
    """What a difference would have had to be, which says whether anybody could have been told apart."""
    factor = detectable(ranked)
    return "" if factor is None else f" (that would take about {words.number(factor)} times its error)"


def careful(rows: Sequence[Row]) -> str:
    """Which models' dense ones learnt too little for multipliers to tell much; empty if none.

    Args:
        rows: of a contest.

    Returns:
        a sentence.
    """
    shares: dict[str, list[float]] = {}
    for row in rows:
        if (share := learnt(row)) is not None:
            shares.setdefault(row.model, []).append(share)
    poor = [model for model, own in shares.items() if min(own) < HARDLY]
    if not poor:
        return ""
    return (
        f"Of {' and '.join(poor)} the dense model itself is hardly better than having learnt an average, on so short a "
        "training: their multipliers, and the averages that they are in, say little of what reducing costs a good one."
    )


def spending(points: Sequence[Point]) -> str:
    """What techniques cost in training time; empty where that is not known.

    Args:
        points: of all models.

    Returns:
        a sentence: the middle of all, and the dearest.
    """
    found: dict[str, list[float]] = {}
    for point in points:
        if point.step_time is not None:
            found.setdefault(point.method, []).append(point.step_time.mean)
    cost = {name: log_spread(own).mean for name, own in found.items()}
    if not cost:
        return ""
    dearest = sorted(cost, key=lambda name: -cost[name])[:3]
    told = ", ".join(f"{name} {words.number(cost[name])}" for name in dearest)
    return (
        f"A step of training takes {words.number(statistics.median(cost.values()))} times that of a plain one in the "
        f"middle of all techniques, and most of {told} times, scores and searches included."
    )


def _beaten(first: Standing, others: int) -> str:
    if first.beaten is None or others == 1:
        units = first.beaten.seeds if first.beaten is not None else 0
        won = first.beaten.mean * units if first.beaten is not None else 0.0
        return f"the one other in {words.number(won, 2)} of {units} {'models' if first.models > 1 else 'runs'}"
    return f"{words.percent(first.beaten.mean)} of the {others} others"


def _kept_skill(item: Standing) -> str:
    return "" if item.skill is None else f", {words.percent(item.skill.mean)} of the skill kept"


def winners(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The first of each ranking by kind of model.

    Args:
        rows: of a contest.

    Returns:
        kind, ratio, what is saved, and the three first.
    """
    made = []
    for kind in dict.fromkeys(row.kind for row in rows):
        own = [row for row in rows if row.kind == kind]
        of = ", ".join(dict.fromkeys(row.model for row in own))
        for table in (table for table in tables(own) if table["ranked"]):
            made.append({"kind": kind, "of": of, "keep": table["keep"], "said": table["said"],
                         "first": _podium(table["ranked"])})  # fmt: skip
    return made


def _podium(ranked: Sequence[Standing]) -> str:
    first = ", ".join(f"{item.method} ({words.number(item.multiplier.mean)}{_kept_skill(item)})" for item in ranked[:3])
    level = sum(not item.told_apart for item in ranked[1:])
    if len(ranked) == 1:
        return first
    return f"{first}; {f'not told apart from {level} of {len(ranked) - 1}' if level else 'told apart from all others'}"
