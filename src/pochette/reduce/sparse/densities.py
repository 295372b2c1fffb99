"""How dense each layer stays when so much of all weights does: alike, or denser where a layer is small (Erdos-Renyi).

Evci et al. 2020, section 3: layer by layer the density is in proportion to the sum of the axes' lengths over their
product, what exceeds 1 becomes dense, and the rest is divided anew. "erk" counts a filter's taps among the axes, "er"
does not. A stacked matrix (the gates of a recurrent layer) is one layer, as it is stored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from pochette.errors import ReductionError

Distribution = Literal["uniform", "er", "erk"]


def densities(
    shapes: Mapping[str, Sequence[int]], density: float, distribution: Distribution = "uniform"
) -> dict[str, float]:
    """Share of each layer's weights that stays, so that a given share of all stays.

    Args:
        shapes: of the layers' weights; outputs, inputs and taps.
        density: share of all weights that stays, above 0 and up to 1.
        distribution: how it is divided.

    Returns:
        path to density, up to 1; the weighted mean is what was asked for.

    Raises:
        ReductionError: the share is none.
    """
    if not 0.0 < density <= 1.0:
        raise ReductionError(f"The density is {density:g}.", remedy="Give a share above 0 and up to 1.")
    if distribution == "uniform":
        return dict.fromkeys(shapes, density)
    raw = {path: _raw(shape, distribution) for path, shape in shapes.items()}
    sizes = {path: math.prod(shape) for path, shape in shapes.items()}
    dense: set[str] = set()
    while True:
        sparse = [path for path in shapes if path not in dense]
        wanted = density * sum(sizes.values()) - sum(sizes[path] for path in dense)
        if not sparse:
            return dict.fromkeys(shapes, 1.0)
        epsilon = wanted / sum(raw[path] * sizes[path] for path in sparse)
        over = {path for path in sparse if epsilon * raw[path] > 1.0}
        if not over:
            return {path: 1.0 if path in dense else epsilon * raw[path] for path in shapes}
        dense |= over


def _raw(shape: Sequence[int], distribution: Distribution) -> float:
    axes = tuple(shape) if distribution == "erk" else tuple(shape[:2])
    return sum(axes) / math.prod(axes)


def counts_of(sizes: Mapping[str, int], shares: Mapping[str, float], least: int = 1) -> dict[str, int]:
    """Whole numbers of weights that come as near to shares as can be and to their sum exactly.

    Args:
        sizes: weights of each layer.
        shares: of each, 0 to 1.
        least: that every layer keeps, as far as it has so many.

    Returns:
        path to count; together the rounded sum of all shares, unless the least of each layer comes to more.
    """
    exact = {path: sizes[path] * shares[path] for path in sizes}
    counts = {path: max(min(sizes[path], least), math.floor(value + 1e-9)) for path, value in exact.items()}
    left = round(sum(exact.values())) - sum(counts.values())
    # What rounding down left over goes where most was cut off.
    for path in sorted(exact, key=lambda path: counts[path] - exact[path])[: max(0, left)]:
        counts[path] += counts[path] < sizes[path]
    return counts
