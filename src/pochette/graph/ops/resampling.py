"""Other lengths of the axes behind the channels: pooling and interpolation."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from pochette.graph.coupling import Coupling
from pochette.graph.graph import Node, call_of, function_of
from pochette.graph.grids import Labels
from pochette.graph.loops import Operand, lay, strides_of
from pochette.graph.operator import Cost, Operator, describe

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter

FloatArray = npt.NDArray[np.float32]


def fixed(coupling: Coupling, length: int, reason: str) -> Labels:
    """Labels of an axis that an operator always makes in full.

    Args:
        coupling: of the graph.
        length: of the axis.
        reason: why.

    Returns:
        fresh labels that cannot be removed.
    """
    labels = coupling.fresh(length)
    coupling.freeze_labels(labels, reason)
    return labels


class Spatial(Operator):
    """Another length for the last axes; channels and batch pass.

    Args:
        spatial: how many axes.
        reason: what happens along them.
        each: operations an element that comes out.
    """

    def __init__(self, spatial: int, reason: str, each: int = 0) -> None:
        self.spatial, self.reason, self.each = spatial, reason, each

    def cost(self, node: Node) -> Cost:
        """So many operations an element that comes out."""
        return Cost(pointwise=self.each * node.output.size)

    def couple(self, node: Node, coupling: Coupling) -> None:
        """All pass but the last axes, which stay whole."""
        axes = coupling.axes(node.args[0])
        for axis in range(len(axes) - self.spatial, len(axes)):
            coupling.freeze_labels(axes[axis], self.reason)
            axes[axis] = fixed(coupling, node.output.shape[axis], self.reason)
        for output in node.outputs:
            coupling.set(output, axes)


class Interpolation(Spatial):
    """Values between the given ones, or the nearest of them, along the last axes one after the other."""

    def emit(self, node: Node, emitter: Emitter) -> None:
        """Copies where every value is repeated equally often, else a few weighted neighbours for each result."""
        shape, out = list(node.args[0].shape), node.output
        first = len(shape) - self.spatial
        source, left = emitter.ref(node.args[0]), [a for a in range(first, len(shape)) if shape[a] != out.shape[a]]
        if not left:
            emitter.alias(out, node.args[0], 0)
        for axis in left:
            indices, weights = _taps(node, axis, first)
            n, wanted = shape[axis], out.shape[axis]
            outer, inner = prod(shape[:axis]), prod(shape[axis + 1 :])
            shape[axis] = wanted
            target = emitter.ref(out) if axis == left[-1] else emitter.scratch(prod(shape))
            times = wanted // n
            if weights.shape[1] == 1 and np.array_equal(indices[:, 0], np.repeat(np.arange(n), times)):
                lengths = [outer, n, times, inner]
                read = Operand(source, (n * inner, inner, 0, 1))
                lay(emitter, lengths, Operand(target, tuple(strides_of(lengths))), read)
            else:
                emitter.need("pc_pool.h")
                table = emitter.constant(np.stack([indices, weights], axis=-1))
                sizes = ", ".join(map(str, (indices.shape[1], outer, n, wanted, inner)))
                emitter.line(f"pc_interpolate({target}, {source}, {table}, {sizes});")
            source = target


def _taps(node: Node, axis: int, first: int) -> tuple[FloatArray, FloatArray]:
    """Which inputs along an axis make each output, and their weights: PyTorch is asked, one impulse an input.

    Args:
        node: an interpolation.
        axis: of the input.
        first: the first axis that is interpolated.

    Returns:
        (output, tap) indices and weights.
    """
    shape, wanted = node.args[0].shape[first:], node.output.shape[axis]
    size, place = shape[axis - first], axis - first
    matrix = np.empty((size, wanted), np.float32)
    for start in range(0, size, 64):
        impulses = torch.zeros(min(64, size - start), *shape)
        for number in range(len(impulses)):
            impulses[number].select(place, start + number).fill_(1.0)
        positional, named = call_of(node.op, (impulses[None], *node.args[1:]))
        answers = function_of(node.op)(*positional, **named)[0].movedim(1 + place, -1)
        matrix[start : start + 64] = answers.reshape(len(impulses), -1, wanted)[:, 0]
    taps = int((matrix != 0).sum(0).max())
    order = np.argsort(matrix == 0, axis=0, kind="stable")[:taps].T
    return order.astype(np.float32), np.take_along_axis(matrix.T, order, axis=1)


class Pool(Spatial):
    """Largest value, or mean, of windows."""

    def __init__(self, spatial: int, *, mean: bool) -> None:
        super().__init__(spatial, "pooled over")
        self.mean = mean

    def cost(self, node: Node) -> Cost:
        """Mean: one addition less than a window has elements, and a product. Maximum: as many comparisons."""
        listed = node.args[1]
        window = prod(listed) if len(listed) == self.spatial else listed[0] ** self.spatial
        return Cost(pointwise=(window - 1 + self.mean) * node.output.size)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """One kernel call; a row is a plane of height 1."""
        x, out = node.args[0], node.output
        if self.spatial > 2:
            emitter.refuse("pooling over more than two axes")
        if any(emitter.is_used(places) for places in node.outputs[1:]):
            emitter.refuse("the places of the largest numbers")
        windows, steps = self.windows(node)
        tables = [np.array([[0, 1, 1]], np.float32)] * (2 - self.spatial) + windows
        size, wanted = ([1, *shape[-self.spatial :]][-2:] for shape in (x.shape, out.shape))
        numbers = (prod(x.shape[: -self.spatial]), *size, *wanted, *([1, *steps][-2:]), int(self.mean))
        emitter.need("pc_pool.h")
        emitter.line(
            f"pc_pool({emitter.ref(out)}, {emitter.ref(x)}, {', '.join(map(emitter.constant, tables))}, "
            f"{', '.join(map(str, numbers))});"
        )

    def windows(self, node: Node) -> tuple[list[FloatArray], list[int]]:
        """First index, length and weight of every window along each pooled axis, and the steps inside a window."""
        size, stride, padding, *rest = node.args[1:]
        dilation = [1] if self.mean else rest[0]
        whole, divisor = (rest[1], (*rest, None)[2]) if self.mean else (True, None)
        tables = []
        for axis in range(self.spatial):
            n, wanted = (shape[axis - self.spatial] for shape in (node.args[0].shape, node.output.shape))
            length, pad, step = (_of(given, axis) for given in (size, padding, dilation))
            begin = np.arange(wanted) * _of(stride or size, axis) - pad
            first = begin + step * np.maximum(-(begin // step), 0)
            count = (np.minimum(begin + step * (length - 1), n - 1) - first) // step + 1
            weight = np.minimum(begin + length, n + pad) - begin if whole else count
            share = 1 / weight if divisor is None else np.full(wanted, divisor ** (-1 / self.spatial))
            tables.append(np.stack([first, count, share], axis=-1).astype(np.float32))
        return tables, [_of(dilation, axis) for axis in range(self.spatial)]


class AdaptivePool(Pool):
    """Windows as long as the wanted output needs them; neighbours may share elements."""

    def cost(self, node: Node) -> Cost:
        """As for other pools, with the length of every single window."""
        x, out = node.args[0].shape, node.output.shape
        axes = range(len(x) - self.spatial, len(x))
        elements = prod(sum(_window(index, x[axis], out[axis]) for index in range(out[axis])) for axis in axes)
        rows = prod(x[: len(x) - self.spatial])
        return Cost(pointwise=rows * elements - (0 if self.mean else node.output.size))

    def windows(self, node: Node) -> tuple[list[FloatArray], list[int]]:
        """As long as the output asks for."""
        tables = []
        for axis in range(-self.spatial, 0):
            n, wanted = node.args[0].shape[axis], node.output.shape[axis]
            first = np.arange(wanted) * n // wanted
            count = np.array([_window(index, n, wanted) for index in range(wanted)])
            tables.append(np.stack([first, count, 1 / count], axis=-1).astype(np.float32))
        return tables, [1] * self.spatial


def _of(given: list[int], axis: int) -> int:
    """A number for each axis, or one for all."""
    return given[axis] if len(given) > 1 else given[0]


def _window(index: int, length: int, wanted: int) -> int:
    """Elements of one window: from floor(i L / n) to ceil((i + 1) L / n)."""
    return -(-(index + 1) * length // wanted) - index * length // wanted


for _spatial in (1, 2, 3):
    describe(f"aten.max_pool{_spatial}d.default", operator=Pool(_spatial, mean=False))
    describe(f"aten.max_pool{_spatial}d_with_indices.default", operator=Pool(_spatial, mean=False))
    describe(f"aten.avg_pool{_spatial}d.default", operator=Pool(_spatial, mean=True))
    describe(f"aten.adaptive_avg_pool{_spatial}d.default", operator=AdaptivePool(_spatial, mean=True))
    describe(f"aten.adaptive_max_pool{_spatial}d.default", operator=AdaptivePool(_spatial, mean=False))
    for _name in ("upsample_nearest", "_upsample_nearest_exact"):
        _repeat = Interpolation(_spatial, "interpolated")
        describe(f"aten.{_name}{_spatial}d.default", f"aten.{_name}{_spatial}d.vec", operator=_repeat)
# A line between two points is two products and a sum; lines between lines need three, then seven, of them.
# A cubic between four points is four products and three sums; a plane needs five.
for _name, _spatial, _each in (
    ("linear1d", 1, 3), ("bilinear2d", 2, 9), ("trilinear3d", 3, 21), ("bicubic2d", 2, 35)
):  # fmt: skip
    _between = Interpolation(_spatial, "interpolated", each=_each)
    describe(f"aten.upsample_{_name}.vec", operator=_between)
describe("aten.upsample_linear1d.default", operator=Interpolation(1, "interpolated", each=3))
