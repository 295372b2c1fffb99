"""What an operator is: one description with all its readings: its cost, its coupling, its smaller self and its C.

Each file of `pochette.graph.ops` describes one family of operators and registers them by their full names; profiling,
trimming and export learn of it from that alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pochette.errors import ExportError
from pochette.graph.graph import Node, Value
from pochette.recipe import Family

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter
    from pochette.graph.coupling import Coupling


@dataclass(frozen=True)
class Cost:
    """Arithmetic of one call of an operator, counted."""

    macs: int = 0
    """Multiply-accumulates of weights, or filters, with data; of real numbers, see `real_products`."""
    pointwise: int = 0
    """Additions, multiplications and comparisons element by element, biases among them."""
    transcendental: int = 0
    """Evaluations of exp, log, tanh, sine..."""
    fft: int = 0
    """Floating-point operations of Fourier transforms: 5 N log2 N for N complex points, half of it for real ones."""

    def __add__(self, other: Cost) -> Cost:
        """Sum, field by field."""
        return Cost(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Cost)))

    def __mul__(self, factor: float) -> Cost:
        """That many calls."""
        return Cost(*(round(getattr(self, f.name) * factor) for f in fields(Cost)))


def real_products(*complex_or_not: bool) -> int:
    """Multiply-accumulates of real numbers that one of a product of two numbers comes to.

    Args:
        *complex_or_not: of each of the two, whether it is complex.

    Returns:
        4 for two complex numbers, as it is written out (three products and more sums would do as well), 2 for a complex
        and a real one, else 1.
    """
    return 1 << sum(complex_or_not)


class Survivors(Protocol):
    """What is left of every value once units are removed."""

    def shape(self, value: Value) -> tuple[int, ...]:
        """Lengths of a value's axes after the removal."""

    def indices(self, value: Value, axis: int) -> npt.NDArray[np.int64]:
        """Surviving indices of one axis, in order."""


@dataclass(frozen=True)
class Part:
    """A stretch of a value's memory, as an operand of a chain."""

    value: Value
    start: int
    """Floats behind the first, or samples along the last axis if `strides` is None."""
    strides: tuple[int, ...] | None = None
    """For the output's axes; None for the value's own."""


@dataclass(frozen=True)
class Chain:
    """An operator that works element by element, as a link of a chain of such."""

    operands: tuple[Any, ...]
    """Values, parts of values, or C literals."""
    expression: Callable[..., str]
    """The operands' C expressions to that of the result; functions are written `pc_@tanh(...)`, which becomes
    `pc_tanh` for single elements and `pc_vtanh` for vectors."""
    scalar: bool = False
    """Whether one of the functions has no form for vectors."""


Coarse = Callable[[Value, Tensor], Tensor]
"""A stored matrix and vectors that meet it (..., column), to what the engine's product makes of them first: whole
numbers times a scale where the matrix is of whole numbers, else themselves."""


class Operator:
    """How one operator is read.

    One that a subclass does not describe further costs nothing and couples nothing: its axes are left whole, and it
    cannot be exported.
    """

    view = False
    """Whether the output is the first input's memory under another shape."""
    of_complex = False
    """Whether its C is right for complex numbers, or refuses those that it is not right for; else all are refused."""

    def cost(self, node: Node) -> Cost:
        """Arithmetic of one call."""
        return Cost()

    def couple(self, node: Node, coupling: Coupling) -> None:
        """Label the outputs' axes and tie what must be removed together."""
        for value in (*node.inputs(), *node.outputs):
            coupling.freeze(value, f"{node.op} is not known to trimming")

    def refit(self, node: Node, survivors: Survivors) -> tuple[str, tuple[Any, ...]]:
        """The operator and arguments that do the same to what survives; only sizes and places need change.

        Args:
            node: one operator applied to values, which stay as they are among the arguments.
            survivors: lengths and indices after the removal.

        Returns:
            full operator name and arguments.
        """
        return node.op, node.args

    def mend(self, node: Node, survivors: Survivors, before: Mapping[str, Tensor], after: dict[str, Tensor]) -> None:
        """Correct stored tensors that cutting alone leaves wrong, in place; most need nothing.

        Args:
            node: one operator applied to values.
            survivors: lengths and indices after the removal.
            before: stored tensors by path, whole.
            after: the same, cut.
        """

    def chain(self, node: Node, emitter: Emitter) -> Chain | None:
        """How each element of the output follows from the elements of the operands that meet there.

        Args:
            node: one operator applied to values.
            emitter: gives constants their places and numbers their form.

        Returns:
            operands and expression; None if the output does not follow element by element, or only in another way.
        """
        return None

    def check(self, node: Node, given: tuple[Any, ...]) -> None:
        """Refuse tensors that PyTorch's operator would read or write out of bounds with; most check for themselves.

        Args:
            node: one operator applied to values.
            given: its arguments in a call, which may be of other lengths than those captured.

        Raises:
            ShapeError: the arguments do not fit each other.
        """

    def perform(self, node: Node, given: tuple[Any, ...], coarse: Coarse) -> tuple[Tensor, ...]:
        """What the engine makes of a node that reads a matrix of whole numbers, in torch: what its C is held against.

        Args:
            node: one operator applied to values.
            given: the node's arguments, matrices rounded as they are stored.
            coarse: rounds what meets a matrix.

        Returns:
            the outputs.

        Raises:
            ExportError: the operator stores no matrices of whole numbers.
        """
        raise ExportError(
            f"The operator {node.op} multiplies with no matrix of whole numbers.",
            where=node.layer or "the outermost module",
            remedy="Use the precision float32, float16 or bfloat16, and report this.",
        )

    def emit(self, node: Node, emitter: Emitter) -> None:
        """Write the C that computes the outputs.

        Args:
            node: one operator applied to values.
            emitter: collects the statements.

        Raises:
            ExportError: the operator has no C.
        """
        raise ExportError(
            f"The operator {node.op} has no C kernel.",
            where=node.layer or "the outermost module",
            remedy="Use an operator that pochette exports, or describe this one in a file of pochette/graph/ops.",
        )


operators: Family[Operator] = Family("operators", "pochette.graph.ops")
"""Operators by full name."""


def describe(*names: str, operator: Operator) -> Operator:
    """Register one description for several operators.

    Args:
        *names: full names, "aten.linear.default".
        operator: their description.

    Returns:
        the description.
    """
    for name in names:
        operators.add(name, operator)
    return operator


def description_of(node: Node) -> Operator:
    """The description of a node's operator: its own, that of any operator working element by element, or the plain one.

    Args:
        node: of a graph.

    Returns:
        the description.
    """
    operators.load()
    if node.op in operators:
        return operators[node.op]
    return operators[ELEMENTWISE] if node.elementwise else UNKNOWN


ELEMENTWISE = "elementwise"
"""Under this name stands the description of operators that PyTorch itself declares elementwise."""
UNKNOWN = Operator()
