"""The graph of a captured model: operators, tensors, state. Everything else in pochette reads models through this."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec

Kind = Literal["input", "parameter", "state", "constant", "computed"]


@dataclass(eq=False)
class Value:
    """A tensor of the graph.

    `kind` says where it comes from: "input" of a call, learnt "parameter", "state" that the call reads and writes,
    "constant" buffer, or "computed" by a node.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    kind: Kind
    path: str = ""
    """Name in the module's state dictionary, for parameters, state and constants."""

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        """Memory of the elements; phases and counters count as the 32 bits they are in C, complex numbers as two."""
        return self.size * (1 if self.dtype == torch.bool else 8 if self.dtype.is_complex else 4)

    def __repr__(self) -> str:
        return f"{self.name}{list(self.shape)}"


@dataclass(eq=False)
class Node:
    """One operator applied to values."""

    op: str
    """Full operator name, "aten.linear.default"."""
    args: tuple[Any, ...]
    """Every argument of the operator's schema in order, defaults filled in; values may stand inside lists."""
    outputs: tuple[Value, ...]
    layer: str
    """Path of the module that called it; "" for the outermost."""

    @property
    def elementwise(self) -> bool:
        """Whether PyTorch declares that the operator works element by element, with broadcasting."""
        return is_elementwise(self.op)

    def inputs(self) -> Iterator[Value]:
        """All values among the arguments, in order."""
        for arg in self.args:
            if isinstance(arg, Value):
                yield arg
            elif isinstance(arg, (list, tuple)):
                yield from (item for item in arg if isinstance(item, Value))

    @property
    def output(self) -> Value:
        """The first output."""
        return self.outputs[0]

    def __repr__(self) -> str:
        return f"{', '.join(map(repr, self.outputs))} = {self.op}({', '.join(map(repr, self.args))})"


@cache
def function_of(op: str) -> Any:
    """PyTorch's operator of a full name, "aten.linear.default"."""
    found: Any = torch.ops
    for part in op.split("."):
        found = getattr(found, part)
    return found


@cache
def is_elementwise(op: str) -> bool:
    """Whether PyTorch declares that the operator of a full name works element by element, with broadcasting."""
    return torch.Tag.pointwise in function_of(op).tags


def call_of(op: str, args: tuple[Any, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments in their schema's order, as positional ones and those that must be named.

    Args:
        op: full operator name.
        args: one for each argument of the schema.

    Returns:
        positional arguments and named ones.
    """
    positional, named = _parameters_of(op)
    names = zip(named, args[positional:], strict=True)
    return args[:positional], {name: given for name, given in names if given is not None}


@cache
def _parameters_of(op: str) -> tuple[int, tuple[str, ...]]:
    """How many arguments of an operator are positional, and the names of the others, which come after them."""
    arguments = function_of(op)._schema.arguments
    return sum(not arg.kwarg_only for arg in arguments), tuple(arg.name for arg in arguments if arg.kwarg_only)


@dataclass
class Graph:
    """A captured module: what one call reads, computes, returns and carries on."""

    inputs: list[Value]
    nodes: list[Node]
    """In an order in which they can be executed."""
    outputs: list[Value]
    mutations: dict[str, Value]
    """Path of a state buffer to the value it holds after the call."""
    tensors: dict[str, Tensor] = field(repr=False)
    """Values of parameters, constants and initial state, by path."""
    stored: dict[str, Value] = field(repr=False)
    """The graph's parameters, constants and state, by path; only those in use."""
    returned: tuple[Any, ...] = ()
    """What a call returns, flat: values of `outputs`, and plain numbers or None between them."""
    form: tuple[TreeSpec, TreeSpec] | None = field(default=None, repr=False)
    """How a call's arguments and results are nested."""
    fed: tuple[Value | None, ...] = ()
    """For each flat argument of a call its value, None for those that are no tensors or are not used."""

    def of_kind(self, kind: Kind) -> list[Value]:
        """Stored values of one kind, in the module's order."""
        return [value for value in self.stored.values() if value.kind == kind]
