"""Plays engines that nobody vouches for: WebAssembly in a sandbox that can do nothing but compute. Torch-free.

The module may import nothing, so it reaches no file, clock or network. Its memory is bounded, and a clock of epochs
stops a call that never ends: one load and compare per turn of a loop, too little to measure on the test engine.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import wasmtime

from pochette.engine.interface import BlockRunner, read_info
from pochette.engine.runner import FloatArray
from pochette.engine.source import BLOCK_SAMPLES, EXPORTS
from pochette.errors import InstrumentError

MEMORY_LIMIT_BYTES = 256 << 20
"""Weights, state and stack of one voice; the largest published RAVE needs a quarter of it."""
MODULE_LIMIT_BYTES = 256 << 20
CALL_LIMIT_S = 5.0
"""A block of 512 samples is 10 to 30 ms of sound: an engine that needs seconds for it is not playing."""

_TICK_S = 0.25
_FLOAT_BYTES = 4
_REMEDY = "The engine is damaged or hostile: do not trust this file; export the instrument again from its model."


@cache
def _engine() -> wasmtime.Engine:
    """The process's one compiler, and the clock that interrupts endless calls."""
    config = wasmtime.Config()
    config.epoch_interruption = True
    # Helper threads would not survive a fork, and the compilation of a child would wait for them for ever.
    config.parallel_compilation = False
    config.wasm_threads = False
    config.wasm_memory64 = False
    config.wasm_multi_memory = False
    config.max_wasm_stack = 1 << 20
    engine = wasmtime.Engine(config)
    _start_clock(engine)
    # A forked child inherits the engine but not the thread that ticks.
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: _start_clock(engine))
    return engine


def _start_clock(engine: wasmtime.Engine) -> None:
    def tick() -> None:
        while True:
            time.sleep(_TICK_S)
            engine.increment_epoch()

    threading.Thread(target=tick, name="pochette-epochs", daemon=True).start()


class WasmModule:
    """An engine, compiled once; every voice is a `WasmRunner` of it.

    Args:
        wasm_bytes: the binary.

    Raises:
        InstrumentError: not a valid module, too large, importing anything, or without the engine's functions.
    """

    def __init__(self, wasm_bytes: bytes) -> None:
        if len(wasm_bytes) > MODULE_LIMIT_BYTES:
            raise InstrumentError(
                f"The WebAssembly engine has {len(wasm_bytes) >> 20} MB; {MODULE_LIMIT_BYTES >> 20} MB are allowed.",
                remedy=_REMEDY,
            )
        try:
            self.compiled = wasmtime.Module(_engine(), wasm_bytes)
        except wasmtime.WasmtimeError as error:
            raise InstrumentError(
                f"The WebAssembly engine is not valid: {_first_line(error)}", remedy=_REMEDY
            ) from None
        wanted = [f"{item.module}.{item.name}" for item in self.compiled.imports]
        if wanted:
            raise InstrumentError(
                f"The WebAssembly engine wants to reach outside its sandbox: {', '.join(wanted[:5])}.", remedy=_REMEDY
            )
        found = {item.name for item in self.compiled.exports}
        missing = [name for name in (*EXPORTS, "memory") if name not in found]
        if missing:
            raise InstrumentError(f"The WebAssembly engine lacks {', '.join(missing)}.", remedy=_REMEDY)


class WasmRunner(BlockRunner):
    """One voice in the sandbox.

    Args:
        wasm: the binary, or the module compiled from it (to make many voices quickly).

    Raises:
        InstrumentError: the engine is invalid, of another version, claims absurd values, points outside its memory or
            does not return.
    """

    kind = "wasm"

    def __init__(self, wasm: bytes | WasmModule) -> None:
        module = wasm if isinstance(wasm, WasmModule) else WasmModule(wasm)
        self._store = wasmtime.Store(_engine())
        self._store.set_limits(memory_size=MEMORY_LIMIT_BYTES, table_elements=10_000, instances=1, tables=4, memories=1)
        # A module's start function may loop for ever too: instantiating is a guarded call like any other.
        instance = self._guarded(wasmtime.Instance, self._store, module.compiled, [])
        exports = instance.exports(self._store)
        functions = [exports[name] for name in EXPORTS]
        memory = exports["memory"]
        if not isinstance(memory, wasmtime.Memory) or not all(isinstance(f, wasmtime.Func) for f in functions):
            raise InstrumentError("The WebAssembly engine's exports are of the wrong kind.", remedy=_REMEDY)
        self._memory = memory
        info, self._reset, self._process, state, controls, audio = functions
        super().__init__(read_info(lambda key: self._call_int(info, int(key)), "the WebAssembly engine"))
        self._state = self._address(state, self.state_bytes)
        self._controls = self._address(controls, self.n_controls * _FLOAT_BYTES)
        self._audio = self._address(audio, BLOCK_SAMPLES * _FLOAT_BYTES)
        self.reset()

    def reset(self) -> None:
        """Back to silence."""
        self._guarded(self._reset, self._store, self._state)

    def _make(self, controls: FloatArray, audio: FloatArray) -> None:
        # The base is asked for again around the call, since an engine that grows its memory may move it. The places
        # were checked to lie inside once; WebAssembly memory never shrinks.
        ctypes.memmove(self._base() + self._controls, controls.ctypes.data, controls.nbytes)
        self._guarded(self._process, self._store, self._state, self._controls, self._audio, len(audio))
        ctypes.memmove(audio.ctypes.data, self._base() + self._audio, audio.nbytes)

    def _base(self) -> int:
        return ctypes.addressof(self._memory.data_ptr(self._store).contents)

    def _address(self, function: Any, size_bytes: int) -> int:
        """Where one of the engine's arenas lies, checked to be inside its memory."""
        address = self._call_int(function) & 0xFFFFFFFF
        if address % _FLOAT_BYTES or address + size_bytes > self._memory.data_len(self._store):
            raise InstrumentError(
                f"The WebAssembly engine points outside its memory ({size_bytes} bytes at {address:#x}).",
                remedy=_REMEDY,
            )
        return address

    def _call_int(self, function: Any, *arguments: int) -> int:
        value = self._guarded(function, self._store, *arguments)
        if not isinstance(value, int):
            raise InstrumentError("A function of the WebAssembly engine gives no integer.", remedy=_REMEDY)
        return value

    def _guarded(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Run engine code until it returns, fails or exceeds its time."""
        self._store.set_epoch_deadline(int(CALL_LIMIT_S / _TICK_S))
        try:
            return call(*arguments)
        except wasmtime.Trap as trap:
            stopped = trap.trap_code == wasmtime.TrapCode.INTERRUPT
            what = f"did not return within {CALL_LIMIT_S:g} s" if stopped else f"failed: {_first_line(trap)}"
            raise InstrumentError(f"The WebAssembly engine {what}.", remedy=_REMEDY) from None
        except (wasmtime.WasmtimeError, TypeError) as error:
            # TypeError: the function takes other arguments than the interface's.
            raise InstrumentError(f"The WebAssembly engine failed: {_first_line(error)}.", remedy=_REMEDY) from None


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
