"""Energy per second of audio of an engine for a board, by the best way that is at hand."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from pochette.boards.board import Board
from pochette.engine.build import compile_host_library
from pochette.engine.native import NativeRunner
from pochette.engine.runner import FloatArray
from pochette.engine.source import EngineSource
from pochette.lab.cost import TURN_SECONDS, to_sound
from pochette.measure.energy import Energy, Package, estimated, measured, of_meter, packages

PLAYED_SECONDS = 3.0
"""Wall time for which an engine plays while the processor's counters are watched: longer than they take to move."""


def energy_of(
    source: EngineSource, board: Board, curve: FloatArray, instructions_per_second: float | None,
    meter: Path | None = None,
) -> Energy | None:  # fmt: skip
    """What a second of audio takes.

    Args:
        source: the engine.
        board: the machine.
        curve: (frame, control), what is played where this machine measures itself.
        instructions_per_second: counted for the board; None if nobody did.
        meter: a power meter's file of the board playing.

    Returns:
        measured by the meter, or on this machine by its processor's counters, or estimated; None where none can be.

    Raises:
        MeasureError: the meter's file is none.
        ToolError: this machine is to measure itself and has no compiler.
    """
    if meter is not None:
        return of_meter(meter)
    if board.target is None and board.emulator is None:
        counters = packages()
        return played_here(source, curve, counters) if counters else None
    return estimated(board, instructions_per_second)


def played_here(source: EngineSource, curve: FloatArray, counters: tuple[Package, ...]) -> Energy | None:
    """What this machine's packages take while an engine plays as fast as it can, told for a second of audio.

    Args:
        source: the engine.
        curve: (frame, control), each held for a tenth of a second, or for a sound that ends of itself, over and over.
        counters: of the packages.

    Returns:
        the energy; None if the counters may not be read any more.

    Raises:
        ToolError: there is no compiler.
    """
    with tempfile.TemporaryDirectory(prefix="pochette-") as folder:
        runner = NativeRunner(compile_host_library(source, Path(folder)))
        frames = source.sound_frames
        seconds = TURN_SECONDS if frames is None else frames * source.hop_samples / source.sample_rate_hz

        def play() -> float:
            made, until = 0, time.monotonic() + PLAYED_SECONDS
            while time.monotonic() < until:
                controls = curve[made % len(curve)]
                made += len(runner.process(controls, to_sound(runner, source, controls, seconds)))
            return made / runner.sample_rate_hz

        try:
            return measured(play, counters)
        except OSError:
            return None
