"""The machine that this program runs on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from pochette.boards.board import Board
from pochette.families import boards

_ASSUMED_RAM_BYTES = 4 << 30


def _ram_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return _ASSUMED_RAM_BYTES


def _cpu() -> str:
    """Name the processor as its maker does, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return (names[0] if names else platform.processor()) or platform.machine() or "unknown"


boards.add(
    "host",
    Board(
        name="host",
        title="This computer",
        description="""This computer, whatever it is: the engine as a native library, timed rather than counted.

        It has no instruction budget, since a stopwatch tells more: the real-time factor is measured on it.
        """,
        cpu=_cpu(),
        cores=os.cpu_count() or 1,
        ram_bytes=_ram_bytes(),
        sample_rates_hz=(48_000, 44_100),
        block_samples=128,
        os=platform.system() or "unknown",
        sources=("asked of the operating system; 4 GB of RAM are assumed where it does not tell",),
    ),
)
