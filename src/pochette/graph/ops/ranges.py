"""Operators that take ranges of an axis apart or put them together: slices, selections, splits, concatenation."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from pochette.graph.coupling import Coupling
from pochette.graph.graph import Node, Value
from pochette.graph.loops import Operand, loop, move, strides_of
from pochette.graph.operator import Cost, Operator, Survivors, describe

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter


def _span(node: Node) -> tuple[int, int, int, int]:
    """Axis, first index, end and step of a slice; a selection is one index long."""
    x, axis, start, *rest = node.args
    axis %= len(x.shape)
    size = x.shape[axis]
    if node.op == "aten.select.int":
        return axis, start % size, start % size + 1, 1
    end = rest[0] if rest and rest[0] is not None else size
    step = rest[1] if len(rest) > 1 else 1
    start, end, step = slice(start, end, step).indices(size)
    return axis, start, max(end, start), step


class Slice(Operator):
    """A range of one axis."""

    of_complex = True
    view = True

    def couple(self, node: Node, coupling: Coupling) -> None:
        """The taken labels go on."""
        axis, start, end, step = _span(node)
        axes = coupling.axes(node.args[0])
        if step != 1 and (len(axes[axis]) % step or len(range(start, end, step)) * step != len(axes[axis])):
            coupling.freeze_labels(axes[axis], "sliced with a step that does not divide it")
        elif step != 1:
            # Whole periods go together: what is left is taken with the same step.
            for period in axes[axis].reshape(-1, step):
                coupling.tie_all(period)
        axes[axis] = axes[axis][start:end:step]
        coupling.set(node.output, axes)

    def refit(self, node: Node, survivors: Survivors) -> tuple[str, tuple[Any, ...]]:
        """The bounds count what survives before them."""
        x = node.args[0]
        axis, start, end, step = _span(node)
        kept = survivors.indices(x, axis)
        if len(kept) == x.shape[axis]:
            return node.op, node.args
        if step != 1:
            return node.op, (x, axis, start, len(kept), step)
        return node.op, (x, axis, int(np.searchsorted(kept, start)), int(np.searchsorted(kept, end)), *node.args[4:])

    def emit(self, node: Node, emitter: Emitter) -> None:
        """A pointer into the source where its elements stand side by side, a copy otherwise."""
        axis, start, end, step = _span(node)
        _take(node.output, node.args[0], axis, start, len(range(start, end, step)), emitter, step)


def _take(out: Value, x: Value, axis: int, start: int, length: int, emitter: Emitter, step: int = 1) -> None:
    """So many indices of an axis."""
    inner, outer = prod(x.shape[axis + 1 :]), prod(x.shape[:axis])
    if (outer == 1 and (step == 1 or length == 1)) or out.size == x.size:
        emitter.alias(out, x, start * inner * (2 if x.dtype.is_complex else 1))
        return
    to, out_of = [length * inner, inner, 1], [x.shape[axis] * inner, step * inner, 1]
    move(emitter, out, x, [outer, length, inner], to, out_of, start=start * inner)


def _put(out: Value, x: Value, axis: int, start: int, emitter: Emitter, length: int = 1, step: int = 1) -> None:
    """A tensor written over so many indices of an axis of another."""
    inner, outer = prod(out.shape[axis + 1 :]), prod(out.shape[:axis])
    to, out_of = [out.shape[axis] * inner, step * inner, 1], [length * inner, inner, 1]
    move(emitter, out, x, [outer, length, inner], to, out_of, to_start=start * inner)


class Select(Slice):
    """One index of an axis; the axis is gone."""

    def couple(self, node: Node, coupling: Coupling) -> None:
        """What is chosen by its number must stay."""
        axis, start, _, _ = _span(node)
        axes = coupling.axes(node.args[0])
        coupling.freeze_labels(axes[axis][start : start + 1], "selected by its number")
        del axes[axis]
        coupling.set(node.output, axes)

    def refit(self, node: Node, survivors: Survivors) -> tuple[str, tuple[Any, ...]]:
        """The number counts what survives before it."""
        x = node.args[0]
        axis, start, _, _ = _span(node)
        if len(survivors.indices(x, axis)) == x.shape[axis]:
            return node.op, node.args
        return node.op, (x, axis, int(np.searchsorted(survivors.indices(x, axis), start)))


class Unbind(Operator):
    """Every index of an axis on its own."""

    of_complex = True

    def couple(self, node: Node, coupling: Coupling) -> None:
        """The axis stays whole: its indices are told apart by their numbers."""
        axes = coupling.axes(node.args[0])
        axis = node.args[1] % len(axes)
        coupling.freeze_labels(axes.pop(axis), "unbound one by one")
        for output in node.outputs:
            coupling.set(output, axes)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """One index after the other."""
        x = node.args[0]
        axis = node.args[1] % len(x.shape)
        for index, output in enumerate(node.outputs):
            if emitter.is_used(output):
                _take(output, x, axis, index, 1, emitter)


class Split(Operator):
    """An axis in several ranges."""

    of_complex = True

    def couple(self, node: Node, coupling: Coupling) -> None:
        """Each range takes its labels along."""
        x = node.args[0]
        axis = node.args[2] % len(x.shape)
        start = 0
        for output in node.outputs:
            axes = coupling.axes(x)
            axes[axis] = axes[axis][start : start + output.shape[axis]]
            start += output.shape[axis]
            coupling.set(output, axes)
        # A part that nothing reads (a spread that only training draws from) stays beside the one it was split from.
        read = [output for output in node.outputs if coupling.is_read(output)]
        for output in node.outputs:
            partner = next((other for other in read if other.shape == output.shape), None)
            if partner is not None and not coupling.is_read(output):
                coupling.tie(coupling.axes(output)[axis], coupling.axes(partner)[axis])

    def refit(self, node: Node, survivors: Survivors) -> tuple[str, tuple[Any, ...]]:
        """The lengths of the ranges are listed, since they may differ."""
        x = node.args[0]
        axis = node.args[2] % len(x.shape)
        if len(survivors.indices(x, axis)) == x.shape[axis]:
            return node.op, node.args
        return "aten.split_with_sizes.default", (x, [survivors.shape(out)[axis] for out in node.outputs], axis)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """Pointers into the source where elements stand side by side, copies otherwise."""
        x = node.args[0]
        axis = node.args[2] % len(x.shape)
        start = 0
        for output in node.outputs:
            if emitter.is_used(output):
                _take(output, x, axis, start, output.shape[axis], emitter)
            start += output.shape[axis]


class Concatenate(Operator):
    """Values side by side along one axis."""

    of_complex = True

    def couple(self, node: Node, coupling: Coupling) -> None:
        """Labels are joined along the axis and tied across the others."""
        axis = (node.args[1] or 0) % len(node.output.shape)
        parts = [part for part in node.args[0] if part.shape != (0,)]  # PyTorch ignores empty vectors of any rank
        labelled = [coupling.axes(part) for part in parts]
        axes = list(labelled[0])
        axes[axis] = np.concatenate([labels[axis] for labels in labelled])
        for other in labelled[1:]:
            for number, labels in enumerate(other):
                if number != axis:
                    coupling.tie(axes[number], labels)
        coupling.set(node.output, axes)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """Copies, one part after the other."""
        axis, start = (node.args[1] or 0) % len(node.output.shape), 0
        for part in node.args[0]:
            if part.size:
                _put(node.output, part, axis, start, emitter, part.shape[axis])
                start += part.shape[axis]


class Stack(Operator):
    """Values along a new axis."""

    of_complex = True

    def couple(self, node: Node, coupling: Coupling) -> None:
        """The new axis is as long as the list; the others are tied."""
        axis = (node.args[1] or 0) % len(node.output.shape)
        labelled = [coupling.axes(part) for part in node.args[0]]
        for other in labelled[1:]:
            for mine, theirs in zip(labelled[0], other, strict=True):
                coupling.tie(mine, theirs)
        axes = list(labelled[0])
        axes.insert(axis, coupling.fresh(len(labelled)))
        coupling.freeze_labels(axes[axis], "stacked from a list")
        coupling.set(node.output, axes)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """Copies, one index after the other."""
        axis = (node.args[1] or 0) % len(node.output.shape)
        for index, part in enumerate(node.args[0]):
            _put(node.output, part, axis, index, emitter)


class Scatter(Operator):
    """A range of an axis written over: `slice_scatter` and `select_scatter`."""

    of_complex = True

    def couple(self, node: Node, coupling: Coupling) -> None:
        """What is written goes with what was there; a single place, or every so-manieth, stays whole."""
        axis, start, end, step = self._span(node)
        axes, theirs = coupling.axes(node.args[0]), coupling.axes(node.args[1])
        if step != 1 or len(theirs) < len(axes):
            coupling.freeze_labels(axes[axis], "written at fixed places")
        if len(theirs) < len(axes):
            theirs.insert(axis, axes[axis][start:end])
        for number, labels in enumerate(axes):
            coupling.tie(labels[start:end:step] if number == axis else labels, theirs[number])
        coupling.set(node.output, axes)

    def refit(self, node: Node, survivors: Survivors) -> tuple[str, tuple[Any, ...]]:
        """The bounds count what survives before them."""
        axis, start, end, _ = self._span(node)
        x, source = node.args[:2]
        kept = survivors.indices(x, axis)
        if len(kept) == x.shape[axis]:
            return node.op, node.args
        bounds = int(np.searchsorted(kept, start)), int(np.searchsorted(kept, end))
        return node.op, (x, source, axis, *bounds, *node.args[5:])

    def _span(self, node: Node) -> tuple[int, int, int, int]:
        name = "select.int" if "select" in node.op else "slice.Tensor"
        return _span(Node(f"aten.{name}", (node.args[0], *node.args[2:]), node.outputs, node.layer))

    def emit(self, node: Node, emitter: Emitter) -> None:
        """A copy of all, then the range over it."""
        x, source = node.args[:2]
        out, sizes = node.output, strides_of(x.shape)
        move(emitter, out, x, x.shape, sizes, sizes)
        axis, start, end, step = self._span(node)
        _put(out, source, axis, start, emitter, len(range(start, end, step)), step)


class Glu(Operator):
    """The first half of an axis, each times the sigmoid of its partner in the second."""

    def cost(self, node: Node) -> Cost:
        """One sigmoid and one product an element of the output."""
        return Cost(pointwise=node.output.size, transcendental=node.output.size)

    def couple(self, node: Node, coupling: Coupling) -> None:
        """Partners belong together."""
        axes = coupling.axes(node.args[0])
        axis = node.args[1] % len(axes)
        half = len(axes[axis]) // 2
        coupling.tie(axes[axis][:half], axes[axis][half:])
        axes[axis] = axes[axis][:half]
        coupling.set(node.output, axes)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """Both halves are read where they are."""
        x, out = node.args[0], node.output
        axis = node.args[1] % len(x.shape)
        inner, outer = prod(out.shape[axis:]), prod(out.shape[:axis])
        y, source = emitter.ref(out), emitter.ref(x)
        emitter.need("pc_math.h")
        loop(
            emitter,
            [outer, inner],
            [Operand(y, (inner, 1)), Operand(source, (2 * inner, 1)), Operand(source, (2 * inner, 1), inner)],
            lambda i, a, b: f"({y})[{i}] = ({source})[{a}] * pc_sigmoid(({source})[{b}]);",
        )


describe("aten.slice.Tensor", operator=Slice())
describe("aten.select.int", operator=Select())
describe("aten.unbind.int", operator=Unbind())
describe("aten.split.Tensor", "aten.split_with_sizes.default", "aten.split.sizes", operator=Split())
describe("aten.chunk.default", "aten.tensor_split.sections", operator=Split())
describe("aten.cat.default", "aten.concat.default", "aten.concatenate.default", operator=Concatenate())
describe("aten.stack.default", operator=Stack())
describe("aten.slice_scatter.default", "aten.select_scatter.default", operator=Scatter())
describe("aten.glu.default", operator=Glu())
