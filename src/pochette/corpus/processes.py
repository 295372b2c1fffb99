"""Other processes of this machine that work for this one, and end when it does, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from types import ModuleType


def pool_of(count: int) -> ProcessPoolExecutor:
    """Processes that start with a fresh interpreter; give them their first work under `nameless_main`.

    Args:
        count: how many.

    Returns:
        the pool.
    """
    return ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"), initializer=_end_with_parent)


@contextmanager
def nameless_main() -> Iterator[None]:
    """Hide the main script while processes start.

    Spawned processes run it again to find what it defines, which ends badly in scripts without a `__name__` guard; our
    work is defined here, so they need nothing of it.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _end_with_parent() -> None:
    """End this process as soon as the one that started it is gone.

    One that is killed cannot let go of its pool: an idle process would wait for work for ever, and a busy one would go
    on with what nobody will fetch. A pipe that the parent held open tells, on every system.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)  # at once: what there is to keep is in checkpoints already

    threading.Thread(target=wait, daemon=True, name="end with parent").start()
