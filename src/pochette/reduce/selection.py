"""From scores to survivors: how many units stay in each family, and which.

Exact counts, never a threshold: of equal scores the earlier family's and the lower number's stay, so that a network
full of ties loses as many units as one without.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pochette.errors import ReductionError
from pochette.reduce.evidence import FloatArray

Survivors = dict[str, npt.NDArray[np.int64]]
"""Family name to the numbers of the units that stay, in order."""

Unit = tuple[str, int]
"""Family name and number."""


def local(scores: Mapping[str, FloatArray], keep: float, multiple_of: int = 1) -> Survivors:
    """The same share of every family: its best max(1, round(keep * n)) units.

    Args:
        scores: family name to a score per unit.
        keep: share of the units.
        multiple_of: what counts are rounded up to a multiple of; where a family has not so many units, all stay.

    Returns:
        survivors of every family.

    Raises:
        ReductionError: a score is not a number, or keep is no share.
    """
    _check(scores, keep)
    return {
        name: _best(values, _rounded_up(max(1, round(keep * len(values))), multiple_of, len(values)))
        for name, values in scores.items()
    }


def globally(scores: Mapping[str, FloatArray], keep: float, floor: int = 1, multiple_of: int = 1) -> Survivors:
    """The best units of the whole network, wherever they are: round(keep * total) of them.

    Args:
        scores: family name to a score per unit, comparable between families (`pochette.reduce.scaling`).
        keep: share of all units.
        floor: units that stay in every family at least (in a smaller one, all); if these are more than asked for, no
            other unit stays.
        multiple_of: what each family's count is rounded up to a multiple of afterwards; where a family has not so many
            units, all stay. More than was asked for may stay then.

    Returns:
        survivors of every family.

    Raises:
        ReductionError: a score is not a number, or keep is no share.
    """
    _check(scores, keep)
    sizes = {name: len(values) for name, values in scores.items()}
    order = removal_order(scores, floor)
    counts = _counts_after(order[: sum(sizes.values()) - round(keep * sum(sizes.values()))], sizes)
    return {name: _best(values, _rounded_up(counts[name], multiple_of, sizes[name])) for name, values in scores.items()}


def removal_order(scores: Mapping[str, FloatArray], floor: int = 1) -> list[Unit]:
    """All units that may go, the least worthy first.

    Args:
        scores: family name to a score per unit, comparable between families.
        floor: the best units of every family that may not go.

    Returns:
        units in the order in which a network loses them.

    Raises:
        ReductionError: a score is not a number.
    """
    _check(scores, 1.0)
    free = [
        (-score, place, number, name)
        for place, (name, values) in enumerate(scores.items())
        for number, score in enumerate(values.tolist())
    ]
    kept = {name: set(_best(values, min(floor, len(values))).tolist()) for name, values in scores.items()}
    return [(name, number) for _, _, number, name in sorted(free, reverse=True) if number not in kept[name]]


def by_budget(
    order: Sequence[Unit],
    sizes: Mapping[str, int],
    cost_after: Callable[[dict[str, int]], float],
    budget: float,
) -> Survivors:
    """What stays after the shortest prefix of removals that meets a budget.

    Args:
        order: units in the order in which they go, such as `removal_order`'s.
        sizes: family name to how many units it has.
        cost_after: cost of the network with so many units left in each family; removing one never makes it dearer.
        budget: the most it may cost.

    Returns:
        survivors of every family.

    Raises:
        ReductionError: the budget is not met when all of the order is removed.
    """
    if (least := cost_after(_counts_after(order, sizes))) > budget:
        raise ReductionError(
            f"With every unit removed that may go the network still costs {least:g}, more than the {budget:g} allowed.",
            remedy="Allow more, keep fewer units at least in each layer, or start from a smaller model.",
        )
    low, high = 0, len(order)
    while low < high:
        middle = (low + high) // 2
        if cost_after(_counts_after(order[:middle], sizes)) <= budget:
            high = middle
        else:
            low = middle + 1
    gone: dict[str, list[int]] = {name: [] for name in sizes}
    for name, number in order[:low]:
        gone[name].append(number)
    return {name: np.setdiff1d(np.arange(size), np.array(gone[name], np.int64)) for name, size in sizes.items()}


def _counts_after(removed: Sequence[Unit], sizes: Mapping[str, int]) -> dict[str, int]:
    """Units left in each family."""
    gone = Counter(name for name, _ in removed)
    return {name: size - gone[name] for name, size in sizes.items()}


def _best(values: FloatArray, count: int) -> npt.NDArray[np.int64]:
    """Numbers of the highest scores, in order; of equal ones the first."""
    return np.sort(np.argsort(-values, kind="stable")[:count])


def _rounded_up(count: int, multiple_of: int, most: int) -> int:
    return min(most, -(-count // multiple_of) * multiple_of)


def _check(scores: Mapping[str, FloatArray], keep: float) -> None:
    """Refuse what would rank arbitrarily."""
    if not 0.0 <= keep <= 1.0:
        raise ReductionError(f"keep is {keep}.", remedy="Give the share of units to keep, between 0 and 1.")
    check_scores(scores)


def check_scores(scores: Mapping[str, FloatArray]) -> None:
    """Refuse scores that cannot be ranked.

    Args:
        scores: family name to a score per unit.

    Raises:
        ReductionError: a score is not a number.
    """
    for name, values in scores.items():
        if np.isnan(values).any():
            raise ReductionError(
                f"{np.isnan(values).sum()} of {len(values)} scores are not a number.",
                where=name,
                remedy="The model's weights or its response to the data are not finite: train with a lower rate.",
            )
