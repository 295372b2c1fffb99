"""Which units stay: a criterion's scores, a scope, and how many units or weights may be left.

Scopes: "local" takes the same share of every family; "global" ranks all units together, their scores made alike
by a scaling; "global_then_local" ranks globally until a tenth of the weights is left and then takes from all families
alike, which the 2020 paper suggests against the bottlenecks of global ranking but never published.

Scalings for global ranking: those of `pochette.reduce.scaling`, and two of our own that divide what a unit is worth by
what it costs: "operations" (multiply-accumulates: a weight that runs at audio rate costs a hundred times one that runs
at frame rate) and "bytes". What a weight matrix reads is a sum over units, and what is left of a sum errs by one over
the share that is left. So every family is taken to add an error of one over the share left of its importance, times the
weights that it has a part in, and a unit is worth what its removal adds. The fewer are left the more each is worth: no
family becomes a bottleneck for being dear. Where all weights cost the same, and all units of a family are worth the
same, all families lose the same share, and otherwise those lose more that cost more than their weights. Worth and cost
change while units go, so removal proceeds in stages and asks anew in each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from pochette.errors import ReductionError
from pochette.families import criteria
from pochette.reduce.evidence import Evidence, FloatArray, fallen_back
from pochette.reduce.scaling import scaled, weights_of_a_unit
from pochette.reduce.selection import Survivors, by_budget, check_scores, globally, local, removal_order
from pochette.reduce.shares import named
from pochette.reduce.structure import Structure

Scope = Literal["local", "global", "global_then_local"]
Scaling = Literal["none", "maximum", "dimension", "operations", "bytes"]
Size = Callable[[Mapping[str, int] | None], float]
"""Units left in each family, or None for all, to a size of the network."""
ROUNDING = 1.0 + 1e-9
STAGES = 16
"""Least number of steps in which units of a family go by their worth per cost, which are asked anew in each."""
SWITCH = 0.1
"""Share of the weights at which "global_then_local" becomes local."""


@dataclass(frozen=True)
class Choice:
    """How units are chosen."""

    criterion: str = "magnitude"
    """Name of a member of `pochette.families.criteria`."""
    scope: Scope = "local"
    scaling: Scaling = "maximum"
    """How scores are made comparable between families; looked at only where they are ranked together."""
    multiple_of: int = 1
    """What the numbers left are multiples of, where a family has so many units."""
    seed: int = 0
    """For what criteria draw."""
    switch_weights: int | None = None
    """Learnt numbers at which "global_then_local" becomes local; a tenth of the network's by default."""

    def __post_init__(self) -> None:
        _known(self.scope, get_args(Scope), "scope")
        _known(self.scaling, get_args(Scaling), "scaling")
        criteria[str(self.criterion)]  # an unknown one raises with its remedy
        if not _whole(self.multiple_of) or self.multiple_of < 1:
            raise ReductionError(f"multiple_of is {self.multiple_of!r}.", remedy="Give 1, 4 or 8.")
        if not _whole(self.seed) or not 0 <= self.seed < 1 << 63:
            raise ReductionError(f"seed is {self.seed!r}.", remedy="Give a whole number that is not negative.")


def _whole(given: object) -> bool:
    return isinstance(given, int) and not isinstance(given, bool)


def _known(given: str, allowed: tuple[str, ...], what: str) -> None:
    if given not in allowed:
        raise ReductionError(f"There is no {what} called {given!r}.", remedy=f"Choose one of: {', '.join(allowed)}.")


def choose(
    structure: Structure,
    evidence: Evidence,
    choice: Choice,
    *,
    keep: float | None = None,
    weights: int | None = None,
    macs: float | None = None,
) -> Survivors:
    """The units that stay.

    Args:
        structure: of the network.
        evidence: of the same network.
        choice: criterion, scope and scaling.
        keep: share of the units; or
        weights: how many learnt numbers may be left at most; or
        macs: how many multiply-accumulates of learnt weights a call may take at most.

    Returns:
        family name to the numbers of the units that stay.

    Raises:
        ReductionError: the request would change nothing or cannot be met, or the criterion lacks data, or what it looks
            at in every family.
    """
    if sum(asked is not None for asked in (keep, weights, macs)) != 1:
        raise ReductionError("Say once how much is to stay.", remedy="Give one of keep, weights and macs.")
    if keep is not None and not 0.0 < keep < 1.0:
        raise ReductionError(f"keep is {keep}.", remedy="Give the share of units to keep, between 0 and 1.")
    fallen_back(criteria[choice.criterion], structure.families, evidence)  # refuses where that would be all
    scores = {family.name: criteria[choice.criterion](family, evidence) for family in structure.families}
    check_scores(scores)

    def multiples(counts: Mapping[str, int]) -> dict[str, int]:
        """Rounded up, as far as there are so many units."""
        each = choice.multiple_of
        return {name: min(len(scores[name]), -(-count // each) * each) for name, count in counts.items()}

    def asked_for(size: Size) -> Size:
        """A size that knows that counts will be multiples."""
        return lambda counts: size(None if counts is None else multiples(counts))

    if keep is not None:
        survivors = _by_share(structure, evidence, choice, scores, keep)
    elif weights is not None:
        survivors = _by_size(structure, evidence, choice, scores, asked_for(structure.parameters), weights)
    else:
        assert macs is not None
        survivors = _by_size(structure, evidence, choice, scores, asked_for(structure.matrix_macs), macs)
    left = multiples({name: len(kept) for name, kept in survivors.items()})
    survivors = {name: _best(scores[name], count) for name, count in left.items()}
    if all(len(survivors[family.name]) == family.units for family in structure.families):
        asked = f"{keep:.1%} of the units" if keep is not None else f"{weights or macs:g}"
        raise ReductionError(
            f"Keeping {asked} removes none: the layers are too small"
            + (f" for multiples of {choice.multiple_of}." if choice.multiple_of > 1 else "."),
            remedy="Keep less.",
        )
    return survivors


def check_survivors(structure: Structure, survivors: Mapping[str, np.ndarray]) -> None:
    """Refuse survivors that are none.

    Args:
        structure: of the network.
        survivors: family name to the numbers of the units that stay, chosen by whom it may be.

    Raises:
        ReductionError: they are not of this network's families, none would be left somewhere, or all would stay.
    """
    whole = structure.whole
    if set(survivors) != set(whole):
        odd = sorted(set(survivors) ^ set(whole))
        raise ReductionError(
            f"Survivors are not of this network's families: {', '.join(odd[:3])} stand on one side only.",
            remedy="Choose from the families of the structure that is cut.",
        )
    for name, kept in survivors.items():
        if len(kept) == 0 or not np.array_equal(np.unique(kept), kept) or kept[0] < 0 or kept[-1] >= whole[name]:
            raise ReductionError(
                f"Survivors are {list(kept[:5])}... of {whole[name]} units.",
                where=name,
                remedy="Give at least one number for each family, rising, each once.",
            )
    if all(len(kept) == whole[name] for name, kept in survivors.items()):
        raise ReductionError("Every unit would stay: the layers are too small for that share.", remedy="Keep less.")


def _by_share(
    structure: Structure, evidence: Evidence, choice: Choice, scores: Mapping[str, FloatArray], keep: float
) -> Survivors:
    if choice.scope == "local":
        return local(scores, keep, choice.multiple_of)
    if choice.scope == "global_then_local" and keep < SWITCH:
        first = _ranked(structure, evidence, choice, scores, SWITCH)
        counts = _divided(
            {name: len(left) for name, left in first.items()}, round(keep * sum(structure.whole.values()))
        )
        return {name: left[_best(scores[name][left], counts[name])] for name, left in first.items()}
    return _ranked(structure, evidence, choice, scores, keep)


def _divided(counts: Mapping[str, int], wanted: int) -> dict[str, int]:
    """So many units in all, every family's share as near as can be to the same, and none without a unit.

    Args:
        counts: units of each family.
        wanted: in all; no fewer than there are families come out.

    Returns:
        units left in each.
    """
    share = wanted / sum(counts.values())
    divided = dict.fromkeys(counts, 1)
    for _ in range(wanted - len(counts)):
        divided[max(counts, key=lambda name: counts[name] * share - divided[name])] += 1
    return divided


def _ranked(
    structure: Structure, evidence: Evidence, choice: Choice, scores: Mapping[str, FloatArray], keep: float
) -> Survivors:
    """A share of all units, ranked together."""
    if choice.scaling in ("operations", "bytes"):
        total = sum(structure.whole.values())
        wanted = round(keep * total)
        return _per_cost(structure, choice, scores, lambda counts: sum(counts.values()) <= wanted)
    comparable = scaled(scores, choice.scaling, _unit_weights(structure, evidence))
    survivors = globally(comparable, keep)
    if choice.multiple_of == 1:
        return survivors
    wanted = round(keep * sum(structure.whole.values()))
    counts = _in_multiples(
        {name: len(kept) for name, kept in survivors.items()}, comparable, wanted, choice.multiple_of
    )
    return {name: _best(scores[name], count) for name, count in counts.items()}


def _in_multiples(
    counts: Mapping[str, int], comparable: Mapping[str, FloatArray], wanted: int, each: int
) -> dict[str, int]:
    """Numbers rounded to multiples so that together they stay as near to what is wanted as that allows.

    Args:
        counts: units left in each family, as ranked.
        comparable: scores.
        wanted: units left in all.
        each: of what the numbers become multiples; a family that has not so many units keeps all.

    Returns:
        family name to number.
    """
    ranked = {name: np.sort(values)[::-1] for name, values in comparable.items()}
    rounded = {name: min(len(ranked[name]), max(each, count // each * each)) for name, count in counts.items()}
    while sum(rounded.values()) < wanted:
        # The block of units that is worth most is given back first, if it fits better than it misses.
        blocks = {
            name: float(ranked[name][count : count + each].mean())
            for name, count in rounded.items()
            if count + each <= len(ranked[name])
        }
        if not blocks or wanted - sum(rounded.values()) < each / 2:
            break
        rounded[max(blocks, key=lambda name: blocks[name])] += each
    return rounded


def _by_size(
    structure: Structure,
    evidence: Evidence,
    choice: Choice,
    scores: Mapping[str, FloatArray],
    size: Size,
    most: float,
) -> Survivors:
    """As many units as a size of the network allows: its weights, or its operations."""
    everything = {name: np.arange(units) for name, units in structure.whole.items()}
    least = size(dict.fromkeys(everything, 1))
    if least > most * ROUNDING:
        raise ReductionError(
            f"With one unit in every layer the network still has {least:g} of these, more than the {most:g} asked for.",
            remedy=f"Ask for {named(least / size(None))} of it or more, or start from another size of the model.",
        )
    if choice.scope == "local":
        return _alike_to(everything, scores, size, most)
    switch = size(None) * SWITCH
    if choice.switch_weights is not None:
        switch = size(None) * choice.switch_weights / structure.parameters()
    if choice.scope == "global_then_local" and most < switch:
        first = everything if size(None) <= switch else _by_size(structure, evidence, choice, scores, size, switch)
        return _alike_to(first, scores, size, most)
    if choice.scaling in ("operations", "bytes"):
        return _per_cost(structure, choice, scores, lambda counts: size(counts) <= most * ROUNDING)
    order = removal_order(scaled(scores, choice.scaling, _unit_weights(structure, evidence)))
    return by_budget(order, structure.whole, size, most * ROUNDING)


def _unit_weights(structure: Structure, evidence: Evidence) -> dict[str, int]:
    return {family.name: weights_of_a_unit(family, evidence) for family in structure.families}


def _alike(first: Survivors, scores: Mapping[str, FloatArray], keep: float) -> Survivors:
    """The same share of what is left of every family."""
    kept = local({name: scores[name][left] for name, left in first.items()}, min(1.0, keep))
    return {name: first[name][numbers] for name, numbers in kept.items()}


def _alike_to(first: Survivors, scores: Mapping[str, FloatArray], size: Size, most: float) -> Survivors:
    """The largest share, the same for every family, that makes the network small enough."""
    low, high = 0.0, 1.0
    for _ in range(24):
        middle = (low + high) / 2
        counts = {name: max(1, round(middle * len(left))) for name, left in first.items()}
        low, high = (middle, high) if size(counts) <= most * ROUNDING else (low, middle)
    return _alike(first, scores, low)


def _per_cost(
    structure: Structure,
    choice: Choice,
    scores: Mapping[str, FloatArray],
    enough: Callable[[dict[str, int]], bool],
) -> Survivors:
    """Units removed by worth per cost, in stages, until a condition on the numbers left holds.

    With S(n) the summed scores of the n best of N units that each take W weights with them, the family adds an error of
    N W S(N) / S(n), whatever the scale of scores.
    """
    # Within a family the order never changes, so the error that n units leave is known beforehand. Where all scores
    # are nil, as behind an output that begins at zero, they tell nothing: all units are worth the same.
    positive = {name: values - min(0.0, float(np.min(values))) for name, values in scores.items()}
    positive = {name: values if values.any() else np.ones_like(values) for name, values in positive.items()}
    weights, errors = structure.marginal(structure.whole, "bytes"), {}
    for name, values in positive.items():
        share = np.cumsum(np.sort(values)[::-1]) / max(float(values.sum()), 1e-30)
        errors[name] = len(values) * weights[name] / np.maximum(share, 1e-30)
    counts = dict(structure.whole)
    while not enough(counts):
        saved = structure.marginal(counts, choice.scaling)
        heads = {
            name: float(error[counts[name] - 2] - error[counts[name] - 1]) / max(saved[name], 1e-30)
            for name, error in errors.items()
            if counts[name] > 1
        }
        if not heads:
            break
        name = min(heads, key=lambda key: heads[key])
        taken = max(1, counts[name] // STAGES)
        # The last stages are short, so that no unit goes that need not.
        while taken > 1 and enough({**counts, name: counts[name] - taken}):
            taken //= 2
        counts[name] -= taken
    # A unit of a dear family may have saved more than was left to save: what still fits is given back.
    while gains := {
        name: float(error[counts[name] - 1] - error[counts[name]])
        for name, error in errors.items()
        if counts[name] < structure.whole[name] and enough({**counts, name: counts[name] + 1})
    }:
        counts[max(gains, key=lambda key: gains[key])] += 1
    return {name: _best(scores[name], count) for name, count in counts.items()}


def _best(values: FloatArray, count: int) -> np.ndarray:
    """Numbers of the highest scores, in order; of equal ones the first."""
    return np.sort(np.argsort(-values, kind="stable")[:count])
