"""Arithmetic element by element, with broadcasting."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from pochette.graph import complex_numbers, whole_numbers
from pochette.graph.coupling import Coupling
from pochette.graph.graph import Node, Value
from pochette.graph.operator import ELEMENTWISE, Chain, Cost, Operator, describe

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter


class Pointwise(Operator):
    """One expression, applied to each element.

    Args:
        expression: the operands' C expressions and the emitter's number format to the result's C expression.
        operands: how many arguments are operands.
        transcendental: evaluations of a transcendental function an element.
        scalar: whether a function is among them that has no form for vectors.
    """

    of_complex = True

    def __init__(
        self, expression: Callable[..., str], operands: int, *, transcendental: int = 0, scalar: bool = False
    ) -> None:
        self.expression, self.operands, self.transcendental = expression, operands, transcendental
        self.scalar = scalar

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
                    coupling.meets_all(labels)  # broadcast: every index meets this one, none is tied to it
                    continue
                if axes[axis] is None:
                    axes[axis] = labels
                else:
                    coupling.tie(axes[axis], labels)
        sized = zip(axes, node.output.shape, strict=True)
        coupling.set(node.output, [coupling.fresh(size) if labels is None else labels for labels, size in sized])

    def chain(self, node: Node, emitter: Emitter) -> Chain | None:
        """The expression, of arguments as they stand; numbers that are not kept in floats have none."""
        if any(not _in_floats(value) for value in (*node.inputs(), node.output)):
            return None
        operands = [arg if isinstance(arg, Value) else emitter.number(arg) for arg in node.args[: self.operands]]
        return Chain(tuple(operands), self.expression, self.scalar)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """What is no link of a chain: loops over whole or complex numbers."""
        values = (*node.inputs(), node.output)
        if any(value.dtype.is_complex for value in values):
            complex_numbers.emit(node, emitter)
        else:
            whole_numbers.emit(node, emitter)


def _in_floats(value: Value) -> bool:
    """Whether a tensor's memory holds floats: whole numbers too, where they are stored or come from outside."""
    given = value.kind in ("parameter", "constant", "input")
    return value.dtype.is_floating_point or value.dtype == torch.bool or (given and not value.dtype.is_complex)


def literal_as_vector(operand: str) -> str:
    """A literal as a vector where one is needed."""
    return operand if operand.isidentifier() else f"pc_@number({operand})"


def _scaled(operator: str) -> Callable[..., str]:
    """Addition or subtraction with PyTorch's `alpha`."""
    return lambda a, b, alpha="1.0f": f"{a} {operator} {b}" if alpha == "1.0f" else f"{a} {operator} {alpha} * {b}"


class Power(Pointwise):
    """A fixed power: products for whole exponents, which negative numbers have too, else by the logarithm."""

    def __init__(self) -> None:
        super().__init__(lambda a, e: f"pc_@exp({e} * pc_@log({a}))", operands=2, transcendental=2)

    def cost(self, node: Node) -> Cost:
        """Products, or a logarithm, a product and an exponential, an element."""
        exponent, size = node.args[1], node.output.size
        if _is_product(exponent):
            products = abs(int(exponent))
            squared = products.bit_length() + products.bit_count() - 2
            return Cost(pointwise=(squared + (exponent < 0)) * size)
        return Cost(pointwise=size, transcendental=2 * size)

    def chain(self, node: Node, emitter: Emitter) -> Chain | None:
        """Products, or the logarithm, which minds the sign where the exponent is whole."""
        exponent = node.args[1]
        if _is_product(exponent):
            product = _product(abs(int(exponent)))
            over = (lambda a, e: f"1.0f / ({product(a)})") if exponent < 0 else lambda a, e: product(a)
            return Pointwise(over, operands=2).chain(node, emitter)
        if float(exponent).is_integer():
            emitter.need("pc_functions.h")
            signed = Pointwise(lambda a, e: f"pc_@power({a}, {literal_as_vector(e)})", operands=2)
            return signed.chain(node, emitter)
        return super().chain(node, emitter)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """Refused: powers of whole or complex numbers."""
        emitter.refuse(f"the power {node.args[1]} of {node.args[0].dtype}")


_MOST = 16
"""Powers up to so high are written out as products; the error of each is half a digit."""


def _is_product(exponent: float) -> bool:
    """Whether a power is written out as products."""
    return float(exponent).is_integer() and 1 <= abs(exponent) <= _MOST


def _product(times: int) -> Callable[[str], str]:
    """C of so many factors, by squares of squares; compilers take what stands there twice for one."""
    if times == 1:
        return lambda a: a
    half, odd = _product(times // 2), times % 2
    return lambda a: f"({half(a)}) * ({half(a)})" + (f" * {a}" if odd else "")


def _binary(name: str, symbol: str) -> None:
    describe(
        f"aten.{name}.Tensor", f"aten.{name}.Scalar", operator=Pointwise(lambda a, b: f"{a} {symbol} {b}", operands=2)
    )


describe("aten.add.Tensor", "aten.add.Scalar", operator=Pointwise(_scaled("+"), operands=3))
describe("aten.sub.Tensor", "aten.sub.Scalar", operator=Pointwise(_scaled("-"), operands=3))
for _name, _symbol in {"mul": "*", "div": "/"}.items():
    _binary(_name, _symbol)
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    describe(
        f"aten.{_name}.Tensor",
        f"aten.{_name}.Scalar",
        operator=Pointwise(
            lambda a, b, f=_name: f"pc_@{f}({literal_as_vector(a)}, {literal_as_vector(b)})", operands=2
        ),
    )
for _name in ("maximum", "minimum"):
    describe(
        f"aten.{_name}.default",
        operator=Pointwise(lambda a, b, f=_name[:3]: f"pc_@{f}({a}, {b})", operands=2),
    )
describe("aten.neg.default", operator=Pointwise(lambda a: f"-{a}", operands=1))
describe("aten.relu.default", operator=Pointwise(lambda a: f"pc_@max({a}, {literal_as_vector('0.0f')})", operands=1))
describe("aten.leaky_relu.default", operator=Pointwise(lambda a, slope: f"pc_@leaky({a}, {slope})", operands=2))
describe(
    "aten.where.self",
    "aten.where.ScalarOther",
    "aten.where.ScalarSelf",
    operator=Pointwise(lambda c, a, b: f"pc_@choose({c}, {literal_as_vector(a)}, {literal_as_vector(b)})", operands=3),
)
for _name in ("exp", "log", "log2", "tanh", "sigmoid", "sqrt", "rsqrt"):
    describe(
        f"aten.{_name}.default", operator=Pointwise(lambda a, f=_name: f"pc_@{f}({a})", operands=1, transcendental=1)
    )
describe("aten.abs.default", operator=Pointwise(lambda a: f"pc_@max({a}, -{a})", operands=1))
describe("aten.silu.default", operator=Pointwise(lambda a: f"{a} * pc_@sigmoid({a})", operands=1, transcendental=1))
describe("aten.reciprocal.default", operator=Pointwise(lambda a: f"1.0f / {a}", operands=1))
describe(
    "aten.hardtanh.default",
    operator=Pointwise(lambda a, low, high: f"pc_@clamp({a}, {low}, {high})", operands=3),
)


class Clamp(Pointwise):
    """Held within fixed bounds, either of which may be missing."""

    def __init__(self) -> None:
        super().__init__(lambda a: a, operands=1)

    def bounds(self, node: Node) -> tuple[Any, Any]:
        """The lower and the upper one, None where there is none."""
        return (*node.args, None)[1:3]

    def chain(self, node: Node, emitter: Emitter) -> Chain | None:
        """Comparisons with the bounds there are; none for bounds that are computed."""
        low, high = self.bounds(node)
        if any(isinstance(bound, Value) for bound in (low, high)):
            return None
        below = (lambda a: a) if low is None else lambda a: f"pc_@max({a}, {literal_as_vector(emitter.number(low))})"
        above = (lambda a: a) if high is None else lambda a: f"pc_@min({a}, {literal_as_vector(emitter.number(high))})"
        return Pointwise(lambda a: above(below(a)), operands=1).chain(node, emitter)


class ClampMost(Clamp):
    """Held below a fixed bound."""

    def bounds(self, node: Node) -> tuple[Any, Any]:
        """None, and the one there is."""
        return None, node.args[1]


describe("aten.clamp.default", "aten.clamp_min.default", operator=Clamp())
describe("aten.clamp_max.default", operator=ClampMost())
describe("aten.pow.Tensor_Scalar", operator=Power())


class Elementwise(Pointwise):
    """What PyTorch declares to work element by element and nobody describes further: it has no C."""

    def __init__(self) -> None:
        super().__init__(lambda: "", operands=0)

    def cost(self, node: Node) -> Cost:
        """One operation an element of the output, a transcendental one by the operator's name."""
        name = node.op.split(".")[1].rstrip("_")
        return Cost(transcendental=node.output.size) if name in TRANSCENDENTAL else Cost(pointwise=node.output.size)

    def chain(self, node: Node, emitter: Emitter) -> Chain | None:
        """None."""
        return None

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


describe(ELEMENTWISE, operator=Elementwise())
