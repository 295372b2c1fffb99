"""Who wins a contest: techniques that left about as much, ranked within every model and seed, and told apart or not.

Seeds of one model are no independent models: figures are averaged over a model's seeds first, and models are what is
counted; where there is but one model its seeds are, and nothing is said of others. Ratios are averaged, and have their
intervals, as logarithms. The winner is picked by the runs that it is tested on, so that its comparisons are corrected
(Holm 1979) for those of all pairs of its ranking, whoever had come first.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from scipy import stats

from pochette.lab.compare import Spread, spread
from pochette.lab.contest import Row, log_spread

TELLING = 3
"""Models (seeds, where there is one model) below which nobody is told apart."""
LEVEL = 0.05
"""Corrected probability below which two are told apart."""
TOLERANCE = 1.5
"""How many times more or less than was asked may be left of a network that is ranked."""
HARDLY = 0.1
"""Share of the anchor's error that a dense model has to save; below it skill kept is a ratio of two trifles."""

Blocks = dict[tuple[str, int], dict[str, Row]]
"""Rows by model and seed, and by technique."""


@dataclass(frozen=True)
class Standing:
    """How a technique stands among those that save the same, at one ratio; spreads are over models (see above)."""

    method: str
    saves: str
    keep: float
    beaten: Spread | None
    """Share of the others that it beats; None where nobody else was there."""
    multiplier: Spread
    skill: Spread | None
    """Over the models whose dense model clearly has some; None where none has, or that is not known."""
    weights: Spread
    operations: Spread
    stored_bytes: Spread
    behind: Spread | None
    """How many times the winner's error it has, over the models of both; None for the winner."""
    probability: float | None
    """Of a difference from the winner as large where there is none, corrected; None where there are too few models."""
    models: int
    runs: int

    @property
    def told_apart(self) -> bool:
        """Whether the models there are tell it from the winner."""
        return self.probability is not None and self.probability < LEVEL


def left_of(row: Row) -> float:
    """Share left of what a network was asked to keep: bytes where bits are fewer, learnt numbers elsewhere."""
    return row.stored_bytes if row.saves == "bits" else row.weights


def comparable(rows: Sequence[Row], saves: str, keep: float) -> tuple[list[Row], list[Row]]:
    """Networks that were asked for the same, parted by whether they left about that much.

    Args:
        rows: of a contest.
        saves: "work", "numbers" or "bits".
        keep: the ratio.

    Returns:
        those within `TOLERANCE` of what was asked (where units are gone, also of the middle of their model's and seed's
        operations), and the others.
    """
    asked = [row for row in rows if row.saves == saves and math.isclose(row.keep, keep, rel_tol=1e-4)]
    operations: dict[tuple[str, int], list[float]] = {}
    for row in asked:
        operations.setdefault((row.model, row.seed), []).append(row.operations)
    same: list[Row] = []
    other: list[Row] = []
    for row in asked:
        middle = statistics.median(operations[row.model, row.seed])
        near = _near(left_of(row), row.keep) and (saves != "work" or _near(row.operations, middle))
        (same if near else other).append(row)
    return same, other


def _near(left: float, wanted: float) -> bool:
    return wanted / TOLERANCE <= left <= wanted * TOLERANCE


def standings(rows: Sequence[Row], saves: str, keep: float) -> list[Standing]:
    """Techniques that save the same, ranked at one ratio.

    A technique's place is the share of the others that it beats in each block of one model and one seed, averaged over
    seeds and then over models; so one that a model refuses is not punished for it. Who was there for too few models to
    be told from anybody stands behind those that were there for enough, whatever it beat.

    Args:
        rows: of as many models and seeds as one likes.
        saves: "work", "numbers" or "bits".
        keep: the ratio.

    Returns:
        best first; empty if nobody left about as much as was asked.
    """
    blocks: Blocks = {}
    for row in comparable(rows, saves, keep)[0]:
        blocks.setdefault((row.model, row.seed), {})[row.method] = row
    names = list(dict.fromkeys(name for own in blocks.values() for name in own))
    shares = {name: _over(blocks, (name,), lambda own, name=name: _beaten(own, name)) for name in names}  # type: ignore[misc]
    order = sorted(names, key=lambda name: (len(shares[name]) < TELLING, -statistics.fmean(shares[name] or [0.0])))
    probabilities = _holm({
        pair: _probability(_ratios(blocks, *pair)) for pair in itertools.combinations(order, 2)
    })  # fmt: skip
    return [
        _standing(name, order[0], blocks, shares[name], probabilities.get((order[0], name)), saves, keep)
        for name in order
    ]


def detectable(ranked: Sequence[Standing]) -> float | None:
    """How many times the first one's error another must have had to be told apart, with the spread that the others had.

    Args:
        ranked: all of a ranking.

    Returns:
        of the middle one of the others, corrected like the first of all pairs; None where too few were compared.
    """
    pairs = len(ranked) * (len(ranked) - 1) / 2
    found = []
    for other in ranked[1:]:
        if other.behind is not None and other.probability is not None and other.behind.seeds >= TELLING:
            freedom = other.behind.seeds - 1
            half = math.log(other.behind.high / other.behind.low) / 2
            found.append(half * stats.t.isf(LEVEL / pairs / 2, freedom) / stats.t.isf(LEVEL / 2, freedom))
    return math.exp(statistics.median(found)) if found else None


def _over(blocks: Blocks, names: Sequence[str], figure: Callable[[Mapping[str, Row]], float | None]) -> list[float]:
    """A figure of the blocks that have all these techniques: a model's mean over its seeds, or of one model each."""
    found: dict[str, list[float]] = {}
    for (model, _), own in blocks.items():
        value = figure(own) if all(name in own for name in names) else None
        if value is not None:
            found.setdefault(model, []).append(value)
    alone = len({model for model, _ in blocks}) == 1
    return [value for own in found.values() for value in (own if alone else [statistics.fmean(own)])]


def _beaten(own: Mapping[str, Row], name: str) -> float | None:
    others = [row.multiplier for other, row in own.items() if other != name]
    won = sum((other > own[name].multiplier) + 0.5 * (other == own[name].multiplier) for other in others)
    return won / len(others) if others else None


def _ratios(blocks: Blocks, first: str, second: str) -> list[float]:
    """Logarithms of how many times the first one's error the second one's is."""
    return _over(blocks, (first, second), lambda own: math.log(own[second].multiplier / own[first].multiplier))


def _probability(logs: Sequence[float]) -> float | None:
    """Student's, two-sided, that such logarithms have the mean nought; None where there are too few."""
    if len(logs) < TELLING:
        return None
    mean, error = statistics.fmean(logs), statistics.stdev(logs) / math.sqrt(len(logs))
    if error == 0.0:
        return 1.0 if mean == 0.0 else 0.0
    return float(2.0 * stats.t.sf(abs(mean) / error, len(logs) - 1))


def _holm(found: Mapping[tuple[str, str], float | None]) -> dict[tuple[str, str], float]:
    """Probabilities corrected for their number, step by step from the smallest."""
    known = sorted((value, pair) for pair, value in found.items() if value is not None)
    corrected, largest = {}, 0.0
    for number, (value, pair) in enumerate(known):
        largest = max(largest, min(1.0, value * (len(known) - number)))
        corrected[pair] = largest
    return corrected


def _standing(
    name: str, winner: str, blocks: Blocks, shares: list[float], probability: float | None, saves: str, keep: float
) -> Standing:
    def over(field: str) -> Spread:
        return spread(_over(blocks, (name,), lambda own: getattr(own[name], field)))

    logs = _ratios(blocks, winner, name) if name != winner else []
    skills = _over(blocks, (name,), lambda own: own[name].skill if clearly(own[name]) else None)
    beaten = spread(shares) if shares else None
    if beaten is not None:  # Student's interval knows nothing of the ends of a share
        beaten = replace(beaten, low=max(0.0, beaten.low), high=min(1.0, beaten.high))
    multipliers = [math.exp(log) for log in _over(blocks, (name,), lambda own: math.log(own[name].multiplier))]
    own = [model for model, rows in blocks if name in blocks[model, rows]]
    return Standing(
        name, saves, keep, beaten, log_spread(multipliers), spread(skills) if skills else None, over("weights"),
        over("operations"), over("stored_bytes"), log_spread([math.exp(log) for log in logs]) if logs else None,
        probability, len(set(own)), len(own),
    )  # fmt: skip


def learnt(row: Row) -> float | None:
    """Share of the anchor's error that a row's dense model saves; None where there is no anchor."""
    return None if row.anchor is None else 1.0 - row.error / row.multiplier / row.anchor


def clearly(row: Row) -> bool:
    """Whether a row's dense model is clearly better than its anchor."""
    share = learnt(row)
    return share is not None and share >= HARDLY
