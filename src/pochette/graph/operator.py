"""What an operator is: one description with three readings, its cost, its coupling and its C.

Each file of `pochette.graph.ops` describes one family of operators and registers them by their full names; profiling,
trimming and export learn of it from that alone.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from pochette.errors import ExportError
from pochette.graph.graph import Node
from pochette.recipe import Family

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter
    from pochette.graph.coupling import Coupling


@dataclass(frozen=True)
class Cost:
    """Arithmetic of one call of an operator, counted."""

    macs: int = 0
    """Multiply-accumulates of weights, or filters, with data."""
    pointwise: int = 0
    """Additions, multiplications and comparisons element by element, biases among them."""
    transcendental: int = 0
    """Evaluations of exp, log, tanh, sine..."""

    def __add__(self, other: Cost) -> Cost:
        """Sum, field by field."""
        return Cost(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Cost)))

    def __mul__(self, factor: float) -> Cost:
        """That many calls."""
        return Cost(*(round(getattr(self, f.name) * factor) for f in fields(Cost)))


class Operator:
    """How one operator is read.

    One that a subclass does not describe further costs nothing and couples nothing: its axes are left whole, and it
    cannot be exported.
    """

    view = False
    """Whether the output is the first input's memory under another shape."""

    def cost(self, node: Node) -> Cost:
        """Arithmetic of one call."""
        return Cost()

    def couple(self, node: Node, coupling: Coupling) -> None:
        """Label the outputs' axes and tie what must be removed together."""
        for value in node.inputs():
            coupling.freeze(value, f"{node.op} is not known to trimming")

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
    """The description of a node's operator; the plain `Operator` where there is none."""
    operators.load()
    return operators[node.op] if node.op in operators.names() else Operator()
