"""Labels: which indices of which tensors go together.

Every index of every axis of every value carries a label. Operators hand labels on (an elementwise sum gives its inputs'
channels one label), re-arrange them (concatenation, slices) or tie them (the rows of a recurrent layer's gates). Labels
tied directly or indirectly stand and fall together; `pochette.graph.units` makes removable units of them.

A reshape that parts an axis in two, or merges two, is undecided at first: indices can be removed along either side, but
what is left must remain a rectangle. Such a `Grid` is settled at the end, when it is known what is fixed; where
weights make both sides, units go along both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from pochette.graph.graph import Graph, Node, Value
from pochette.graph.grids import Flags, Grid, Labels, candidates, handed_on


@dataclass(frozen=True)
class Reading:
    """A node that contracts an axis of one of its arguments: where removed units end."""

    node: Node
    value: Value
    axis: int


@dataclass
class Coupling:
    """The labels of a graph while operators propagate them."""

    graph: Graph
    readings: list[Reading] = field(default_factory=list)
    _next: int = 0
    _axes: dict[int, list[Labels]] = field(default_factory=dict)
    _ties: list[tuple[Labels, Labels]] = field(default_factory=list)
    _frozen: list[tuple[Labels, str]] = field(default_factory=list)
    _norms: list[tuple[Labels, str]] = field(default_factory=list)
    _met: list[Labels] = field(default_factory=list)
    _makers: list[tuple[Labels, int]] = field(default_factory=list)
    made_with: list[tuple[Value, Labels]] = field(default_factory=list)
    """Learnt weights as they were used, and what they make."""
    _readers: list[tuple[Labels, int]] = field(default_factory=list)
    _grids: list[Grid] = field(default_factory=list)
    crossed: list[Grid] = field(default_factory=list)
    """Grids of which rows and columns can go: a cell goes with either of its sides."""
    _learnt: set[int] = field(default_factory=set)
    _set_by_data: set[int] = field(default_factory=set)
    _read: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._learnt = {id(value) for value in self.graph.of_kind("parameter")}
        fixed = {id(value) for value in self.graph.of_kind("constant")}
        for node in self.graph.nodes:
            inputs = {id(value) for value in node.inputs()}
            if inputs <= self._learnt | fixed:
                # What follows from constants alone, a filter bank turned round, is no weight.
                (self._learnt if inputs & self._learnt else fixed).update(id(value) for value in node.outputs)
            elif inputs & (self._learnt | self._set_by_data):
                self._set_by_data.update(id(value) for value in node.outputs)

    # -- labels of values ----------------------------------------------------------------------------------------------

    def fresh(self, length: int) -> Labels:
        """Labels never used before."""
        self._next += length
        return np.arange(self._next - length, self._next)

    def axes(self, value: Value) -> list[Labels]:
        """Labels of each axis of a value, in a list of its own; fresh ones for a tensor not met before."""
        if id(value) not in self._axes:
            self._axes[id(value)] = [self.fresh(size) for size in value.shape]
        return list(self._axes[id(value)])

    def set(self, value: Value, axes: list[Labels]) -> None:
        """Give a computed value its labels.

        Args:
            value: of the graph.
            axes: labels of each of its axes.

        Raises:
            AssertionError: their lengths are not the value's shape (a defect of an operator's description).
        """
        assert tuple(len(axis) for axis in axes) == value.shape, f"{value} labelled {[len(a) for a in axes]}"
        self._axes[id(value)] = list(axes)

    def is_read(self, value: Value) -> bool:
        """Whether a node reads a value, or the graph returns it."""
        if not self._read:
            self._read.update(id(value) for node in self.graph.nodes for value in node.inputs())
            self._read.update(id(value) for value in (*self.graph.outputs, *self.graph.mutations.values()))
        return id(value) in self._read

    def learnt(self, value: Value) -> bool:
        """Whether a value is a parameter, or computed from parameters and constants alone."""
        return id(value) in self._learnt

    def weighs(self, value: Value) -> bool:
        """Whether a filter is learnt, or computed from parameters and data: modulated by a style, set by a network."""
        return self.learnt(value) or id(value) in self._set_by_data

    # -- what operators say of them ------------------------------------------------------------------------------------

    def tie(self, left: Labels, right: Labels) -> None:
        """Index by index, the two belong to one unit."""
        assert left.shape == right.shape, f"{left.shape} tied to {right.shape}"
        self._ties.append((left.ravel(), right.ravel()))

    def tie_all(self, labels: Labels) -> None:
        """All of these belong to one unit."""
        flat = labels.ravel()
        self._ties.append((flat[:-1], flat[1:]))

    def freeze(self, value: Value, reason: str) -> None:
        """No index of this value may be removed."""
        for axis in self.axes(value):
            self.freeze_labels(axis, reason)

    def freeze_labels(self, labels: Labels, reason: str) -> None:
        """None of these may be removed."""
        self._frozen.append((labels.ravel(), reason))

    def meets_all(self, labels: Labels) -> None:
        """An axis of one index is broadcast: if that is one of many elsewhere, all of them need it."""
        self._met.append(labels.ravel())

    def normalised(self, labels: Labels, layer: str) -> None:
        """A layer computes statistics over these: removing some changes what the others become."""
        self._norms.append((labels.ravel(), layer or "the outermost module"))

    def makes(self, node: Node, weight: Value, labels: Labels, *, filters: bool = False) -> None:
        """A node makes these indices from data with a weight; says nothing if the weight is not learnt.

        Args:
            node: that multiplies.
            weight: that it multiplies with.
            labels: of what it makes.
            filters: the weight is a filter, which counts if it follows from learnt weights and data too.
        """
        if self.learnt(weight):
            self.made_with.append((weight, labels))
            self._makers.append((labels.ravel(), id(node)))
        elif filters and self.weighs(weight):
            # Filters that each voice of a batch has of its own stand side by side: what makes one makes them all.
            sides = [(grid.outer, grid.inner) for grid in self._grids if np.array_equal(grid.cells.ravel(), labels)]
            self._makers += [(made.ravel(), id(node)) for made in (labels, *chain.from_iterable(sides))]

    def reads(
        self,
        node: Node,
        value: Value,
        axis: int,
        weight: Value | None = None,
        *,
        within: bool = False,
        filters: bool = False,
    ) -> None:
        """A node sums over an axis of one of its arguments.

        Args:
            node: that contracts.
            value: the argument; masking it along the axis is what removal amounts to.
            axis: of the argument.
            weight: what the argument is multiplied with, if that may be learnt; the argument itself by default.
            within: the node made what it reads here, as an LSTM's projection does; it counts as another reader.
            filters: the weight is a filter, which counts if it follows from learnt weights and data too.
        """
        axis %= len(value.shape)
        self.readings.append(Reading(node, value, axis))
        by = value if weight is None else weight
        if self.learnt(by) or (filters and self.weighs(by)):
            self._readers.append((self.axes(value)[axis].ravel(), id(value if within else node)))

    def made(self, labels: Labels) -> bool:
        """Whether learnt weights make all of these, as far as is known yet."""
        unit = self.components()
        return bool(handed_on(self._grids, unit, self._made(unit))[unit[labels]].all())

    def meet(self, node: Node, value: Value, axis: int, other: Value, other_axis: int) -> None:
        """A node sums products of two tensors of data over an axis of both, as queries meet keys.

        Where learnt weights make both, each reads the other, and units of both can go; fixed functions cannot lose any.

        Args:
            node: that contracts.
            value: one of them; masking it along the axis is what removal amounts to.
            axis: of the first.
            other: the other.
            other_axis: of the other.
        """
        labels, others = self.axes(value)[axis], self.axes(other)[other_axis]
        if self.made(labels) and self.made(others):
            self._readers.append((labels.ravel(), id(node)))
        self.tie(labels, others)
        self.reads(node, value, axis)

    def contract(self, node: Node, x: Value, x_axis: int, weight: Value, weight_axis: int) -> None:
        """A node sums products of two arguments over an axis of both: their indices go together.

        Args:
            node: that contracts.
            x: data.
            x_axis: summed over.
            weight: learnt or not.
            weight_axis: summed over.
        """
        self.tie(self.axes(x)[x_axis], self.axes(weight)[weight_axis])
        self.reads(node, x, x_axis, weight)

    def split(self, labels: Labels, outer: int, inner: int) -> tuple[Labels, Labels]:
        """Part an axis of outer x inner indices in two.

        Args:
            labels: of the axis.
            outer: length of the first new axis.
            inner: length of the second.

        Returns:
            labels of both.
        """
        grid = Grid(labels.reshape(outer, inner), self.fresh(outer), self.fresh(inner))
        self._grids.append(grid)
        return grid.outer, grid.inner

    def merge(self, outer: Labels, inner: Labels) -> Labels:
        """Make one axis of two.

        Args:
            outer: labels of the first.
            inner: labels of the second.

        Returns:
            labels of the axis of all pairs, the second changing fastest.
        """
        if len(outer) == 1:
            return inner
        if len(inner) == 1:
            return outer
        cells = self.fresh(len(outer) * len(inner)).reshape(len(outer), len(inner))
        self._grids.append(Grid(cells, outer, inner))
        return cells.ravel()

    # -- what follows --------------------------------------------------------------------------------------------------

    def components(self) -> Labels:
        """The unit of every label, by what is tied so far."""
        if self._ties:
            left, right = (np.concatenate(side) for side in zip(*self._ties, strict=True))
        else:
            left = right = np.zeros(0, np.int64)
        matrix = coo_matrix((np.ones(len(left), np.int8), (left, right)), shape=(self._next, self._next))
        found: Labels = connected_components(matrix, directed=False)[1].astype(np.int64)
        return found

    def settle(self) -> Labels:
        """Decide every grid, and give the unit of every label.

        Returns:
            (label,) number of its unit.
        """
        undecided = list(self._grids)
        while True:
            unit = self.components()
            fixed, made = self._fixed(unit), handed_on(undecided, unit, self._made(unit))
            if not undecided:
                return unit
            if self._spread(undecided, unit, fixed):
                continue
            choices = [(candidates(grid, unit, fixed, made), grid) for grid in undecided]
            forced = [(counts, grid) for counts, grid in choices if 0 in counts]
            # One free choice at a time: it may decide others.
            for (outer, inner), grid in forced or choices[:1]:
                if outer and inner and self._crosses(grid, unit, fixed):
                    self.crossed.append(grid)
                else:
                    self._decide(grid, *self._of_use(grid, unit, undecided, outer, inner))
                undecided.remove(grid)

    def _fixed(self, unit: Labels) -> Flags:
        """Which units are frozen."""
        flags = np.zeros(self._next, np.bool_)
        for labels, _ in self._frozen:
            flags[unit[labels]] = True
        return flags

    def _made(self, unit: Labels) -> Flags:
        """Which units some learnt weight makes."""
        flags = np.zeros(self._next, np.bool_)
        for labels, _ in self._makers:
            flags[unit[labels]] = True
        return flags

    def _spread(self, grids: list[Grid], unit: Labels, fixed: Flags) -> bool:
        """Hand fixedness from cells to the sides they lie on, and back; whether anything changed."""
        changed = False
        for grid in grids:
            cells = fixed[unit[grid.cells]]
            for side, stuck in ((grid.outer, cells.any(1)), (grid.inner, cells.any(0))):
                new = stuck & ~fixed[unit[side]]
                if new.any():
                    self.freeze_labels(side[new], self.reason(grid.cells[cells][:1], unit))
                    changed = True
            sides = fixed[unit[grid.outer]][:, None] & fixed[unit[grid.inner]][None]
            new = sides & ~cells
            if new.any():
                self.freeze_labels(grid.cells[new], self.reason(grid.outer[:1], unit))
                changed = True
        return changed

    def _crosses(self, grid: Grid, unit: Labels, fixed: Flags) -> bool:
        """Whether rows and columns can both go, as in a product of every unit of one layer with every one of another.

        Weights make both sides, nothing else has a part in the cells, and wherever some of them are all are.
        """
        cells, outer, inner = unit[grid.cells], unit[grid.outer], unit[grid.inner]
        made, sides = self._made(unit), np.concatenate([outer, inner])
        if not made[sides].all() or made[cells].any() or fixed[sides].any() or fixed[cells].any():
            return False
        if any(len(np.unique(units)) < units.size for units in (outer, inner, cells)):
            return False
        others = (
            part for other in self._grids if other is not grid for part in (other.cells, other.outer, other.inner)
        )
        if any(np.isin(unit[part], cells).any() for part in others):
            return False
        counts = [np.bincount(unit[axis], minlength=self._next)[cells] for axes in self._axes.values() for axis in axes]
        return all(count.min() == count.max() for count in counts)

    def _of_use(
        self, grid: Grid, unit: Labels, undecided: list[Grid], outer: int, inner: int
    ) -> tuple[int, int]:  # fmt: skip
        """Numbers of candidates, none on a side that no learnt weight reads where one reads the other.

        Of the pieces and the units of a maxout only the units are read: what takes the largest of the pieces needs all.
        """
        read = np.zeros(self._next, np.bool_)
        for labels, _ in self._readers:
            read[unit[labels]] = True
        read = handed_on([other for other in undecided if other is not grid], unit, read)
        by_outer, by_inner = read[unit[grid.outer]].any(), read[unit[grid.inner]].any()
        if by_outer == by_inner or not (outer and inner):
            return outer, inner
        return (outer, 0) if by_outer else (0, inner)

    def _decide(self, grid: Grid, outer: int, inner: int) -> None:
        if outer == inner == 0:
            self.freeze_labels(grid.cells, "reshaped across axes that are fixed")
        if outer == 0 and inner > 0:
            self.tie(grid.cells, np.broadcast_to(grid.inner[None], grid.cells.shape))
            self.freeze_labels(grid.outer, "reshaped together with units along another axis")
        elif inner == 0 or outer >= inner:
            self.tie(grid.cells, np.broadcast_to(grid.outer[:, None], grid.cells.shape))
            self.freeze_labels(grid.inner, "reshaped together with units along another axis")
        else:
            self._decide(grid, 0, inner)

    def reason(self, labels: Labels, unit: Labels) -> str:
        """Why some labels are frozen: the first reason given for any in their units.

        Args:
            labels: frozen.
            unit: of every label.

        Returns:
            the reason.
        """
        wanted = set(unit[labels].ravel().tolist())
        for frozen, reason in self._frozen:
            if not wanted.isdisjoint(unit[frozen].tolist()):
                return reason
        return "fixed"
