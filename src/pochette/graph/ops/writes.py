"""Writes at places that numbers name: a ring buffer's next sample, counts in bins, rows of a table."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pochette.graph.coupling import Coupling
from pochette.graph.graph import Node, Value
from pochette.graph.grids import Labels
from pochette.graph.loops import Operand, broadcast_strides, loop, move, strides_of, whole
from pochette.graph.operator import Cost, Operator, describe
from pochette.graph.ops.lookup import number

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter

_WRITTEN = "written by number"


def _meet(coupling: Coupling, mine: list[Labels], theirs: list[Labels]) -> None:
    """Tie what is written with what was there, aligned from the last axis on; what is broadcast meets every index."""
    for labels, written in zip(reversed(mine), reversed(theirs), strict=False):
        if len(labels) == len(written):
            coupling.tie(labels, written)


class Write(Operator):
    """A tensor with other numbers, or sums, at numbered places; of places named twice the last counts.

    Args:
        added: whether what is written is added to what was there; None if an argument says so.
    """

    def __init__(self, added: bool | None = False) -> None:
        self.added = added

    def adds(self, node: Node) -> bool:
        """Whether what is written is added."""
        return bool(node.args[3]) if self.added is None else self.added

    def written(self, node: Node) -> int:
        """How many numbers are written."""
        return int(node.args[2].size)

    def cost(self, node: Node) -> Cost:
        """An addition a number where they are added, else nothing."""
        return Cost(pointwise=self.written(node) if self.adds(node) else 0)

    def begun(self, node: Node, emitter: Emitter) -> str:
        """Where the output lies, once it holds what is written over.

        A state that becomes the output, as the past in a ring does, is written where it is, unless what is written is
        read from that very memory; and what is written is cleaned one by one, lest all of a long past be gone through
        at every step.
        """
        x, out = node.args[0], node.output
        if out.dtype.is_complex or out.dtype == torch.bool:
            emitter.refuse("writes at numbered places of complex numbers or flags")
        floats = [value for value in node.inputs() if value is not x and value.dtype.is_floating_point]
        apart = all(emitter.view(value).base != emitter.view(x).base for value in floats)
        if apart and out.dtype.is_floating_point and emitter.replaces(out, x):
            emitter.sane.add(id(out))
        else:
            sizes = strides_of(x.shape)
            move(emitter, out, x, x.shape, sizes, sizes)
        return emitter.ref(out)

    def put(self, node: Node, made: str, place: str, given: Any, index: str, emitter: Emitter) -> str:
        """The statement that writes one number.

        Args:
            node: one operator applied to values.
            made: address of the output.
            place: C expression of the place in it.
            given: value or number that is written.
            index: C expression of the place in the value.
            emitter: knows the memory.

        Returns:
            C.
        """
        counted = whole(emitter, node.output)
        if isinstance(given, Value):
            cast = "(uint32_t)(int)" if counted and not whole(emitter, given) else ""
            text = f"{cast}({emitter.ref(given)})[{index}]"
        else:
            text = f"{int(given) % 2**32}u" if counted else emitter.number(given)
        if id(node.output) in emitter.sane:
            there = f"({made})[{place}]"
            return f"{there} = pc_sane({there + ' + ' if self.adds(node) else ''}{text});"
        return f"({made})[{place}] {'+=' if self.adds(node) else '='} {text};"


class WriteSlices(Write):
    """x[:, a] = y along one axis: `index_copy`, `index_add`, `index_fill`."""

    def written(self, node: Node) -> int:
        """A slice for each place."""
        x, axis, places = node.args[:3]
        return int(x.size // x.shape[axis] * places.size) if x.shape else 1

    def adds(self, node: Node) -> bool:
        """By the operator's name."""
        return "add" in node.op

    def couple(self, node: Node, coupling: Coupling) -> None:
        """The numbered axis stays whole; along the others what is written goes with what was there."""
        x, axis, places, given = node.args[:4]
        axes = coupling.axes(x)
        coupling.freeze(places, _WRITTEN)
        if axes:
            coupling.freeze_labels(axes[axis % len(axes)], _WRITTEN)
        if isinstance(given, Value):
            theirs = coupling.axes(given)
            for other, labels in enumerate(theirs):
                if other == axis % len(axes):
                    coupling.freeze_labels(labels, _WRITTEN)
                elif len(labels) == len(axes[other]):
                    coupling.tie(axes[other], labels)
        coupling.set(node.output, axes)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """A slice for every number."""
        x, axis, places, given = node.args[:4]
        if self.adds(node) and node.args[4] != 1:
            emitter.refuse("index_add with a factor")
        shape = x.shape or (1,)
        axis %= len(shape)
        outer, length, inner = prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])
        made = self.begun(node, emitter)
        steps = (places.size * inner, inner, 1) if isinstance(given, Value) and given.shape else (0, 0, 0)
        loop(
            emitter,
            [outer, places.size, inner],
            [Operand(made, (length * inner, 0, 1)), Operand("", steps), Operand("", (0, 1, 0))],
            lambda i, j, k: self.put(
                node, made, f"{i} + {number(emitter, places, k, length)} * {inner}", given, j, emitter
            ),
        )


class WritePoints(Write):
    """x[a, :, b] = y: some axes by numbers, which meet with broadcasting; or by flags of its own shape."""

    def __init__(self) -> None:
        super().__init__(None)

    def couple(self, node: Node, coupling: Coupling) -> None:
        """Axes without numbers pass, and what is written goes with them; numbered ones stay whole."""
        x, places, given, _ = node.args
        asked = [axis for axis, found in enumerate(places) if found is not None]
        if any(places[axis].dtype == torch.bool for axis in asked):
            super().couple(node, coupling)
            return
        axes, theirs = coupling.axes(x), coupling.axes(given)
        for axis in asked:
            coupling.freeze(places[axis], _WRITTEN)
            coupling.freeze_labels(axes[axis], _WRITTEN)
        first, shape, last = _order(x, places, asked)
        for labels in theirs:
            if len(labels) in shape and len(labels) > 1:
                coupling.freeze_labels(labels, _WRITTEN)
        numbered = [coupling.fresh(size) for size in shape]
        _meet(coupling, [*(axes[axis] for axis in first), *numbered, *(axes[axis] for axis in last)], theirs)
        for labels in numbered:
            coupling.freeze_labels(labels, _WRITTEN)
        coupling.set(node.output, axes)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """A number for every index that the numbers and the other axes make together."""
        x, places, given, _ = node.args
        asked = [axis for axis, found in enumerate(places) if found is not None]
        if any(places[axis].dtype == torch.bool for axis in asked):
            self._where(node, emitter)
            return
        first, shape, last = _order(x, places, asked)
        own = strides_of(x.shape)
        lengths = [*(x.shape[axis] for axis in first), *shape, *(x.shape[axis] for axis in last)]
        steps = [*(own[axis] for axis in first), *[0] * len(shape), *(own[axis] for axis in last)]
        made = self.begun(node, emitter)
        operands = [Operand(made, tuple(steps)), Operand("", tuple(broadcast_strides(given.shape, lengths)))]
        for axis in asked:
            mine = broadcast_strides(places[axis].shape, shape)
            operands.append(Operand("", (*[0] * len(first), *mine, *[0] * len(last))))

        def statement(i: str, j: str, *at: str) -> str:
            terms = [i] + [
                f"{number(emitter, places[axis], index, x.shape[axis])} * {own[axis]}"
                for axis, index in zip(asked, at, strict=True)
            ]
            return self.put(node, made, " + ".join(terms), given, j, emitter)

        loop(emitter, lengths, operands, statement)

    def _where(self, node: Node, emitter: Emitter) -> None:
        """One number wherever flags say so."""
        x, (flags, *rest), given, added = node.args
        if rest or flags.shape != x.shape or given.size != 1 or added:
            emitter.refuse("writes by flags, but of one number by flags of the tensor's own shape")
        made = self.begun(node, emitter)
        loop(
            emitter,
            [x.size],
            [Operand(made, (1,))],
            lambda i: f"if (({emitter.ref(flags)})[{i}] != 0) {self.put(node, made, i, given, '0', emitter)}",
        )


def _order(x: Value, places: list[Value | None], asked: list[int]) -> tuple[list[int], tuple[int, ...], list[int]]:
    """The axes before the numbered ones, the shape that the numbers make together, and the axes behind.

    That shape stands where the numbered axes stood if they were neighbours, in front otherwise.
    """
    shape = np.broadcast_shapes(*(found.shape for found in places if found is not None))
    left = [axis for axis in range(len(x.shape)) if axis not in asked]
    together = asked == list(range(asked[0], asked[-1] + 1))
    first = [axis for axis in left if together and axis < asked[0]]
    return first, shape, left[len(first) :]


class ScatterPoints(Write):
    """Along one axis at the places with given numbers, at every place of the others: `scatter`, `scatter_add`."""

    def couple(self, node: Node, coupling: Coupling) -> None:
        """The other axes go with those of the numbers and of what is written; the numbered one stays whole."""
        x, axis, places, given = node.args[:4]
        axes = coupling.axes(x)
        for value in (places, given) if isinstance(given, Value) else (places,):
            for other, labels in enumerate(coupling.axes(value)):
                if other != axis % len(axes) and len(labels) == len(axes[other]):
                    coupling.tie(axes[other], labels)
                else:
                    coupling.freeze_labels(labels, _WRITTEN)
                    coupling.freeze_labels(axes[other], _WRITTEN)
        coupling.set(node.output, axes)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """A number for every place that is named."""
        x, axis, places, given = node.args[:4]
        axis %= max(len(x.shape), 1)
        own = strides_of(x.shape)
        there = [0 if other == axis else stride for other, stride in enumerate(own)]
        steps = strides_of(given.shape) if isinstance(given, Value) else [0] * len(own)
        made = self.begun(node, emitter)
        loop(
            emitter,
            places.shape,
            [Operand(made, tuple(there)), Operand("", tuple(steps)), Operand("", tuple(strides_of(places.shape)))],
            lambda i, j, k: self.put(
                node, made, f"{i} + {number(emitter, places, k, x.shape[axis])} * {own[axis]}", given, j, emitter
            ),
        )


describe(
    "aten.index_copy.default", "aten.index_add.default", "aten.index_fill.int_Scalar", "aten.index_fill.int_Tensor",
    operator=WriteSlices(),
)  # fmt: skip
describe("aten.index_put.default", "aten._unsafe_index_put.default", operator=WritePoints())
describe("aten.scatter.src", "aten.scatter.value", operator=ScatterPoints())
describe("aten.scatter_add.default", operator=ScatterPoints(added=True))
