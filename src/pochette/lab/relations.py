"""How properties of networks go with what one wants to predict: rank correlations within models, honestly many.

Everything is ranked within its group (a model) before groups are brought together, since models differ in everything at
once: across them nearly any two numbers go together. Probabilities are those of permutations within groups, intervals
those of drawing experiments anew within groups (bootstrap, percentiles), and probabilities of many relations are
corrected for their number by Benjamini and Hochberg's false discovery rate (1995). A partial correlation is that of
what is left of both ranks once those of a third number, size, were taken off by least squares.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from scipy import stats

Array = npt.NDArray[np.float64]
PERMUTATIONS, RESAMPLES = 2000, 1000
CONFIDENCE = 0.95
FEWEST = 4
"""Experiments of a group, below which it says nothing."""
SAME_SIZE = "size does not vary among what is compared"
SIZE_ALONE = "size says all of the property or of the outcome"
_ROUNDING = 1e-12
WIDE = 3
"""Groups in which size can be held fixed, for a relation to be told first."""
LEVEL = 0.05
"""False discovery rate below which a relation counts as found."""


@dataclass(frozen=True)
class Observation:
    """One experiment as the study sees it."""

    group: str
    """Its model."""
    size: float
    """What partial correlations hold fixed."""
    properties: Mapping[str, float]
    outcomes: Mapping[str, float]


@dataclass(frozen=True)
class Relation:
    """One property and one outcome."""

    name: str
    """Of the property."""
    outcome: str
    experiments: int
    groups: int
    correlation: float
    """Spearman's, within groups: -1 to 1."""
    low: float
    high: float
    probability: float
    """Of a correlation as large where there is none, by permutation."""
    corrected: float
    """The same, for as many relations as were looked at."""
    partial: float
    """Correlation with size held fixed; not a number where that cannot be, see `unheld`."""
    partial_probability: float
    partial_corrected: float
    by_group: Mapping[str, float] = field(default_factory=dict)
    """Spearman's correlation in each group alone."""
    partial_by_group: Mapping[str, float] = field(default_factory=dict)
    """The same with size held fixed; not a number where it cannot be."""
    hardly_varying: int = 0
    """In how many groups more than half of the experiments share one value of the property."""
    unheld: str = ""
    """Why there is no correlation with size held fixed, where there is none: `SAME_SIZE` or `SIZE_ALONE`."""

    @property
    def agreeing(self) -> int:
        """In how many groups it goes the way it goes in all of them."""
        return sum(value * self.correlation > 0 for value in self.by_group.values())

    @property
    def partly_agreeing(self) -> int:
        """In how many groups it goes the way it goes in all of them, with size held fixed in both."""
        return sum(value * self.partial > 0 for value in self.partial_by_group.values())

    @property
    def partly_known(self) -> int:
        """In how many groups size can be held fixed."""
        return sum(math.isfinite(value) for value in self.partial_by_group.values())

    @property
    def wide(self) -> bool:
        """Whether size can be held fixed in so many groups that the relation may be more than one model's."""
        return self.partly_known >= WIDE

    @property
    def found(self) -> bool:
        """Whether it is there at all."""
        return self.corrected < LEVEL

    @property
    def beyond_size(self) -> bool:
        """Whether it is there beyond what size says."""
        return self.partial_corrected < LEVEL


def relations(observations: Sequence[Observation], seed: int = 0) -> list[Relation]:
    """Every property with every outcome, strongest with size held fixed first, those of few groups behind the others.

    Args:
        observations: experiments; one that lacks a property or an outcome is left out of that relation alone.
        seed: of permutations and resamplings.

    Returns:
        relations that have at least `FEWEST` experiments in some group, and where neither side is the same everywhere.
    """
    properties = sorted({name for item in observations for name in item.properties})
    outcomes = sorted({name for item in observations for name in item.outcomes})
    found = []
    for outcome in outcomes:
        for name in properties:
            relation = _relation(observations, name, outcome, seed)
            if relation is not None:
                found.append(relation)
    corrected = false_discovery([item.probability for item in found])
    partly = false_discovery([item.partial_probability for item in found])
    found = [
        replace(item, corrected=own, partial_corrected=partial)
        for item, own, partial in zip(found, corrected, partly, strict=True)
    ]
    return sorted(
        found, key=lambda item: (not item.wide, -_strength(item), -abs(item.correlation), item.name, item.outcome)
    )


def _strength(item: Relation) -> float:
    """What is there with size held fixed; what cannot be held stands behind."""
    return abs(item.partial) if math.isfinite(item.partial) else -1.0


def _relation(observations: Sequence[Observation], name: str, outcome: str, seed: int) -> Relation | None:
    groups: dict[str, list[tuple[float, float, float]]] = {}
    for item in observations:
        values = item.properties.get(name), item.outcomes.get(outcome)
        if values[0] is not None and values[1] is not None and all(map(math.isfinite, values)):  # type: ignore[arg-type]
            groups.setdefault(item.group, []).append((values[0], values[1], item.size))
    known = {group: np.array(rows).T for group, rows in groups.items() if len(rows) >= FEWEST}
    # Where one side does not vary there is nothing that could go together.
    known = {group: block for group, block in known.items() if np.ptp(block[0]) > 0 and np.ptp(block[1]) > 0}
    blocks = list(known.values())
    if not blocks:
        return None
    rng = np.random.default_rng(seed)
    whole = correlation([(block[0], block[1]) for block in blocks])
    low, high = _interval(blocks, rng)
    partial = partial_correlation(blocks)
    return Relation(
        name,
        outcome,
        sum(block.shape[1] for block in blocks),
        len(blocks),
        whole,
        low,
        high,
        _probability(blocks, whole, rng, partial=False),
        math.nan,
        partial,
        _probability(blocks, partial, rng, partial=True) if math.isfinite(partial) else 1.0,
        math.nan,
        {group: correlation([(block[0], block[1])]) for group, block in known.items()},
        {group: partial_correlation([block]) for group, block in known.items()},
        sum(_most_common(block[0]) > 0.5 for block in blocks),
        "" if math.isfinite(partial) else SAME_SIZE if _same_size(blocks) else SIZE_ALONE,
    )


def _same_size(blocks: Sequence[Array]) -> bool:
    return all(np.ptp(block[2]) == 0 for block in blocks)


def _most_common(values: Array) -> float:
    """Share of the numbers that are the most frequent one."""
    return float(np.unique(values, return_counts=True)[1].max() / len(values))


def ranks(values: Array) -> Array:
    """Ranks from -1 to 1 with mean zero; equal values share theirs."""
    ranked: Array = stats.rankdata(values) - (len(values) + 1) / 2
    return ranked / max(float(np.abs(ranked).max()), 1e-300)


def correlation(pairs: Sequence[tuple[Array, Array]]) -> float:
    """Correlation of ranks that were taken within each group.

    Args:
        pairs: the two numbers of each group's experiments.

    Returns:
        Spearman's correlation, where there is one group; -1 to 1.
    """
    x, y = (np.concatenate([_scaled(ranks(pair[side])) for pair in pairs]) for side in (0, 1))
    return _cosine(x, y)


def held_ranks(values: Array, size: Array) -> Array:
    """What is left of ranks once those of a third number were taken off.

    Args:
        values: of a group's experiments.
        size: what is held fixed, of the same.

    Returns:
        of length 1, or shorter by what the size says.
    """
    own, held = _scaled(ranks(values)), _scaled(ranks(size))
    return own - held * float(own @ held) if held.any() else own


def partial_correlation(blocks: Sequence[Array]) -> float:
    """Correlation of what is left of two ranks once a third's were taken off, within each group.

    Args:
        blocks: of each group: (3, experiment), the third number being held fixed.

    Returns:
        -1 to 1; not a number where the third says all of one of the others, or is the same everywhere.
    """
    if _same_size(blocks):
        return math.nan
    left: tuple[list[Array], list[Array]] = ([], [])
    for block in blocks:
        for side in (0, 1):
            left[side].append(held_ranks(block[side], block[2]))
    x, y = np.concatenate(left[0]), np.concatenate(left[1])
    if min(float(x @ x), float(y @ y)) < 1e-9 * len(blocks):
        return math.nan
    return _cosine(x, y)


def _scaled(values: Array) -> Array:
    """Of length 1, so that every group counts the same; nothing where there is nothing."""
    length = float(np.sqrt(values @ values))
    return values / length if length else values


def _cosine(x: Array, y: Array) -> float:
    found = float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1.0, 1.0))
    return found if abs(found) > _ROUNDING else 0.0  # what is nothing but rounding has no sign


def _interval(blocks: Sequence[Array], rng: np.random.Generator) -> tuple[float, float]:
    """Of the correlation, experiments of each group being drawn anew; groups drawn all alike say nothing."""
    sides: tuple[list[Array], list[Array]] = ([], [])
    for block in blocks:
        count = block.shape[1]
        drawn = block[:2, rng.integers(0, count, (RESAMPLES, count))]
        varies = (np.ptp(drawn, axis=2) > 0).all(axis=0)
        for side in (0, 1):
            centred = stats.rankdata(drawn[side], axis=1) - (count + 1) / 2
            lengths = np.sqrt(np.square(centred).sum(axis=1, keepdims=True))
            sides[side].append(np.where(varies[:, None], centred / np.maximum(lengths, 1e-300), 0.0))
    x, y = (np.concatenate(side, axis=1) for side in sides)
    weights = np.sqrt(np.square(x).sum(axis=1) * np.square(y).sum(axis=1))
    found = ((x * y).sum(axis=1) / np.maximum(weights, 1e-300))[weights > 0]
    outside = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(found, [outside, 1.0 - outside])
    return float(low), float(high)


def _probability(blocks: Sequence[Array], found: float, rng: np.random.Generator, *, partial: bool) -> float:
    """Share of permutations within groups that go together as much; never nothing (Phipson & Smyth 2010)."""
    x, y = [], []
    for block in blocks:
        # The ranks of shuffled numbers are the shuffled ranks.
        shuffled = rng.permuted(np.tile(_scaled(ranks(block[0])), (PERMUTATIONS, 1)), axis=1)
        own, held = _scaled(ranks(block[1])), _scaled(ranks(block[2]))
        if partial and held.any():
            shuffled, own = shuffled - np.outer(shuffled @ held, held), own - held * float(own @ held)
        x.append(shuffled)
        y.append(np.broadcast_to(own, shuffled.shape))
    left, right = np.concatenate(x, axis=1), np.concatenate(y, axis=1)
    lengths = np.sqrt(np.square(left).sum(axis=1) * np.square(right).sum(axis=1))
    drawn = (left * right).sum(axis=1) / np.maximum(lengths, 1e-300)
    as_much = int((np.abs(drawn) >= abs(found) - 1e-12).sum())
    return (as_much + 1) / (PERMUTATIONS + 1)


def false_discovery(probabilities: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's correction: the false discovery rate at which each would just be called found.

    Args:
        probabilities: one a test.

    Returns:
        corrected ones, in the same order.
    """
    if not probabilities:
        return []
    return [float(value) for value in stats.false_discovery_control(probabilities)]
