"""Where a value lies: an address, and how far it is from one index of each axis to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod


@dataclass(frozen=True)
class View:
    """A value's memory, which need not be row by row.

    `base` is a C expression of a `float *` (or the symbol of a buffer in the arena), `start` a number of floats behind
    it, `strides` the floats from one index of each axis to the next: 0 along a repeated axis.
    """

    base: str
    start: int
    strides: tuple[int, ...]

    def at(self, offset: int = 0) -> str:
        """C expression of the address so many floats behind the first element."""
        place = self.start + offset
        return f"{self.base} + {place}" if place > 0 else f"{self.base} - {-place}" if place else self.base

    def moved(self, axis: int, count: int) -> View:
        """The same memory from an index of an axis on."""
        return replace(self, start=self.start + count * self.strides[axis])

    def restrided(self, start: int, strides: tuple[int, ...]) -> View:
        """The same memory from a float on, with other strides."""
        return View(self.base, self.start + start, strides)

    def broadcast(self, shape: Sequence[int], to: Sequence[int]) -> View:
        """The same memory as one of a larger shape, by the rules of broadcasting.

        Args:
            shape: of the value.
            to: the larger shape.

        Returns:
            a view whose repeated axes have stride 0.
        """
        new = len(to) - len(shape)
        strides = [0 if size == 1 else stride for size, stride in zip(shape, self.strides, strict=True)]
        return replace(self, strides=(*[0] * new, *strides))


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a value that lies row by row."""
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


def is_row_major(view: View, shape: Sequence[int]) -> bool:
    """Whether a value lies row by row, without gaps."""
    usual = row_major(shape)
    return all(size == 1 or mine == theirs for size, mine, theirs in zip(shape, view.strides, usual, strict=True))


def joined(shape: Sequence[int], views: Sequence[View]) -> tuple[list[int], list[list[int]]]:
    """The fewest loops over all elements of several views of one shape, the last view's memory in order.

    Args:
        shape: of all.
        views: their strides are for that shape.

    Returns:
        lengths of the loops from the outermost on, and for each loop the strides of every view.
    """
    axes = [axis for axis, size in enumerate(shape) if size > 1]
    axes.sort(key=lambda axis: -views[-1].strides[axis])
    sizes: list[int] = []
    steps: list[list[int]] = []
    for axis in axes:
        mine = [view.strides[axis] for view in views]
        if sizes and all(outer == inner * shape[axis] for outer, inner in zip(steps[-1], mine, strict=True)):
            sizes[-1], steps[-1] = sizes[-1] * shape[axis], mine
        else:
            sizes.append(shape[axis])
            steps.append(mine)
    return (sizes, steps) if sizes else ([1], [[0] * len(views)])
