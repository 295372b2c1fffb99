"""The smaller module in the better of two forms, and the proof that it is right.

The graph is rewritten and held against the whole one with every reader of the removed units masked. Then the module
itself gets the smaller weights; where its forward follows them it says the same, and it is what is given back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pochette.errors import PochetteError, ReductionError
from pochette.graph.copying import copy_of
from pochette.graph.graph import Graph
from pochette.graph.rewrite import Remains, cut_graph, cut_tensors, masked, module_of
from pochette.graph.run import run
from pochette.graph.trim import put
from pochette.reduce.recalibration import recalibrated
from pochette.reduce.structure import Structure

TOLERANCE = 1e-5
"""Largest difference, relative to the largest output, that rounding may make between trimmed and masked."""


@dataclass(frozen=True)
class Smaller:
    """What came of a removal."""

    module: nn.Module
    form: Literal["module", "graph"]
    """Whether it is the module itself, or the rewritten graph."""
    lengths: str
    """For which lengths of its inputs it holds."""
    recalibrated: tuple[str, ...]
    """Normalisations that were fitted to data."""


def smaller_module(
    module: nn.Module,
    structure: Structure,
    remains: Remains,
    inputs: tuple[Any, ...],
    *,
    exact: bool,
    data: tuple[Any, ...] | None = None,
) -> Smaller:
    """Make the smaller module, and hold it against the masked graph.

    Args:
        module: the captured one; left as it was.
        structure: of it.
        remains: of its graph.
        inputs: what it was captured with.
        exact: whether it must equal the masked one; false where statistics run over trimmed units.
        data: positional arguments of a call to recalibrate such statistics on; None to leave them.

    Returns:
        the module, and what is to be said of it.

    Raises:
        ReductionError: it differs from the masked one, which is a defect of ours.
    """
    graph = structure.graph
    tensors = cut_tensors(graph, remains)
    trainable = frozenset(name for name, p in module.named_parameters(remove_duplicate=False) if p.requires_grad)
    rewritten = module_of(cut_graph(graph, remains, tensors), module.state_dict(), trainable)
    with torch.no_grad(), SteadyDraws():
        aim = run(graph, _fed(graph, inputs), alter=masked(structure.units, remains)).outputs
        mine = _outputs(rewritten, inputs)
    if _shapes(aim) != _shapes(mine) or (exact and _apart(aim, mine) > TOLERANCE):
        raise ReductionError(
            f"The trimmed network differs from the masked one by {_apart(aim, mine):.1e} of its largest output.",
            where=type(module).__name__,
            remedy="This is a defect of pochette: please report the network.",
        )
    layers: tuple[str, ...] = ()
    if data is not None and not exact:
        there, left = structure.at(module, data, remains)
        with torch.no_grad(), SteadyDraws():
            tensors, layers = recalibrated(there, left, tensors, _fed(there.graph, data))
            rewritten = module_of(cut_graph(graph, remains, tensors), module.state_dict(), trainable)
            mine = _outputs(rewritten, inputs)
    itself = _itself(module, graph, tensors, mine, inputs)
    if itself is not None:
        return Smaller(itself, "module", "any that the original runs at", layers)
    return Smaller(rewritten, "graph", _lengths(module, structure, remains, rewritten, inputs), layers)


def _fed(graph: Graph, inputs: tuple[Any, ...]) -> list[Tensor]:
    """Those of a call's arguments that the graph reads, in its order."""
    return [leaf for leaf, value in zip(tree_leaves(inputs), graph.fed, strict=True) if value is not None]


def _itself(
    module: nn.Module, graph: Graph, tensors: dict[str, Tensor], aim: tuple[Tensor, ...], inputs: Any
) -> nn.Module | None:
    """The module with smaller weights, if its forward then still does the same."""
    smaller = copy_of(module)
    different = changed(graph.tensors, {path: tensors[path] for path in graph.stored})
    state = {path for path, value in graph.stored.items() if value.kind == "state"}
    try:
        put(smaller, different)
        tried = copy_of(smaller)
        with torch.no_grad(), SteadyDraws():
            found = _outputs(tried.eval(), inputs)
            after = dict(tried.named_buffers())
            same = _shapes(found) == _shapes(aim) and _apart(aim, found) <= TOLERANCE
            same = same and all(after[path].shape == tensors[path].shape for path in state)
    except Exception:  # whatever the forward raises when its weights are smaller than it wrote down
        return None
    return smaller if same else None


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


def changed(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those tensors that another shape or other values came out of."""
    return {
        path: tensor
        for path, tensor in after.items()
        if tensor.shape != before[path].shape or not torch.equal(tensor, before[path])
    }


def _outputs(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor, ...]:
    copied = copy_of(module).eval()
    found = copied(*inputs)
    return tuple(item for item in tree_leaves(found) if isinstance(item, Tensor))


def _shapes(tensors: tuple[Tensor, ...]) -> list[torch.Size]:
    return [tensor.shape for tensor in tensors]


def _apart(left: tuple[Tensor, ...], right: tuple[Tensor, ...]) -> float:
    """Largest difference of two calls' outputs, in shares of the largest output; infinite if one is no number."""
    worst = 0.0
    for pair in zip(left, right, strict=True):
        a, b = (torch.view_as_real(x) if x.is_complex() else x.double() for x in pair)
        if a.numel() == 0:
            continue
        gap = torch.where((a == b) | (a.isnan() & b.isnan()), 0.0, (a - b).abs()).max().item()
        scale = a[a.isfinite()].abs().max().item() if a.isfinite().any() else 1.0
        worst = max(worst, math.inf if math.isnan(gap) else gap / max(scale, 1e-12))
    return worst


def _lengths(
    module: nn.Module, structure: Structure, remains: Remains, rewritten: nn.Module, inputs: tuple[Any, ...]
) -> str:
    """Try the rewritten graph with each axis of its inputs doubled, and say where it holds."""
    places = {(axis, size) for item in inputs if isinstance(item, Tensor) for axis, size in enumerate(item.shape)}
    held: list[tuple[int, int]] = []
    failed: list[tuple[int, int]] = []
    for axis, size in sorted(places):
        if size == 1:
            continue
        # Inputs that run along together (a pitch and a loudness curve) grow together.
        longer = tuple(_doubled(item, axis, size) if isinstance(item, Tensor) else item for item in inputs)
        try:
            with torch.no_grad():
                _outputs(module, longer)
        except Exception:
            continue  # the original does not run there either
        (held if _holds(module, structure, remains, rewritten, longer) else failed).append((axis, size))
    if not failed:
        return "any that the original runs at" if held else "those of the example inputs"
    fixed = ", ".join(f"axis {axis} ({size} long)" for axis, size in failed)
    return f"inputs that keep the length of {fixed}" + ("; other axes may change" if held else "")


def _holds(
    module: nn.Module, structure: Structure, remains: Remains, rewritten: nn.Module, inputs: tuple[Any, ...]
) -> bool:
    """Whether the rewritten graph equals the masked original on other inputs."""
    try:
        longer, there = structure.at(module, inputs, remains)
        with torch.no_grad(), SteadyDraws():
            found = _outputs(rewritten, inputs)
            aim = run(longer.graph, _fed(longer.graph, inputs), alter=masked(longer.units, there)).outputs
            # Statistics over trimmed units differ from masked ones; there only the shapes can be compared.
            norms = any(family.norms for family in structure.families)
            return _shapes(aim) == _shapes(found) and (norms or _apart(aim, found) <= TOLERANCE)
    except (PochetteError, RuntimeError, KeyError, ValueError, AssertionError):
        return False


def _doubled(tensor: Tensor, axis: int, size: int) -> Tensor:
    if axis < tensor.dim() and tensor.shape[axis] == size:
        return torch.cat([tensor, tensor], dim=axis)
    return tensor
