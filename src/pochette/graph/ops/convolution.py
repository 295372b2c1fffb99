"""Convolutions and transposed convolutions of one to three dimensions, grouped or not.

With `groups` = g, the channels stand in g rows side by side. What can be removed follows from how many each row has:

- one input and one output a group (depthwise): a channel, in and out;
- one input, several outputs: the channel with all of its outputs, or the same one of every channel's outputs;
- several inputs, one output: the output with all of its inputs, or the same one of every output's inputs;
- several of both: the same place in every group.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pochette.graph.coupling import Coupling
from pochette.graph.graph import Node, Value
from pochette.graph.grids import Labels
from pochette.graph.operator import Chain, Coarse, Cost, Operator, Part, Survivors, describe, real_products

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter


@dataclass(frozen=True)
class Call:
    """The arguments of one convolution."""

    x: Value
    weight: Value
    bias: Value | None
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    extra: tuple[int, ...]
    """Length that a transposed convolution adds at the end."""
    groups: int
    transposed: bool
    dilation: tuple[int, ...] = (1,)

    @property
    def stored(self) -> bool:
        """Whether weight and bias are known."""
        return all(value is None or value.kind in ("parameter", "constant") for value in (self.weight, self.bias))

    @property
    def channel(self) -> int:
        """Axis of the channels; what is before it is the batch, what is behind it is convolved."""
        return len(self.x.shape) - len(self.weight.shape) + 1

    def moves(self, axis: int) -> bool:
        """Whether outputs along a convolved axis, counted from the first of them, are not the inputs one by one."""
        place = (self.weight.shape[2 + axis], self.stride[axis], self.padding[axis], self.extra[axis])
        return place != (1, 1, 0, 0)


class Convolution(Operator):
    """Every convolution operator.

    Args:
        transposed: whether it is; None if an argument says so.
        groups: place of the argument that counts the groups.
    """

    def __init__(self, *, transposed: bool | None, groups: int) -> None:
        self.transposed, self.groups = transposed, groups

    def call(self, node: Node) -> Call:
        """The arguments by their meaning.

        Args:
            node: one operator applied to values.

        Returns:
            the arguments; "valid" and "same" padding are as long as they come to.
        """
        x, weight, bias, stride, padding, *rest = node.args
        spatial = len(weight.shape) - 2
        transposed = rest[1] if self.transposed is None else self.transposed
        if isinstance(padding, str):
            padding = [0 if padding == "valid" else size - 1 for size in weight.shape[2:]]
        extra = (rest[2] if self.transposed is None else rest[0]) if transposed else 0
        strides, paddings, extras = (_each(given, spatial) for given in (stride, padding, extra))
        between = _each(node.args[7 if self.transposed else 5], spatial)
        return Call(x, weight, bias, strides, paddings, extras, node.args[self.groups], transposed, between)

    def cost(self, node: Node) -> Cost:
        """One MAC a weight and output (input, if transposed) that it meets; places in the padding are work as usual.

        Plain: output length x taps x inputs of a group x outputs. Transposed: input length x taps x inputs x outputs of
        a group. The bias is one addition an output. A MAC of complex numbers is `real_products` of real ones.
        """
        call = self.call(node)
        moving = call.x if call.transposed else node.output
        batch = prod(call.x.shape[: call.channel])
        macs = batch * prod(moving.shape[call.channel + 1 :]) * call.weight.size
        macs *= real_products(call.x.dtype.is_complex, call.weight.dtype.is_complex)
        return Cost(macs=macs, pointwise=node.output.size if call.bias is not None else 0)

    def couple(self, node: Node, coupling: Coupling) -> None:
        """Inputs and outputs of the weight; what is convolved along cannot lose members, nor can the taps."""
        call = self.call(node)
        axes = coupling.axes(call.x)
        for taps in coupling.axes(call.weight)[2:]:
            coupling.freeze_labels(taps, "taps of a filter")
        spread = _spread if call.transposed else _gather
        axes[call.channel] = spread(node, call, coupling)
        if call.bias is not None:
            coupling.tie(axes[call.channel], coupling.axes(call.bias)[0])
        for axis in range(len(call.weight.shape) - 2):
            if call.moves(axis):
                place = call.channel + 1 + axis
                coupling.freeze_labels(axes[place], "convolved over")
                axes[place] = coupling.fresh(node.output.shape[place])
                coupling.freeze_labels(axes[place], "convolved over")
        coupling.set(node.output, axes)

    def refit(self, node: Node, survivors: Survivors) -> tuple[str, tuple[Any, ...]]:
        """As many groups as are left."""
        call = self.call(node)
        if call.groups == 1:
            return node.op, node.args
        inputs = survivors.shape(call.x)[call.channel]
        if call.transposed:
            # The weight's second axis is the outputs of one group.
            groups = survivors.shape(node.output)[call.channel] // max(survivors.shape(call.weight)[1], 1)
        else:
            groups = inputs // max(survivors.shape(call.weight)[1], 1)
        return node.op, (*node.args[: self.groups], groups, *node.args[self.groups + 1 :])

    def chain(self, node: Node, emitter: Emitter) -> Chain | None:
        """Element by element, where each output reads one channel: with one tap, or with few of a filter a channel."""
        call = self.call(node)
        if (
            call.transposed
            or len(call.weight.shape) != 3
            or not call.stored
            or any(call.padding)
            or call.stride != (1,)
        ):
            return None
        outputs, inputs, taps = call.weight.shape
        batched = len(call.x.shape) == 3
        apart = call.groups == outputs and inputs == 1 and outputs == call.x.shape[call.channel]
        if taps > _CHAIN_TAPS or not (apart or (call.x.shape[call.channel] == 1 and taps == 1)):
            return None
        lead = (0,) * batched
        operands: list[Any] = []
        for tap in range(taps):
            # One tap may read what the same loop makes; of several, what is read was made before.
            shifted = Part(call.x, tap * call.dilation[0]) if apart and taps > 1 else call.x
            operands += [Part(call.weight, tap, (*lead, taps, 0)), shifted]
        terms = [f"{{{2 * tap}}} * {{{2 * tap + 1}}}" for tap in range(taps)]
        if call.bias is not None:
            operands.append(Part(call.bias, 0, (*lead, 1, 0)))
            terms.insert(0, f"{{{2 * taps}}}")
        return Chain(tuple(operands), " + ".join(terms).format)

    def perform(self, node: Node, given: tuple[Any, ...], coarse: Coarse) -> tuple[Tensor, ...]:
        """Window by window over one axis: what each output hears, rounded, meets the filter."""
        call, (x, weight, bias) = self.call(node), given[:3]
        signal = x.reshape(-1, *x.shape[-2:])
        made = (_spread_windows if call.transposed else _filtered_windows)(
            call, self.padding(node, call)[0], signal, weight, node.output.shape[-1], coarse
        )
        return ((made if bias is None else made + bias[:, None]).reshape(node.output.shape),)

    def padding(self, node: Node, call: Call) -> tuple[int, ...]:
        """Zeros before the first sample of each convolved axis.

        Args:
            node: one operator applied to values.
            call: its arguments.

        Returns:
            lengths; an odd one out of "same" padding goes behind.
        """
        if node.args[4] == "same":
            return tuple(d * (k - 1) // 2 for d, k in zip(call.dilation, call.weight.shape[2:], strict=True))
        return call.padding

    def emit(self, node: Node, emitter: Emitter) -> None:
        """Fast kernels over one axis with a stored weight, simple loops for the rest."""
        call = self.call(node)
        padding = self.padding(node, call)
        if not call.weight.size:
            emitter.refuse(f"convolution with weights of the shape {list(call.weight.shape)}")
        if len(call.weight.shape) == 3 and call.stored:
            emitter.convolve(
                call.x, node.output, call.weight, call.bias, call.stride[0], padding[0], call.dilation[0], call.groups,
                transposed=call.transposed,
            )  # fmt: skip
            return
        emitter.need("pc_conv_plain.h")
        voices = prod(call.x.shape[: call.channel])
        ins, outs = call.x.shape[call.channel] // call.groups, node.output.shape[call.channel] // call.groups
        lengths = [_three(shape[call.channel + 1 :], 1) for shape in (call.x.shape, node.output.shape)]
        steps = [_three(call.weight.shape[2:], 1), _three(call.stride, 1), _three(padding, 0), _three(call.dilation, 1)]
        sizes = (
            voices,
            call.groups,
            ins,
            outs,
            int(call.transposed),
            *(n for three in (*lengths, *steps) for n in three),
        )
        pointers = [emitter.ref(value) for value in (node.output, call.x, call.weight)]
        emitter.call("pc_conv_plain", 1, (*pointers, emitter.ref_or_null(call.bias)), sizes)


def _three(numbers: tuple[int, ...], missing: int) -> tuple[int, ...]:
    """One number for each of three axes, the missing ones in front."""
    return (*[missing] * (3 - len(numbers)), *numbers)


_CHAIN_TAPS = 8
"""Filters of one channel with up to so many taps are written out."""


def _each(given: Any, spatial: int) -> tuple[int, ...]:
    """One number for each convolved axis."""
    listed = [given] if isinstance(given, int) else list(given)
    return tuple(listed * spatial if len(listed) == 1 else listed)


def _filtered_windows(
    call: Call, before: int, x: Tensor, weight: Tensor, samples: int, coarse: Coarse
) -> Tensor:  # fmt: skip
    """A convolution whose windows are rounded; (voice, channel, sample) to the same."""
    stride, dilation, taps = call.stride[0], call.dilation[0], weight.shape[2]
    needed = (samples - 1) * stride + (taps - 1) * dilation + 1
    x = functional.pad(x, (before, max(needed - before - x.shape[-1], 0)))[..., :needed]
    # (voice, group, input, output sample, tap)
    windows = x.unfold(-1, (taps - 1) * dilation + 1, stride)[..., ::dilation]
    windows = windows.reshape(len(x), call.groups, -1, samples, taps).transpose(2, 3)
    rounded = coarse(call.weight, windows.flatten(3)).reshape(windows.shape)
    made = torch.einsum("bgtik,goik->bgot", rounded, weight.reshape(call.groups, -1, *weight.shape[1:]))
    return made.flatten(1, 2)


def _spread_windows(
    call: Call, cut: int, x: Tensor, weight: Tensor, samples: int, coarse: Coarse
) -> Tensor:  # fmt: skip
    """A transposed convolution whose windows, all inputs that outputs of one stride meet, are rounded."""
    stride, dilation = call.stride[0], call.dilation[0]
    ins, each, taps = weight.shape
    long = (taps - 1) * dilation + 1
    reach = -(-long // stride)
    spaced = weight.new_zeros(ins, each * call.groups, reach * stride)
    for group in range(call.groups):
        mine = slice(group * ins // call.groups, (group + 1) * ins // call.groups)
        spaced[mine, group * each : (group + 1) * each, :long:dilation] = weight[mine]
    made = max(x.shape[-1] + reach - 1, -(-(samples + cut) // stride))
    # (voice, row of outputs, input, tap), the oldest first
    windows = functional.pad(x, (reach - 1, made - x.shape[-1])).unfold(-1, reach, 1).transpose(1, 2)
    rounded = coarse(call.weight, windows.flatten(2)).reshape(windows.shape)
    phases = spaced.reshape(*spaced.shape[:2], reach, stride).flip(2)
    outputs = torch.einsum("btij,iojp->botp", rounded, phases)
    return outputs.flatten(2)[..., cut : cut + samples]


def _gather(node: Node, call: Call, coupling: Coupling) -> Labels:
    """Couple the channels of a convolution; give its outputs' labels. Weights are (output, input of a group, ...)."""
    rows, columns = coupling.axes(call.weight)[:2]
    channels = coupling.axes(call.x)[call.channel]
    groups, inputs, outputs = call.groups, len(columns), len(rows) // call.groups
    if groups == 1:
        coupling.tie(channels, columns)
        coupling.reads(node, call.x, call.channel, call.weight, filters=True)
    elif inputs == 1:
        outer = rows if outputs == 1 else coupling.split(rows, groups, outputs)[0]
        coupling.tie(channels, outer)
        coupling.freeze_labels(columns, "the one input of a group")
    else:
        if outputs == 1:
            outer, inner = coupling.split(channels, groups, inputs)
            coupling.tie(outer, rows)
            coupling.tie(inner, columns)
        else:
            coupling.tie(channels, np.tile(columns, groups))
            _tie_groups(coupling, rows, groups)
        coupling.reads(node, call.x, call.channel, call.weight, filters=True)
    coupling.makes(node, call.weight, rows, filters=True)
    return rows


def _spread(node: Node, call: Call, coupling: Coupling) -> Labels:
    """Couple the channels of a transposed convolution; weights are (input, output of a group, ...)."""
    rows, columns = coupling.axes(call.weight)[:2]
    groups, inputs, outputs = call.groups, len(rows) // call.groups, len(columns)
    coupling.tie(coupling.axes(call.x)[call.channel], rows)
    if groups == 1 or inputs > 1:
        coupling.reads(node, call.x, call.channel, call.weight, filters=True)
    if groups == 1:
        made = columns
    elif inputs == 1:
        made = coupling.merge(rows, columns)
        coupling.makes(node, call.weight, rows, filters=True)
    elif outputs == 1:
        made = coupling.split(rows, groups, inputs)[0]
    else:
        _tie_groups(coupling, rows, groups)
        made = np.tile(columns, groups)
    if outputs == 1 and groups > 1:
        coupling.freeze_labels(columns, "the one output of a group")
    else:
        coupling.makes(node, call.weight, columns, filters=True)
    coupling.makes(node, call.weight, made, filters=True)
    return made


def _tie_groups(coupling: Coupling, labels: Labels, groups: int) -> None:
    """The same place in every group is one unit."""
    grid = labels.reshape(groups, -1)
    coupling.tie(grid[1:], np.broadcast_to(grid[:1], grid[1:].shape))


_PLAIN, _TRANSPOSED = Convolution(transposed=False, groups=6), Convolution(transposed=True, groups=6)
for _spatial in (1, 2, 3):
    describe(f"aten.conv{_spatial}d.default", f"aten.conv{_spatial}d.padding", operator=_PLAIN)
describe(
    "aten.conv_transpose1d.default", "aten.conv_transpose2d.input", "aten.conv_transpose3d.input", operator=_TRANSPOSED
)
describe("aten.convolution.default", operator=Convolution(transposed=None, groups=8))
