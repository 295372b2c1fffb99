"""A guard in a module made of a graph: it refuses inputs of other lengths than those the graph holds for.

A graph is captured at one set of shapes, and what its forward computed from them stands in it as numbers. Called at
other lengths it may say something wrong without any sign of it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from pochette.errors import ShapeError

Shape = tuple[int | str, ...]
"""Length of each axis: a number that it must have, or a name; axes of one name have one length."""
Plain = int | float | bool | str | None
"""An argument that is no tensor; the graph holds for its value."""


def text(shape: Shape | torch.Size) -> str:
    """A shape as people write it: (2, 1, n)."""
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def check_call(arguments: tuple[Any, ...], asked: tuple[Any, ...]) -> None:
    """Refuse a call that a graph does not hold for.

    Args:
        arguments: of the call, nested or not.
        asked: for each flat argument its `Shape`, or a tuple of nothing but "=" and its `Plain` value, or None if the
            graph does not read it.

    Raises:
        ShapeError: a tensor has another length, or a plain argument another value.
    """
    lengths: dict[str, int] = {}
    for number, (leaf, wanted) in enumerate(zip(tree_leaves(arguments), asked, strict=False)):
        if wanted is None:
            continue
        if wanted[:1] == ("=",):
            if not isinstance(leaf, Tensor) and leaf != wanted[1]:
                raise _refusal(f"Argument {number} is {leaf!r}, and this trimmed network holds for {wanted[1]!r}.")
            continue
        if not isinstance(leaf, Tensor):
            continue  # the operators that read it say it better
        fits = len(leaf.shape) == len(wanted) and all(
            size == (lengths.setdefault(name, size) if isinstance(name, str) else name)
            for size, name in zip(leaf.shape, wanted, strict=True)
        )
        if not fits:
            named = "".join(f", {name} being {size}" for name, size in lengths.items() if name in wanted)
            raise _refusal(
                f"Argument {number} is {text(leaf.shape)} long, and this trimmed network holds for "
                f"{text(wanted)}{named}."
            )


def _refusal(what: str) -> ShapeError:
    return ShapeError(what, remedy="Call it so, or trim the original again with example inputs like these.")


def guard(module: torch.fx.GraphModule, asked: tuple[Any, ...]) -> None:
    """Let a module check its arguments before anything is computed.

    Args:
        module: made of a graph; changed in place.
        asked: see `check_call`.
    """
    declared = [node for node in module.graph.nodes if node.op == "placeholder"]
    if declared:
        with module.graph.inserting_after(declared[-1]):
            module.graph.call_function(check_call, (tuple(declared), asked))
        module.recompile()


torch.fx.node.has_side_effect(check_call)
