"""Numbers in their order, and distances between points."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from pochette.graph.coupling import Coupling
from pochette.graph.graph import Node
from pochette.graph.loops import Operand, broadcast_strides, loop, strides_of, whole
from pochette.graph.operator import Cost, Operator, describe
from pochette.graph.ops.resampling import fixed

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter


class Sort(Operator):
    """Numbers along an axis in their order, and where they stood."""

    def cost(self, node: Node) -> Cost:
        """Comparisons of a sort by merging: n log2 n a row."""
        x = node.args[0]
        n = x.shape[self.axis(node)] if x.shape else 1
        return Cost(pointwise=x.size * (n - 1).bit_length())

    def axis(self, node: Node) -> int:
        """The axis that is sorted."""
        place = {"aten.sort.stable": 2}.get(node.op, 1)
        return int(node.args[place]) % max(len(node.args[0].shape), 1)

    def couple(self, node: Node, coupling: Coupling) -> None:
        """The sorted axis stays whole; the others pass."""
        axes = coupling.axes(node.args[0])
        if axes:
            coupling.freeze_labels(axes[self.axis(node)], f"{node.op} tells its indices apart")
        for output in node.outputs:
            coupling.set(output, axes)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """A kernel call a row."""
        x, axis = node.args[0], self.axis(node)
        if whole(emitter, x) or x.dtype.is_complex:
            emitter.refuse("sorting whole or complex numbers")
        n, inner = x.shape[axis], prod(x.shape[axis + 1 :])
        sign = "-1.0f" if node.args[-1] else "1.0f"
        values = emitter.ref(node.output) if len(node.outputs) == 2 else emitter.scratch(x.size)
        addresses = [values, emitter.ref(node.outputs[-1]), emitter.ref(x)]
        rows = [Operand(address, (n * inner, 1)) for address in addresses]
        emitter.need("pc_index.h")
        loop(
            emitter,
            [x.size // (n * inner), inner],
            rows,
            lambda *at: (
                f"pc_sort({', '.join(f'{a} + {i}' for a, i in zip(addresses, at, strict=True))}, {n}, {inner}, {sign});"
            ),
        )


class Foremost(Sort):
    """Some of the largest numbers along an axis, or of the smallest, the foremost first, and where they stood."""

    def cost(self, node: Node) -> Cost:
        """Each number is compared with the last of those found so far, at least."""
        return Cost(pointwise=node.args[0].size)

    def axis(self, node: Node) -> int:
        """The axis that is sorted."""
        return int(node.args[2]) % max(len(node.args[0].shape), 1)

    def couple(self, node: Node, coupling: Coupling) -> None:
        """The sorted axis stays whole, and the new one; the others pass."""
        axes, reason = coupling.axes(node.args[0]), f"{node.op} tells its indices apart"
        if axes:
            coupling.freeze_labels(axes[self.axis(node)], reason)
            axes[self.axis(node)] = fixed(coupling, node.output.shape[self.axis(node)], reason)
        for output in node.outputs:
            coupling.set(output, axes)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """A kernel call a row."""
        x, k, axis, largest = node.args[0], node.args[1], self.axis(node), node.args[3]
        if whole(emitter, x) or x.dtype.is_complex:
            emitter.refuse("the foremost of whole or complex numbers")
        shape = x.shape or (1,)
        n, inner = shape[axis], prod(shape[axis + 1 :])
        values, places, source = emitter.ref(node.outputs[0]), emitter.ref(node.outputs[1]), emitter.ref(x)
        sizes = f"{n}, {k}, {inner}, {'1.0f' if largest else '-1.0f'}"
        emitter.need("pc_index.h")
        loop(
            emitter,
            [x.size // (n * inner), inner],
            [Operand(values, (k * inner, 1)), Operand(source, (n * inner, 1))],
            lambda i, j: f"pc_foremost({values} + {i}, {places} + {i}, {source} + {j}, {sizes});",
        )


class Distances(Operator):
    """Euclidean distances of every point of one set to every point of another."""

    def cost(self, node: Node) -> Cost:
        """A difference, a square and a sum a coordinate, and a root, for every pair."""
        size = node.output.size
        return Cost(pointwise=3 * size * node.args[0].shape[-1], transcendental=size)

    def couple(self, node: Node, coupling: Coupling) -> None:
        """A distance is of all coordinates, to numbered points: all stay."""
        for value in (*node.inputs(), node.output):
            coupling.freeze(value, "distances over all coordinates")

    def emit(self, node: Node, emitter: Emitter) -> None:
        """A kernel call a pair, in loops over the leading axes."""
        a, b, power, _ = node.args
        if power != 2:
            emitter.refuse(f"distances of order {power}")
        lead, (rows, columns), width = node.output.shape[:-2], node.output.shape[-2:], a.shape[-1]
        steps = [[stride * prod(x.shape[-2:]) for stride in broadcast_strides(x.shape[:-2], lead)] for x in (a, b)]
        made, left, right = (emitter.ref(value) for value in (node.output, a, b))
        operands = [
            Operand(made, tuple(strides_of(node.output.shape))),
            Operand(left, (*steps[0], width, 0)),
            Operand(right, (*steps[1], 0, width)),
        ]
        emitter.need("pc_index.h")
        loop(
            emitter,
            [*lead, rows, columns],
            operands,
            lambda i, j, k: f"({made})[{i}] = pc_distance({left} + {j}, {right} + {k}, {width});",
        )


describe("aten.sort.default", "aten.sort.stable", "aten.argsort.default", operator=Sort())
describe("aten.topk.default", operator=Foremost())
describe("aten.cdist.default", operator=Distances())
