"""Arithmetic element by element, with broadcasting."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pochette.graph.coupling import Coupling
from pochette.graph.graph import Node, Value
from pochette.graph.operator import ELEMENTWISE, Cost, Operator, describe

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter


class Pointwise(Operator):
    """One expression, applied to each element.

    Args:
        expression: the operands' C expressions and the emitter's number format to the result's C expression.
        operands: how many arguments are operands.
        transcendental: evaluations of a transcendental function an element.
    """

    def __init__(self, expression: Callable[..., str], operands: int, *, transcendental: int = 0) -> None:
        self.expression, self.operands, self.transcendental = expression, operands, transcendental

    def cost(self, node: Node) -> Cost:
        """One operation an element."""
        size = node.output.size
        return Cost(transcendental=self.transcendental * size) if self.transcendental else Cost(pointwise=size)

    def couple(self, node: Node, coupling: Coupling) -> None:
        """Elements that meet belong together."""
        rank = len(node.output.shape)
        axes: list[Any] = [None] * rank
        for value in node.inputs():
            for back, labels in enumerate(reversed(coupling.axes(value)), start=1):
                axis = rank - back
                if len(labels) != node.output.shape[axis]:
                    continue  # broadcast: every index meets this one, none is tied to it
                if axes[axis] is None:
                    axes[axis] = labels
                else:
                    coupling.tie(axes[axis], labels)
        sized = zip(axes, node.output.shape, strict=True)
        coupling.set(node.output, [coupling.fresh(size) if labels is None else labels for labels, size in sized])

    def emit(self, node: Node, emitter: Emitter) -> None:
        """A loop over the elements, operands broadcast by their strides."""
        emitter.need("pc_math.h")
        if any(value.dtype in (torch.int32, torch.int64) for value in (*node.inputs(), node.output)):
            emitter.refuse("arithmetic with whole numbers")
        operands = [
            _operand(arg, node.output, emitter) if isinstance(arg, Value) else emitter.number(arg)
            for arg in node.args[: self.operands]
        ]
        out = emitter.ref(node.output)
        emitter.line(f"for (int i = 0; i < {node.output.size}; i++) ({out})[i] = {self.expression(*operands)};")


def _operand(value: Value, out: Value, emitter: Emitter) -> str:
    """C expression of the operand at flat output index i."""
    base = emitter.ref(value)
    if value.size == 1:
        return f"({base})[0]"
    if value.shape == out.shape or value.size == out.size:
        return f"({base})[i]"
    # Broadcast along leading or trailing axes covers what step graphs hold: the index is (i / inner) % size.
    padded = (1,) * (len(out.shape) - len(value.shape)) + value.shape
    used = [axis for axis, size in enumerate(padded) if size > 1]
    inner = int(np.prod(out.shape[used[-1] + 1 :], dtype=int))
    if padded[used[0] : used[-1] + 1] != out.shape[used[0] : used[-1] + 1]:
        emitter.refuse(f"broadcasting {value.shape} to {out.shape}")
    return f"({base})[i / {inner} % {value.size}]" if inner > 1 else f"({base})[i % {value.size}]"


def _scaled(operator: str) -> Callable[..., str]:
    """Addition or subtraction with PyTorch's `alpha`."""
    return lambda a, b, alpha="1.0f": f"{a} {operator} {b}" if alpha == "1.0f" else f"{a} {operator} {alpha} * {b}"


class Power(Pointwise):
    """A fixed power: products for small whole exponents, which negative numbers have too, else by the logarithm."""

    def __init__(self) -> None:
        super().__init__(lambda a, e: f"pc_exp({e} * pc_log({a}))", operands=2, transcendental=2)

    def cost(self, node: Node) -> Cost:
        """Products, or a logarithm, a product and an exponential, an element."""
        exponent, size = node.args[1], node.output.size
        if exponent in _PRODUCTS:
            return Cost(pointwise=(int(exponent) - 1) * size)
        return Cost(pointwise=size, transcendental=2 * size)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """A loop over the elements.

        Args:
            node: one operator applied to values.
            emitter: collects the statements.

        Raises:
            ExportError: another whole exponent, which the logarithm would answer wrongly for negative numbers.
        """
        exponent = node.args[1]
        if exponent in _PRODUCTS:
            product = Pointwise(lambda a, e: " * ".join([a] * int(exponent)), operands=2)
            product.emit(node, emitter)
        elif float(exponent).is_integer():
            emitter.refuse(f"the power {exponent}")
        else:
            super().emit(node, emitter)


_PRODUCTS = (2, 3, 4)


def _binary(name: str, symbol: str) -> None:
    describe(
        f"aten.{name}.Tensor", f"aten.{name}.Scalar", operator=Pointwise(lambda a, b: f"{a} {symbol} {b}", operands=2)
    )


describe("aten.add.Tensor", "aten.add.Scalar", operator=Pointwise(_scaled("+"), operands=3))
describe("aten.sub.Tensor", "aten.sub.Scalar", operator=Pointwise(_scaled("-"), operands=3))
for _name, _symbol in {"mul": "*", "div": "/", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}.items():
    _binary(_name, _symbol)
describe("aten.neg.default", operator=Pointwise(lambda a: f"-{a}", operands=1))
describe("aten.relu.default", operator=Pointwise(lambda a: f"pc_max({a}, 0.0f)", operands=1))
describe("aten.leaky_relu.default", operator=Pointwise(lambda a, slope: f"pc_leaky({a}, {slope})", operands=2))
describe(
    "aten.where.self",
    "aten.where.ScalarOther",
    "aten.where.ScalarSelf",
    operator=Pointwise(lambda c, a, b: f"{c} != 0.0f ? {a} : {b}", operands=3),
)
for _name, _function in {"exp": "pc_exp", "log": "pc_log", "log2": "pc_log2", "tanh": "pc_tanh"}.items():
    describe(
        f"aten.{_name}.default", operator=Pointwise(lambda a, f=_function: f"{f}({a})", operands=1, transcendental=1)
    )
describe("aten.sigmoid.default", operator=Pointwise(lambda a: f"pc_sigmoid({a})", operands=1, transcendental=1))
describe("aten.pow.Tensor_Scalar", operator=Power())


class Elementwise(Pointwise):
    """What PyTorch declares to work element by element and nobody describes further: it has no C."""

    def __init__(self) -> None:
        super().__init__(lambda: "", operands=0)

    def cost(self, node: Node) -> Cost:
        """One operation an element of the output, a transcendental one by the operator's name."""
        name = node.op.split(".")[1].rstrip("_")
        return Cost(transcendental=node.output.size) if name in TRANSCENDENTAL else Cost(pointwise=node.output.size)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """Refused."""
        Operator.emit(self, node, emitter)


TRANSCENDENTAL = frozenset(
    [
        "sin",
        "cos",
        "tan",
        "asin",
        "acos",
        "atan",
        "atan2",
        "sinh",
        "cosh",
        "asinh",
        "acosh",
        "atanh",
        "exp",
        "exp2",
        "expm1",
        "log",
        "log2",
        "log10",
        "log1p",
        "logaddexp",
        "logit",
        "sqrt",
        "rsqrt",
        "pow",
        "tanh",
        "sigmoid",
        "log_sigmoid_forward",
        "erf",
        "erfc",
        "erfinv",
        "gelu",
        "silu",
        "mish",
        "softplus",
        "elu",
        "selu",
        "celu",
        "lgamma",
        "digamma",
        "sinc",
        "xlogy",
        "hardswish_backward",
        "i0",
        "special_i1",
        "special_erfcx",
    ]
)
"""Elementwise operators that count as one evaluation of a transcendental function an element."""


class Prelu(Elementwise):
    """A rectifier whose slope is learnt, one for all channels or one each along axis 1."""

    def cost(self, node: Node) -> Cost:
        """One operation an element."""
        return Cost(pointwise=node.output.size)

    def couple(self, node: Node, coupling: Coupling) -> None:
        """Slopes go with their channels."""
        x, slope = node.args[:2]
        axes = coupling.axes(x)
        if slope.size > 1:
            coupling.tie(axes[1], coupling.axes(slope)[0])
        coupling.set(node.output, axes)


describe(ELEMENTWISE, operator=Elementwise())
# What PyTorch forgot to declare, or names twice.
describe("aten.hardswish.default", "aten.masked_fill.Tensor", "aten.where.Scalar", operator=Elementwise())
describe("aten.absolute.default", "aten.negative.default", operator=Elementwise())
for _name in ("multiply", "subtract", "divide", "true_divide"):
    describe(f"aten.{_name}.Tensor", f"aten.{_name}.Scalar", operator=Elementwise())
describe("aten.prelu.default", operator=Prelu())
