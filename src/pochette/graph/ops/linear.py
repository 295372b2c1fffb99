"""Products of learnt matrices with features."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from pochette.graph.coupling import Coupling
from pochette.graph.graph import Node
from pochette.graph.operator import Cost, Operator, describe

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter


class Linear(Operator):
    """y = x W^T + b over the last axis."""

    def cost(self, node: Node) -> Cost:
        """One MAC a weight and row; the bias is one addition an output."""
        x, weight, bias = node.args
        rows = prod(x.shape[:-1])
        return Cost(macs=rows * weight.size, pointwise=rows * weight.shape[0] if bias is not None else 0)

    def couple(self, node: Node, coupling: Coupling) -> None:
        """Inputs are the weight's columns, outputs its rows and the bias."""
        x, weight, bias = node.args
        rows, columns = coupling.axes(weight)
        inputs = coupling.axes(x)
        coupling.tie(inputs[-1], columns)
        if bias is not None:
            coupling.tie(rows, coupling.axes(bias)[0])
        coupling.set(node.output, [*inputs[:-1], rows])

    def emit(self, node: Node, emitter: Emitter) -> None:
        """One matrix-vector product a row, on packed weights."""
        x, weight, bias = node.args
        outputs, inputs = weight.shape
        emitter.need("pc_linear.h")
        packed = emitter.packed(weight)
        offset = emitter.padded(bias, outputs)
        for row in range(prod(x.shape[:-1])):
            emitter.line(
                f"pc_linear({emitter.ref(node.output, row * outputs)}, {packed}, {offset}, "
                f"{emitter.ref(x, row * inputs)}, {inputs}, {outputs});"
            )


describe("aten.linear.default", operator=Linear())
