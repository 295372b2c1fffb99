"""Engines in emulated processors: proves them right and counts what they cost. Torch-free.

What comes out is the audio, bit for bit, and a count of instructions that is the same on every run, which is worth more
than a stopwatch for comparing two engines, and only bounds what a board will need: see `pochette.boards`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from pochette.boards.board import Machine
from pochette.boards.cycles import Mix
from pochette.engine.interface import BlockRunner, read_info
from pochette.engine.processor import Processor
from pochette.engine.runner import FloatArray
from pochette.engine.source import BLOCK_SAMPLES, EXPORTS, EngineSource
from pochette.errors import InstrumentError

WARM_UP_FRAMES = 4
_FLOAT_BYTES = 4
_REMEDY = "Build the engine again with `compile_elf` for this machine; if it fails again, please report it."


@dataclass(frozen=True)
class Workload:
    """What a run cost, counted in instructions."""

    instructions: int
    samples: int
    sample_rate_hz: int
    peak_instructions: int
    """Of the costliest call: an engine that works in bursts needs a board that bears the burst."""
    block_samples: int
    """Samples asked for in a call."""
    by_function: dict[str, int] = field(repr=False)
    """Instructions inside each function, largest first; what the compiler inlined counts for its caller."""
    mix: Mix = field(default_factory=Mix)
    """The instructions by what they wait for."""
    warm_up: Mix = field(default_factory=Mix)
    """What was executed before counting began, to make the frames that are not heard."""

    @property
    def instructions_per_second(self) -> float:
        """Instructions per second of audio, on average."""
        return self.instructions / self.samples * self.sample_rate_hz

    @property
    def peak_instructions_per_second(self) -> float:
        """The rate at which a processor must work to make even the costliest call in its time."""
        return self.peak_instructions / self.block_samples * self.sample_rate_hz


class EmulatedRunner(BlockRunner):
    """One voice of an engine in an emulated processor.

    Args:
        elf: what `build.compile_elf` made.
        machine: the processor it was made for.
        counting: whether to count instructions, which costs time at every block of code.

    Raises:
        InstrumentError: the image is damaged, of another machine or not an engine, or its code faults or never returns.
        ToolError: `unicorn` or `pyelftools` is not installed, or there is no such machine.
    """

    def __init__(self, elf: bytes, machine: Machine, *, counting: bool = False) -> None:
        self.kind = machine
        self.processor = Processor(elf, machine, counting=counting)
        missing = [name for name in EXPORTS if name not in self.processor.symbols]
        if missing:
            raise InstrumentError(f"The {machine} engine lacks {', '.join(missing)}.", remedy=_REMEDY)
        call = self.processor.call
        super().__init__(read_info(lambda key: _signed(call("pochette_info", int(key))), f"the {machine} engine"))
        self._state, self._controls, self._audio = (call(name) for name in EXPORTS[3:])
        self.reset()

    def reset(self) -> None:
        """Back to silence."""
        self.processor.call("pochette_reset", self._state)

    def instructions(self) -> int:
        """Count the instructions executed since the runner was made; 0 unless it counts."""
        return self.processor.instructions()

    def mix(self) -> Mix:
        """Sort them by what they wait for; see `Processor.mix`."""
        return self.processor.mix()

    def instructions_by_function(self) -> Counter[str]:
        """Count the instructions inside each function."""
        return self.processor.instructions_by_function()

    def _make(self, controls: FloatArray, audio: FloatArray) -> None:
        self.processor.write(self._controls, controls.tobytes())
        self.processor.call("pochette_process", self._state, self._controls, self._audio, len(audio))
        audio[:] = np.frombuffer(self.processor.read(self._audio, len(audio) * _FLOAT_BYTES), np.float32)


def heard_frames(source: EngineSource, controls: FloatArray) -> tuple[int, FloatArray]:
    """What to count of an engine so that all of it is heard: what a sound costs must not be hidden by its silence.

    Args:
        source: the engine.
        controls: (frame, control).

    Returns:
        frames to make before counting, and the controls of those to count: of a sound that ends of itself no silent
        frame is among them.
    """
    if source.sound_frames is None:
        return WARM_UP_FRAMES, controls
    return source.lead_samples // source.hop_samples, controls[: source.sound_frames]


def workload(
    elf: bytes, machine: Machine, controls: FloatArray, *, block_samples: int = 64,
    warm_up_frames: int = WARM_UP_FRAMES, most_instructions: float = float("inf"),
) -> Workload:  # fmt: skip
    """Count what a run of an engine costs on a processor.

    Args:
        elf: what `build.compile_elf` made.
        machine: the processor it was made for.
        controls: (frame, control); one frame at least.
        block_samples: samples that the host asks for in a call.
        warm_up_frames: frames to make before counting, with the first row.
        most_instructions: after so many the frame that is being made is the last; counting slows an emulator tenfold.

    Returns:
        the cost of whole blocks, as many as the frames hold (at least one).

    Raises:
        InstrumentError: the engine cannot be run.
        ToolError: the emulator is not installed.
    """
    runner = EmulatedRunner(elf, machine, counting=True)
    block_samples, mix_at_rest = min(block_samples, BLOCK_SAMPLES), runner.mix()
    if warm_up_frames:
        runner.process(controls[0], warm_up_frames * runner.hop_samples)
    before, functions_before, mix_before = runner.instructions(), runner.instructions_by_function(), runner.mix()
    last, peak = before, 0
    blocks = max(len(controls) * runner.hop_samples // block_samples, 1)
    for block in range(blocks):
        frame = min(block * block_samples // runner.hop_samples, len(controls) - 1)
        runner.process(controls[frame], block_samples)
        now = runner.instructions()
        last, peak = now, max(peak, now - last)
        if now - before > most_instructions and (block + 1) * block_samples % runner.hop_samples == 0:
            blocks = block + 1
            break
    by_function = runner.instructions_by_function() - functions_before
    return Workload(
        instructions=last - before,
        samples=blocks * block_samples,
        sample_rate_hz=runner.sample_rate_hz,
        peak_instructions=peak,
        block_samples=block_samples,
        by_function=dict(by_function.most_common()),
        mix=runner.mix() - mix_before,
        warm_up=mix_before - mix_at_rest,
    )


def _signed(value: int) -> int:
    """Read a register's low 32 bits as C's int."""
    value &= 0xFFFF_FFFF
    return value - (1 << 32) if value >> 31 else value
