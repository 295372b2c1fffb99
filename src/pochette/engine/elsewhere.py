"""A compiled step on other processors: the same C, built for a board's processor or the sandbox, and called from numpy.

Everything lies in static memory of the program: one instance, its inputs and its outputs. What is built is bare, with
no system and no library, as it would be on a microcontroller.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from pochette.boards.board import Machine
from pochette.boards.cycles import Mix
from pochette.boards.target import WASM, Target
from pochette.engine.build import FREESTANDING, compile_files, kernel_text, zig_command
from pochette.engine.compiled import Engine, FloatArray
from pochette.engine.processor import Processor
from pochette.engine.verify import PROCESSORS
from pochette.errors import ToolError

Elsewhere = Machine | Literal["wasm"]
_STAND = "stand_{}"


class _Host(Protocol):
    """A program in a processor's memory."""

    def call(self, function: str, *arguments: int) -> int:
        """Run a function."""

    def write(self, address: int, data: bytes) -> None:
        """Put bytes into memory."""

    def read(self, address: int, size_bytes: int) -> bytes:
        """Bytes of memory."""


class EngineElsewhere:
    """One instance of an engine on another processor.

    Args:
        engine: what `compile_engine` made.
        machine: an emulated processor, or "wasm".
        counting: whether to count instructions, which takes time; not in the sandbox.
        target: what to compile for, where that is not the machine's usual processor.
        command: another compiler than the one that pip brings, with its flags, up to the files; not for the sandbox.

    Raises:
        ExportError: the engine does not compile for it.
        ToolError: compiler, emulator or sandbox are not installed.
    """

    def __init__(
        self, engine: Engine, machine: Elsewhere, *, counting: bool = False, target: Target | None = None,
        command: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.input_shapes, self.output_shapes = engine.input_shapes, engine.output_shapes
        self.counted: Processor | None = None
        names = _functions(len(self.input_shapes), len(self.output_shapes))
        self._host: _Host
        if machine == "wasm":
            link = ("-s", "-Wl,--no-entry", "-Wl,-z,stack-size=65536", *(f"-Wl,--export={name}" for name in names))
            self._host = _Sandbox(_program(engine, _usual(engine, WASM), link))
        else:
            link = ("-static", f"-Wl,-e,{names[0]}")
            program = _program(engine, command or _usual(engine, target or PROCESSORS[machine]), link)
            processor = Processor(program, machine, counting=counting)
            self._host, self.counted = processor, processor if counting else None
        self._inputs = [self._host.call(_STAND.format(f"in{i}")) for i in range(len(self.input_shapes))]
        self._outputs = [self._host.call(_STAND.format(f"out{i}")) for i in range(len(self.output_shapes))]
        self._host.call(_STAND.format("init"))

    def reset(self) -> None:
        """Set the state back to that at capture."""
        self._host.call(_STAND.format("reset"))

    def process(self, *arrays: npt.ArrayLike) -> FloatArray | tuple[FloatArray, ...]:
        """One call; see `Engine.process`.

        Args:
            *arrays: one for each input, of the shapes at capture.

        Returns:
            the output, or a tuple of them.
        """
        for address, array, shape in zip(self._inputs, arrays, self.input_shapes, strict=True):
            self._host.write(address, np.asarray(array, np.float32).reshape(shape).tobytes())
        self._host.call(_STAND.format("process"))
        made = tuple(
            np.frombuffer(self._host.read(address, 4 * int(np.prod(shape, dtype=int))), np.float32).reshape(shape)
            for address, shape in zip(self._outputs, self.output_shapes, strict=True)
        )
        return made[0] if len(made) == 1 else made

    def count(self, *arrays: npt.ArrayLike) -> Mix:
        """Instructions of one call, by what they wait for.

        Args:
            *arrays: the inputs.

        Returns:
            the counts.

        Raises:
            ToolError: this instance does not count.
        """
        if self.counted is None:
            raise ToolError("This instance counts nothing.", remedy="Make it with counting=True, on a processor.")
        before = self.counted.mix()
        self.process(*arrays)
        return self.counted.mix() - before


def _functions(inputs: int, outputs: int) -> list[str]:
    ends = [*(f"in{i}" for i in range(inputs)), *(f"out{i}" for i in range(outputs))]
    return [_STAND.format(name) for name in ("init", "reset", "process", *ends)]


def _usual(engine: Engine, target: Target) -> list[str]:
    return zig_command(target, FREESTANDING, strict=engine.strict)


def _program(engine: Engine, command: Sequence[str], link: tuple[str, ...]) -> bytes:
    stand = _stand(engine.name, len(engine.input_shapes), len(engine.output_shapes))
    files = {**engine.sources, "stand.c": stand, "freestanding.c": kernel_text("freestanding.c")}
    return compile_files(files, command, link=link)


def _stand(name: str, inputs: int, outputs: int) -> str:
    """An instance with its inputs and outputs in static memory, behind functions without arguments."""
    ends = [*(f"in{i}" for i in range(inputs)), *(f"out{i}" for i in range(outputs))]
    memory = "\n".join(f"static float {end}[{name}_{end.upper()}_FLOATS + 16];" for end in ends)
    places = "\n".join(f"void *stand_{end}(void);\nvoid *stand_{end}(void) {{ return {end}; }}" for end in ends)
    return f"""#include "{name}.h"
static {name}_state state;
{memory}
void stand_init(void);
void stand_reset(void);
void stand_process(void);
void stand_init(void) {{ {name}_init(&state); }}
void stand_reset(void) {{ {name}_reset(&state); }}
void stand_process(void) {{ {name}_process({", ".join(["&state", *ends])}); }}
{places}
"""


class _Sandbox:
    """WebAssembly of our own making: it runs without the guards that a stranger's needs."""

    def __init__(self, wasm: bytes) -> None:
        try:
            import wasmtime
        except ImportError:
            raise ToolError("The sandbox needs the package `wasmtime`.", remedy="Run `pip install pochette`.") from None
        self._store = wasmtime.Store()
        instance = wasmtime.Instance(self._store, wasmtime.Module(self._store.engine, wasm), [])
        self._exports = instance.exports(self._store)
        self._memory: Any = self._exports["memory"]

    def call(self, function: str, *arguments: int) -> int:
        """Run a function."""
        exported: Any = self._exports[function]
        answer = exported(self._store, *arguments)
        return 0 if answer is None else int(answer) & 0xFFFF_FFFF

    def write(self, address: int, data: bytes) -> None:
        """Put bytes into memory."""
        ctypes.memmove(self._base() + address, data, len(data))

    def read(self, address: int, size_bytes: int) -> bytes:
        """Bytes of memory."""
        return ctypes.string_at(self._base() + address, size_bytes)

    def _base(self) -> int:
        return ctypes.addressof(self._memory.data_ptr(self._store).contents)
