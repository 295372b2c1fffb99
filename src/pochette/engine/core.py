"""The part of every generated engine that does the arithmetic: one call of a captured graph, as C99 text.

What is around it differs: `compiled` lets a host call it as it is, `export` wraps it in frames, controls and samples.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from importlib import resources

import numpy as np
import torch

from pochette.engine.emitter import LANES, Emitter, group_of_nodes, state_name
from pochette.engine.guards import find_guards
from pochette.engine.histories import History
from pochette.engine.packing import FloatArray
from pochette.engine.precision import LayerPrecision, Precision, check_precision
from pochette.engine.reduced import Reduced
from pochette.engine.views import View, row_major
from pochette.engine.weights import array_text
from pochette.errors import ExportError
from pochette.graph.graph import Graph, Node, Value

GUARD = """#if defined(__GNUC__) && !defined(__clang__) && !defined(PC_STRICT)
/* Small boards build with -Os, which halves the speed of the products below; C99 by the letter fuses no products.
   Under -ffast-math sums would be added in another order, for which there are not registers enough. */
#pragma GCC optimize ("O3", "fp-contract=fast", "no-math-errno", "no-trapping-math", "no-associative-math")
/* Loops that copy or clear stay loops: no call of a library, nor at -Os x86's slow instructions for strings of bytes.
   And registers go to what inner loops use, which -Os would not ask. */
#pragma GCC optimize ("no-tree-loop-distribute-patterns", "ira-region=mixed")
#if defined(__thumb__)
/* Nor are there for what a loop's first round would load before it. */
#pragma GCC optimize ("no-tree-pre")
#endif
#elif defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize ("O3")
#endif"""
"""What a generated file begins with."""
STRICT_GUARD = """/* The same bits on every machine: no rounding is left out, sums are in one order. GCC is told so,
   whatever it is told besides. Clang's -ffp-contract=fast overrules what stands here, and cannot be seen from
   here: say -ffp-contract=off, or nothing of the kind. */
#if defined(__FAST_MATH__)
#error "A strict engine has the same bits everywhere; -ffast-math and -Ofast give that up: build it without them."
#endif
#ifndef PC_STRICT
#define PC_STRICT 1
#endif
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize ("O3", "fp-contract=off", "no-unsafe-math-optimizations", "no-associative-math")
#pragma GCC optimize ("no-reciprocal-math", "no-finite-math-only", "signed-zeros", "trapping-math", "no-math-errno")
/* Loops that copy or clear stay loops. */
#pragma GCC optimize ("no-tree-loop-distribute-patterns")
#endif"""
"""The same of one whose results must not depend on the machine."""


_MANY_KERNELS = 16
"""More kernels than this a compiler is to leave apart: over all of them in one function it takes far longer."""
_WRITTEN_OUT = 8
"""States at capture with more numbers than this lie among the weights."""


@dataclass(frozen=True)
class Core:
    """One call of a graph as C99: the pieces of text from which an engine's files are put together."""

    fields: str = field(repr=False)
    """Members of the engine's struct: the scratch arena and the state."""
    body: str = field(repr=False)
    """Statements of one call; they read the inputs' names and write the outputs', and reach the struct as `s`."""
    reset: str = field(repr=False)
    """Statements that set the state back to that at capture."""
    includes: str = field(repr=False)
    functions: str = field(repr=False)
    """Kernels with their sizes filled in."""
    weights: str = field(repr=False)
    """Text of the weights' header."""
    kernels: dict[str, str] = field(repr=False)
    """Kernel headers by file name."""
    weight_bytes: int
    state_bytes: int
    scratch_bytes: int
    precision_report: tuple[LayerPrecision, ...] = ()
    """How each matrix is stored."""
    rounded: dict[str, FloatArray] = field(default_factory=dict, repr=False)
    """Path of each tensor in fewer bits to what it is once it is stored."""
    whole: frozenset[str] = frozenset()
    """Those of them that are whole numbers with scales."""


def write_core(
    graph: Graph, inputs: tuple[str, ...], outputs: tuple[str, ...], *, roomy: bool = False, parted: bool = False,
    sane: bool = False, precision: Precision = "float32",
) -> Core:  # fmt: skip
    """Write one call of a graph.

    Args:
        graph: captured; its inputs and outputs hold floats.
        inputs: C names of the arrays it reads, one for each input.
        outputs: C names of the arrays it writes, one for each output.
        roomy: whether memory is plenty, so that pasts need be moved less often.
        parted: whether what is no part of the network can be left out by a macro, POCHETTE_NETWORK_ONLY.
        sane: whether the inputs are known to be numbers; else what is none is taken out first.
        precision: in which the matrices of linear and recurrent layers are stored.

    Returns:
        the text and its sizes.

    Raises:
        ExportError: an operator has no C, an input or output is of whole numbers, or there is no such precision.
    """
    _check(graph)
    check_precision(precision)
    reduced = Reduced(precision)
    graph, guards = find_guards(graph)
    names = dict(zip(map(id, graph.inputs), inputs, strict=True))
    emitter = Emitter(graph, names=names, roomy=roomy, reduced=reduced, guards=guards)
    for name, value in zip(inputs, graph.inputs, strict=True) if not sane else ():
        emitter.names[id(value)] = emitter.scratch(value.size)
        emitter.line(f"pc_clean({emitter.names[id(value)]}, {name}, {value.size});")
    emitter.run(group_of_nodes(graph, guards) if parted else {})
    # What is returned first: it may be a state's old value.
    for name, value in zip(outputs, graph.outputs, strict=True):
        emitter.assign(View(name, 0, row_major(value.shape)), emitter.view(value), value.shape)
    emitter.carry()
    emitter.share_loops()
    arena = emitter.plan()
    lines = {id(history.state): history for history in emitter.histories.values()}
    states = [(value, lines.get(id(value))) for value in graph.of_kind("state")]
    reset = "\n".join(_reset(value, line, emitter) for value, line in states)
    return Core(
        fields="\n".join([f"    float arena[{max(arena, 1)}];", *(_member(*state) for state in states)]),
        body=_reading(_body(emitter), emitter),
        reset=_reading(reset, emitter),
        includes="\n".join(f'#include "{header}"' for header in ["pc_math.h", *_others(emitter.headers)]),
        functions=_functions(emitter),
        weights=_weights(emitter),
        kernels=kernels_of(emitter.headers),
        weight_bytes=sum(weight.nbytes for weight in emitter.weights) + reduced.weight_bytes,
        state_bytes=sum(value.bytes if line is None else 4 * line.size + 4 for value, line in states),
        scratch_bytes=4 * arena,
        precision_report=reduced.report(graph),
        rounded=reduced.rounded,
        whole=reduced.whole,
    )


def _check(graph: Graph) -> None:
    for value in (*graph.inputs, *graph.outputs):
        if not value.dtype.is_floating_point or value.dtype == torch.float64:
            raise ExportError(
                f"The engine's inputs and outputs are 32-bit floats; {value.name} is {value.dtype}.",
                remedy="Convert it inside the module, or keep it as a constant of the module.",
            )
    for value in graph.of_kind("state"):
        if value.dtype not in _STATES:
            raise ExportError(
                f"The state {value.path} is {_said(value)}; an engine's is of 32-bit floats, or of whole numbers of 32 "
                "bits, which wrap.",
                where=value.path,
                remedy="Register that buffer as float32 or int32; a complex one as its real and imaginary parts.",
            )
    for node in graph.nodes:
        if node.op.split(".")[1] in ("_to_copy", "to") and not _is_constant(node):
            for value in node.outputs:
                if value.dtype in _ROUNDING:
                    raise ExportError(
                        f"A conversion to {_said(value)} rounds or wraps, and an engine computes in 32 bits.",
                        where=node.layer or "the outermost module",
                        remedy="Leave the conversion out, or do it outside of the step.",
                    )


_STATES = (torch.float32, torch.int64, torch.int32, torch.bool)
_ROUNDING = (torch.float16, torch.bfloat16, torch.uint8, torch.int8, torch.int16)


def _said(value: Value) -> str:
    return str(value.dtype).removeprefix("torch.")


def _is_constant(node: Node) -> bool:
    return all(value.kind in ("parameter", "constant") for value in node.inputs())


def _member(value: Value, history: History | None) -> str:
    if history is not None:
        return f"    float {history.name}[{history.size}];\n    int {history.name}_at;"
    if not value.dtype.is_floating_point:
        return f"    uint32_t {state_name(value)}[{max(value.size, 1)}];"
    # Filled up, so that kernels may work on whole vectors.
    return f"    float {state_name(value)}[{max(Emitter.rounded(value.size), LANES)}];"


def _body(emitter: Emitter) -> str:
    """The statements; synthesis can be left out by a macro, so that the network's share can be measured."""
    out = [f"    uint32_t {n}[{size}] = {{0}};\n    (void){n};" for n, size in emitter.integers.items()]
    # Of synthesis that is left out the past is declared and not read.
    out += [f"    {h.declaration()}\n    (void){h.name}_now;" for h in emitter.histories.values()]
    inside = False
    opened: tuple[str, ...] = ()
    for line in emitter.statements():
        other = (line.group == "synthesis") != inside
        out += _parted(opened, () if other else line.guard)
        if other:
            out.append("#ifndef POCHETTE_NETWORK_ONLY" if not inside else "#endif")
            out += _parted((), line.guard)
            inside = not inside
        opened = line.guard
        indent = "    " * (1 + len(opened))
        out.append(indent + line.text.replace("\n    ", "\n" + indent))
    out += _parted(opened, ())
    if inside:
        out.append("#endif")
    return "\n".join(out)


def _parted(opened: tuple[str, ...], wanted: tuple[str, ...]) -> list[str]:
    """Lines that close the `if`s that are open and not wanted any more, and open others."""
    same = 0
    while same < min(len(opened), len(wanted)) and opened[same] == wanted[same]:
        same += 1
    closing = ["    " * (1 + depth) + "}" for depth in reversed(range(same, len(opened)))]
    return closing + ["    " * (1 + depth) + wanted[depth] for depth in range(same, len(wanted))]


def _functions(emitter: Emitter) -> str:
    text = "\n\n".join(emitter.functions.values())
    return text.replace("PC_KERNEL", "PC_SHARED") if len(emitter.functions) > _MANY_KERNELS else text


def _reading(statements: str, emitter: Emitter) -> str:
    """Statements, with the arrays of weights that they read declared before them."""
    stored = ["weights", *(array for array, pieces in emitter.reduced.arrays.items() if pieces)]
    read = [array for array in stored if re.search(rf"\b{array}\b", statements)]
    kinds = {"weights": "float", "weights8": "int8_t", "weights16": "uint16_t"}
    declared = [f"    const {kinds[array]} *{array} = stored_{array};\n    PC_UNSEEN({array});" for array in read]
    return "\n".join([*declared, statements])


def _reset(value: Value, history: History | None, emitter: Emitter) -> str:
    graph = emitter.graph
    name, initial = state_name(value), graph.tensors[value.path].detach().numpy()
    if history is None and value.dtype.is_floating_point:
        initial = emitter.as_laid(value, initial)
    initial = initial.ravel()
    place = ""
    if history is not None:
        initial = history.initial(graph.tensors[value.path].detach().numpy())
        place = f"\n    s->{name}_at = {history.start};"
    clear = f"    for (int i = 0; i < {len(initial)}; i++) s->{name}[i] = 0;"
    if not np.issubdtype(initial.dtype, np.floating):
        return "\n".join(f"    s->{name}[{i}] = {int(x) % 2**32}u;" for i, x in enumerate(initial))
    if np.count_nonzero(initial) > _WRITTEN_OUT:
        copy = f"    for (int i = 0; i < {len(initial)}; i++) s->{name}[i] = ({emitter.constant(initial)})[i];"
        return copy + place
    held = [f"\n    s->{name}[{i}] = {Emitter.number(float(initial[i]))};" for i in np.flatnonzero(initial)]
    return clear + "".join(held) + place


def _others(headers: list[str]) -> list[str]:
    return [header for header in headers if header != "pc_math.h"]


def _weights(emitter: Emitter) -> str:
    # One block of zeros behind the last: compilers that check array bounds see whole vectors inside.
    data = np.concatenate([*emitter.weights, np.zeros(LANES, np.float32)])
    return f"""/* Weights: matrices in blocks of 16 rows, column by column; vectors filled up to whole blocks. */
{array_text("stored_weights", data)}{emitter.reduced.text(emitter.graph)}"""


def kernels_of(headers: list[str]) -> dict[str, str]:
    """The kernel headers an engine needs, with those they include.

    Args:
        headers: file names of those it includes itself.

    Returns:
        file name to text.
    """
    folder = resources.files("pochette.engine").joinpath("kernels")
    found: dict[str, str] = {}
    queue = ["pc_math.h", *headers]
    while queue:
        header = queue.pop()
        if header not in found:
            found[header] = folder.joinpath(header).read_text(encoding="utf-8")
            queue += re.findall(r'#include "(pc_\w+\.h)"', found[header])
    return dict(sorted(found.items()))
