"""Arithmetic with complex numbers in C: pairs of floats, a real and an imaginary part side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pochette.graph.graph import Node, Value
from pochette.graph.loops import Operand, broadcast_strides, loop, parted, strides_of

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter

Pair = tuple[str, str]
"""C expressions of a real and an imaginary part."""


def emit(node: Node, emitter: Emitter) -> None:
    """Write one operator some of whose operands, or whose result, are complex.

    Args:
        node: works element by element.
        emitter: collects the statements.

    Raises:
        ExportError: the operator has no such C.
    """
    name, out = node.op.split(".")[1], node.output
    if name not in FORMS:
        emitter.refuse(f"{name} of complex numbers")
    if name in ("add", "sub") and node.args[2] != 1:
        emitter.refuse(f"{name} of complex numbers with a factor")
    if out.dtype.is_complex:
        emitter.own(out, out.size)
    emitter.need("pc_functions.h")
    values = [arg for arg in node.args[:2] if isinstance(arg, Value)]
    addresses = {id(value): parted(emitter, value) for value in values}
    made, parts = emitter.ref(out), 2 if out.dtype.is_complex else 1
    operands = [Operand(made, tuple(parts * stride for stride in strides_of(out.shape)))]
    for value in values:
        factor = 2 if value.dtype.is_complex else 1
        strides = tuple(factor * stride for stride in broadcast_strides(value.shape, out.shape))
        operands.append(Operand(addresses[id(value)], strides))

    def statement(place: str, *places: str) -> str:
        there = dict(zip(map(id, values), places, strict=True))
        pairs = [_pair(arg, addresses.get(id(arg), ""), there.get(id(arg), ""), emitter) for arg in node.args[:2]]
        real, imaginary = FORMS[name](*pairs[: FORMS[name].__code__.co_argcount])
        if parts == 1:
            return f"({made})[{place}] = {real};"
        return f"{{ const float re = {real}, im = {imaginary}; ({made})[{place}] = re; ({made})[{place} + 1] = im; }}"

    loop(emitter, out.shape, operands, statement)


def _pair(arg: Any, address: str, place: str, emitter: Emitter) -> Pair:
    if not isinstance(arg, Value):
        number = complex(arg) if isinstance(arg, (int, float, complex)) else 0j
        return emitter.number(number.real), emitter.number(number.imag)
    if not arg.dtype.is_complex:
        return f"({address})[{place}]", "0.0f"
    return f"({address})[{place}]", f"({address})[{place} + 1]"


def _product(a: Pair, b: Pair) -> Pair:
    return f"{a[0]} * {b[0]} - {a[1]} * {b[1]}", f"{a[0]} * {b[1]} + {a[1]} * {b[0]}"


def _quotient(a: Pair, b: Pair) -> Pair:
    size = f"({b[0]} * {b[0]} + {b[1]} * {b[1]})"
    real, imaginary = _product(a, (b[0], f"(-{b[1]})"))
    return f"({real}) / {size}", f"({imaginary}) / {size}"


def _polar(a: Pair, b: Pair) -> Pair:
    return f"{a[0]} * pc_cos({b[0]})", f"{a[0]} * pc_sin({b[0]})"


def _exponential(a: Pair) -> Pair:
    return _polar((f"pc_exp({a[0]})", ""), (a[1], ""))


FORMS: dict[str, Any] = {
    "add": lambda a, b: (f"{a[0]} + {b[0]}", f"{a[1]} + {b[1]}"),
    "sub": lambda a, b: (f"{a[0]} - {b[0]}", f"{a[1]} - {b[1]}"),
    "mul": _product,
    "div": _quotient,
    "polar": _polar,
    "exp": _exponential,
    "neg": lambda a: (f"-{a[0]}", f"-{a[1]}"),
    "_conj": lambda a: (a[0], f"-{a[1]}"),
    "abs": lambda a: (f"pc_sqrt({a[0]} * {a[0]} + {a[1]} * {a[1]})", ""),
    "angle": lambda a: (f"pc_atan2({a[1]}, {a[0]})", ""),
}
"""Operator to the C expressions of its result's parts."""
