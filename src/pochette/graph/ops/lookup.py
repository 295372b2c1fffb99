"""Rows of tables found by number, and numbers found by value."""

from __future__ import annotations

from functools import reduce

from pochette.graph.coupling import Coupling, Labels
from pochette.graph.graph import Node, Value
from pochette.graph.operator import Cost, Operator, describe
from pochette.graph.ops.products import meet

_LOOKED_UP = "looked up by number"


class Embedding(Operator):
    """A learnt row for every number."""

    def couple(self, node: Node, coupling: Coupling) -> None:
        """The table's columns are made here; its rows are numbered and stay."""
        table, numbers = node.args[:2]
        rows, columns = coupling.axes(table)
        coupling.freeze_labels(rows, _LOOKED_UP)
        coupling.makes(node, table, columns)
        coupling.set(node.output, [*coupling.axes(numbers), columns])


class Index(Operator):
    """x[a, :, b]: some axes by numbers, which meet with broadcasting; the others as they are."""

    def couple(self, node: Node, coupling: Coupling) -> None:
        """Axes without numbers pass, and a learnt table makes them; numbered ones stay whole."""
        x, numbers = node.args
        asked = [axis for axis, given in enumerate(numbers) if given is not None]
        if any(not isinstance(numbers[axis], Value) or numbers[axis].dtype.itemsize == 1 for axis in asked):
            super().couple(node, coupling)  # flags: how many are left is not known beforehand
            return
        axes = coupling.axes(x)
        for axis in asked:
            coupling.freeze_labels(axes[axis], _LOOKED_UP)
        new = reduce(lambda left, right: _broadcast(coupling, left, right), (coupling.axes(numbers[a]) for a in asked))
        whole = [axis for axis in range(len(axes)) if axis not in asked]
        for axis in whole:
            coupling.makes(node, x, axes[axis])
        # The new axes stand where the numbered ones stood if those were neighbours, in front otherwise.
        together = asked == list(range(asked[0], asked[-1] + 1))
        first = [axes[axis] for axis in whole if together and axis < asked[0]]
        last = [axes[axis] for axis in whole if not (together and axis < asked[0])]
        coupling.set(node.output, [*first, *new, *last])


def _broadcast(coupling: Coupling, left: list[Labels], right: list[Labels]) -> list[Labels]:
    rank = max(len(left), len(right))
    return [meet(coupling, [axes[-back] for axes in (left, right) if len(axes) >= back]) for back in range(rank, 0, -1)]


class IndexSelect(Operator):
    """Indices of one axis, by their numbers."""

    def couple(self, node: Node, coupling: Coupling) -> None:
        """The other axes pass, and a learnt table makes them; the numbered one stays whole."""
        x, axis, numbers = node.args
        axes = coupling.axes(x)
        axis %= len(axes)
        coupling.freeze_labels(axes[axis], _LOOKED_UP)
        for other, labels in enumerate(axes):
            if other != axis:
                coupling.makes(node, x, labels)
        axes[axis] = coupling.axes(numbers)[0] if numbers.shape else coupling.fresh(1)
        coupling.set(node.output, axes)


class Gather(Operator):
    """Along one axis the elements with given numbers, at every place of the others."""

    def couple(self, node: Node, coupling: Coupling) -> None:
        """The other axes go with those of the numbers; the numbered one stays whole."""
        x, axis, numbers, *_ = node.args
        axes, asked = coupling.axes(x), coupling.axes(numbers)
        for other, (labels, mine) in enumerate(zip(axes, asked, strict=True)):
            if other != axis % len(axes) and len(labels) == len(mine):
                coupling.tie(labels, mine)
            else:
                coupling.freeze_labels(labels, _LOOKED_UP)
        coupling.set(node.output, asked)


class OneHot(Operator):
    """A one at the place of every number, zeros elsewhere."""

    def couple(self, node: Node, coupling: Coupling) -> None:
        """The new axis is numbered and stays."""
        classes = coupling.fresh(node.output.shape[-1])
        coupling.freeze_labels(classes, _LOOKED_UP)
        coupling.set(node.output, [*coupling.axes(node.args[0]), classes])


class Bucketize(Operator):
    """Between which boundaries every value lies."""

    def cost(self, node: Node) -> Cost:
        """Comparisons of a search by halves: as many as the number of answers has binary digits."""
        x, boundaries = node.args[:2]
        return Cost(pointwise=boundaries.size.bit_length() * node.output.size if isinstance(x, Value) else 0)

    def couple(self, node: Node, coupling: Coupling) -> None:
        """Values pass; boundaries are numbered and stay."""
        x, boundaries = node.args[:2]
        coupling.freeze(boundaries, _LOOKED_UP)
        coupling.set(node.output, coupling.axes(x))


describe("aten.embedding.default", operator=Embedding())
describe("aten.index.Tensor", "aten._unsafe_index.Tensor", operator=Index())
describe("aten.index_select.default", operator=IndexSelect())
describe("aten.gather.default", operator=Gather())
describe("aten.one_hot.default", operator=OneHot())
describe("aten.bucketize.Tensor", operator=Bucketize())
