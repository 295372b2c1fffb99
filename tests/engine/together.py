"""Many steps in one library: compiling is what costs, so it is done once for all of them."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pochette.engine.build import WARNINGS, compile_files, host_compiler
from pochette.engine.core import Core, write_core
from pochette.errors import ExportError
from pochette.graph.capture import capture
from pochette.graph.graph import Graph


@dataclass
class Step:
    """One module's C in the common library."""

    graph: Graph
    library: ctypes.CDLL
    name: str

    def __post_init__(self) -> None:
        size = getattr(self.library, f"{self.name}_bytes")()
        self.memory = np.full(size // 4 + 16, np.nan, np.float32)
        self.state = self.memory.ctypes.data + -self.memory.ctypes.data % 64
        getattr(self.library, f"{self.name}_reset")(ctypes.c_void_p(self.state))

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        given = [np.ascontiguousarray(x.numpy(), np.float32) for x in inputs]
        made = [np.full(value.shape, np.nan, np.float32) for value in self.graph.outputs]
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in (*given, *made)]
        getattr(self.library, f"{self.name}_process")(ctypes.c_void_p(self.state), *pointers)
        return tuple(map(torch.from_numpy, made))


Modules = dict[str, tuple[nn.Module, tuple[Any, ...]]]
"""Modules and the inputs they are captured with, by name."""


@cache
def graph_of(module: nn.Module, *example: Any) -> Graph:
    """The graph of a module's call: these very objects are captured once, however many tests write C from it."""
    return capture(module.eval(), example)


def compile_together(modules: Modules, folder: Path, command: list[str] | None = None) -> dict[str, Step | ExportError]:
    """Each module's step in C, or why it is refused; modules and example inputs by name."""
    found: dict[str, Any] = {}
    texts: list[str] = []
    kernels: dict[str, str] = {}
    functions: dict[str, None] = {}
    for number, (name, (module, example)) in enumerate(modules.items()):
        try:
            graph = graph_of(module, *example)
            inputs = tuple(f"in{i}" for i in range(len(graph.inputs)))
            outputs = tuple(f"out{i}" for i in range(len(graph.outputs)))
            core = write_core(graph, inputs, outputs)
        except ExportError as error:
            found[name] = error
            continue
        found[name] = (graph, f"step{number}")
        texts.append(_step(f"step{number}", core, inputs, outputs))
        kernels |= core.kernels
        functions |= dict.fromkeys(core.functions.split("\n\n"))
    includes = "".join(f'#include "{header}"\n' for header in kernels)
    files = {"all.c": "\n".join([includes, *functions, *texts]), **kernels}
    flags = [*WARNINGS, "-O1", "-shared", "-fPIC", "-Wno-unused-function"]
    path = folder / "all.so"
    path.write_bytes(compile_files(files, command or [*host_compiler(), *flags], link=()))
    library = ctypes.CDLL(str(path))
    return {n: f if isinstance(f, ExportError) else Step(f[0], library, f[1]) for n, f in found.items()}


def _step(name: str, core: Core, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> str:
    arguments = ", ".join([*(f"const float *{x}" for x in inputs), *(f"float *{y}" for y in outputs)])
    comma = ", " if arguments else ""
    unused = "".join(f"    (void){x};\n" for x in inputs)
    process = f"void {name}_process({name}_state *s{comma}{arguments})"
    return f"""#define stored_weights {name}_weights
{core.weights}
typedef struct {{
{core.fields}
}} {name}_state;
int {name}_bytes(void);
int {name}_bytes(void) {{ return (int)sizeof({name}_state); }}
void {name}_reset({name}_state *s);
void {name}_reset({name}_state *s)
{{
    (void)s;
    (void)stored_weights;
{core.reset}
}}
{process};
{process}
{{
    (void)s;
{unused}{core.body}
}}
#undef stored_weights
"""


def largest_error(step: Step, module: nn.Module, calls: list[tuple[Tensor, ...]]) -> float:
    """Largest difference from torch over some calls, relative to the largest number but at least to 1e-3."""
    worst = 0.0
    with torch.no_grad():
        for call in calls:
            wanted = module(*call)
            parts = wanted if isinstance(wanted, (tuple, list)) else (wanted,)
            made = step(*call)
            assert len(made) == len(parts)
            for mine, theirs in zip(made, parts, strict=True):
                assert mine.shape == theirs.shape and bool(mine.isfinite().all())
                scale = max(float(theirs.abs().max()) if theirs.numel() else 0.0, 1e-3)
                worst = max(worst, float((mine - theirs).abs().max()) / scale if theirs.numel() else 0.0)
    return worst
