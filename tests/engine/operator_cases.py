"""How an operator's C is held against torch: a table of expressions, one line a case, all compiled together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pochette.graph.operator import Operator, description_of, operators
from pochette.graph.ops.pointwise import Elementwise
from tests.engine.together import Modules, Step, compile_together, largest_error

Shapes = tuple[tuple[int, ...], ...]
Table = dict[str, tuple[Any, ...]]
"""Name to (expression, shape of each input...)."""

IN_C: dict[str, tuple[str, ...]] = {
    "test_ops_shape": ("shape", "ranges", "places"),
    "test_ops_numbers": ("reduction", "normalisation", "attention", "products"),
    "test_ops_functions": ("pointwise", "more_pointwise"),
    "test_networks": ("convolution", "recurrent", "linear"),
    "test_ops_signal": ("resampling", "lookup", "order", "spectral", "writes"),
}
"""Test file to the files of `pochette.graph.ops` whose C it holds against torch, all of it."""


class Expression(nn.Module):
    """One expression of the inputs."""

    def __init__(self, expression: Callable[..., Any]) -> None:
        super().__init__()
        self.expression = expression

    def forward(self, *inputs: Tensor) -> Any:
        return self.expression(*inputs)


def calls(shapes: Shapes, count: int = 3) -> list[tuple[Tensor, ...]]:
    """Seeded inputs of some calls, with values of both signs."""
    generator = torch.Generator().manual_seed(5)
    return [tuple(torch.randn(shape, generator=generator) for shape in shapes) for _ in range(count)]


_MODULES: dict[int, Modules] = {}


def modules_of(table: Table) -> Modules:
    """Each case's module and first call, the same objects whenever they are asked for."""
    made = {name: (Expression(row[0]), calls(row[1:])[0]) for name, row in table.items()}
    return _MODULES.setdefault(id(table), made)


def compiled(table: Table, folder: Path) -> dict[str, tuple[nn.Module, Any]]:
    """Each case's module and its step in C, or why it was refused."""
    modules = modules_of(table)
    steps = compile_together(modules, folder)
    return {name: (modules[name][0], steps[name]) for name in table}


def error_of(row: tuple[Any, ...], made: tuple[nn.Module, Any]) -> float:
    """Largest relative error of a case over three calls."""
    module, step = made
    assert isinstance(step, Step), step
    return largest_error(step, module, calls(row[1:]))


def c_of(operator: Operator) -> tuple[object, ...]:
    """What tells one description's C from another's."""
    return type(operator).emit, *vars(operator).values()


def not_shown(files: tuple[str, ...], made: dict[str, tuple[nn.Module, Any]]) -> list[str]:
    """Operators of some files that have C, but none that any of the compiled cases called."""
    operators.load()
    graphs = [step.graph for _, step in made.values() if isinstance(step, Step)]
    shown = {c_of(description_of(node)) for graph in graphs for node in graph.nodes}
    mine = {f"pochette.graph.ops.{name}" for name in files}
    described = [name for name in operators.names() if type(operators[name]).__module__ in mine]
    refused = (Operator.emit, Elementwise.emit)
    called = {node.op for graph in graphs for node in graph.nodes}
    lacking = [n for n in described if c_of(operators[n]) not in shown and n not in NEVER | called]
    return [name for name in lacking if type(operators[name]).emit not in refused]


NEVER = {
    f"aten.{name}"
    for name in (
        "batch_norm.default",
        "native_batch_norm.default",
        "_native_batch_norm_legit.default",
        "_native_batch_norm_legit_functional.default",
        *(f"{kind}_pool3d.default" for kind in ("avg", "max", "adaptive_avg", "adaptive_max")),
        "max_pool3d_with_indices.default",
        *(f"_fft_{kind}.default" for kind in ("r2c", "c2c", "c2r")),
    )
}
"""Operators that no captured module calls, only their other forms; and pooling of three axes, which is refused."""
