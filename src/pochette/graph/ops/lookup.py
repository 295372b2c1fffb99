"""Rows of tables found by number, and numbers found by value."""

from __future__ import annotations

from functools import reduce
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch

from pochette.graph.coupling import Coupling
from pochette.graph.graph import Node, Value
from pochette.graph.grids import Labels
from pochette.graph.loops import Operand, broadcast_strides, loop, strides_of, whole
from pochette.graph.operator import Cost, Operator, describe
from pochette.graph.ops.products import meet

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter

_LOOKED_UP = "looked up by number"


def number(emitter: Emitter, value: Value, index: str, length: int) -> str:
    """C expression of a number that is looked up, kept inside the table.

    Args:
        emitter: knows the memory.
        value: of whole numbers, whether kept in integers or in floats.
        index: C expression of the element's index.
        length: of the table.

    Returns:
        an expression of type `int`.
    """
    emitter.need("pc_index.h")
    return f"pc_index((int)({emitter.ref(value)})[{index}], {length})"


def _rows(node: Node, table: Value, axis: int, numbers: Value, emitter: Emitter, address: str = "") -> None:
    """Indices of one axis by their numbers: the axis becomes those of the numbers."""
    if table.dtype.is_complex:
        emitter.refuse("looking up complex numbers")
    outer, length, inner = prod(table.shape[:axis]), table.shape[axis], prod(table.shape[axis + 1 :])
    out, read, asked = emitter.ref(node.output), address or emitter.ref(table), emitter.ref(numbers)
    cast = "(uint32_t)" if whole(emitter, node.output) else ""
    loop(
        emitter,
        [outer, numbers.size, inner],
        [
            Operand(out, (numbers.size * inner, inner, 1)),
            Operand(read, (length * inner, 0, 1)),
            Operand(asked, (0, 1, 0)),
        ],
        lambda i, j, k: f"({out})[{i}] = {cast}({read})[{j} + {number(emitter, numbers, k, length)} * {inner}];",
    )


class Embedding(Operator):
    """A learnt row for every number."""

    def couple(self, node: Node, coupling: Coupling) -> None:
        """The table's columns are made here; its rows are numbered and stay."""
        table, numbers = node.args[:2]
        rows, columns = coupling.axes(table)
        coupling.freeze_labels(rows, _LOOKED_UP)
        coupling.makes(node, table, columns)
        coupling.set(node.output, [*coupling.axes(numbers), columns])

    def emit(self, node: Node, emitter: Emitter) -> None:
        """A copy of a row for every number."""
        table, numbers = node.args[:2]
        _rows(node, table, 0, numbers, emitter)


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

    def emit(self, node: Node, emitter: Emitter) -> None:
        """An element for every index of the result: its place is a sum of numbers times strides."""
        x, numbers = node.args
        asked = [axis for axis, given in enumerate(numbers) if given is not None]
        if x.dtype.is_complex or any(numbers[axis].dtype == torch.bool for axis in asked):
            emitter.refuse("looking up by flags, or complex numbers")
        shape = np.broadcast_shapes(*(numbers[axis].shape for axis in asked))
        own, none = strides_of(x.shape), [0] * len(shape)
        left = [axis for axis in range(len(x.shape)) if axis not in asked]
        first = [axis for axis in left if axis < asked[0]] if asked == list(range(asked[0], asked[-1] + 1)) else []
        last = left[len(first) :]
        lengths = [*(x.shape[axis] for axis in first), *shape, *(x.shape[axis] for axis in last)]
        strides = [*(own[axis] for axis in first), *none, *(own[axis] for axis in last)]
        out, read = emitter.ref(node.output), emitter.ref(x)
        operands = [Operand(out, tuple(strides_of(lengths))), Operand(read, tuple(strides))]
        for axis in asked:
            steps = [*[0] * len(first), *broadcast_strides(numbers[axis].shape, shape), *[0] * len(last)]
            operands.append(Operand(emitter.ref(numbers[axis]), tuple(steps)))
        cast = "(uint32_t)" if whole(emitter, node.output) else ""

        def statement(i: str, j: str, *places: str) -> str:
            terms = [j] + [
                f"{number(emitter, numbers[axis], place, x.shape[axis])} * {own[axis]}"
                for axis, place in zip(asked, places, strict=True)
            ]
            return f"({out})[{i}] = {cast}({read})[{' + '.join(terms)}];"

        loop(emitter, lengths, operands, statement)


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

    def emit(self, node: Node, emitter: Emitter) -> None:
        """A copy of a slice for every number."""
        x, axis, numbers = node.args
        _rows(node, x, axis % len(x.shape), numbers, emitter)


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

    def emit(self, node: Node, emitter: Emitter) -> None:
        """An element for every number."""
        x, axis, numbers, *_ = node.args
        axis %= len(x.shape)
        if x.dtype.is_complex:
            emitter.refuse("looking up complex numbers")
        own = strides_of(x.shape)
        there = [0 if other == axis else stride for other, stride in enumerate(own)]
        each = strides_of(numbers.shape)
        out, read = emitter.ref(node.output), emitter.ref(x)
        cast = "(uint32_t)" if whole(emitter, node.output) else ""
        loop(
            emitter,
            numbers.shape,
            [Operand(out, tuple(each)), Operand(read, tuple(there)), Operand("", tuple(each))],
            lambda i, j, k: (
                f"({out})[{i}] = {cast}({read})[{j} + {number(emitter, numbers, k, x.shape[axis])} * {own[axis]}];"
            ),
        )


class OneHot(Operator):
    """A one at the place of every number, zeros elsewhere."""

    def couple(self, node: Node, coupling: Coupling) -> None:
        """The new axis is numbered and stays."""
        classes = coupling.fresh(node.output.shape[-1])
        coupling.freeze_labels(classes, _LOOKED_UP)
        coupling.set(node.output, [*coupling.axes(node.args[0]), classes])

    def emit(self, node: Node, emitter: Emitter) -> None:
        """A comparison for every class."""
        numbers, out = node.args[0], node.output
        classes, base = out.shape[-1], emitter.ref(out)
        one, zero = ("1u", "0u") if whole(emitter, out) else ("1.0f", "0.0f")
        loop(
            emitter,
            [numbers.size, classes],
            [Operand(base, (classes, 1)), Operand("", (1, 0)), Operand("", (0, 1))],
            lambda i, k, c: f"({base})[{i}] = (int)({emitter.ref(numbers)})[{k}] == {c} ? {one} : {zero};",
        )


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

    def emit(self, node: Node, emitter: Emitter) -> None:
        """A search by halves for every value."""
        x, boundaries, _, right = node.args
        if whole(emitter, x) or whole(emitter, boundaries):
            emitter.refuse("buckets of whole numbers")
        out, read, edges = emitter.ref(node.output), emitter.ref(x), emitter.ref(boundaries)
        emitter.need("pc_index.h")
        loop(
            emitter,
            [x.size],
            [Operand(out, (1,))],
            lambda i: f"({out})[{i}] = pc_bucket(({read})[{i}], {edges}, {boundaries.size}, {int(right)});",
        )


class Take(Gather):
    """The same with its arguments in another order, or from all of a tensor as if it had one axis."""

    def couple(self, node: Node, coupling: Coupling) -> None:
        """As the other, where there is an axis; else all stays."""
        if self._axis(node) is None:
            for value in (*node.inputs(), node.output):
                coupling.freeze(value, _LOOKED_UP)
        else:
            super().couple(self._as_gather(node), coupling)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """An element for every number."""
        x, numbers = node.args[:2]
        if self._axis(node) is None:
            _rows(node, Value("", (x.size,), x.dtype, x.kind, x.path), 0, numbers, emitter, emitter.ref(x))
        elif all(
            a == b
            for axis, (a, b) in enumerate(zip(x.shape, numbers.shape, strict=True))
            if axis != node.args[2] % len(x.shape)
        ):
            super().emit(self._as_gather(node), emitter)
        else:
            emitter.refuse(f"numbers of the shape {numbers.shape} for {x.shape}")

    def _axis(self, node: Node) -> int | None:
        return None if node.op == "aten.take.default" else node.args[2]

    def _as_gather(self, node: Node) -> Node:
        x, numbers, axis = node.args
        return Node("aten.gather.default", (x, axis % len(x.shape), numbers), node.outputs, node.layer)


describe("aten.embedding.default", operator=Embedding())
describe("aten.index.Tensor", "aten._unsafe_index.Tensor", operator=Index())
describe("aten.index_select.default", operator=IndexSelect())
describe("aten.gather.default", operator=Gather())
describe("aten.one_hot.default", operator=OneHot())
describe("aten.bucketize.Tensor", operator=Bucketize())
describe("aten.take.default", "aten.take_along_dim.default", operator=Take())
