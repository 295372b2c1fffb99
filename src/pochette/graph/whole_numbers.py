"""Arithmetic with whole numbers in C: 32 bits without a sign that wrap, as the phases and counters of engines do.

PyTorch's are 64 bits long. Sums, products, ands, ors and shifts agree as long as a result is cut to 32 bits before it
is divided, compared or made a float; there a number counts as negative from 2^31 on, unless it comes out of a mask or
a remainder, which is never negative.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from pochette.graph.graph import Graph, Node, Value
from pochette.graph.loops import Operand, broadcast_strides, loop, strides_of, whole
from pochette.graph.operator import description_of

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter

WRAPPING: dict[str, str] = {
    "add": "{0} + {1}", "sub": "{0} - {1}", "rsub": "{1} - {0}", "mul": "{0} * {1}", "neg": "0u - {0}",
    "bitwise_and": "{0} & {1}", "bitwise_or": "{0} | {1}", "bitwise_xor": "{0} ^ {1}", "bitwise_not": "~{0}",
    "__and__": "{0} & {1}", "__or__": "{0} | {1}", "__xor__": "{0} ^ {1}", "__lshift__": "{0} << {1}",
    "bitwise_left_shift": "{0} << {1}",
}  # fmt: skip
"""Operators that agree modulo 2^32, and their C."""
COMPARING: dict[str, str] = {
    "eq": "{0} == {1}", "ne": "{0} != {1}", "lt": "{0} < {1}", "le": "{0} <= {1}", "gt": "{0} > {1}",
    "ge": "{0} >= {1}", "logical_and": "{0} && {1}", "logical_or": "{0} || {1}", "logical_not": "!{0}",
}  # fmt: skip
"""Operators whose result is a flag."""
CHOOSING: dict[str, str] = {
    "minimum": "{0} < {1} ? {0} : {1}", "maximum": "{0} > {1} ? {0} : {1}", "abs": "{0} < 0 ? -{0} : {0}",
    "clamp_min": "{0} > {1} ? {0} : {1}", "clamp_max": "{0} < {1} ? {0} : {1}",
}  # fmt: skip
"""Operators that mind the sign."""
KINDS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def never_negative(graph: Graph, value: Value) -> bool:
    """Whether a whole number surely lies between 0 and 2^32.

    Args:
        graph: that holds the value.
        value: of whole numbers.

    Returns:
        whether.
    """
    if value.kind == "state":
        after = next((new for path, new in graph.mutations.items() if path == value.path), None)
        return after is not None and after.kind == "computed" and never_negative(graph, after)
    node = next((node for node in graph.nodes if value in node.outputs), None)
    if node is None:
        return False
    name, others = node.op.split(".")[1], [arg for arg in node.args[:2] if isinstance(arg, Value)]
    if name in ("bitwise_and", "__and__", "remainder"):
        given = node.args[1]
        return (not isinstance(given, Value) and given > 0) or any(never_negative(graph, x) for x in others)
    if name in ("bitwise_or", "bitwise_xor", "__or__", "__xor__"):
        return all(never_negative(graph, x) if isinstance(x, Value) else x >= 0 for x in node.args[:2])
    if name in ("bitwise_right_shift", "__rshift__") or description_of(node).view:
        return never_negative(graph, node.args[0])
    return name in ("argmax", "argmin", "one_hot", "bucketize", "draw_code")


def emit(node: Node, emitter: Emitter) -> None:
    """Write one operator some of whose operands, or whose result, are whole numbers.

    Args:
        node: works element by element.
        emitter: collects the statements.

    Raises:
        ExportError: the operator has no such C.
    """
    name, out = node.op.split(".")[1], node.output
    values = [arg for arg in node.args if isinstance(arg, Value)]
    if not any(value.dtype in KINDS for value in (*values, out)) or any(v.dtype.is_complex for v in values):
        emitter.refuse(f"{name} of {', '.join(str(value.dtype).removeprefix('torch.') for value in values)}")
    expression = _expression(node, name, emitter)
    made = emitter.ref(out)
    operands = [Operand(made, tuple(strides_of(out.shape)))]
    operands += [Operand(emitter.ref(value), tuple(broadcast_strides(value.shape, out.shape))) for value in values]
    loop(emitter, out.shape, operands, lambda i, *places: f"({made})[{i}] = {expression(places)};")


def _expression(node: Node, name: str, emitter: Emitter) -> Callable[[tuple[str, ...]], str]:
    """Places of the operands that are tensors to the C expression of the result."""
    out, args = node.output, list(node.args)
    if name in ("add", "sub", "rsub") and len(args) > 2 and args[2] != 1:
        emitter.refuse(f"{name} with a factor, of whole numbers")
    floats = out.dtype.is_floating_point
    if name in ("where", "masked_fill"):
        order = (0, 1, 2) if name == "where" else (1, 2, 0)
        text, given = "{0} != 0 ? {1} : {2}", [args[place] for place in order]
    elif name == "clamp":
        bounds = {side: bound for side, bound in zip("><", (*args, None)[1:3], strict=True) if bound is not None}
        given = [args[0], *bounds.values()]
        text = "{0}"
        for place, side in enumerate(bounds, start=1):
            text = f"({text} {side} {{{place}}} ? {text} : {{{place}}})"
    elif name in ("remainder", "fmod", "floor_divide", "div", "__rshift__", "bitwise_right_shift"):
        text, given = _divided(node, name, emitter), args[:2]
    else:
        known = {**WRAPPING, **COMPARING, **CHOOSING} | ({"div": "{0} / {1}"} if floats else {})
        if name not in known:
            emitter.refuse(f"{name} of whole numbers")
        text, given = known[name], args[: 2 if "{1}" in known[name] else 1]
    signed = name in COMPARING or name in CHOOSING or name == "clamp"
    wide = signed and _differ_in_sign(given, emitter.graph)

    def expression(places: tuple[str, ...]) -> str:
        left = dict(zip((id(arg) for arg in node.args if isinstance(arg, Value)), places, strict=False))
        parts = [_operand(arg, left.get(id(arg), ""), emitter, floats=floats, signed=signed) for arg in given]
        if wide:
            parts = [f"(int64_t){part}" for part in parts]
        result = text.format(*parts)
        if name in COMPARING:
            return f"{result} ? 1.0f : 0.0f"
        return f"(uint32_t)({result})" if whole(emitter, out) else result

    return expression


def _differ_in_sign(given: list[Any], graph: Graph) -> bool:
    """Whether one operand uses all 32 bits and another may be below zero, so that neither kind of C holds both."""
    unsigned = [never_negative(graph, arg) if isinstance(arg, Value) else arg >= 0 for arg in given]
    return any(isinstance(arg, Value) and positive for arg, positive in zip(given, unsigned, strict=True)) and not all(
        unsigned
    )


def _divided(node: Node, name: str, emitter: Emitter) -> str:
    """The C of a division; by a fixed number above 0, which is all that phases and clocks need."""
    divisor, unsigned = node.args[1], never_negative(emitter.graph, node.args[0])
    if isinstance(divisor, Value) or not float(divisor).is_integer() or divisor <= 0:
        emitter.refuse("division of whole numbers by what is not a fixed whole number above 0")
    if "shift" in name:
        return "{0} >> {1}" if unsigned else "(int){0} >> {1}"
    if name == "div" and node.output.dtype.is_floating_point:
        return "{0} / {1}"
    if name == "remainder" and divisor == 2**32:
        return "{0}"
    if divisor >= 2**31:
        emitter.refuse(f"{name} of whole numbers by {divisor}")
    rounded = name in ("remainder", "floor_divide") or (name == "div" and node.args[2] == "floor")
    if unsigned:
        return "{0} % {1}" if name in ("remainder", "fmod") else "{0} / {1}"
    if name in ("remainder", "fmod"):
        return f"((int){{0}} % {divisor} + {divisor}) % {divisor}" if rounded else f"(int){{0}} % {divisor}"
    down = f"((int){{0}} < 0 ? -((-(int){{0}} + {divisor - 1}) / {divisor}) : (int){{0}} / {divisor})"
    return down if rounded else f"(int){{0}} / {divisor}"


def _operand(arg: Any, place: str, emitter: Emitter, *, floats: bool, signed: bool) -> str:
    """One operand as a float, an `int` or a `uint32_t`."""
    if not isinstance(arg, Value):
        return emitter.number(arg) if floats else (f"({int(arg)})" if signed else f"{int(arg) % 2**32}u")
    text = f"({emitter.ref(arg)})[{place}]"
    if not whole(emitter, arg):
        if arg.dtype in KINDS and arg.kind in ("parameter", "constant") and abs(emitter.tensor(arg)).max() > 2**24:
            emitter.refuse("stored whole numbers above 2^24")
        return text if floats or arg.dtype == torch.bool else f"({'int' if signed else 'uint32_t)(int'}){text}"
    if floats:
        return as_float(emitter, arg, text)
    return f"(int){text}" if signed and not never_negative(emitter.graph, arg) else text


def as_float(emitter: Emitter, value: Value, text: str) -> str:
    """A whole number as a float.

    Args:
        emitter: knows the graph.
        value: which it is.
        text: C expression of the `uint32_t`.

    Returns:
        C expression.
    """
    return f"(float){text}" if never_negative(emitter.graph, value) else f"(float)(int){text}"
