"""Other lengths of the axes behind the channels: pooling, interpolation, padding; and windows, shifts and shuffles."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from pochette.graph.coupling import Coupling, Labels
from pochette.graph.graph import Node
from pochette.graph.operator import Cost, Operator, Survivors, describe


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


class AdaptivePool(Pool):
    """Windows as long as the wanted output needs them; neighbours may share elements."""

    def cost(self, node: Node) -> Cost:
        """As for other pools, with the length of every single window."""
        x, out = node.args[0].shape, node.output.shape
        axes = range(len(x) - self.spatial, len(x))
        elements = prod(sum(_window(index, x[axis], out[axis]) for index in range(out[axis])) for axis in axes)
        rows = prod(x[: len(x) - self.spatial])
        return Cost(pointwise=rows * elements - (0 if self.mean else node.output.size))


def _window(index: int, length: int, wanted: int) -> int:
    """Elements of one window: from floor(i L / n) to ceil((i + 1) L / n)."""
    return -(-(index + 1) * length // wanted) - index * length // wanted


class Pad(Operator):
    """More elements at the ends, or fewer."""

    def couple(self, node: Node, coupling: Coupling) -> None:
        """Axes without padding pass; the others stay whole."""
        axes = coupling.axes(node.args[0])
        for number, (before, after) in enumerate(_pairs(node.args[1])):
            axis = len(axes) - 1 - number
            if before or after:
                coupling.freeze_labels(axes[axis], "padded")
                axes[axis] = fixed(coupling, node.output.shape[axis], "padded")
        coupling.set(node.output, axes)


def _pairs(padding: Sequence[int]) -> list[tuple[int, int]]:
    """Amounts before and after, from the last axis to the first."""
    return list(zip(padding[::2], padding[1::2], strict=True))


class Flip(Operator):
    """Axes read backwards."""

    def couple(self, node: Node, coupling: Coupling) -> None:
        """Labels turn round with them; what is left is turned round all the same."""
        x, flipped = node.args
        axes = coupling.axes(x)
        turned = {axis % len(axes) for axis in flipped}
        coupling.set(node.output, [labels[::-1] if axis in turned else labels for axis, labels in enumerate(axes)])


class Roll(Operator):
    """Axes shifted, what falls off one end going in at the other."""

    def couple(self, node: Node, coupling: Coupling) -> None:
        """A shift is by so many places and does not follow a trim: these axes stay whole."""
        x, _, dims = node.args
        axes = coupling.axes(x)
        for axis in dims or range(len(axes)):
            coupling.freeze_labels(axes[axis], "shifted by a fixed number of places")
        coupling.set(node.output, axes)


class Unfold(Operator):
    """Windows along an axis, each on a new last axis."""

    view = True

    def couple(self, node: Node, coupling: Coupling) -> None:
        """The other axes pass."""
        x, axis, *_ = node.args
        axes = coupling.axes(x)
        axis %= len(axes)
        coupling.freeze_labels(axes[axis], "cut into windows")
        axes[axis] = fixed(coupling, node.output.shape[axis], "cut into windows")
        coupling.set(node.output, [*axes, fixed(coupling, node.output.shape[-1], "cut into windows")])


class Patches(Operator):
    """Windows of a plane, side by side as channels (`im2col`), or such windows added up to a plane (`col2im`)."""

    def cost(self, node: Node) -> Cost:
        """One addition an element of the windows when they are added up."""
        return Cost(pointwise=node.args[0].size if node.op == "aten.col2im.default" else 0)

    def couple(self, node: Node, coupling: Coupling) -> None:
        """A channel is as many channels of windows as a window has places."""
        axes = coupling.axes(node.args[0])
        apart = node.op == "aten.im2col.default"
        places = prod(node.args[1] if apart else node.args[2])
        channel = len(axes) - (3 if apart else 2)
        for labels in axes[channel + 1 :]:
            coupling.freeze_labels(labels, "cut into windows")
        if apart:
            channels = coupling.merge(axes[channel], fixed(coupling, places, "cut into windows"))
        else:
            channels = _outer(coupling, axes[channel], places, "cut into windows")
        behind = node.output.shape[channel + 1 :]
        new = [fixed(coupling, size, "cut into windows") for size in behind]
        coupling.set(node.output, [*axes[:channel], channels, *new])


def _outer(coupling: Coupling, labels: Labels, inner: int, reason: str) -> Labels:
    """Labels of the slower of two factors of an axis, of which the faster is fixed."""
    if inner == 1:
        return labels
    outer, places = coupling.split(labels, len(labels) // inner, inner)
    coupling.freeze_labels(places, reason)
    return outer


class PixelShuffle(Operator):
    """Channels spread over a finer plane: channel c r^2 + i goes to place i of channel c; or back."""

    def couple(self, node: Node, coupling: Coupling) -> None:
        """A channel of the finer plane is r^2 channels of the coarser."""
        x, factor = node.args
        *lead, channel, height, width = coupling.axes(x)
        if factor == 1:
            coupling.set(node.output, [*lead, channel, height, width])
            return
        reason = "shuffled between channels and places"
        for labels in (height, width):
            coupling.freeze_labels(labels, reason)
        if node.op == "aten.pixel_shuffle.default":
            channel = _outer(coupling, channel, factor**2, reason)
        else:
            channel = coupling.merge(channel, fixed(coupling, factor**2, reason))
        plane = [fixed(coupling, size, reason) for size in node.output.shape[-2:]]
        coupling.set(node.output, [*lead, channel, *plane])


class RepeatInterleave(Operator):
    """Every index of an axis several times in a row."""

    def couple(self, node: Node, coupling: Coupling) -> None:
        """An index owns all of its repetitions; without an axis everything becomes one, and stays whole."""
        x, repeats, axis, _ = node.args
        axes = coupling.axes(x)
        if axis is None and len(axes) != 1:
            coupling.freeze(x, "flattened and repeated")
            coupling.set(node.output, [fixed(coupling, node.output.shape[0], "flattened and repeated")])
            return
        axis = (axis or 0) % len(axes)
        axes[axis] = np.repeat(axes[axis], repeats)
        coupling.set(node.output, axes)

    def refit(self, node: Node, survivors: Survivors) -> tuple[str, tuple[Any, ...]]:
        """The new length finds itself."""
        return node.op, (*node.args[:3], None)


for _spatial in (1, 2, 3):
    describe(f"aten.max_pool{_spatial}d.default", operator=Pool(_spatial, mean=False))
    describe(f"aten.max_pool{_spatial}d_with_indices.default", operator=Pool(_spatial, mean=False))
    describe(f"aten.avg_pool{_spatial}d.default", operator=Pool(_spatial, mean=True))
    describe(f"aten.adaptive_avg_pool{_spatial}d.default", operator=AdaptivePool(_spatial, mean=True))
    describe(f"aten.adaptive_max_pool{_spatial}d.default", operator=AdaptivePool(_spatial, mean=False))
    for _name in ("upsample_nearest", "_upsample_nearest_exact"):
        _repeat = Spatial(_spatial, "interpolated")
        describe(f"aten.{_name}{_spatial}d.default", f"aten.{_name}{_spatial}d.vec", operator=_repeat)
    describe(f"aten.reflection_pad{_spatial}d.default", f"aten.replication_pad{_spatial}d.default", operator=Pad())
# A line between two points is two products and a sum; lines between lines need three, then seven, of them.
# A cubic between four points is four products and three sums; a plane needs five.
for _name, _spatial, _each in (
    ("linear1d", 1, 3), ("bilinear2d", 2, 9), ("trilinear3d", 3, 21), ("bicubic2d", 2, 35)
):  # fmt: skip
    _between = Spatial(_spatial, "interpolated", each=_each)
    describe(f"aten.upsample_{_name}.vec", operator=_between)
describe("aten.upsample_linear1d.default", operator=Spatial(1, "interpolated", each=3))
describe("aten.pad.default", "aten.constant_pad_nd.default", operator=Pad())
describe("aten.flip.default", operator=Flip())
describe("aten.roll.default", operator=Roll())
describe("aten.unfold.default", operator=Unfold())
describe("aten.im2col.default", "aten.col2im.default", operator=Patches())
describe("aten.pixel_shuffle.default", "aten.pixel_unshuffle.default", operator=PixelShuffle())
describe("aten.repeat_interleave.self_int", operator=RepeatInterleave())
