"""No Ctrl-C gets lost: one that Python could only have printed is given again; and a polite kill is one."""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

_AGAIN_S = 0.05
"""Time after which an interruption is given again: by then whoever could not raise it has returned."""


@contextlib.contextmanager
def heeded() -> Iterator[None]:
    """Give an interruption again that arrived where no exception can be raised, and take SIGTERM for one.

    Who shuts a machine down, or stops a service, sends SIGTERM: work is then kept and said to be, as after Ctrl-C.

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
        with _terminated_as_interrupted():
            yield
    finally:
        sys.unraisablehook = before
        for timer in timers:
            timer.cancel()


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # nobody else may set it
        yield
        return
    owner = os.getpid()

    def terminated(number: int, frame: FrameType | None) -> None:
        if os.getpid() == owner:
            raise KeyboardInterrupt
        # A forked worker, which inherited this: it goes as it always did.
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    before = signal.signal(signal.SIGTERM, terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
