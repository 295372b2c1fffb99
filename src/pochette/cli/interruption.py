"""No Ctrl-C gets lost: one that Python could only have printed is given again."""

from __future__ import annotations

import _thread
import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any

_AGAIN_S = 0.05
"""Time after which an interruption is given again: by then whoever could not raise it has returned."""


@contextlib.contextmanager
def heeded() -> Iterator[None]:
    """Give an interruption again that arrived where no exception can be raised.

    In a finaliser, or in a function that C code calls, Python prints the exception and goes on as if nothing had been
    asked; an emulator spends a good part of its time there.

    Yields:
        nothing.
    """
    before, timers = sys.unraisablehook, list[threading.Timer]()

    def again(lost: Any) -> None:
        if not issubclass(lost.exc_type, KeyboardInterrupt):
            before(lost)
            return
        timers.append(threading.Timer(_AGAIN_S, _thread.interrupt_main))
        timers[-1].daemon = True
        timers[-1].start()

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = before
        for timer in timers:
            timer.cancel()
