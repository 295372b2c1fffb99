"""For which lengths of its inputs a rewritten graph holds: found by trying, without capturing anything again.

Where the captured graph says at another length what its module says there, nothing in it depends on the length that it
was captured at; masked, it is then the measure for the rewritten one there too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from pochette.graph.copying import copy_of
from pochette.graph.graph import Graph, Value
from pochette.graph.lengths import Plain, Shape, text
from pochette.graph.rewrite import Remains, masked
from pochette.graph.run import run
from pochette.reduce.comparing import TOLERANCE, SteadyDraws, apart, fed, outputs_of, shapes_of
from pochette.reduce.structure import Structure

NAMES = ("n", "m", "k", "l", "p", "q")


@dataclass(frozen=True)
class Lengths:
    """What a rewritten graph may be called with."""

    asked: tuple[Any, ...]
    """For each flat argument what `graph.lengths.check_call` wants of it."""
    said: str
    """The same in words."""


def lengths_of(
    module: nn.Module, structure: Structure, remains: Remains, smaller: Graph, inputs: tuple[Any, ...]
) -> Lengths:
    """Try a rewritten graph with each length of its inputs changed.

    A length is free if module and graph agree wherever the module runs, of: twice as long, one more than that, and one
    less than it was. Axes of one place and one length, as those of a pitch and a loudness curve that run along
    together, change together.

    Args:
        module: the captured one.
        structure: of it.
        remains: of its graph.
        smaller: the rewritten graph.
        inputs: what was captured with.

    Returns:
        what it holds for.
    """
    graph = structure.graph
    # Copying takes longer than calling, and only what carries state on is another after a call.
    called = module if graph.mutations else copy_of(module).eval()
    places = {(axis, size) for leaf, _ in _tensors(graph, inputs) for axis, size in enumerate(leaf.shape)}
    free: dict[tuple[int, int], str] = {}
    fixed = False
    for axis, size in sorted(places):
        answer = None
        for length in (2 * size, 2 * size + 1, size - 1)[: 3 if size > 1 else 2]:
            changed = _at_length(inputs, axis, size, length)
            held = _holds(called, structure, remains, smaller, changed)
            answer = answer if held is None else held
            if held is False:
                break
        if answer:
            free[axis, size] = NAMES[len(free)] if len(free) < len(NAMES) else f"n{len(free)}"
        fixed = fixed or answer is False
    asked = tuple(_asked(leaf, value, free) for leaf, value in zip(tree_leaves(inputs), graph.fed, strict=True))
    return Lengths(asked, _said(graph, inputs, free, fixed=fixed))


def _holds(
    module: nn.Module, structure: Structure, remains: Remains, smaller: Graph, inputs: tuple[Any, ...]
) -> bool | None:
    """Whether the rewritten graph equals the masked original on other inputs; None if the original refuses them."""
    graph = structure.graph
    with torch.no_grad(), SteadyDraws():
        try:
            wanted = outputs_of(module, inputs, copied=bool(graph.mutations))
        except Exception:  # whatever a module says of a length that it cannot take
            return None
        try:
            whole = run(graph, fed(graph, inputs)).outputs
            if shapes_of(whole) != shapes_of(wanted) or apart(wanted, whole) > TOLERANCE:
                return False
            aim = run(graph, fed(graph, inputs), alter=masked(structure.units, remains)).outputs
            found = run(smaller, fed(smaller, inputs)).outputs
        except Exception:  # whatever an operator says of arguments that do not fit each other
            return False
    # Statistics over trimmed units differ from masked ones; there only the shapes can be compared.
    norms = any(family.norms for family in structure.families)
    return shapes_of(aim) == shapes_of(found) and (norms or apart(aim, found) <= TOLERANCE)


def _at_length(inputs: tuple[Any, ...], axis: int, size: int, length: int) -> tuple[Any, ...]:
    """Inputs with one axis, where it has a size, of another length; its content is repeated."""

    def changed(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or axis >= leaf.dim() or leaf.shape[axis] != size:
            return leaf
        return torch.cat([leaf, leaf, leaf], dim=axis).narrow(axis, 0, length)

    found: tuple[Any, ...] = tree_map(changed, inputs)
    return found


def _tensors(graph: Graph, inputs: tuple[Any, ...]) -> Iterator[tuple[Tensor, Value]]:
    """The tensors that a graph reads."""
    for leaf, value in zip(tree_leaves(inputs), graph.fed, strict=True):
        if value is not None and isinstance(leaf, Tensor):
            yield leaf, value


def _named(leaf: Tensor, free: Mapping[tuple[int, int], str]) -> Shape:
    return tuple(free.get((axis, size), size) for axis, size in enumerate(leaf.shape))


def _asked(leaf: Any, value: Value | None, free: Mapping[tuple[int, int], str]) -> tuple[Any, ...] | None:
    """What is wanted of one argument, for `check_call`."""
    if isinstance(leaf, Tensor):
        return None if value is None else _named(leaf, free)
    comparable = isinstance(leaf, get_args(Plain)) and not (isinstance(leaf, float) and math.isnan(leaf))
    return ("=", leaf) if comparable else None


def _said(graph: Graph, inputs: tuple[Any, ...], free: Mapping[tuple[int, int], str], *, fixed: bool) -> str:
    """In words what a graph holds for."""
    if free and not fixed:
        return "any that the original runs at"
    shapes = " and ".join(text(_named(leaf, free)) for leaf, _ in _tensors(graph, inputs))
    if not free:
        return f"those of the example inputs, {shapes}"
    return f"inputs of {shapes}, whatever {' and '.join(free.values())} {'is' if len(free) == 1 else 'are'}"
