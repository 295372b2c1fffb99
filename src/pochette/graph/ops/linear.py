"""Products of learnt matrices with features."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from pochette.graph.graph import Node
from pochette.graph.operator import describe
from pochette.graph.ops.products import Equation, Product

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter


class Linear(Product):
    """y = x W^T + b over the last axis."""

    weight = 1

    def equation(self, node: Node) -> Equation:
        """Inputs are the weight's columns, outputs its rows and the bias; a weight of one axis has one output."""
        x, weight, bias = node.args
        lead = tuple(f"batch {axis}" for axis in range(len(x.shape) - 1))
        rows = ("row",) if len(weight.shape) > 1 else ()
        return Equation((x, weight), ((*lead, "sum"), (*rows, "sum")), (*lead, *rows), bias)

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
