"""Whether two networks say the same: calls on copies, with random draws that are all alike."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pochette.graph.copying import copy_of
from pochette.graph.graph import Graph

TOLERANCE = 1e-5
"""Largest difference, relative to the largest output, that rounding may make between trimmed and masked."""


def fed(graph: Graph, inputs: tuple[Any, ...]) -> list[Tensor]:
    """Those of a call's arguments that a graph reads, in its order.

    Args:
        graph: captured.
        inputs: positional arguments of a call.

    Returns:
        one tensor for each input of the graph.
    """
    return [leaf for leaf, value in zip(tree_leaves(inputs), graph.fed, strict=True) if value is not None]


def call_key(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a graph depends on in a call's arguments: shapes of tensors, and the plain values themselves."""
    return tuple(leaf.shape if isinstance(leaf, Tensor) else leaf for leaf in tree_leaves(inputs))


class SteadyDraws(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it lasts, random numbers are all the same, so that networks that draw different ones can be compared."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func._schema.name.removeprefix("aten::").rstrip("_") in _DRAWS and isinstance(made, Tensor):
            # Written into what was made, for operators that draw in place.
            made.fill_(0 if not made.is_floating_point() else 0.5)
        return made


_LIKE = "rand_like randn_like randint_like"
_PLACED = "normal normal_functional uniform bernoulli exponential cauchy log_normal geometric random"
_DRAWS = frozenset(f"rand randn randint {_LIKE} {_PLACED} multinomial poisson".split())


def outputs_of(module: nn.Module, inputs: tuple[Any, ...], *, copied: bool = True) -> tuple[Tensor, ...]:
    """What a call of a module gives, in evaluation mode.

    Args:
        module: left as it was, its state too.
        inputs: positional arguments.
        copied: whether a copy is called; without, the module is to be evaluating and to carry no state on.

    Returns:
        every tensor among the results, in order.
    """
    called = copy_of(module).eval() if copied else module
    found = called(*inputs)
    return tuple(item for item in tree_leaves(found) if isinstance(item, Tensor))


def shapes_of(tensors: tuple[Tensor, ...]) -> list[torch.Size]:
    """Shapes of tensors."""
    return [tensor.shape for tensor in tensors]


def apart(left: tuple[Tensor, ...], right: tuple[Tensor, ...]) -> float:
    """Largest difference of two calls' outputs, in shares of the largest output; infinite if one is no number.

    Args:
        left: outputs of one call.
        right: of the other, of the same shapes.

    Returns:
        the difference; 0 where both are no number.
    """
    worst = 0.0
    for pair in zip(left, right, strict=True):
        a, b = (torch.view_as_real(x) if x.is_complex() else x.double() for x in pair)
        if a.numel() == 0:
            continue
        gap = torch.where((a == b) | (a.isnan() & b.isnan()), 0.0, (a - b).abs()).max().item()
        scale = a[a.isfinite()].abs().max().item() if a.isfinite().any() else 1.0
        worst = max(worst, math.inf if math.isnan(gap) else gap / max(scale, 1e-12))
    return worst
