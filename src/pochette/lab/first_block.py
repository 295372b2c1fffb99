"""How soon a sound that is one piece begins: the work before its first block beside the work of all of it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pochette.boards.board import Board
from pochette.engine.build import compile_elf, compile_host_library
from pochette.engine.emulate import EmulatedRunner
from pochette.engine.interface import BlockRunner
from pochette.engine.native import NativeRunner
from pochette.engine.runner import FloatArray
from pochette.engine.source import EngineSource
from pochette.errors import ToolError

COUNTED_MOST = 20e9
"""Instructions that are emulated of one sound: some minutes."""


@dataclass(frozen=True)
class FirstBlock:
    """What a sound costs until its first block can be heard, and to its end."""

    host_seconds: float
    """CPU time on this machine, smallest of several runs."""
    host_whole_seconds: float
    board: str
    instructions: int | None
    """On the board's processor, emulated; None where it cannot be."""
    whole_instructions: int | None
    """The same of all of it; None too where that is more than `COUNTED_MOST`."""

    @property
    def times_sooner(self) -> float:
        """How many times sooner the sound begins than it would if all of it were made first, on this machine."""
        return self.host_whole_seconds / self.host_seconds

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def first_block(
    source: EngineSource, board: Board, note: FloatArray, frames: int, *, late_frames: int = 0, rounds: int = 7
) -> FirstBlock:
    """Measure how soon a sound begins, on this machine and on a board's processor.

    Args:
        source: the engine of a model whose sounds are one piece.
        board: whose processor is emulated.
        note: (control,), what the sound is asked for.
        frames: of the whole sound.
        late_frames: frames of silence that the engine makes before the sound.
        rounds: on this machine; the smallest of so many times counts.

    Returns:
        both costs.

    Raises:
        ExportError: the source does not compile.
        ToolError: no compiler.
    """
    with tempfile.TemporaryDirectory(prefix="pochette-") as folder:
        runner = NativeRunner(compile_host_library(source, Path(folder)))
        # Both are taken in turn, so that what slows one slows the other; the least of each is what is nearest to it.
        spent = [_spent(runner, note, late_frames + 1, frames + late_frames, time.process_time) for _ in range(rounds)]
    soonest, whole = np.min(spent, axis=0)
    counted = _counted(source, board, note, late_frames + 1, frames + late_frames)
    return FirstBlock(float(soonest), float(whole), board.name, *counted)


def _counted(
    source: EngineSource, board: Board, note: FloatArray, first: int, whole: int
) -> tuple[int | None, int | None]:
    if board.target is None or board.machine is None:
        return None, None
    try:
        runner = EmulatedRunner(compile_elf(source, board.target), board.machine, counting=True)
    except ToolError:
        return None, None
    soonest, all_of_it = _spent(runner, note, first, whole, runner.instructions, COUNTED_MOST)
    return int(soonest), int(all_of_it) if np.isfinite(all_of_it) else None


def _spent(
    runner: BlockRunner,
    note: FloatArray,
    first: int,
    whole: int,
    clock: Callable[[], float],
    most: float = np.inf,
) -> tuple[float, float]:
    """What a clock tells after so many frames, and after all; infinite where all would be more than so much."""
    runner.reset()
    begun, soonest = clock(), 0.0
    for frame in range(whole):
        runner.process(note, runner.hop_samples)
        if frame + 1 == first:
            soonest = clock() - begun
        elif frame >= first and clock() - begun > most:
            return soonest, np.inf
    return soonest, clock() - begun
