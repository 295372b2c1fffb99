"""Ends emulated calls that never return. Torch-free.

The emulator has a limit of its own, but starts a thread for every call to keep it, which takes longer than most calls
do. One thread looks at all of them instead, a few times a second, and counts its looks: while a program is held, by
Ctrl-Z or by a computer's sleep, nobody looks, and nothing lasts too long.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

_LOOK_EVERY_S = 0.1


class Stoppable(Protocol):
    """What executes until it is done or told to stop."""

    def emu_stop(self) -> None:
        """Come back at once; harmless where nothing is executed."""


class Watchdog:
    """Stops what lasts too long, whatever thread it is in."""

    def __init__(self) -> None:
        self._watched: dict[int, tuple[int, Stoppable]] = {}
        self._looks = 0
        self._thread: threading.Thread | None = None

    @contextmanager
    def limit(self, core: Stoppable, seconds: float) -> Iterator[None]:
        """Stop a processor if what it executes meanwhile takes too long.

        Args:
            core: the processor.
            seconds: time in which this program may run; it is stopped a little later.

        Yields:
            nothing.
        """
        # After a fork the thread is not there any more, which Python knows.
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._look, name="pochette-watchdog", daemon=True)
            self._thread.start()
        self._watched[id(core)] = self._looks + 1 + math.ceil(seconds / _LOOK_EVERY_S), core
        try:
            yield
        finally:
            del self._watched[id(core)]

    def _look(self) -> None:
        while True:
            time.sleep(_LOOK_EVERY_S)
            self._looks += 1
            for key, watched in list(self._watched.items()):
                # It may have returned, and another call begun, since the list was made.
                if watched[0] <= self._looks and self._watched.get(key) is watched:
                    watched[1].emu_stop()
