"""Any captured step as a library: C99 of one call, and the same compiled for this machine and called from numpy."""

from __future__ import annotations

import ctypes
import re
import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from pochette.engine.build import compile_host_files
from pochette.engine.core import GUARD, STRICT_GUARD, Core, write_core
from pochette.engine.precision import Precision
from pochette.engine.rounding import with_outputs
from pochette.engine.twin import Twin
from pochette.errors import ExportError, ShapeError
from pochette.families import boards
from pochette.graph.capture import capture
from pochette.graph.graph import Graph

FloatArray = npt.NDArray[np.float32]
_ALIGNMENT_BYTES = 64
"""A cache line, and the widest vector a processor may load at once."""


class Engine:
    """One call of a captured module as C99, and one instance of it on this machine.

    Args:
        name: prefix of the C functions.
        graph: what was captured.
        core: its C.
        strict: whether every machine must give the same bits.
    """

    def __init__(self, name: str, graph: Graph, core: Core, *, strict: bool) -> None:
        self.name, self.strict = name, strict
        self.input_shapes = tuple(value.shape for value in graph.inputs)
        self.output_shapes = tuple(value.shape for value in graph.outputs)
        self.weight_bytes, self.state_bytes, self.scratch_bytes = (
            core.weight_bytes,
            core.state_bytes,
            core.scratch_bytes,
        )
        self.twin = Twin(graph, core.rounded, core.whole, core.precision_report)
        """The same in torch, rounded alike: what the C is held against."""
        self.precision_report = core.precision_report
        """How every matrix is kept."""
        self.sources = library_files(name, graph, core, strict=strict)

    @cached_property
    def _library(self) -> Any:
        """The compiled engine behind two functions that take arrays of pointers."""
        folder = Path(tempfile.mkdtemp(prefix="pochette-"))
        files = {**self.sources, "bridge.c": _bridge(self.name, len(self.input_shapes), len(self.output_shapes))}
        library = ctypes.CDLL(str(compile_host_files(self.name, files, folder, strict=self.strict)))
        library.bridge_bytes.restype = ctypes.c_long
        library.bridge_process.argtypes = [ctypes.c_void_p] * 3
        library.bridge_process.restype = library.bridge_init.restype = library.bridge_reset.restype = None
        library.bridge_init.argtypes = library.bridge_reset.argtypes = [ctypes.c_void_p]
        return library

    @cached_property
    def _state(self) -> int:
        """Address of this instance's memory."""
        size = int(self._library.bridge_bytes())
        self._memory = ctypes.create_string_buffer(size + _ALIGNMENT_BYTES)
        start = ctypes.addressof(self._memory)
        start += -start % _ALIGNMENT_BYTES
        self._library.bridge_init(start)
        return start

    def reset(self) -> None:
        """Set the state back to that at capture."""
        self._library.bridge_reset(self._state)

    def process(self, *arrays: npt.ArrayLike) -> FloatArray | tuple[FloatArray, ...]:
        """One call; the state is carried on to the next.

        Args:
            *arrays: one for each input, of the shapes at capture.

        Returns:
            the output, or a tuple of them if there are several (or none).

        Raises:
            ShapeError: no numbers, or another number or shape of inputs than at capture.
        """
        try:
            # Not ascontiguousarray, which makes a row of a single number.
            given = [np.require(array, np.float32, "C") for array in arrays]
        except (TypeError, ValueError) as reason:
            raise ShapeError(
                f"Inputs of the engine {self.name} are no real numbers ({reason}).",
                remedy=f"Give arrays of floats, of the shapes {list(self.input_shapes)}.",
            ) from None
        self.check_shapes([array.shape for array in given])
        made = tuple(np.empty(shape, np.float32) for shape in self.output_shapes)
        self._library.bridge_process(self._state, _pointers(given), _pointers(made))
        return made[0] if len(made) == 1 else made

    def check_shapes(self, shapes: Sequence[tuple[int, ...]]) -> None:
        """Refuse inputs of a call that the engine is not for.

        Args:
            shapes: of what is to be given.

        Raises:
            ShapeError: they are not those at capture.
        """
        if tuple(shapes) != self.input_shapes:
            raise ShapeError(
                f"Inputs of the shapes {list(shapes)} were given to the engine {self.name}.",
                remedy=f"Give arrays of the shapes {list(self.input_shapes)}, as at capture.",
            )


def compile_engine(
    step_module: nn.Module, example_inputs: tuple[Any, ...], *, name: str = "net", board: str = "host",
    strict: bool = False, precision: Precision = "float32", samples: Sequence[tuple[Any, ...]] = (),
) -> Engine:  # fmt: skip
    """Turn one step of any module into C99, and compile it for this machine when it is first called.

    Args:
        step_module: any module that `torch.export` can follow; its state lies in buffers that a call writes. What is
            compiled is what it does in evaluation, whatever mode it is in.
        example_inputs: positional arguments of a call, float tensors; the engine holds for their shapes.
        name: prefix of the C functions, a C identifier.
        board: the machine for which memory and code are laid out; the C runs on every other one too.
        strict: give up speed so that every machine gives the same bits.
        precision: in which the matrices of linear and recurrent layers are stored; see `precision.Precision`. What is
            stored how is told by the engine's `precision_report`.
        samples: inputs of calls that follow each other; with them the report tells how exact the layers' outputs are.

    Returns:
        the engine, its state as it was at capture.

    Raises:
        ExportError: the module cannot be captured or holds an operator that has no C, the name is no identifier, or
            there is no such precision.
        ShapeError: `samples` have other shapes than the example.
        UnknownNameError: there is no such board.
    """
    if not (isinstance(name, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,63}", name)) or name.startswith("pc_"):
        raise ExportError(
            f"{name!r} is no name for C functions.",
            remedy="Use up to 64 letters, digits and underscores, not pc_ in front.",
        )
    boards[board]  # refuses one that there is not
    graph = capture(step_module, example_inputs)
    inputs, outputs = call_names(graph)
    core = write_core(graph, inputs, outputs, roomy=board == "host", precision=precision)
    engine = Engine(name, graph, core, strict=strict)
    if samples:
        for call in samples:
            engine.check_shapes([tuple(getattr(value, "shape", ())) for value in call])
        engine.precision_report = with_outputs(engine.twin, samples)
    return engine


def call_names(graph: Graph) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """C names of what a call reads and writes."""
    return tuple(f"in{i}" for i in range(len(graph.inputs))), tuple(f"out{i}" for i in range(len(graph.outputs)))


def _pointers(arrays: list[FloatArray] | tuple[FloatArray, ...]) -> Any:
    return (ctypes.c_void_p * max(len(arrays), 1))(*(array.ctypes.data for array in arrays))


def _arguments(graph: Graph) -> str:
    inputs, outputs = call_names(graph)
    return ", ".join([*(f"const float *{name}" for name in inputs), *(f"float *{name}" for name in outputs)])


def library_files(name: str, graph: Graph, core: Core, *, strict: bool) -> dict[str, str]:
    """The files of one captured call: NAME_state, NAME_init, NAME_reset and NAME_process.

    Args:
        name: C identifier.
        graph: what was captured.
        core: its C, of the names that `call_names` gives.
        strict: whether every machine must give the same bits.

    Returns:
        file name to text.
    """
    return {
        f"{name}.h": _header(name, graph, core),
        f"{name}.c": _body(name, graph, core, STRICT_GUARD if strict else GUARD),
        f"{name}_weights.h": core.weights,
        **core.kernels,
    }


def _header(name: str, graph: Graph, core: Core) -> str:
    inputs, outputs = call_names(graph)
    upper = name.upper()
    told = [
        f"   {c_name}: {value.name}, shape {list(value.shape)}, row by row"
        for c_name, value in zip((*inputs, *outputs), (*graph.inputs, *graph.outputs), strict=True)
    ]
    sizes = [
        f"#define {name}_{c_name.upper()}_FLOATS {value.size}"
        for c_name, value in zip((*inputs, *outputs), (*graph.inputs, *graph.outputs), strict=True)
    ]
    newline = "\n"
    return f"""/* {name}: generated by pochette. C99, no allocation, no library, no variables of its own.

   One call reads and writes, without overlap:
{newline.join(told)}
*/
#ifndef {upper}_H
#define {upper}_H
#include <stdint.h>

{newline.join(sizes)}
#define {name}_WEIGHT_BYTES {core.weight_bytes}
#define {name}_STATE_BYTES {core.state_bytes}
#define {name}_SCRATCH_BYTES {core.scratch_bytes}

#ifdef __cplusplus
extern "C" {{
#endif

/* One instance, owned by the caller; fastest on a multiple of 64 bytes. Its members are private. */
typedef struct {{
{core.fields}
}} {name}_state;

/* Make memory an instance. Call once before anything else. */
void {name}_init({name}_state *s);

/* Back to the state at capture. */
void {name}_reset({name}_state *s);

/* One call. */
void {name}_process({name}_state *s{", " if graph.inputs or graph.outputs else ""}{_arguments(graph)});

#ifdef __cplusplus
}}
#endif
#endif
"""


def _body(name: str, graph: Graph, core: Core, guard: str) -> str:
    inputs, outputs = call_names(graph)
    unused = "".join(f"    (void){c_name};\n" for c_name in (*inputs, *outputs))
    return f"""{guard}
#include "{name}.h"
{core.includes}
#include "{name}_weights.h"

{core.functions}

void {name}_init({name}_state *s)
{{
    {name}_reset(s);
}}

void {name}_reset({name}_state *s)
{{
    (void)s;
{core.reset}
}}

void {name}_process({name}_state *s{", " if graph.inputs or graph.outputs else ""}{_arguments(graph)})
{{
    const uint32_t mode = pc_enter();
    (void)s;
    (void)stored_weights;
{unused}{core.body}
    pc_leave(mode);
}}
"""


def _bridge(name: str, inputs: int, outputs: int) -> str:
    """The same three functions with one signature for every engine, for callers that make calls at run time."""
    arguments = [*(f"in[{i}]" for i in range(inputs)), *(f"out[{i}]" for i in range(outputs))]
    return f"""#include "{name}.h"
long bridge_bytes(void);
void bridge_init(void *s);
void bridge_reset(void *s);
void bridge_process(void *s, const float *const *in, float *const *out);
long bridge_bytes(void) {{ return (long)sizeof({name}_state); }}
void bridge_init(void *s) {{ {name}_init(({name}_state *)s); }}
void bridge_reset(void *s) {{ {name}_reset(({name}_state *)s); }}
void bridge_process(void *s, const float *const *in, float *const *out)
{{
    (void)in;
    (void)out;
    {name}_process({", ".join([f"({name}_state *)s", *arguments])});
}}
"""
