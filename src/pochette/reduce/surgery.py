"""The smaller module in the better of two forms, and the proof that it is right.

The graph is rewritten and held against the whole one with every reader of the removed units masked. Then the module
itself gets the smaller weights; where its forward follows them it says the same, and it is what is given back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pochette.errors import ReductionError
from pochette.graph.copying import copy_of
from pochette.graph.graph import Graph
from pochette.graph.lengths import guard
from pochette.graph.rewrite import Remains, cut_graph, cut_tensors, masked, module_of
from pochette.graph.run import run
from pochette.graph.trim import put
from pochette.reduce.comparing import TOLERANCE, SteadyDraws, apart, call_key, fed, outputs_of, shapes_of
from pochette.reduce.lengths import lengths_of
from pochette.reduce.recalibration import recalibrated
from pochette.reduce.structure import Structure


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
    smaller = cut_graph(graph, remains, tensors)
    rewritten = module_of(smaller, module.state_dict(), trainable)
    with torch.no_grad(), SteadyDraws():
        aim = run(graph, fed(graph, inputs), alter=masked(structure.units, remains)).outputs
        mine = outputs_of(rewritten, inputs)
    if shapes_of(aim) != shapes_of(mine) or (exact and apart(aim, mine) > TOLERANCE):
        raise ReductionError(
            f"The trimmed network differs from the masked one by {apart(aim, mine):.1e} of its largest output.",
            where=type(module).__name__,
            remedy="This is a defect of pochette: please report the network.",
        )
    layers: tuple[str, ...] = ()
    if data is not None and not exact:
        alike = call_key(data) == call_key(inputs)
        there, left = (structure, remains) if alike else structure.at(module, data, remains)
        with torch.no_grad(), SteadyDraws():
            tensors, layers = recalibrated(there, left, tensors, fed(there.graph, data))
            smaller = cut_graph(graph, remains, tensors)
            rewritten = module_of(smaller, module.state_dict(), trainable)
            mine = outputs_of(rewritten, inputs)
    itself = _itself(module, graph, tensors, mine, inputs)
    if itself is not None:
        return Smaller(itself, "module", "any that the original runs at", layers)
    lengths = lengths_of(module, structure, remains, smaller, inputs)
    guard(rewritten, lengths.asked)
    return Smaller(rewritten, "graph", lengths.said, layers)


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
            found = outputs_of(tried.eval(), inputs)
            after = dict(tried.named_buffers())
            same = shapes_of(found) == shapes_of(aim) and apart(aim, found) <= TOLERANCE
            same = same and all(after[path].shape == tensors[path].shape for path in state)
    except Exception:  # whatever the forward raises when its weights are smaller than it wrote down
        return None
    return smaller if same else None


def changed(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those tensors that another shape or other values came out of."""
    return {
        path: tensor
        for path, tensor in after.items()
        if tensor.shape != before[path].shape or not torch.equal(tensor, before[path])
    }
