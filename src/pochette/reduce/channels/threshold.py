"""One threshold for the whole network: units with the smallest factors go, whichever layer they are in."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pochette.errors import ReductionError
from pochette.reduce.evidence import FloatArray
from pochette.reduce.selection import by_budget, removal_order
from pochette.reduce.structure import Structure


def below_threshold_gone(
    structure: Structure, factors: Mapping[str, FloatArray], macs: float, floor: int = 1
) -> dict[str, np.ndarray]:  # fmt: skip
    """As few units as the budget asks, the smallest factors first; and all whose factor is exactly zero.

    A layer never loses all: networks that did were the published method's known failure.

    Args:
        structure: of the network.
        factors: family name to a factor per unit, none negative.
        macs: multiply-accumulates of learnt weights that a call may take at most.
        floor: units of every family that stay, zero or not.

    Returns:
        survivors of every family.

    Raises:
        ReductionError: the budget is too small, or a floor too high.
    """
    if not floor >= 1:
        raise ReductionError(f"The floor is {floor}.", remedy="Leave at least one unit in every layer.")
    order = removal_order(factors, floor)
    within = by_budget(order, structure.whole, structure.matrix_macs, macs * (1 + 1e-9))
    zeros: dict[str, list[int]] = {name: [] for name in factors}
    for name, number in order:
        if factors[name][number] == 0.0:
            zeros[name].append(number)
    return {name: np.setdiff1d(kept, np.array(zeros[name], np.int64)) for name, kept in within.items()}


def zeros_in(factors: Mapping[str, FloatArray]) -> int:
    """How many factors are exactly zero."""
    return sum(int((values == 0.0).sum()) for values in factors.values())
