"""Normalisations."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from pochette.graph.coupling import Coupling
from pochette.graph.graph import Node
from pochette.graph.operator import Cost, Operator, describe

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter


class LayerNorm(Operator):
    """Mean and variance over the last axes taken out, then a learnt gain and offset."""

    def cost(self, node: Node) -> Cost:
        """Sum, centring, squares, sum, scale; gain and offset where learnt: 5 to 7 an element; and one root a row."""
        x, shape, gain, offset, *_ = node.args
        each = 5 + (gain is not None) + (offset is not None)
        return Cost(pointwise=each * x.size, transcendental=x.size // prod(shape))

    def couple(self, node: Node, coupling: Coupling) -> None:
        """Units pass through, but each depends on all: trimming is not exact here, and says so."""
        x, shape, weight, bias, *_ = node.args
        axes = list(coupling.axes(x))
        for number, axis in enumerate(range(len(axes) - len(shape), len(axes))):
            for learnt in (weight, bias):
                if learnt is not None:
                    coupling.tie(axes[axis], coupling.axes(learnt)[number])
            if weight is None:
                # Nothing learnt would tell the layer its new width.
                coupling.freeze_labels(axes[axis], f"the width of {node.layer or 'a normalisation'} is fixed")
            coupling.normalised(axes[axis], node.layer)
        coupling.set(node.output, axes)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """One kernel call a row."""
        x, shape, weight, bias, epsilon, *_ = node.args
        width = prod(shape)
        emitter.need("pc_layer_norm.h")
        for row in range(x.size // width):
            emitter.line(
                f"pc_layer_norm({emitter.ref(node.output, row * width)}, {emitter.ref(x, row * width)}, "
                f"{emitter.ref_or_null(weight)}, {emitter.ref_or_null(bias)}, {width}, {emitter.number(epsilon)});"
            )


describe("aten.layer_norm.default", operator=LayerNorm())
