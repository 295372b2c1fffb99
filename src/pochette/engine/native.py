"""Plays an engine as a library of this machine: fastest, and only for engines built here or trusted. Torch-free."""

from __future__ import annotations

import ctypes
from pathlib import Path

from pochette.engine.interface import BlockRunner, read_info
from pochette.engine.runner import FloatArray
from pochette.engine.source import EXPORTS
from pochette.errors import InstrumentError

_ALIGNMENT_BYTES = 64
"""A cache line, and the widest vector a processor may load at once."""


class NativeRunner(BlockRunner):
    """One voice of an engine library; any number of voices share one library.

    Args:
        library_path: what `build.compile_host_library` made. Its code runs unguarded in this process.

    Raises:
        InstrumentError: the file is missing, no library of this machine, or not an engine.
    """

    kind = "c"
    # It writes into memory of ours, as long as we like; the fewer calls, the less ctypes adds to a measured time.
    call_samples = 1 << 20

    def __init__(self, library_path: Path) -> None:
        try:
            library = ctypes.CDLL(str(Path(library_path).resolve()))
            functions = {name: getattr(library, name) for name in EXPORTS[:3]}
        except (OSError, AttributeError) as error:
            raise InstrumentError(
                f"The engine library cannot be loaded: {error}",
                where=str(library_path),
                remedy="Build the engine again on this machine.",
            ) from None
        ask = functions["pochette_info"]
        ask.argtypes, ask.restype = [ctypes.c_int], ctypes.c_int
        self._reset, self._process = functions["pochette_reset"], functions["pochette_process"]
        self._reset.argtypes, self._reset.restype = [ctypes.c_void_p], None
        self._process.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int]
        self._process.restype = None
        super().__init__(read_info(lambda key: int(ask(key)), str(library_path)))
        self._memory = ctypes.create_string_buffer(self.state_bytes + _ALIGNMENT_BYTES)
        start = ctypes.addressof(self._memory)
        self._state = start + -start % _ALIGNMENT_BYTES
        self.reset()

    def reset(self) -> None:
        """Back to silence."""
        self._reset(self._state)

    def _make(self, controls: FloatArray, audio: FloatArray) -> None:
        self._process(self._state, controls.ctypes.data, audio.ctypes.data, len(audio))
