"""What a generated engine costs on a board: instructions and bytes counted, time measured, the network's share."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pochette.boards.board import Board, Demand, Machine, Verdict
from pochette.boards.cycles import Band, cycles
from pochette.engine.build import compile_elf, compile_host_library
from pochette.engine.emulate import EmulatedRunner, Workload, heard_frames, workload
from pochette.engine.firmware import compile_firmware, firmware_size
from pochette.engine.native import NativeRunner
from pochette.engine.runner import FloatArray, Runner
from pochette.engine.source import EngineSource
from pochette.errors import FitError, ToolError

COUNTED_INSTRUCTIONS = 5e8
"""After so many the frame that is being counted is the last: no engine has to be emulated for minutes."""
TURN_SECONDS = 0.1
"""Played in a call that is timed: what Python adds to a call would drown a small network."""
NETWORK_ONLY = ("POCHETTE_NETWORK_ONLY",)
"""Build without synthesis: what remains is the network's part."""
Tell = Callable[[str, float, str], None]
"""Told of progress: stage, share of it done, a line of detail."""


@dataclass(frozen=True)
class EngineCost:
    """Figures of one engine for one board; None where this machine could not obtain them."""

    board: str
    instructions_per_second: float | None = None
    """Per second of audio, emulated and counted."""
    network_instructions_per_second: float | None = None
    cycles_per_second_low: float | None = None
    """What the instructions take at best, see `boards.cycles`."""
    cycles_per_second_high: float | None = None
    """And at worst."""
    flash_bytes: int | None = None
    """Program, weights, tables."""
    ram_bytes: int | None = None
    """State and stack, and program and weights where they run from RAM."""
    bytes_obtained: str = ""
    """How the two were obtained, in words."""
    host_real_time_factor: float | None = None
    """CPU seconds per second of audio on this machine, smallest of several runs."""
    host_network_real_time_factor: float | None = None
    state_bytes: int | None = None
    """Of one voice."""
    hop_samples: int | None = None
    """Made at once."""
    lead_cycles_low: float | None = None
    """Of the silence before a sound, which is made at once when a key is struck; None where there is none."""
    lead_cycles_high: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def demand(self, sample_rate_hz: int) -> Demand:
        """What a board is asked for; bytes that no firmware told are those of state."""
        return Demand(
            flash_bytes=self.flash_bytes or 0,
            ram_bytes=self.ram_bytes or self.state_bytes or 0,
            sample_rate_hz=sample_rate_hz,
            instructions_per_second=self.instructions_per_second,
            cycles_per_second=_band(self.cycles_per_second_low, self.cycles_per_second_high),
            hop_samples=self.hop_samples,
            lead_cycles=_band(self.lead_cycles_low, self.lead_cycles_high),
        )

    def verdict(self, board: Board, sample_rate_hz: int) -> Verdict:
        """Whether the engine fits the board, with reasons."""
        return board.fits(self.demand(sample_rate_hz))


def _band(low: float | None, high: float | None) -> Band | None:
    return None if low is None or high is None else Band(low, high)


def count(
    source: EngineSource, board: Board, curve: FloatArray, tell: Tell = lambda stage, share, what: None
) -> EngineCost:
    """Count an engine's instructions and bytes for a board, without the board.

    Args:
        source: the engine.
        board: gives target, memory map and emulator; those without are left out.
        curve: (frame, control), what is played while counting.
        tell: told of each part of the work as it begins.

    Returns:
        the figures that could be obtained.

    Raises:
        ExportError: the source does not compile.
    """
    figures: dict[str, Any] = {"board": board.name, "hop_samples": source.hop_samples}
    machine = board.machine
    if board.target is not None and machine is not None:
        try:
            tell("compile", 0.0, f"the engine for {board.title}")
            elf = compile_elf(source, board.target)
            tell("count", 0.0, f"instructions of the engine on {board.title}")
            figures["state_bytes"] = EmulatedRunner(elf, machine).state_bytes
            work = heard_work(elf, machine, source, curve)
            band = cycles(work.mix, board.target) * (work.sample_rate_hz / work.samples)
            figures["instructions_per_second"] = work.instructions_per_second
            figures["cycles_per_second_low"], figures["cycles_per_second_high"] = band.low, band.high
            if source.lead_samples:
                lead = cycles(work.warm_up, board.target)
                figures["lead_cycles_low"], figures["lead_cycles_high"] = lead.low, lead.high
            tell("compile", 0.5, "the network alone")
            part = compile_elf(source, board.target, defines=NETWORK_ONLY)
            tell("count", 0.5, "instructions of the network alone")
            work = heard_work(part, machine, source, curve)
            figures["network_instructions_per_second"] = work.instructions_per_second
        except ToolError:
            pass
    tell("link", 0.0, "the firmware, for its bytes")
    return EngineCost(**figures, **bytes_on(source, board, curve, figures.get("state_bytes") or 0))


def heard_work(elf: bytes, machine: Machine, source: EngineSource, curve: FloatArray) -> Workload:
    """What an engine's sound costs on a processor, counted within `COUNTED_INSTRUCTIONS` and a frame.

    Args:
        elf: what `build.compile_elf` made of the source.
        machine: the processor it was made for.
        source: the engine.
        curve: (frame, control), what is played.

    Returns:
        the cost.

    Raises:
        InstrumentError: the engine cannot be run.
        ToolError: the emulator is not installed.
    """
    warm_up, heard = heard_frames(source, curve)
    return workload(elf, machine, heard, warm_up_frames=warm_up, most_instructions=COUNTED_INSTRUCTIONS)


def bytes_on(source: EngineSource, board: Board, curve: FloatArray, state_bytes: int) -> dict[str, Any]:
    """What has to be stored and held on a board, as far as this machine can tell.

    Args:
        source: the engine.
        board: gives processor and memory.
        curve: (frame, control); its first frame is linked.
        state_bytes: of one voice, for boards whose firmware is not made.

    Returns:
        fields of `EngineCost`; empty where nothing is known.
    """
    weights = weight_bytes(source)
    if board.memory is None or board.target is None:
        if not state_bytes:
            return {}
        said = "weights, and weights and state: the program itself is small beside them"
        return {"flash_bytes": weights, "ram_bytes": weights + state_bytes, "bytes_obtained": said}
    memory, said = board.memory, "counted on the linked firmware"
    try:
        try:
            firmware = compile_firmware(source, curve[:1], memory, target=board.target)
        except FitError:
            # What is too large has a size too, and is known to be so by that alone: weights and state are not all.
            memory, said = memory.roomy, "counted on a firmware linked for more memory than the board has"
            firmware = compile_firmware(source, curve[:1], memory, target=board.target)
        size = firmware_size(firmware, memory)
    except ToolError:
        return {}
    return {"flash_bytes": size.flash_bytes, "ram_bytes": size.ram_bytes, "bytes_obtained": said}


def weight_bytes(source: EngineSource) -> int:
    """Bytes of an engine's weights, from the lengths of its arrays, also as instruments made earlier name them."""
    text = "\n".join(text for file, text in source.files.items() if file.endswith("_weights.h"))
    arrays = re.findall(r"^(?:static const|   ) (float|int8_t|uint16_t) \w+\[(\d+)\]", text, re.MULTILINE)
    return sum({"float": 4, "int8_t": 1, "uint16_t": 2}[kind] * int(length) for kind, length in arrays)


def to_sound(runner: Runner, source: EngineSource, controls: FloatArray, seconds: float) -> int:
    """Bring an engine to where it is heard, so that what is timed next is not its silence.

    Args:
        runner: one voice; begun anew, and brought past its latency, if its sounds end of themselves.
        source: its engine.
        controls: (control,).
        seconds: to be played next.

    Returns:
        samples to play next: so many seconds, or the whole frames of a sound that are no more, one at least.
    """
    samples = round(seconds * runner.sample_rate_hz)
    if source.sound_frames is None:
        return samples
    runner.reset()
    if source.lead_samples:
        runner.process(controls, source.lead_samples)
    return min(max(samples // source.hop_samples, 1), source.sound_frames) * source.hop_samples


def time_on_host(
    engines: Mapping[str, tuple[EngineSource, FloatArray]], *, rounds: int = 7
) -> dict[str, tuple[float, float]]:
    """CPU time of engines on this machine, whole and network alone, all interleaved in one run.

    Args:
        engines: name to engine, and to the (point, control) that it plays: each point is held for a tenth of a second,
            or for a sound if that ends sooner. A trimmed engine may have lost some of the whole one's controls.
        rounds: the smallest of so many times counts.

    Returns:
        name to CPU seconds per second of audio, whole and network.

    Raises:
        ToolError: no compiler.
    """
    with tempfile.TemporaryDirectory(prefix="pochette-") as folder:
        runners = {
            (name, part): NativeRunner(compile_host_library(source, Path(folder) / f"{name}-{part}", defines=defines))
            for name, (source, _) in engines.items()
            for part, defines in (("whole", ()), ("network", NETWORK_ONLY))
        }
        best = dict.fromkeys(runners, np.inf)
        for _ in range(rounds):
            for key, runner in runners.items():
                spent, samples = 0.0, 0
                source, curve = engines[key[0]]
                for controls in curve:
                    heard = to_sound(runner, source, controls, TURN_SECONDS)
                    begun = time.process_time()
                    runner.process(controls, heard)
                    spent, samples = spent + time.process_time() - begun, samples + heard
                best[key] = min(best[key], spent / (samples / runner.sample_rate_hz))
    return {name: (float(best[name, "whole"]), float(best[name, "network"])) for name in engines}


def costs_of(engines: Mapping[str, tuple[EngineSource, FloatArray]], board: Board) -> dict[str, EngineCost]:
    """Costs of engines for a board, and on this machine, in one run, each on its own curve.

    Args:
        engines: name to engine, and to the (frame, control) that it plays.
        board: the machine.

    Returns:
        name to cost; without times where there is no compiler.

    Raises:
        ExportError: a source does not compile.
    """
    short = {name: (source, curve[:: max(1, len(curve) // 60)]) for name, (source, curve) in engines.items()}
    costs = {name: count(source, board, curve) for name, (source, curve) in short.items()}
    try:
        times = time_on_host(short)
    except ToolError:
        return costs
    return {
        name: replace(cost, host_real_time_factor=times[name][0], host_network_real_time_factor=times[name][1])
        for name, cost in costs.items()
    }
