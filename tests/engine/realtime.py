"""Engines of every kind behind one table, for tests of what a real-time thread demands of all of them alike.

The rig is one program, or one library: the engines' C, a table of them, and `c/rig.c`, which drives whatever is in the
table. Everything is compiled once and kept by `compile_files`, so that the tests share it.
"""

from __future__ import annotations

import ctypes
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pochette.engine.build import compile_files, compile_host_files, host_compiler
from pochette.engine.compiled import compile_engine
from pochette.engine.core import GUARD
from pochette.engine.export import export
from pochette.engine.precision import Precision
from pochette.engine.runner import FloatArray
from pochette.engine.source import EngineSource
from pochette.models.ddsp import Ddsp
from pochette.models.sing_ae import SingAe
from pochette.models.wavenet import Wavenet
from tests.engine.test_compiled import Causal, Cells, Pointwise, Recurrent, Spread, Stack

ALIGNMENT_BYTES, MARGIN_BYTES = 64, 256
_MARK = 0xA5
FLAGS = ("-O1", "-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic")
"""Of test programs."""
IntArray = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Built:
    """One engine's C, and what the rig must know of it."""

    name: str
    files: dict[str, str]
    inputs: tuple[int, ...]
    """Floats of each input."""
    outputs: tuple[int, ...]
    low: FloatArray
    """Where the sane range of every float of the inputs begins, one input after the other."""
    high: FloatArray
    played: bool
    """Whether it is a model's engine, which has controls, rather than a captured step."""

    def noise(self, calls: int, seed: int = 0) -> FloatArray:
        """Inputs all over their ranges, (call, float)."""
        place = np.random.default_rng(seed).random((calls, len(self.low)))
        return (self.low + place * (self.high - self.low)).astype(np.float32)

    @property
    def members(self) -> np.dtype[Any]:
        """The struct's members, as numpy sees them; all are of four bytes, so that nothing lies between them."""
        return np.dtype(self._members_of(f"{self.name}_state", ""))

    def _members_of(self, struct: str, prefix: str) -> list[tuple[str, str, tuple[int]]]:
        """Those of a struct of the headers, and of the structs within it."""
        texts = dict(pair[::-1] for text in self.headers for pair in re.findall(r"struct \{([^}]*)\} (\w+);", text))
        kinds = {"float": "f4", "uint32_t": "u4", "int": "i4"}
        out: list[tuple[str, str, tuple[int]]] = []
        for kind, name, size in re.findall(r"^    (\w+) (\w+)(?:\[(\d+)\])?;", texts[struct], re.M):
            if kind in kinds:
                out.append((prefix + name, kinds[kind], (int(size or 1),)))
            else:
                out += self._members_of(kind, f"{prefix}{name}.")
        return out

    @property
    def headers(self) -> list[str]:
        """What hosts include: all headers but those of kernels and weights."""
        own = [n for n in self.files if n.startswith(self.name) and n.endswith(".h") and not n.endswith("_weights.h")]
        return [self.files[name] for name in own]


class Pole(nn.Module):
    """The smoothing that every synthesiser has somewhere: a share of the new value, the rest of the old one."""

    level: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("level", torch.zeros(1, 20))

    def forward(self, x: Tensor) -> Tensor:
        level = 0.99 * self.level + 0.01 * x
        self.level.copy_(level)
        return level


def straight() -> nn.Sequential:
    """Nothing in it bounds what goes through."""
    return nn.Sequential(Causal(1, 4, 3, dilation=32), nn.LeakyReLU(0.1), Causal(4, 1, 5))


def far(channels: int = 6) -> nn.Sequential:
    """Pasts many times as long as a block: the memory that holds them is moved back now and then."""
    parts: list[nn.Module] = [Causal(1, channels, 3, dilation=2)]
    for dilation in (8, 32, 64):
        parts += [nn.LeakyReLU(0.2), Causal(channels, channels, 3, dilation=dilation)]
    return nn.Sequential(*parts, nn.Tanh(), Causal(channels, 1, 1))


def decoder() -> nn.Sequential:
    """Convolution, transposed convolution, convolution."""
    parts = [Causal(8, 32, 3), nn.LeakyReLU(0.2), Spread(32, 17, 8, 4), nn.LeakyReLU(0.2), Causal(17, 1, 7)]
    return nn.Sequential(*parts)


STEPS: dict[str, tuple[Callable[[], nn.Module], tuple[tuple[int, ...], ...]]] = {
    "gru": (lambda: Recurrent(nn.GRU, 1, 20), ((1, 1, 1),)),
    "lstm": (lambda: Recurrent(nn.LSTM, 3, 24, num_layers=2), ((2, 1, 3),)),
    "cells": (Cells, ((2, 3),)),
    "gated": (lambda: Stack(6), ((1, 1, 32),)),
    "far": (far, ((1, 1, 16),)),
    "decoder": (decoder, ((1, 8, 8),)),
    "straight": (straight, ((1, 1, 16),)),
    "relu": (lambda: Recurrent(nn.RNN, 2, 24, nonlinearity="relu"), ((1, 1, 2),)),
    "smooth": (Pointwise, ((1, 7, 19), (1, 1, 1))),
    "pole": (Pole, ((1, 20),)),
    "gru_int8": (lambda: Recurrent(nn.GRU, 3, 40, num_layers=2), ((1, 1, 3),)),
    "lstm_float16": (lambda: Recurrent(nn.LSTM, 3, 40), ((1, 1, 3),)),
    "linear_int8": (lambda: nn.Sequential(nn.Linear(20, 40), nn.ReLU(), nn.Linear(40, 20)), ((1, 20),)),
}
"""Captured steps: how each is made, and the shapes of its inputs."""
PRECISIONS: dict[str, Precision] = {"gru_int8": "int8", "lstm_float16": "float16", "linear_int8": "int8"}
"""How matrices are stored, where not as floats."""

MODELS: dict[str, Callable[[], Any]] = {
    "ddsp": lambda: Ddsp.sized("tiny"),
    "wavenet": lambda: Wavenet.sized("tiny", hop_samples=2),
    "sing": lambda: SingAe.sized("tiny"),
}
"""Recipes of playable models."""

NAMES = (*STEPS, *MODELS)


def module_of(name: str) -> nn.Module:
    """The module of a captured step or the model, its weights the same every time."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    made: nn.Module = STEPS[name][0]() if name in STEPS else MODELS[name]().build()
    return made.eval()


@cache
def engine(name: str) -> Built:
    """One engine of the table."""
    if name in MODELS:
        return played(export(module_of(name), name))  # type: ignore[arg-type]
    example = tuple(torch.zeros(shape) for shape in STEPS[name][1])
    made = compile_engine(module_of(name), example, name=name, precision=PRECISIONS.get(name, "float32"))
    inputs, outputs = (tuple(int(np.prod(shape)) for shape in of) for of in (made.input_shapes, made.output_shapes))
    ones = np.ones(sum(inputs), np.float32)
    return Built(name, made.sources, inputs, outputs, -ones, ones, played=False)


def played(source: EngineSource) -> Built:
    """A model's engine, a frame a call, without the interface that all engines share."""
    files = {name: text for name, text in source.files.items() if name != "glue.c"}
    low, high = (np.array([getattr(knob, end) for knob in source.controls], np.float32) for end in ("low", "high"))
    return Built(source.name, files, (len(low),), (source.hop_samples,), low, high, played=True)


def engines() -> tuple[Built, ...]:
    """The whole table."""
    return tuple(map(engine, NAMES))


def culprit(does: str) -> Built:
    """An engine that does what none may: a test that does not find it out finds nothing.

    Args:
        does: statements of its `process`, which has `s->held`, `in` and `out`.

    Returns:
        the engine.
    """
    files = {
        "culprit.h": "typedef struct { void *held; } culprit_state;\n"
        "void culprit_init(culprit_state *s);\n"
        "void culprit_process(culprit_state *s, const float *in, float *out);\n",
        "culprit.c": '#include "culprit.h"\n#include <stdlib.h>\n'
        "void culprit_init(culprit_state *s) { s->held = NULL; }\n"
        "void culprit_process(culprit_state *s, const float *in, float *out)\n"
        f"{{\n    (void)s;\n    out[0] = in[0];\n    {does}\n}}\n",
    }
    one = np.ones(1, np.float32)
    return Built("culprit", files, (1,), (1,), -one, one, played=False)


@cache
def rig() -> Rig:
    """The whole table, built as users' engines are."""
    folder = Path(tempfile.mkdtemp(prefix="pochette-"))
    return Rig(engines(), compile_host_files("rig", rig_files(engines()), folder))


def rig_files(table: Sequence[Built], *programs: str) -> dict[str, str]:
    """All C of a rig.

    Args:
        table: engines.
        *programs: files of `c/` besides `rig.c`.

    Returns:
        file name to text.
    """
    here = Path(__file__).parent / "c"
    names = ("rig.h", "rig.c", *programs)
    files = {name: (here / name).read_text(encoding="utf-8") for name in names}
    for built in table:
        files |= built.files
    return {**files, "table.c": _table(table)}


def program(table: Sequence[Built], main: str, *flags: str) -> bytes:
    """A test program: an ELF or whatever this machine runs.

    Args:
        table: engines in it.
        main: file of `c/` that holds `main`.
        *flags: for the compiler.

    Returns:
        the executable.
    """
    # Not for speed: gcc would turn to -O3 by what the files begin with.
    files = {name: text.replace(GUARD, "") for name, text in rig_files(table, main).items()}
    return compile_files(files, [*host_compiler(), *FLAGS, *flags], link=("-lpthread",))


def _table(table: Sequence[Built]) -> str:
    rows = [f'    {{"{b.name}", (long)sizeof({b.name}_state), {len(b.low)}, {sum(b.outputs)}, ' for b in table]
    rows = [
        f"{row}{b.name}_low, {b.name}_high, {b.name}_begin, {b.name}_call}},"
        for row, b in zip(rows, table, strict=True)
    ]
    wrappers = "\n".join(map(_wrapper, table))
    newline = "\n"
    return f"""#include "rig.h"
{wrappers}
const rig_engine rig_engines[] = {{
{newline.join(rows)}
}};
const int rig_count = {len(table)};
"""


def _wrapper(built: Built) -> str:
    name, begin, tail = built.name, "init", ""
    if built.played:
        begin, tail = "reset", f", {built.outputs[0]}"
    places = [
        f"{array} + {start}"
        for array, sizes in (("in", built.inputs), ("out", built.outputs))
        for start in np.cumsum((0, *sizes[:-1]))
    ]
    low, high = (", ".join(f"{float(x).hex()}f" for x in end) for end in (built.low, built.high))
    return f"""#include "{name}.h"
static const float {name}_low[] = {{{low}}};
static const float {name}_high[] = {{{high}}};
static void {name}_begin(void *s) {{ {name}_{begin}(({name}_state *)s); }}
static void {name}_call(void *s, const float *in, float *out)
{{
    {name}_process(({name}_state *)s, {", ".join(places)}{tail});
}}
"""


class Rig:
    """A table of engines in a library of this machine.

    Args:
        table: engines.
        path: of the library.
    """

    def __init__(self, table: Sequence[Built], path: Path) -> None:
        self.table = {built.name: built for built in table}
        self._numbers = {built.name: number for number, built in enumerate(table)}
        self._library = ctypes.CDLL(str(path))
        self._library.rig_bytes.restype = ctypes.c_long

    def instance(self, name: str, filling: int = _MARK) -> Instance:
        """A new instance of an engine, made of memory that is full of some byte."""
        return Instance(self._library, self._numbers[name], self.table[name], filling)


class Instance:
    """One instance, in memory with marks on both sides.

    Args:
        library: of the rig.
        number: in its table.
        built: the engine.
        filling: the byte that its memory is full of.
    """

    def __init__(self, library: Any, number: int, built: Built, filling: int = _MARK) -> None:
        self._library, self._number, self.built = library, ctypes.c_int(number), built
        self._bytes = int(library.rig_bytes(self._number))
        self._memory = np.full(self._bytes + 2 * MARGIN_BYTES, _MARK, np.uint8)
        self._start = MARGIN_BYTES + -(self._memory.ctypes.data + MARGIN_BYTES) % ALIGNMENT_BYTES
        self._held[:] = filling
        library.rig_init(self._number, self._state)

    @cached_property
    def _state(self) -> ctypes.c_void_p:
        return ctypes.c_void_p(self._memory.ctypes.data + self._start)

    def play(self, inputs: FloatArray) -> FloatArray:
        """Some calls: (call, float) to (call, float); neither the input nor what lies around the output is touched."""
        given = np.ascontiguousarray(inputs, np.float32)
        before = given.copy()
        made = np.full((len(given) + 2, sum(self.built.outputs)), 12345.0, np.float32)
        place = ctypes.c_void_p(made[1:].ctypes.data)
        self._library.rig_play(self._number, self._state, ctypes.c_void_p(given.ctypes.data), place, len(given))
        assert np.array_equal(given.view(np.uint32), before.view(np.uint32))
        assert (made[0] == 12345.0).all() and (made[-1] == 12345.0).all()
        return made[1:-1]

    def times(self, inputs: FloatArray) -> npt.NDArray[np.float64]:
        """Processor time of each call, in seconds."""
        given, made = np.ascontiguousarray(inputs, np.float32), np.empty(sum(self.built.outputs), np.float32)
        seconds = np.empty(len(given))
        arrays = (ctypes.c_void_p(array.ctypes.data) for array in (given, made, seconds))
        data, place, times = arrays
        self._library.rig_times(self._number, self._state, data, place, len(given), times)
        return seconds

    def is_whole(self) -> bool:
        """Whether the marks are as they were."""
        end = self._start + self._bytes
        return bool((self._memory[: self._start] == _MARK).all() and (self._memory[end:] == _MARK).all())

    def replaced(self, value: float) -> Instance:
        """A copy in whose memory every NaN, infinity and denormal is another number."""
        members = self.built.members
        assert members.itemsize == self._bytes
        other = Instance(self._library, self._number.value, self.built)
        other._held[:] = self._held
        state = other._held.view(members)[0]
        for name in members.names or ():
            if members[name].base == np.float32:
                state[name][is_strange(state[name])] = value
        return other

    @property
    def _held(self) -> npt.NDArray[np.uint8]:
        """The engine's own bytes."""
        return self._memory[self._start : self._start + self._bytes]


def is_strange(x: FloatArray) -> npt.NDArray[np.bool_]:
    """Where there are NaN, infinities and denormals, told by their bits."""
    bits: IntArray = x.view(np.uint32)
    exponent = bits & 0x7F800000
    strange: npt.NDArray[np.bool_] = (exponent == 0x7F800000) | ((exponent == 0) & ((bits & 0x007FFFFF) != 0))
    return strange
