"""One check for every operator: capture, find units, remove some, compare with the whole graph that is masked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pochette.graph.capture import capture
from pochette.graph.graph import Graph
from pochette.graph.operator import Cost, description_of
from pochette.graph.rewrite import Remains, cut_graph, cut_tensors, masked
from pochette.graph.run import run
from pochette.graph.units import UnitFamily, Units, units_of


class Network(nn.Module):
    """An expression of its input and of the parts it is given; tensors among them become parameters."""

    def __init__(self, expression: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.expression = expression
        for name, part in parts.items():
            setattr(self, name, nn.Parameter(part) if isinstance(part, Tensor) else part)

    def forward(self, *inputs: Tensor) -> Any:
        return self.expression(self, *inputs)


def captured(module: nn.Module, *inputs: Tensor) -> Graph:
    """The graph of a module in double precision, with parameters and buffers that are all different."""
    generator = torch.Generator().manual_seed(0)
    module = module.double()
    with torch.no_grad():
        for value in module.parameters():
            value.copy_(torch.randn(value.shape, generator=generator, dtype=torch.float64) * 0.5 + 0.1)
        for value in module.buffers():
            if value.is_floating_point():
                value.copy_(torch.rand(value.shape, generator=generator, dtype=torch.float64) + 0.5)
    return capture(module, tuple(_double(value) for value in inputs))


def _double(value: Tensor) -> Tensor:
    return value.double() if value.is_floating_point() else value


def sizes(units: Units) -> dict[str, int]:
    """Family to how many units it has."""
    return {family.name: family.units for family in units.families}


def removal(units: Units, chosen: dict[str, list[int]]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which units go."""
    flags = np.zeros(units.unit.max() + 1, np.bool_)
    for family in units.families:
        flags[family.numbers[chosen.get(family.name, [])]] = True
    return flags


def some(family: UnitFamily, seed: int) -> list[int]:
    """Between one unit of a family and all but one."""
    generator = np.random.default_rng(seed)
    return generator.permutation(family.units)[: generator.integers(1, family.units)].tolist()


@torch.no_grad()
def check(
    module: nn.Module, *inputs: Tensor, expected: dict[str, int] | None = None, exact: bool = True,
    norms: bool | None = None,
) -> Graph:  # fmt: skip
    """Remove random units of every family, alone and together; the smaller graph must say what the masked one says.

    Args:
        module: any.
        *inputs: of one call.
        expected: family to its number of units, where the caller does not ask for that itself.
        exact: whether the two are equal; if not, families must say that they are normalised.
        norms: whether families are said to be normalised, if that is not what `exact` says.

    Returns:
        the graph.
    """
    graph = captured(module, *inputs)
    units = units_of(graph)
    assert expected is None or sizes(units) == expected, (sizes(units), units.kept)
    norms = not exact if norms is None else norms
    assert all(bool(family.norms) == norms for family in units.families)
    given = [_double(value) for value in inputs]
    whole = run(graph, given)
    choices = [{family.name: some(family, seed)} for seed, family in enumerate(units.families)]
    choices += [{family.name: some(family, seed) for family in units.families} for seed in range(7, 10)]
    heard = False
    for chosen in choices if units.families else []:
        remains = Remains(units, removal(units, chosen))
        smaller = cut_graph(graph, remains, cut_tensors(graph, remains))
        for path, value in smaller.stored.items():
            assert tuple(smaller.tensors[path].shape) == value.shape
        said = run(smaller, given)
        quiet = run(graph, given, alter=masked(units, remains))
        for mine, theirs, before in zip(said.outputs, quiet.outputs, whole.outputs, strict=True):
            assert mine.shape == theirs.shape and torch.isfinite(theirs).all()
            if exact:
                assert (mine - theirs).abs().max() <= 1e-10 * max(1.0, theirs.abs().max().item())
            heard |= not torch.allclose(theirs, before)
        for path, value in graph.mutations.items():
            kept = remains.cut(value, quiet.mutations[path])
            assert kept.shape == said.mutations[path].shape
            if exact:
                assert torch.allclose(said.mutations[path], kept, atol=1e-10)
    assert heard or not units.families, "nothing was removed that anybody hears"
    return graph


def removable(module: nn.Module, *inputs: Tensor) -> dict[str, int]:
    """Families whose units can go with the rest saying what it said: each to its number of units; see `check`."""
    return sizes(units_of(check(module, *inputs)))


def cost(graph: Graph, *ops: str) -> Cost:
    """What the named operators of a graph cost together; they must be there, under these full names."""
    nodes = [node for node in graph.nodes if node.op.removeprefix("aten.") in ops]
    assert {node.op.removeprefix("aten.") for node in nodes} == set(ops), [node.op for node in graph.nodes]
    return sum((description_of(node).cost(node) for node in nodes), Cost())
