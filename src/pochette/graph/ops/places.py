"""The same elements at other places: padding, windows, shifts, shuffles."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from pochette.graph.coupling import Coupling
from pochette.graph.graph import Node, Value
from pochette.graph.grids import Labels
from pochette.graph.loops import Operand, fill, lay, loop, move, strides_of
from pochette.graph.operator import Cost, Operator, Survivors, describe
from pochette.graph.ops.resampling import fixed

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter


Piece = tuple[int, int, int, int]
"""Of one axis: first index in the output, length, first index in the input, and step there."""


def _assemble(out: Value, x: Value, pieces: Sequence[Sequence[Piece]], emitter: Emitter) -> None:
    """Copy every combination of the axes' pieces."""
    steps, own = strides_of(out.shape), strides_of(x.shape)
    for parts in product(*pieces):
        move(
            emitter,
            out,
            x,
            [length for _, length, _, _ in parts],
            steps,
            [stride * step for stride, (*_, step) in zip(own, parts, strict=True)],
            to_start=sum(step * first for step, (first, *_) in zip(steps, parts, strict=True)),
            start=sum(stride * first for stride, (_, _, first, _) in zip(own, parts, strict=True)),
        )


class Pad(Operator):
    """More elements at the ends, or fewer."""

    of_complex = True

    def couple(self, node: Node, coupling: Coupling) -> None:
        """Axes without padding pass; the others stay whole."""
        axes = coupling.axes(node.args[0])
        for number, (before, after) in enumerate(_pairs(node.args[1])):
            axis = len(axes) - 1 - number
            if before or after:
                coupling.freeze_labels(axes[axis], "padded")
                axes[axis] = fixed(coupling, node.output.shape[axis], "padded")
        coupling.set(node.output, axes)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """What is inside, and beside it copies or a number."""
        x, out = node.args[0], node.output
        name, amounts = node.op.split(".")[1], [(0, 0)] * len(x.shape)
        for back, pair in enumerate(_pairs(node.args[1]), start=1):
            amounts[-back] = pair
        if name == "pad":
            mode, filling = node.args[2], node.args[3]
        else:
            mode = {"reflection": "reflect", "replication": "replicate"}.get(name.split("_")[0], "constant")
            filling = node.args[2] if mode == "constant" else None
        if mode == "constant" and out.size > x.size:
            fill(emitter, out, float(filling or 0))
        _assemble(out, x, [_padded(size, *pair, mode) for size, pair in zip(x.shape, amounts, strict=True)], emitter)


def _padded(size: int, before: int, after: int, mode: str) -> list[Piece]:
    """Where the elements of a padded axis come from; those of constant padding come from nowhere."""
    cut, cut_after = max(-before, 0), max(-after, 0)
    before, after = max(before, 0), max(after, 0)
    inside = (before, size - cut - cut_after, cut, 1)
    end = before + inside[1]
    beside: dict[str, list[Piece]] = {
        "constant": [],
        "reflect": [(0, before, before, -1), (end, after, size - 2, -1)],
        "replicate": [(0, before, 0, 0), (end, after, size - 1, 0)],
        "circular": [(0, before, size - before, 1), (end, after, 0, 1)],
    }
    return [inside, *(piece for piece in beside[mode] if piece[1])]


def _pairs(padding: Sequence[int]) -> list[tuple[int, int]]:
    """Amounts before and after, from the last axis to the first."""
    return list(zip(padding[::2], padding[1::2], strict=True))


class Flip(Operator):
    """Axes read backwards."""

    of_complex = True

    def couple(self, node: Node, coupling: Coupling) -> None:
        """Labels turn round with them; what is left is turned round all the same."""
        x, flipped = node.args
        axes = coupling.axes(x)
        turned = {axis % len(axes) for axis in flipped}
        coupling.set(node.output, [labels[::-1] if axis in turned else labels for axis, labels in enumerate(axes)])

    def emit(self, node: Node, emitter: Emitter) -> None:
        """A copy from the other end."""
        x, flipped = node.args
        turned = {axis % len(x.shape) for axis in flipped}
        pieces = [[(0, size, size - 1, -1) if axis in turned else (0, size, 0, 1)] for axis, size in enumerate(x.shape)]
        _assemble(node.output, x, pieces, emitter)


class Roll(Operator):
    """Axes shifted, what falls off one end going in at the other."""

    of_complex = True

    def couple(self, node: Node, coupling: Coupling) -> None:
        """A shift is by so many places and does not follow a trim: these axes stay whole."""
        x, _, dims = node.args
        axes = coupling.axes(x)
        for axis in dims or range(len(axes)):
            coupling.freeze_labels(axes[axis], "shifted by a fixed number of places")
        coupling.set(node.output, axes)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """The two parts of every shifted axis."""
        x, shifts, dims = node.args
        if not dims:
            size, shift = x.size, shifts[0] % x.size
            for first, length, start, _ in _rolled(size, shift):
                move(emitter, node.output, x, [length], [1], [1], to_start=first, start=start)
            return
        total = [0] * len(x.shape)
        for axis, shift in zip(dims, shifts, strict=True):
            total[axis] += shift
        pieces = [_rolled(size, shift % size) for size, shift in zip(x.shape, total, strict=True)]
        _assemble(node.output, x, pieces, emitter)


def _rolled(size: int, shift: int) -> list[Piece]:
    return [(shift, size - shift, 0, 1), (0, shift, size - shift, 1)][: 2 if shift else 1]


class Unfold(Operator):
    """Windows along an axis, each on a new last axis."""

    of_complex = True
    view = True

    def couple(self, node: Node, coupling: Coupling) -> None:
        """The other axes pass."""
        x, axis, *_ = node.args
        axes = coupling.axes(x)
        axis %= len(axes)
        coupling.freeze_labels(axes[axis], "cut into windows")
        axes[axis] = fixed(coupling, node.output.shape[axis], "cut into windows")
        coupling.set(node.output, [*axes, fixed(coupling, node.output.shape[-1], "cut into windows")])

    def emit(self, node: Node, emitter: Emitter) -> None:
        """A copy of every window."""
        x, axis, _, step = node.args
        own = strides_of(x.shape)
        between = own.copy()
        between[axis] *= step
        move(emitter, node.output, x, node.output.shape, strides_of(node.output.shape), [*between, own[axis]])


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

    def emit(self, node: Node, emitter: Emitter) -> None:
        """Every place of a window in turn, over all windows; between, the plane lies with its padding around it."""
        x, out, apart = node.args[0], node.output, node.op == "aten.im2col.default"
        plane = x if apart else out
        taps, dilation, padding, stride = node.args[1 if apart else 2 :]
        planes, (height, width) = prod(plane.shape[:-2]), plane.shape[-2:]
        across = width + 2 * padding[1]
        area = across * (height + 2 * padding[0])
        rows, columns = (
            (size + 2 * pad - reach * (tap - 1) - 1) // step + 1
            for size, pad, tap, reach, step in zip((height, width), padding, taps, dilation, stride, strict=True)
        )
        padded = emitter.scratch(planes * area) if any(padding) else emitter.ref(plane)
        spread = (area, dilation[0] * across, dilation[1], stride[0] * across, stride[1])
        lengths, inside = (planes, *taps, rows, columns), (planes, height, width)
        windows = Operand(emitter.ref(out if apart else x), tuple(strides_of(lengths)))
        own = Operand(emitter.ref(plane), tuple(strides_of(inside)))
        within = Operand(padded, (area, across, 1), padding[0] * across + padding[1])
        if any(padding) or not apart:
            loop(emitter, [planes * area], [Operand(padded, (1,))], lambda i: f"({padded})[{i}] = 0.0f;")
        if apart:
            if any(padding):
                lay(emitter, inside, within, own)
            lay(emitter, lengths, windows, Operand(padded, spread))
            return
        loop(
            emitter,
            lengths,
            [windows, Operand(padded, spread)],
            lambda i, j: f"({padded})[{j}] += ({windows.base})[{i}];",
        )
        if any(padding):
            lay(emitter, inside, own, within)


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

    def emit(self, node: Node, emitter: Emitter) -> None:
        """A copy, channel by channel."""
        x, factor = node.args
        up = node.op == "aten.pixel_shuffle.default"
        height, width = (x if up else node.output).shape[-2:]
        lengths = [x.size // (height * width * factor**2), factor, factor, height, width]
        coarse = strides_of(lengths)
        fine = [height * width * factor**2, width * factor, 1, width * factor**2, factor]
        move(emitter, node.output, x, lengths, *((fine, coarse) if up else (coarse, fine)))


class RepeatInterleave(Operator):
    """Every index of an axis several times in a row."""

    of_complex = True

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

    def emit(self, node: Node, emitter: Emitter) -> None:
        """A copy of each index as often as it is wanted."""
        x, repeats, axis, _ = node.args
        before = 1 if axis is None else prod(x.shape[: axis % len(x.shape)])
        inner = 1 if axis is None else prod(x.shape[axis % len(x.shape) + 1 :])
        lengths = [before, x.size // (before * inner), repeats, inner]
        move(emitter, node.output, x, lengths, strides_of(lengths), [lengths[1] * inner, inner, 0, 1])


for _spatial in (1, 2, 3):
    describe(f"aten.reflection_pad{_spatial}d.default", f"aten.replication_pad{_spatial}d.default", operator=Pad())
describe("aten.pad.default", "aten.constant_pad_nd.default", operator=Pad())
describe("aten.flip.default", operator=Flip())
describe("aten.roll.default", operator=Roll())
describe("aten.unfold.default", operator=Unfold())
describe("aten.im2col.default", "aten.col2im.default", operator=Patches())
describe("aten.pixel_shuffle.default", "aten.pixel_unshuffle.default", operator=PixelShuffle())
describe("aten.repeat_interleave.self_int", operator=RepeatInterleave())
