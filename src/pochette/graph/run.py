"""Running a graph operator by operator: the reference for what a rewritten one must do, and a way to look inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pochette.graph.graph import Graph, Node, Value, call_of, function_of
from pochette.graph.operator import description_of

Alter = Callable[[Node, Value, Tensor], Tensor]
"""Node, one of its arguments, and its value there, to what the node is given in its place."""
Instead = Callable[[Node, tuple[Any, ...]], Any]
"""Node and what it is given, to its result if that is not what torch makes of it, else None."""


@dataclass(frozen=True)
class Outcome:
    """What one call gave."""

    outputs: tuple[Tensor, ...]
    mutations: dict[str, Tensor]
    """Path of a state buffer to its new value."""
    watched: dict[str, Tensor]
    """Name of a watched value to what it was."""


def run(
    graph: Graph,
    inputs: Sequence[Tensor],
    tensors: Mapping[str, Tensor] | None = None,
    *,
    alter: Alter | None = None,
    instead: Instead | None = None,
    watch: frozenset[str] = frozenset(),
) -> Outcome:
    """Execute a graph.

    Args:
        graph: captured.
        inputs: one for each of the graph's inputs, of the shapes it was captured with; of others only to see whether
            the graph holds for them.
        tensors: parameters, constants and state by path; the captured ones by default.
        alter: changes what single nodes are given.
        instead: performs single nodes in torch's place.
        watch: names of computed values to keep.

    Returns:
        outputs, new state and what was watched.

    Raises:
        ShapeError: tensors of other shapes than the captured ones do not fit each other; where PyTorch finds that
            first, it raises what it likes.
    """
    tensors = graph.tensors if tensors is None else tensors
    known: dict[int, Tensor] = {id(value): given for value, given in zip(graph.inputs, inputs, strict=True)}
    known.update((id(value), tensors[path]) for path, value in graph.stored.items())
    uses = _uses(graph)
    watched: dict[str, Tensor] = {}
    for node in graph.nodes:
        every = tuple([_given(arg, node, known, alter) for arg in node.args])
        result = None if instead is None else instead(node, every)
        if result is None:
            description_of(node).check(node, every)
            args, names = call_of(node.op, every)
            result = function_of(node.op)(*args, **names)
        for value, tensor in zip(node.outputs, result if len(node.outputs) > 1 else _single(result), strict=True):
            known[id(value)] = tensor
            if value.name in watch:
                watched[value.name] = tensor
        for value in node.inputs():
            uses[id(value)] -= 1
            if uses[id(value)] == 0:
                del known[id(value)]  # what nothing else reads need not be held
    mutations = {path: known[id(value)] for path, value in graph.mutations.items()}
    return Outcome(tuple(known[id(value)] for value in graph.outputs), mutations, watched)


def _given(arg: Any, node: Node, known: Mapping[int, Tensor], alter: Alter | None) -> Any:
    """What stands in place of a node's argument: tensors for values, also within a list."""
    if isinstance(arg, Value):
        return known[id(arg)] if alter is None else alter(node, arg, known[id(arg)])
    if isinstance(arg, (list, tuple)):
        return type(arg)([_given(item, node, known, alter) for item in arg])
    return arg


def _single(result: Any) -> tuple[Tensor, ...]:
    return tuple(result) if isinstance(result, (tuple, list)) else (result,)


def _uses(graph: Graph) -> dict[int, int]:
    """How often each value is still to be read; what is returned is never done."""
    uses: dict[int, int] = {}
    for node in graph.nodes:
        for value in node.inputs():
            uses[id(value)] = uses.get(id(value), 0) + 1
    for value in (*graph.outputs, *graph.mutations.values(), *graph.stored.values()):
        uses[id(value)] = uses.get(id(value), 0) + 1
    return uses
