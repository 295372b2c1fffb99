"""Attention: weights that are shares of a whole, and the mixtures they make."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any

import torch

from pochette.graph.coupling import Coupling
from pochette.graph.graph import Node, Value
from pochette.graph.grids import Labels
from pochette.graph.loops import Operand, broadcast_strides, lay, loop, strides_of
from pochette.graph.operator import Cost, Operator, Survivors, describe
from pochette.graph.ops.products import meet

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter


class Softmax(Operator):
    """Exponentials along an axis, divided by their sum, or the logarithms of that.

    Args:
        logarithm: whether they are wanted.
    """

    def __init__(self, *, logarithm: bool) -> None:
        self.logarithm = logarithm

    def cost(self, node: Node) -> Cost:
        """Maximum, difference, exponential, sum, quotient; the logarithm is one more a row, for a difference."""
        x = node.args[0]
        rows = x.size // (x.shape[node.args[1]] if x.shape else 1)
        return Cost(pointwise=4 * x.size, transcendental=x.size + rows * self.logarithm)

    def couple(self, node: Node, coupling: Coupling) -> None:
        """All pass; members of the axis depend on each other: trimming it is not exact, and says so."""
        axes = coupling.axes(node.args[0])
        if axes:
            coupling.normalised(axes[node.args[1]], node.layer)
        coupling.set(node.output, axes)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """One kernel call."""
        x = node.args[0]
        axis = node.args[1] % len(x.shape) if x.shape else 0
        sizes = prod(x.shape[:axis]), x.shape[axis] if x.shape else 1, prod(x.shape[axis + 1 :])
        kernel = "pc_log_softmax" if self.logarithm else "pc_softmax"
        emitter.need("pc_softmax.h")
        emitter.line(f"{kernel}({emitter.ref(node.output)}, {emitter.ref(x)}, {', '.join(map(str, sizes))});")


class ScaledDotProduct(Operator):
    """softmax(q k^T scale + mask) v, for every head."""

    def cost(self, node: Node) -> Cost:
        """Both products in full, masked or not; scale, mask and softmax (4) a score, and one exponential."""
        query, key, value, mask, _, causal, *_ = node.args
        scores = prod(node.output.shape[:-2]) * query.shape[-2] * key.shape[-2]
        each = 5 + (mask is not None or bool(causal))
        macs = scores * (query.shape[-1] + value.shape[-1])
        return Cost(macs=macs, pointwise=each * scores, transcendental=scores)

    def couple(self, node: Node, coupling: Coupling) -> None:
        """Heads of all four go together, as do features of queries and keys; those of the values pass to the output.

        Places attended over stay.
        """
        query, key, value, mask, _, causal, _, grouped = node.args
        q, k, v = coupling.axes(query), coupling.axes(key), coupling.axes(value)
        coupling.meet(node, query, -1, key, -1)
        coupling.tie(k[-2], v[-2])
        coupling.freeze_labels(k[-2], "attended over")
        m = [] if mask is None else coupling.axes(mask)
        if m:
            _meet_mask(coupling, m, [*q[:-1], k[-2]])
        if m or causal:
            coupling.freeze_labels(q[-2], "attention is masked")
        if grouped:
            for axes in (q, k, v):
                coupling.freeze_labels(axes[-3], "heads share keys")
            lead = q[:-2]
        else:
            lead = [
                meet(coupling, [axes[-back] for axes in (q, k, v) if len(axes) >= back])
                for back in range(len(node.output.shape), 2, -1)
            ]
        coupling.set(node.output, [*lead, q[-2], v[-1]])

    def refit(self, node: Node, survivors: Survivors) -> tuple[str, tuple[Any, ...]]:
        """The scale that there was: by itself it would follow the width of what is left."""
        query, *_ = node.args
        *given, scale, grouped = node.args
        if scale is None and survivors.shape(query)[-1] != query.shape[-1]:
            scale = query.shape[-1] ** -0.5
        return node.op, (*given, scale, grouped)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """One kernel call a head, in loops over the leading axes, along which keys, values and mask may be shared."""
        query, key, value, mask, _, causal, scale, grouped = node.args
        *lead, queries, width = query.shape
        keys, depth = value.shape[-2:]
        sharing = lead[-1] // key.shape[-3] if grouped else 1
        sizes = [*lead[:-1], lead[-1] // sharing, sharing] if lead else []

        def strides(x: Value) -> tuple[int, ...]:
            own = list(x.shape[:-2])
            if sizes and own and own[-1] == lead[-1]:
                own = [*own[:-1], *sizes[-2:]]
            elif sizes and own:
                own.append(1)
            return tuple(stride * prod(x.shape[-2:]) for stride in broadcast_strides(own, sizes))

        operands = [Operand(emitter.ref(x), strides(x)) for x in (node.output, query, key, value)]
        masks = ["0", "0"]
        if mask is not None:
            operands.append(self._mask(mask, queries, keys, sizes, strides, emitter))
        emitter.need("pc_attention.h")
        scores = emitter.scratch(keys)
        factor = emitter.number(width**-0.5 if scale is None else scale)

        def statement(*indices: str) -> str:
            places = [f"{operand.base} + {index}" for operand, index in zip(operands, indices, strict=True)]
            if mask is not None:
                masks[mask.dtype == torch.bool] = places.pop()
            tail = f"{queries}, {keys}, {width}, {depth}, {factor}, {int(causal)}, {scores}"
            return f"pc_attention({', '.join((*places, *masks))}, {tail});"

        loop(emitter, sizes, operands, statement)

    def _mask(
        self, mask: Value, queries: int, keys: int, sizes: list[int], strides: Callable[[Value], tuple[int, ...]],
        emitter: Emitter,
    ) -> Operand:  # fmt: skip
        """The mask, with a row for every query."""
        if mask.shape[-2:] == (queries, keys):
            return Operand(emitter.ref(mask), strides(mask))
        shape = (*mask.shape[:-2], queries, keys)
        base = emitter.scratch(prod(shape))
        own = Operand(emitter.ref(mask), tuple(broadcast_strides(mask.shape, shape)))
        lay(emitter, shape, Operand(base, tuple(strides_of(shape))), own)
        return Operand(base, strides(Value("", shape, mask.dtype, "computed")))


def _meet_mask(coupling: Coupling, mask: list[Labels], scores: list[Labels]) -> None:
    """Tie a mask, broadcast, to the scores."""
    for back, labels in enumerate(reversed(mask), start=1):
        if len(labels) == len(scores[-back]):
            coupling.tie(labels, scores[-back])


describe("aten.softmax.int", "aten._softmax.default", operator=Softmax(logarithm=False))
describe("aten.log_softmax.int", "aten._log_softmax.default", operator=Softmax(logarithm=True))
describe("aten.scaled_dot_product_attention.default", operator=ScaledDotProduct())
