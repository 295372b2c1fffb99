"""Normalisations of values, and of weights."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pochette.graph.coupling import Coupling
from pochette.graph.graph import Node, Value
from pochette.graph.grids import Labels
from pochette.graph.operator import Cost, Operator, Survivors, describe

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter

_STATISTICS = 5
"""Operations an element to take out mean and variance: sum, centring, squares, their sum, scale."""


class NormOfLast(Operator):
    """Statistics over the last axes taken out, then a learnt gain and perhaps an offset.

    Args:
        each: operations an element before gain and offset.
    """

    def __init__(self, each: int = _STATISTICS) -> None:
        self.each = each

    def cost(self, node: Node) -> Cost:
        """Statistics and scale, gain and offset where learnt; and one root a row."""
        x, shape, *learnt = node.args
        each = self.each + sum(isinstance(value, Value) for value in learnt)
        return Cost(pointwise=each * x.size, transcendental=x.size // max(prod(shape), 1))

    def couple(self, node: Node, coupling: Coupling) -> None:
        """Units pass through, but each depends on all: trimming is not exact here, and says so."""
        x, shape, *rest = node.args
        axes = coupling.axes(x)
        for number, axis in enumerate(range(len(axes) - len(shape), len(axes))):
            for learnt in rest:
                if isinstance(learnt, Value):
                    coupling.tie(axes[axis], coupling.axes(learnt)[number])
            coupling.normalised(axes[axis], node.layer)
        coupling.set(node.output, axes)

    def refit(self, node: Node, survivors: Survivors) -> tuple[str, tuple[Any, ...]]:
        """The lengths that are left."""
        x, shape, *rest = node.args
        return node.op, (x, list(survivors.shape(x)[-len(shape) :]), *rest)


class LayerNorm(NormOfLast):
    """Mean and variance over the last axes taken out, then a learnt gain and offset."""

    def emit(self, node: Node, emitter: Emitter) -> None:
        """One kernel call for all rows."""
        x, shape, weight, bias, epsilon, *_ = node.args
        width = prod(shape)
        emitter.need("pc_norms.h")
        emitter.line(
            f"pc_norm_rows({emitter.ref(node.output)}, {emitter.ref(x)}, {emitter.ref_or_null(weight)}, "
            f"{emitter.ref_or_null(bias)}, {x.size // width}, {width}, {emitter.number(epsilon)});"
        )


class RmsNorm(NormOfLast):
    """The root of the mean square over the last axes divided out, then a learnt gain."""

    def emit(self, node: Node, emitter: Emitter) -> None:
        """One kernel call for all rows; without an epsilon it is float32's."""
        x, shape, weight, epsilon = node.args
        width = prod(shape)
        epsilon = float(np.finfo(np.float32).eps) if epsilon is None else epsilon
        emitter.need("pc_norms.h")
        emitter.line(
            f"pc_rms_rows({emitter.ref(node.output)}, {emitter.ref(x)}, {emitter.ref_or_null(weight)}, "
            f"{x.size // width}, {width}, {emitter.number(epsilon)});"
        )


class GroupNorm(Operator):
    """Mean and variance of each group of channels, over them and all that is behind them, taken out."""

    def cost(self, node: Node) -> Cost:
        """Statistics and scale, gain and offset where learnt; and one root a group."""
        x, groups, gain, offset, *_ = node.args
        each = _STATISTICS + (gain is not None) + (offset is not None)
        return Cost(pointwise=each * x.size, transcendental=x.shape[0] * groups)

    def couple(self, node: Node, coupling: Coupling) -> None:
        """With a group a channel, channels know nothing of each other. Else the same place in every group is one unit.

        Units of a larger group share its statistics: trimming is not exact, and says so.
        """
        x, groups, gain, offset, *_ = node.args
        axes = coupling.axes(x)
        _tie_learnt(coupling, axes[1], (gain, offset))
        if groups < len(axes[1]):
            grid = axes[1].reshape(groups, -1)
            coupling.tie(grid[1:], np.broadcast_to(grid[:1], grid[1:].shape))
            coupling.normalised(axes[1], node.layer)
        for behind in axes[2:]:
            coupling.normalised(behind, node.layer)
        coupling.set(node.output, axes)

    def refit(self, node: Node, survivors: Survivors) -> tuple[str, tuple[Any, ...]]:
        """As many groups as channels, if it was so; the groups that there were otherwise."""
        x, groups, *rest = node.args
        return node.op, (x, survivors.shape(x)[1] if groups == x.shape[1] else groups, *rest)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """One kernel call."""
        x, groups, gain, offset, epsilon, *_ = node.args
        _norm_groups(node.output, x, gain, offset, groups, epsilon, emitter)


class ChannelNorm(Operator):
    """Batch and instance normalisation: each channel by statistics of its own, stored or taken from what is given.

    Args:
        stored: places of running mean and variance; None if the operator has none.
        given: place of the flag that says that statistics are taken from what is given; None if it depends on `stored`.
        instances: whether each member of the batch has statistics of its own.
    """

    def __init__(self, stored: int | None, given: int | None, *, instances: bool = False) -> None:
        self.stored, self.given, self.instances = stored, given, instances

    def cost(self, node: Node) -> Cost:
        """Stored statistics: centring and scale an element, and one root a channel. Others: as in a layer norm."""
        x, learnt = node.args[0], sum(value is not None for value in node.args[1:3])
        taken = bool(node.args[self.given]) if self.given is not None else self.stored is None
        roots = x.shape[1] * (x.shape[0] if taken and self.instances else 1)
        return Cost(pointwise=((_STATISTICS if taken else 2) + learnt) * x.size, transcendental=roots)

    def couple(self, node: Node, coupling: Coupling) -> None:
        """Channels pass with all that is stored for them, and know nothing of each other: exact."""
        x = node.args[0]
        axes = coupling.axes(x)
        stored = () if self.stored is None else node.args[self.stored : self.stored + 2]
        _tie_learnt(coupling, axes[1], (*node.args[1:3], *stored))
        coupling.set(node.output, axes)
        for output in node.outputs[1:]:  # statistics: of every channel, or none
            sizes = output.shape
            coupling.set(output, [axes[1] if size == len(axes[1]) else coupling.fresh(size) for size in sizes])

    def emit(self, node: Node, emitter: Emitter) -> None:
        """With stored statistics a product and a sum a channel, folded together; else those of every instance."""
        x, gain, offset, *rest = node.args
        if any(emitter.is_used(output) for output in node.outputs[1:]):
            emitter.refuse("statistics as results")
        epsilon = next(arg for arg in reversed(rest) if isinstance(arg, float))
        mean, variance = (None, None) if self.stored is None else node.args[self.stored : self.stored + 2]
        taken = bool(node.args[self.given]) if self.given is not None else self.stored is None
        if not taken and mean is not None:
            self._stored(node, (gain, offset, mean, variance), epsilon, emitter)
        elif self.instances or x.shape[0] == 1:
            _norm_groups(node.output, x, gain, offset, x.shape[1], epsilon, emitter)
        else:
            emitter.refuse("a batch normalisation by what is in the batch")

    def _stored(self, node: Node, learnt: tuple[Value | None, ...], epsilon: float, emitter: Emitter) -> None:
        x = node.args[0]
        if any(value is not None and value.kind not in ("parameter", "constant") for value in learnt):
            emitter.refuse("a normalisation whose statistics are computed")
        numbers = (None if v is None else emitter.tensor(v).astype(np.float64) for v in learnt)
        gain, offset, mean, variance = numbers
        assert mean is not None and variance is not None
        scale = (1.0 if gain is None else gain) / np.sqrt(variance + epsilon)
        shift = (0.0 if offset is None else offset) - mean * scale
        emitter.need("pc_norms.h")
        emitter.line(
            f"pc_scale_channels({emitter.ref(node.output)}, {emitter.ref(x)}, {emitter.constant(scale)}, "
            f"{emitter.constant(shift)}, {x.shape[0]}, {x.shape[1]}, {prod(x.shape[2:])});"
        )


def _norm_groups(
    out: Value, x: Value, gain: Value | None, offset: Value | None, groups: int, epsilon: float, emitter: Emitter
) -> None:
    emitter.need("pc_norms.h")
    emitter.line(
        f"pc_norm_groups({emitter.ref(out)}, {emitter.ref(x)}, {emitter.ref_or_null(gain)}, "
        f"{emitter.ref_or_null(offset)}, {x.shape[0]}, {x.shape[1]}, {prod(x.shape[2:])}, {groups}, "
        f"{emitter.number(epsilon)});"
    )


def _tie_learnt(coupling: Coupling, channels: Labels, stored: tuple[Value | None, ...]) -> None:
    for value in stored:
        if value is not None:
            coupling.tie(channels, coupling.axes(value)[0])


class WeightNorm(Operator):
    """w = g v / |v|: lengths and directions of weights learnt apart; the norm is taken for each index of one axis."""

    def cost(self, node: Node) -> Cost:
        """Squares, sum, and scale: 3 an element; a quotient and a root a norm."""
        v, g, _ = node.args
        return Cost(pointwise=3 * v.size + g.size, transcendental=g.size)

    def couple(self, node: Node, coupling: Coupling) -> None:
        """The weight's axes are those of v; g follows the axis of its norms.

        Cutting another axis shortens v, which `mend` makes good where both are stored; where they are computed, it
        is not exact, and says so.
        """
        v, g, axis = node.args
        axes = coupling.axes(v)
        if axis != -1:
            coupling.tie(axes[axis], coupling.axes(g)[axis])
        if not (v.path and g.path):
            for number, labels in enumerate(axes):
                if number != axis:
                    coupling.normalised(labels, node.layer)
        coupling.set(node.output, axes)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """One kernel call, where the weight is computed; stored ones are normalised at export."""
        v, g, axis = node.args
        axis %= len(v.shape)
        emitter.need("pc_norms.h")
        emitter.line(
            f"pc_weight_norm({emitter.ref(node.output)}, {emitter.ref(v)}, {emitter.ref(g)}, {prod(v.shape[:axis])}, "
            f"{v.shape[axis]}, {prod(v.shape[axis + 1 :])});"
        )

    def mend(self, node: Node, survivors: Survivors, before: Mapping[str, Tensor], after: dict[str, Tensor]) -> None:
        """Give g the lengths that leave what is kept of w as it was: g |kept v| / |v|.

        Where all that is kept of v is zero, w is zero by g alone; v is set to ones, as 0 / 0 has no value.

        Args:
            node: one operator applied to values.
            survivors: lengths and indices after the removal.
            before: stored tensors by path, whole.
            after: the same, cut.
        """
        v, g, axis = node.args
        if not (v.path and g.path) or survivors.shape(v) == v.shape:
            return
        whole, kept, lengths = before[v.path], after[v.path], before[g.path]
        if axis != -1:
            left = torch.from_numpy(survivors.indices(v, axis)).to(whole.device)
            whole, lengths = whole.index_select(axis, left), lengths.index_select(axis, left)
        length, kept_length = (_norm(tensor, axis).reshape(lengths.shape) for tensor in (whole, kept))
        after[g.path] = lengths * torch.where(length > 0, kept_length / length, 0.0)
        empty = _norm(kept, axis) == 0
        if kept.numel() and empty.any():
            after[v.path] = torch.where(empty, 1.0, kept)


def _norm(tensor: Tensor, axis: int) -> Tensor:
    """Length of each slice along an axis, or of the whole for -1, with axes of length 1."""
    return tensor.square().sum([other for other in range(tensor.dim()) if other != axis], keepdim=True).sqrt()


describe("aten.layer_norm.default", operator=LayerNorm())
# Squares, their sum, scale: there is no mean.
describe("aten.rms_norm.default", operator=RmsNorm(each=3))
describe("aten.group_norm.default", operator=GroupNorm())
describe("aten._native_batch_norm_legit_no_training.default", operator=ChannelNorm(3, None))
describe(
    "aten.batch_norm.default",
    "aten.native_batch_norm.default",
    "aten._native_batch_norm_legit.default",
    "aten._native_batch_norm_legit_functional.default",
    operator=ChannelNorm(3, 5),
)
describe("aten._native_batch_norm_legit.no_stats", operator=ChannelNorm(None, None))
describe("aten.instance_norm.default", operator=ChannelNorm(3, 5, instances=True))
describe("aten._weight_norm.default", operator=WeightNorm())
