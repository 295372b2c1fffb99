"""The calls that make up a convolution over time: planar or by rows, grouped, padded, strided, transposed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from pochette.engine import packing
from pochette.engine.layout import SHORT_SAMPLES
from pochette.engine.views import View
from pochette.graph.graph import Value

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter

_TILE_OUTPUTS = 4
"""Outputs whose weights stand side by side in planar form; `PC_OUTPUTS` in C."""


@dataclass(frozen=True)
class Filter:
    """A convolution over the last axis of (batch, channel, time) or (channel, time)."""

    x: Value
    out: Value
    weight: Value
    """(output, input of a group, tap), or if transposed (input, output of a group, tap)."""
    bias: Value | None
    stride: int = 1
    padding: int = 0
    """Zeros before the first sample, or outputs that are cut off in front if transposed."""
    dilation: int = 1
    groups: int = 1

    @property
    def needed(self) -> int:
        """Samples that a plain convolution reads, zeros around them counted."""
        return (self.out.shape[-1] - 1) * self.stride + (self.weight.shape[-1] - 1) * self.dilation + 1


def convolve(filter_: Filter, emitter: Emitter) -> None:
    """Write a convolution, planar where time fills vectors, by rows elsewhere.

    Args:
        filter_: the convolution; its weights are stored.
        emitter: that writes.
    """
    target, added, slope = emitter.becomes(filter_.out)
    outs, ins, taps = filter_.weight.shape
    samples = filter_.out.shape[-1]
    reduced = in_fewer_bits(filter_.weight, filter_.groups, emitter)
    rows = emitter.wants_rows(filter_.x) or samples < SHORT_SAMPLES or filter_.stride > 1 or reduced
    x = _laid(_padded(filter_, rows, emitter), filter_, rows, emitter)
    out = _target(target, rows, emitter)
    more = None if added is None else _same(emitter.view(added), added, rows, emitter)
    weight = emitter.tensor(filter_.weight)
    bias = np.zeros(outs, np.float32) if filter_.bias is None else emitter.tensor(filter_.bias)
    emitter.need("pc_conv.h")
    each = outs // filter_.groups
    for group in range(filter_.groups):
        mine = slice(group * each, (group + 1) * each)
        block = packing.block_rows(each)
        if reduced:
            matrix = emitter.reduced.store_matrix(_by_taps(weight[mine]), block, emitter)
        elif rows:
            packed = emitter.constant(packing.pack_rows(_by_taps(weight[mine]), block))
        else:
            packed = emitter.constant(_tiles(weight[mine]))
        offset = emitter.padded_numbers(bias[mine])
        for voice in range(prod(target.shape[:-2])):
            sides = ((out, each), (x, ins), (more, each))
            at = [view if view is None else _voice(view, voice).moved(-2, group * n) for view, n in sides]
            to, source, added_at = ("0" if view is None else view.at() for view in at)
            steps = [view.strides[-1 if rows else -2] if view else 0 for view in at]
            of_rows = (steps[0], steps[1] * filter_.stride, steps[2], steps[1] * filter_.dilation)
            if reduced:
                matrix.filter((to, offset, source, added_at), of_rows, (ins, taps, samples), emitter)
                continue
            pointers = [to, source, packed, offset, added_at]
            ends = (int(added is not None), emitter.number(slope))
            if rows:
                emitter.call("pc_rows", 1, pointers, (each, ins, taps, samples, block, taps, *ends), of_rows)
            else:
                emitter.call("pc_conv", 1, pointers, (each, ins, taps, samples, *ends), [*steps, filter_.dilation])


def in_fewer_bits(weight: Value, groups: int, emitter: Emitter) -> bool:
    """Whether a filter's weights are to be stored in fewer bits.

    Args:
        weight: (output, input of a group, tap).
        groups: how many.
        emitter: that stores them.

    Returns:
        whether.
    """
    exact = emitter.tensor(weight)
    _, ins, taps = exact.shape

    def whole(rounded: list[packing.FloatArray]) -> packing.FloatArray:
        return np.concatenate(rounded).reshape(-1, taps, ins).transpose(0, 2, 1)

    matrices = [_by_taps(part) for part in np.split(exact, groups)]
    return emitter.reduced.filter_gains(weight, matrices, whole, emitter)


def _by_taps(weight: packing.FloatArray) -> packing.FloatArray:
    """Weights (output, input, tap) as a matrix (output, tap and input)."""
    return weight.transpose(0, 2, 1).reshape(len(weight), -1)


def spread(filter_: Filter, emitter: Emitter) -> None:
    """Write a transposed convolution as ordinary ones that make `stride` neighbouring outputs at once.

    The output n = t stride + phase sums the inputs t - j through the taps phase + j stride. With the channels of each
    sample side by side, row t of the ordinary convolution is the outputs t stride to (t + 1) stride - 1 in their order.

    Args:
        filter_: the convolution; its weights are stored.
        emitter: that writes.
    """
    stride, samples = filter_.stride, filter_.x.shape[-1]
    matrix, reach = _spread_matrix(emitter.tensor(filter_.weight), filter_)
    wide, outs = len(matrix), len(matrix) // stride
    ins = matrix.shape[1] // reach

    def whole(rounded: list[packing.FloatArray]) -> packing.FloatArray:
        return _gathered(rounded[0], reach, filter_)

    reduced = emitter.reduced.filter_gains(filter_.weight, [matrix], whole, emitter)
    block = packing.block_rows(wide) if wide % packing.block_rows(wide) == 0 else packing.rounded(wide)
    block = packing.block_rows(wide) if reduced else block
    bias = np.zeros(outs, np.float32) if filter_.bias is None else emitter.tensor(filter_.bias)
    offset = emitter.padded_numbers(np.tile(bias, stride))
    # Padding is cut off in front; behind the last tap there is nothing but the bias.
    made = max(samples + reach - 1, -(-(filter_.out.shape[-1] + filter_.padding) // stride))
    lead = len(filter_.out.shape) - 2
    voices = prod(filter_.x.shape[:-2])
    room = View(emitter.scratch(voices * made * wide), 0, (*[made * wide] * lead, 1, outs))
    if reduced:
        stored = emitter.reduced.store_matrix(matrix, block, emitter)
        x = _between_zeros(filter_.x, reach - 1, made + reach - 1, emitter)
        for voice in range(voices):
            pointers = (_voice(room, voice).at(), offset, _voice(x, voice).at(), "0")
            stored.filter(pointers, (wide, ins, 0, ins), (ins, reach, made), emitter)
        emitter.lay(filter_.out, room.moved(-1, filter_.padding))
        return
    packed = emitter.constant(packing.pack_rows(matrix, block))
    x = _laid(emitter.view(filter_.x), replace(filter_, padding=0), True, emitter)
    emitter.need("pc_conv.h")
    for voice in range(voices):
        source, target = _voice(x, voice), _voice(room, voice)
        line = source.strides[-1]
        for row, rows, oldest, count, first in _stretches(samples, reach, made):
            start = first * ins * block
            weights = f"{packed} + {start}" if start else packed
            places = [target.moved(-1, row * stride).at(), source.moved(-1, oldest).at(), weights, offset, "0"]
            sizes = (wide, line, 0, line, wide, ins, count, rows, block, reach, 0, emitter.number(1.0))
            emitter.call("pc_rows", 1, places, sizes)
    emitter.lay(filter_.out, room.moved(-1, filter_.padding))


def _spread_matrix(given: packing.FloatArray, filter_: Filter) -> tuple[packing.FloatArray, int]:
    """A transposed convolution's weights as a matrix (phase and output) by (tap and input), the oldest input first.

    Args:
        given: (input, output of a group, tap).
        filter_: the convolution.

    Returns:
        the matrix, and how many inputs an output meets.
    """
    weight, stride = _ungrouped(given, filter_.groups), filter_.stride
    ins, outs, length = weight.shape
    long = (length - 1) * filter_.dilation + 1
    reach = -(-long // stride)
    taps = np.zeros((ins, outs, reach * stride), np.float32)
    taps[:, :, : long : filter_.dilation] = weight
    return taps.reshape(ins, outs, reach, stride)[:, :, ::-1].transpose(3, 1, 2, 0).reshape(stride * outs, -1), reach


def _gathered(matrix: packing.FloatArray, reach: int, filter_: Filter) -> packing.FloatArray:
    """The weights of which `_spread_matrix` made a matrix."""
    ins, each, length = filter_.weight.shape
    groups = filter_.groups
    apart = matrix.reshape(filter_.stride, each * groups, reach, ins).transpose(3, 1, 2, 0)[:, :, ::-1]
    long = (length - 1) * filter_.dilation + 1
    taps = apart.reshape(ins, each * groups, -1)[:, :, : long : filter_.dilation]
    rows = [
        taps[group * ins // groups : (group + 1) * ins // groups, group * each : (group + 1) * each]
        for group in range(groups)
    ]
    return np.ascontiguousarray(np.concatenate(rows))


def _between_zeros(x: Value, before: int, samples: int, emitter: Emitter) -> View:
    """A signal by rows, so many zeros in front and as many behind as make it so long."""
    shape = (*x.shape[:-1], samples)
    room = _room(shape, True, emitter)
    emitter.loop(shape, {"x0": View(emitter.constant([0.0]), 0, (0,) * len(shape))}, [], [(room, "x0")])
    emitter.assign(room.moved(-1, before), emitter.view(x), x.shape)
    return room


def _stretches(samples: int, reach: int, made: int) -> list[tuple[int, int, int, int, int]]:
    """The rows of a transposed convolution, in stretches that meet equally many inputs.

    Args:
        samples: inputs.
        reach: inputs that a row in the middle meets.
        made: rows.

    Returns:
        (first row, rows, first input of the first row, inputs a row, first tap) of each.
    """
    found, row = [], 0
    while row < made:
        oldest = max(row - reach + 1, 0)
        count = max(min(row, samples - 1) - oldest + 1, 0)
        rows = samples - row if count == reach else 1
        found.append((row, rows, oldest if count else 0, count, oldest - (row - reach + 1) if count else 0))
        row += rows
    return found


def _ungrouped(weight: packing.FloatArray, groups: int) -> packing.FloatArray:
    """A transposed convolution's weights as if there were one group, zeros between those that do not meet."""
    if groups == 1:
        return weight
    ins, each, length = weight.shape
    whole = np.zeros((ins, each * groups, length), np.float32)
    for group in range(groups):
        mine = slice(group * ins // groups, (group + 1) * ins // groups)
        whole[mine, group * each : (group + 1) * each] = weight[mine]
    return whole


def _tiles(weight: packing.FloatArray) -> packing.FloatArray:
    """A planar convolution's weights: blocks of four outputs, each [tap][input][output]."""
    return np.concatenate(
        [weight[o : o + _TILE_OUTPUTS].transpose(2, 1, 0).ravel() for o in range(0, len(weight), _TILE_OUTPUTS)]
    )


def _voice(view: View, voice: int) -> View:
    """One sound of a batch."""
    return view.moved(0, voice) if len(view.strides) > 2 else view


def _padded(filter_: Filter, rows: bool, emitter: Emitter) -> View:
    """The input with zeros on both sides."""
    x = filter_.x
    shape = (*x.shape[:-1], filter_.needed)
    if not filter_.padding and filter_.needed <= x.shape[-1]:
        return emitter.view(x)
    room = _room(shape, rows, emitter)
    zero = emitter.constant([0.0])
    emitter.loop(shape, {"x0": View(zero, 0, (0,) * len(shape))}, [], [(room, "x0")])
    inside = min(x.shape[-1], filter_.needed - filter_.padding)
    emitter.assign(room.moved(-1, filter_.padding), emitter.view(x), (*x.shape[:-1], inside))
    return room


def _room(shape: tuple[int, ...], rows: bool, emitter: Emitter) -> View:
    """Memory for a signal, planar or by rows."""
    strides = [0] * len(shape)
    strides[-1], strides[-2] = (shape[-2], 1) if rows else (1, shape[-1])
    if len(shape) > 2:
        strides[0] = shape[-1] * shape[-2]
    return View(emitter.scratch(prod(shape)), 0, tuple(strides))


def _laid(view: View, filter_: Filter, rows: bool, emitter: Emitter) -> View:
    """The input as its kernel wants it: samples side by side, or channels."""
    shape = (*filter_.x.shape[:-1], filter_.needed if filter_.padding else filter_.x.shape[-1])
    axis = -2 if rows else -1
    if view.strides[axis] == 1 or shape[axis] == 1:
        return view
    room = _room(shape, rows, emitter)
    emitter.assign(room, view, shape)
    return room


def _same(view: View, value: Value, rows: bool, emitter: Emitter) -> View:
    """What is added, laid like the result."""
    axis = -2 if rows else -1
    if view.strides[axis] == 1 or value.shape[axis] == 1:
        return view
    room = _room(value.shape, rows, emitter)
    emitter.assign(room, view, value.shape)
    return room


def _target(value: Value, rows: bool, emitter: Emitter) -> View:
    """Where the output goes."""
    if emitter.is_laid(value):
        view = emitter.view(value)
        axis = -2 if rows else -1
        if view.strides[axis] == 1 or value.shape[axis] == 1:
            return view
        emitter.unlay(value)
    emitter.lay(value, _room(value.shape, rows, emitter))
    return emitter.view(value)
