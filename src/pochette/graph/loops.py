"""Nested C loops over tensors that lie row by row: every re-arrangement of elements is one of them with other strides.

An operand of a loop is an address, the stride of each axis and a first index; axes that all operands step through as
one are merged, so that what stands side by side in memory is copied as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from string import ascii_lowercase
from typing import TYPE_CHECKING

import numpy as np
import torch

from pochette.graph.graph import Value

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter


@dataclass(frozen=True)
class Operand:
    """What a loop reads or writes: an address, and how far apart the elements are along each axis of the loop."""

    base: str
    strides: tuple[int, ...]
    start: int = 0


def strides_of(shape: Sequence[int]) -> list[int]:
    """How far apart neighbours along each axis are.

    Args:
        shape: of a tensor that lies row by row.

    Returns:
        strides, in elements.
    """
    return [prod(shape[axis + 1 :]) for axis in range(len(shape))]


def broadcast_strides(shape: Sequence[int], to: Sequence[int]) -> list[int]:
    """Strides of a tensor seen under a longer shape: 0 along axes that it has not, or has once.

    Args:
        shape: of a tensor that lies row by row.
        to: the shape that it is broadcast to.

    Returns:
        strides, one for each axis of `to`.
    """
    own = [stride if size > 1 else 0 for stride, size in zip(strides_of(shape), shape, strict=True)]
    return [0] * (len(to) - len(shape)) + own


def loop(emitter: Emitter, lengths: Sequence[int], operands: Sequence[Operand], statement: Callable[..., str]) -> None:
    """Write a statement for every index of some axes.

    Args:
        emitter: collects the statements.
        lengths: of the axes.
        operands: what the statement is about; the first decides over the order of the loops, which nobody may mind.
        statement: C expressions of the operands' indices to the statement.
    """
    if 0 not in lengths:
        emitter.line(_text(lengths, operands, statement))


def _text(lengths: Sequence[int], operands: Sequence[Operand], statement: Callable[..., str]) -> str:
    axes = _merged(lengths, operands)
    names = ascii_lowercase[: len(axes)]
    head = "".join(f"for (int {name} = 0; {name} < {axes[i][0]}; {name}++) " for i, name in enumerate(names))
    indices = [
        _index(operand.start, [(name, axis[1][number]) for name, axis in zip(names, axes, strict=True)])
        for number, operand in enumerate(operands)
    ]
    return head + statement(*indices)


def _merged(lengths: Sequence[int], operands: Sequence[Operand]) -> list[tuple[int, tuple[int, ...]]]:
    """Length and strides of the axes that are left, outermost first."""
    axes = [
        (length, tuple(operand.strides[axis] for operand in operands))
        for axis, length in enumerate(lengths)
        if length > 1
    ]
    axes.sort(key=lambda axis: -abs(axis[1][0]))
    merged: list[tuple[int, tuple[int, ...]]] = []
    for length, strides in axes:
        if merged and all(outer == inner * length for outer, inner in zip(merged[-1][1], strides, strict=True)):
            merged[-1] = (merged[-1][0] * length, strides)
        else:
            merged.append((length, strides))
    return merged


def _index(start: int, terms: list[tuple[str, int]]) -> str:
    text = str(start) if start else ""
    for name, stride in terms:
        if stride:
            factor = name if abs(stride) == 1 else f"{name} * {abs(stride)}"
            sign = "-" if stride < 0 else "+"
            text = f"{text} {sign} {factor}" if text else (factor if stride > 0 else f"-{factor}")
    return text or "0"


def whole(emitter: Emitter, value: Value) -> bool:
    """Whether a tensor's memory holds unsigned integers; whole numbers that come from outside are kept in floats.

    Args:
        emitter: knows the memory.
        value: of the graph.

    Returns:
        whether.
    """
    if value.dtype not in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
        return False
    base = emitter.ref(value).split(" + ")[0]
    return base in emitter.integers or base.startswith("s->")


def move(
    emitter: Emitter,
    target: Value,
    source: Value,
    lengths: Sequence[int],
    to: Sequence[int],
    out_of: Sequence[int],
    *,
    to_start: int = 0,
    start: int = 0,
) -> None:
    """Copy elements of a tensor to places of another of the same type.

    Args:
        emitter: collects the statements.
        target: written.
        source: read.
        lengths: of the loops.
        to: the target's stride for each loop.
        out_of: the source's.
        to_start: the target's first index.
        start: the source's.
    """
    parts = 2 if target.dtype.is_complex else 1
    if parts == 2:
        emitter.own(target, target.size)
        lengths, to, out_of = [*lengths, 2], [*(2 * step for step in to), 1], [*(2 * step for step in out_of), 1]
    write = Operand(emitter.ref(target), tuple(to), parts * to_start)
    read = Operand(parted(emitter, source), tuple(out_of), parts * start)
    cast = "(uint32_t)(int)" if whole(emitter, target) and not whole(emitter, source) else ""
    lay(emitter, lengths, write, read, cast, floats=not target.dtype.is_complex and _floats(target, source))


def _floats(*values: Value) -> bool:
    return all(value.dtype.is_floating_point for value in values)


def parted(emitter: Emitter, value: Value) -> str:
    """Where a tensor lies; complex numbers are pairs of floats, stored ones too.

    Args:
        emitter: knows the memory.
        value: of the graph.

    Returns:
        an address.
    """
    if value.dtype.is_complex and value.kind in ("parameter", "constant"):
        return emitter.constant(np.ascontiguousarray(emitter.tensor(value), np.complex64).view(np.float32))
    return emitter.ref(value)


def lay(
    emitter: Emitter, lengths: Sequence[int], write: Operand, read: Operand, cast: str = "", *, floats: bool = False
) -> None:
    """Copy elements from an address to another.

    Args:
        emitter: collects the statements.
        lengths: of the loops.
        write: target.
        read: source.
        cast: put in front of what is read.
        floats: whether both are known to be floats, so that copies that are alike may become one function.
    """
    loop(emitter, lengths, (write, read), lambda out, x: f"({write.base})[{out}] = {cast}({read.base})[{x}];")
    if floats and 0 not in lengths:
        plain = [Operand(f"p{number}", operand.strides) for number, operand in enumerate((write, read))]
        text = _text(lengths, plain, lambda out, x: f"p0[{out}] = p1[{x}];")
        addresses = [f"{each.base} + {each.start}" if each.start else each.base for each in (write, read)]
        emitter.repeats(("float *", "const float *"), text, addresses)


def fill(emitter: Emitter, value: Value, number: float) -> None:
    """Set all elements.

    Args:
        emitter: collects the statements.
        value: written.
        number: what they become.
    """
    if value.dtype.is_complex:
        if number:
            emitter.refuse("complex numbers that are all the same but not zero")
        emitter.own(value, value.size)
    literal = f"{int(number) % 2**32}u" if whole(emitter, value) else emitter.number(number)
    base, parts = emitter.ref(value), 2 if value.dtype.is_complex else 1
    loop(emitter, [value.size * parts], [Operand(base, (1,))], lambda i: f"({base})[{i}] = {literal};")


def contiguous(emitter: Emitter, value: Value, order: Sequence[int]) -> str:
    """Where a tensor's elements lie with its axes in another order: its own memory if that is so, else a copy.

    Args:
        emitter: collects the statements.
        value: of floats.
        order: for each axis wanted, that of the tensor.

    Returns:
        an address.
    """
    long = [axis for axis in order if value.shape[axis] > 1]
    if long == sorted(long):
        return emitter.ref(value)
    lengths = [value.shape[axis] for axis in order]
    own = strides_of(value.shape)
    base = emitter.scratch(value.size)
    read = Operand(emitter.ref(value), tuple(own[axis] for axis in order))
    lay(emitter, lengths, Operand(base, tuple(strides_of(lengths))), read)
    return base
