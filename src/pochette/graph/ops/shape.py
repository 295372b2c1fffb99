"""Operators that only re-arrange: selections, slices, reshapes, concatenation."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from pochette.graph.coupling import Coupling
from pochette.graph.graph import Node
from pochette.graph.operator import Operator, describe

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter


def _span(node: Node) -> tuple[int, int, int]:
    """Axis, first index and length of a slice with step 1 or a selection."""
    x, axis, start, *rest = node.args
    axis %= len(x.shape)
    size = x.shape[axis]
    if node.op == "aten.select.int":
        return axis, start % size, 1
    end = rest[0] if rest and rest[0] is not None else size
    start, end, _ = slice(start, end).indices(size)
    return axis, start, max(end - start, 0)


class Slice(Operator):
    """A range of one axis, or one index of it (which removes the axis)."""

    view = True

    def couple(self, node: Node, coupling: Coupling) -> None:
        """The taken labels go on; bounds that cut an axis stand in the model's own text and cannot follow a trim."""
        axis, start, length = _span(node)
        axes = list(coupling.axes(node.args[0]))
        if length < len(axes[axis]):
            coupling.freeze_labels(axes[axis], "sliced at fixed places")
        taken = axes[axis][start : start + length]
        if node.op == "aten.select.int":
            del axes[axis]
        else:
            step = node.args[4] if len(node.args) > 4 else 1
            axes[axis] = taken[::step]
        coupling.set(node.output, axes)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """A pointer into the source where its elements stand side by side, a copy otherwise."""
        axis, start, length = _span(node)
        x = node.args[0]
        if node.op == "aten.slice.Tensor" and len(node.args) > 4 and node.args[4] != 1:
            emitter.refuse("a slice with a step")
        inner = prod(x.shape[axis + 1 :])
        outer = prod(x.shape[:axis])
        if outer == 1:
            emitter.alias(node.output, x, start * inner)
            return
        for row in range(outer):
            source = emitter.ref(x, (row * x.shape[axis] + start) * inner)
            emitter.copy(emitter.ref(node.output, row * length * inner), source, length * inner)


class Unsqueeze(Operator):
    """A new axis of length 1."""

    view = True

    def couple(self, node: Node, coupling: Coupling) -> None:
        """Nothing else changes."""
        axis = node.args[1] % len(node.output.shape)
        axes = list(coupling.axes(node.args[0]))
        axes.insert(axis, coupling.fresh(1))
        coupling.set(node.output, axes)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """The same memory."""
        emitter.alias(node.output, node.args[0], 0)


class Reshape(Operator):
    """The same elements under another shape."""

    view = True

    def couple(self, node: Node, coupling: Coupling) -> None:
        """Axes longer than 1 that stay as they are keep their labels; if any changes, all are left whole."""
        x, out = node.args[0], node.output
        before = [labels for labels in coupling.axes(x) if len(labels) > 1]
        if [len(labels) for labels in before] != [size for size in out.shape if size > 1]:
            coupling.freeze(x, "reshaped across axes")
            coupling.freeze(out, "reshaped across axes")
            return
        coupling.set(out, [before.pop(0) if size > 1 else coupling.fresh(size) for size in out.shape])

    def emit(self, node: Node, emitter: Emitter) -> None:
        """The same memory."""
        emitter.alias(node.output, node.args[0], 0)


class Concatenate(Operator):
    """Values side by side along one axis."""

    def couple(self, node: Node, coupling: Coupling) -> None:
        """Labels are joined along the axis and tied across the others."""
        parts, axis = node.args[0], (node.args[1] or 0) % len(node.output.shape)
        labelled = [coupling.axes(part) for part in parts]
        axes = list(labelled[0])
        axes[axis] = np.concatenate([labels[axis] for labels in labelled])
        for other in labelled[1:]:
            for number, labels in enumerate(other):
                if number != axis:
                    coupling.tie(axes[number], labels)
        coupling.set(node.output, axes)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """Copies, row by row."""
        parts, axis = node.args[0], (node.args[1] or 0) % len(node.output.shape)
        outer = prod(node.output.shape[:axis])
        offset = 0
        for row in range(outer):
            for part in parts:
                length = part.size // outer
                emitter.copy(emitter.ref(node.output, offset), emitter.ref(part, row * length), length)
                offset += length


describe("aten.slice.Tensor", "aten.select.int", operator=Slice())
describe("aten.unsqueeze.default", operator=Unsqueeze())
describe("aten.view.default", "aten._unsafe_view.default", "aten.squeeze.dim", "aten.clone.default", operator=Reshape())
describe("aten.cat.default", operator=Concatenate())
