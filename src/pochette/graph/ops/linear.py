"""Products of learnt matrices with features."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.nn import functional

from pochette.graph.graph import Node
from pochette.graph.operator import Coarse, describe
from pochette.graph.ops.products import Equation, Product

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter


class Linear(Product):
    """y = x W^T + b over the last axis."""

    of_complex = False
    weight = 1

    def equation(self, node: Node) -> Equation:
        """Inputs are the weight's columns, outputs its rows and the bias; a weight of one axis has one output."""
        x, weight, bias = node.args
        lead = tuple(f"batch {axis}" for axis in range(len(x.shape) - 1))
        rows = ("row",) if len(weight.shape) > 1 else ()
        return Equation((x, weight), ((*lead, "sum"), (*rows, "sum")), (*lead, *rows), bias)

    def perform(self, node: Node, given: tuple[Any, ...], coarse: Coarse) -> tuple[Tensor, ...]:
        """A product with each vector rounded first."""
        x, weight, bias = given
        return (functional.linear(coarse(node.args[1], x), weight, bias),)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """One matrix-vector product a row, on packed weights; scalar products where rows are few and long."""
        x, weight, bias = node.args
        outputs, inputs = weight.shape if len(weight.shape) > 1 else (1, *weight.shape)
        emitter.need("pc_linear.h")
        offset = emitter.padded(bias, outputs)
        rows = prod(x.shape[:-1])
        walks = (emitter.ref(node.output), outputs), (emitter.ref(x), inputs)
        if emitter.reduced.gains(weight, emitter):
            matrix = emitter.reduced.store(weight, emitter)
            with emitter.each(rows, *walks) as (out, given):
                matrix.multiply(out, offset, given, emitter)
            return
        few = outputs < _FEW_ROWS and inputs >= _MANY_COLUMNS
        packed, block = (emitter.ref(weight), 0) if few else emitter.packed_blocks(weight)
        with emitter.each(rows, *walks) as (out, given):
            pointers = (out, packed, offset, given)
            if few:
                emitter.call("pc_dots", 1, pointers, (inputs, outputs))
            else:
                pairs = int(outputs <= _TWO_SUMS_ROWS and inputs >= _MANY_COLUMNS)
                emitter.call("pc_product", 1, pointers, (inputs, outputs, block, pairs))


_FEW_ROWS, _MANY_COLUMNS = 6, 8
_TWO_SUMS_ROWS = 64
"""Matrices up to so many rows have two sums a row, lest each addition wait for the one before."""
describe("aten.linear.default", operator=Linear())
