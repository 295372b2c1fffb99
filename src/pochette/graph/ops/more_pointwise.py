"""More functions element by element: waves, rounding, rectifiers without corners, logic."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pochette.graph.coupling import Coupling
from pochette.graph.graph import Node, Value
from pochette.graph.loops import Operand, broadcast_strides, loop, strides_of
from pochette.graph.operator import Chain, Cost, Part, describe, operators
from pochette.graph.ops.pointwise import Elementwise, Pointwise, literal_as_vector

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter

FARTHEST = 3.0e38
"""What infinity is in C, where an exponential comes after it: a mask."""


class Function(Elementwise):
    """An expression of a few arguments; costs are told by the operator's name.

    Args:
        expression: the operands' C expressions to the result's.
        operands: how many arguments are operands.
    """

    def __init__(self, expression: Callable[..., str], operands: int = 1) -> None:
        super().__init__()
        self.expression, self.operands = expression, operands

    def chain(self, node: Node, emitter: Emitter) -> Chain | None:
        """The expression, with the functions that it needs."""
        emitter.need("pc_functions.h")
        return Pointwise.chain(self, node, emitter)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """Of numbers of another kind."""
        Pointwise.emit(self, node, emitter)


class Gelu(Function):
    """An element times the probability that a normal number is smaller, exactly or by a tangent."""

    def __init__(self) -> None:
        super().__init__(lambda x: f"pc_@gelu({x})")

    def chain(self, node: Node, emitter: Emitter) -> Chain | None:
        """By the name of the form."""
        form = "gelu_tanh" if node.args[1] == "tanh" else "gelu"
        return Function(lambda x: f"pc_@{form}({x})").chain(node, emitter)


class MaskedFill(Function):
    """A number where flags say so."""

    def __init__(self) -> None:
        super().__init__(lambda x, flag, number: f"pc_@choose({flag}, {literal_as_vector(number)}, {x})", 3)

    def chain(self, node: Node, emitter: Emitter) -> Chain | None:
        """Infinity is the farthest number that leaves room for a sum: after a softmax it is the same."""
        x, flag, number = node.args
        if not isinstance(number, Value):
            number = max(-FARTHEST, min(FARTHEST, float(number)))
        filled = Node(node.op, (x, flag, number), node.outputs, node.layer)
        return super().chain(filled, emitter)


class NanToNum(Function):
    """Numbers in the place of what is none, and of infinities."""

    def __init__(self) -> None:
        super().__init__(lambda x, *numbers: f"pc_@numeric({x}, {', '.join(numbers)})", 4)

    def chain(self, node: Node, emitter: Emitter) -> Chain | None:
        """The farthest floats stand for infinities that nothing is said of."""
        x, *given = node.args
        found = (
            number if number is not None else other for number, other in zip(given, (0, _MOST, -_MOST), strict=True)
        )
        filled = (max(-_MOST, min(_MOST, float(number))) for number in found)
        return super().chain(Node(node.op, (x, *filled), node.outputs, node.layer), emitter)


_MOST = 3.4028234663852886e38
"""The largest float."""


class ClampBetween(Function):
    """Held within bounds that are tensors, either of which may be missing; where they cross, the upper one counts."""

    def __init__(self) -> None:
        super().__init__(lambda x: x)

    def chain(self, node: Node, emitter: Emitter) -> Chain | None:
        """Comparisons with the bounds there are."""
        x, *given = node.args
        bounds = {"clamp_min": ("max",), "clamp_max": ("min",)}.get(node.op.split(".")[1], ("max", "min"))
        pairs = [(name, bound) for name, bound in zip(bounds, given, strict=False) if bound is not None]

        def held(x: str, *limits: str) -> str:
            for (name, _), limit in zip(pairs, limits, strict=True):
                x = f"pc_@{name}({x}, {limit})"
            return x

        values = (x, *(bound for _, bound in pairs))
        return Function(held, len(values)).chain(Node(node.op, values, node.outputs, node.layer), emitter)


class Copy(Pointwise):
    """One tensor's elements in another's shape: what a write into a slice puts there."""

    def __init__(self) -> None:
        super().__init__(lambda _, x: x, operands=2)

    def cost(self, node: Node) -> Cost:
        """Nothing is computed."""
        return Cost()

    def chain(self, node: Node, emitter: Emitter) -> Chain | None:
        """None: what is written over would be a link that nothing reads."""
        return None

    def emit(self, node: Node, emitter: Emitter) -> None:
        """The second argument, broadcast; of the first only the shape counts."""
        source, out = node.args[1], node.output
        if not source.dtype.is_floating_point or not out.dtype.is_floating_point:
            emitter.refuse("a copy of numbers that are no floats")
        made, given = emitter.ref(out), emitter.ref(source)
        operands = [
            Operand(made, tuple(strides_of(out.shape))),
            Operand(given, tuple(broadcast_strides(source.shape, out.shape))),
        ]
        loop(emitter, out.shape, operands, lambda i, j: f"({made})[{i}] = ({given})[{j}];")


class Divided(Function):
    """A quotient, rounded in one of two ways or not."""

    def __init__(self) -> None:
        super().__init__(lambda a, b: f"{a} / {b}", 2)

    def chain(self, node: Node, emitter: Emitter) -> Chain | None:
        """The quotient, inside a rounding."""
        name = {"trunc": "pc_@trunc", "floor": "pc_@floor"}.get(node.args[2], "")
        return Function(lambda a, b: f"{name}({a} / {b})", 2).chain(node, emitter)


class Prelu(Function):
    """A rectifier whose slope is learnt, one for all channels or one each along axis 1."""

    def __init__(self) -> None:
        super().__init__(lambda x, slope: f"pc_@choose(pc_@gt({x}, pc_@number(0.0f)), {x}, {x} * {slope})", 2)

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

    def chain(self, node: Node, emitter: Emitter) -> Chain | None:
        """The slope is read along axis 1."""
        x, slope = node.args[:2]
        channel = [1 if axis == 1 and slope.size > 1 else 0 for axis in range(len(x.shape))]
        found = super().chain(node, emitter)
        return found and Chain((x, Part(slope, 0, tuple(channel))), found.expression)


class Logit(Function):
    """The logarithm of odds, of numbers that may first be held away from 0 and 1."""

    def __init__(self) -> None:
        super().__init__(lambda x: f"pc_@log({x}) - pc_@log(1.0f - {x})", 1)

    def chain(self, node: Node, emitter: Emitter) -> Chain | None:
        """Of numbers within the bounds, if there are any."""
        found, least = super().chain(node, emitter), (*node.args, None)[1]
        if found is None or least is None:
            return found
        low, high = emitter.number(least), emitter.number(1.0 - least)
        return Chain(found.operands, lambda x: found.expression(f"pc_@clamp({x}, {low}, {high})"))


def _function(name: str, function: str = "", operands: int = 1, kind: str = "default") -> None:
    called = function or name
    describe(
        f"aten.{name}.{kind}",
        operator=Function(
            lambda *args: f"pc_@{called}({', '.join(map(literal_as_vector, args[:2]))}{_rest(args)})", operands
        ),
    )


def _rest(args: tuple[str, ...]) -> str:
    return "".join(f", {arg}" for arg in args[2:])


for _name in ("sin", "cos", "atan", "erf", "expm1", "log1p", "round", "floor", "ceil", "trunc", "sign", "mish"):
    _function(_name)
for _name in ("asin", "acos", "asinh", "acosh", "atanh"):
    _function(_name)
    describe(f"aten.{_name.replace('a', 'arc', 1)}.default", operator=operators[f"aten.{_name}.default"])
_function("fix", "trunc")
_function("absolute", "abs")
_function("atan2", operands=2)
for _name, _kinds in {"remainder": ("Tensor", "Scalar", "Scalar_Tensor"), "fmod": ("Tensor", "Scalar")}.items():
    for _kind in _kinds:
        _function(_name, operands=2, kind=_kind)
for _kind in ("Tensor_Tensor", "Scalar"):
    _function("pow", "power", operands=2, kind=_kind)
for _name, _expression in {
    "square": lambda x: f"{x} * {x}",
    "negative": lambda x: f"-{x}",
    "log10": lambda x: f"pc_@log({x}) * 0.434294482f",
    "exp2": lambda x: f"pc_@exp({x} * 0.693147181f)",
    "tan": lambda x: f"pc_@sin({x}) / pc_@cos({x})",
    "sinh": lambda x: f"0.5f * (pc_@expm1({x}) - pc_@expm1(-{x}))",
    "cosh": lambda x: f"0.5f * (pc_@exp({x}) + pc_@exp(-{x}))",
    "frac": lambda x: f"{x} - pc_@trunc({x})",
    "erfc": lambda x: f"1.0f - pc_@erf({x})",
    "relu6": lambda x: f"pc_@min(pc_@max({x}, pc_@number(0.0f)), pc_@number(6.0f))",
    "hardsigmoid": lambda x: f"pc_@min(pc_@max({x} / 6.0f + 0.5f, pc_@number(0.0f)), pc_@number(1.0f))",
    "hardswish": lambda x: f"{x} * pc_@min(pc_@max({x} / 6.0f + 0.5f, pc_@number(0.0f)), pc_@number(1.0f))",
    "logical_not": lambda x: f"pc_@eq({x}, pc_@number(0.0f))",
    "bitwise_not": lambda x: f"pc_@eq({x}, pc_@number(0.0f))",
    "log_sigmoid": lambda x: f"pc_@log_sigmoid({x})",
    "selu": lambda x: (
        f"1.0507009873554805f * pc_@choose(pc_@gt({x}, pc_@number(0.0f)), {x}, 1.6732632423543772f * pc_@expm1({x}))"
    ),
    "sinc": lambda x: f"pc_@choose({x}, pc_@sin(3.14159265f * {x}) / (3.14159265f * {x}), pc_@number(1.0f))",
}.items():
    describe(f"aten.{_name}.default", operator=Function(_expression))
describe("aten.gelu.default", operator=Gelu())
describe("aten.prelu.default", operator=Prelu())
describe("aten.softplus.default", operator=Function(lambda x, beta, most: f"pc_@softplus({x}, {beta}, {most})", 3))
describe("aten.elu.default", operator=Function(lambda x, *given: f"pc_@elu({x}, {', '.join(given)})", 4))
describe("aten.celu.default", operator=Function(lambda x, a: f"pc_@elu({x}, {a}, 1.0f, 1.0f / {a})", 2))
describe(
    "aten.threshold.default",
    operator=Function(lambda x, at, other: f"pc_@choose(pc_@gt({x}, pc_@number({at})), {x}, pc_@number({other}))", 3),
)
describe(
    "aten.softshrink.default",
    operator=Function(lambda x, by: f"{x} - pc_@min(pc_@max({x}, pc_@number(-{by})), pc_@number({by}))", 2),
)
describe(
    "aten.hardshrink.default",
    operator=Function(
        lambda x, by: f"pc_@choose(pc_@gt(pc_@max({x}, -{x}), pc_@number({by})), {x}, pc_@number(0.0f))", 2
    ),
)
describe("aten.logit.default", operator=Logit())
describe("aten.rsub.Scalar", "aten.rsub.Tensor", operator=Function(lambda a, b, alpha: f"{b} - {alpha} * {a}", 3))
describe("aten.addcmul.default", operator=Function(lambda x, a, b, value: f"{x} + {value} * {a} * {b}", 4))
describe("aten.addcdiv.default", operator=Function(lambda x, a, b, value: f"{x} + {value} * {a} / {b}", 4))
describe("aten.lerp.Scalar", "aten.lerp.Tensor", operator=Function(lambda a, b, w: f"{a} + {w} * ({b} - {a})", 3))
describe("aten.hypot.default", operator=Function(lambda a, b: f"pc_@sqrt({a} * {a} + {b} * {b})", 2))
describe("aten.copy.default", operator=Copy())
describe("aten.nan_to_num.default", operator=NanToNum())
describe("aten.clamp.Tensor", "aten.clamp_min.Tensor", "aten.clamp_max.Tensor", operator=ClampBetween())
describe("aten.masked_fill.Scalar", "aten.masked_fill.Tensor", operator=MaskedFill())
describe("aten.div.Tensor_mode", "aten.div.Scalar_mode", operator=Divided())
describe("aten.floor_divide.default", operator=Function(lambda a, b: f"pc_@floor({a} / {b})", 2))
describe(
    "aten.where.Scalar",
    operator=Function(lambda c, a, b: f"pc_@choose({c}, {literal_as_vector(a)}, {literal_as_vector(b)})", 3),
)
for _name, _form in {
    "multiply": lambda a, b: f"{a} * {b}",
    "divide": lambda a, b: f"{a} / {b}",
    "true_divide": lambda a, b: f"{a} / {b}",
    "bitwise_and": lambda a, b: f"{a} * {b}",
    "__and__": lambda a, b: f"{a} * {b}",
    "bitwise_or": lambda a, b: f"pc_@max({a}, {literal_as_vector(b)})",
    "__or__": lambda a, b: f"pc_@max({a}, {literal_as_vector(b)})",
    "bitwise_xor": lambda a, b: f"pc_@ne({a}, {literal_as_vector(b)})",
    "__xor__": lambda a, b: f"pc_@ne({a}, {literal_as_vector(b)})",
}.items():
    describe(f"aten.{_name}.Tensor", f"aten.{_name}.Scalar", operator=Function(_form, 2))
describe(
    "aten.subtract.Tensor", "aten.subtract.Scalar", operator=Function(lambda a, b, alpha: f"{a} - {alpha} * {b}", 3)
)
for _name, _combined in {"and": "{a} * {b}", "or": "pc_@max({a}, {b})", "xor": "pc_@ne({a}, {b})"}.items():
    describe(
        f"aten.logical_{_name}.default",
        operator=Function(
            lambda a, b, c=_combined: c.format(a=f"pc_@ne({a}, pc_@number(0.0f))", b=f"pc_@ne({b}, pc_@number(0.0f))"),
            2,
        ),
    )


class Shift(Function):
    """Binary digits moved: whole numbers only."""

    def __init__(self) -> None:
        super().__init__(lambda a, b: "", 2)

    def chain(self, node: Node, emitter: Emitter) -> Chain | None:
        """None."""
        return None


for _side in ("left", "right"):
    _short = f"aten.__{_side[0]}shift__"
    describe(
        f"{_short}.Scalar", f"{_short}.Tensor", f"aten.bitwise_{_side}_shift.Tensor_Scalar",
        f"aten.bitwise_{_side}_shift.Tensor", operator=Shift(),
    )  # fmt: skip
