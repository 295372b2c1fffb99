"""Grids: one axis seen as two, and what is known of its cells by its rows and columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Grid:
    """One axis of a x b indices seen as two: `cells[i, j]` is both `outer[i]` and `inner[j]`."""

    cells: Labels
    outer: Labels
    inner: Labels


def handed_on(grids: list[Grid], unit: Labels, made: Flags) -> Flags:
    """Which units are made (or read), by a weight or as a row, column or cell of a grid of which others are.

    Args:
        grids: of the graph.
        unit: of every label.
        made: (unit,) what is known so far; changed in place.

    Returns:
        the same flags.
    """
    while True:
        before = made.sum()
        for grid in grids:
            cells, outer, inner = unit[grid.cells], unit[grid.outer], unit[grid.inner]
            made[outer[made[cells].any(1)]] = True
            made[inner[made[cells].any(0)]] = True
            made[cells[made[outer][:, None] | made[inner][None]]] = True
        if made.sum() == before:
            return made


def candidates(grid: Grid, unit: Labels, fixed: Flags, made: Flags) -> tuple[int, int]:
    """How many units could be removed along each side of a grid.

    Args:
        grid: one of them.
        unit: of every label.
        fixed: (unit,) which are frozen.
        made: (unit,) which some learnt weight makes.

    Returns:
        along the outer side, along the inner side.
    """
    cells_fixed, cells_made = fixed[unit[grid.cells]], made[unit[grid.cells]]
    counts = []
    for side, axis in ((grid.outer, 1), (grid.inner, 0)):
        free = ~fixed[unit[side]] & ~cells_fixed.any(axis) & (made[unit[side]] | cells_made.any(axis))
        counts.append(len(np.unique(unit[side][free])))
    return counts[0], counts[1]
