"""The proof that an engine says what its model said: golden vectors played on every machine there is. Torch-free."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pochette.boards.board import Machine
from pochette.boards.target import CORTEX_A8, CORTEX_A72, CORTEX_M4F, CORTEX_M7, CORTEX_M33, Target
from pochette.engine.build import compile_elf, compile_host_library
from pochette.engine.emulate import EmulatedRunner, heard_frames, workload
from pochette.engine.native import NativeRunner
from pochette.engine.runner import FloatArray, Runner, run_frames
from pochette.engine.source import BLOCK_SAMPLES, EngineSource
from pochette.engine.wasm import WasmRunner
from pochette.errors import ToolError

TOLERANCE = 1e-4
"""Largest accepted error, of the golden sound's peak, or of full scale where that is less."""
LEAST_TOLERANCE = 1e-6
"""Of full scale: what rounding in single precision may come to however quiet the sound; a thirtieth of a step of 16
bits."""
PROCESSORS: dict[Machine, Target] = {
    "aarch64": CORTEX_A72,
    "armv7": CORTEX_A8,
    "cortex-m4": CORTEX_M4F,
    "cortex-m7": CORTEX_M7,
    "cortex-m33": CORTEX_M33,
}
"""What is emulated, and what it is compiled for."""
ENGINES = ("c", "wasm", *PROCESSORS)
"""Where golden vectors can be played."""
USUAL: tuple[str, ...] = ("c", "wasm", "aarch64", "cortex-m7")
"""Where they are played unless told otherwise: one of each kind."""
EMULATED_INSTRUCTIONS = 2e9
"""Most that an emulated processor is asked for; an emulator makes some hundred millions a second. What is not
played there of a long sound is played by the same C on this machine and in the sandbox."""
COUNTED_FRAMES = 4
"""Of the sound, from which it is told how long the budget lasts."""
SHORT_BLOCKS = (1, 7, 64, BLOCK_SAMPLES)
"""Ways to cut the calls, tried on the first half second besides whole frames."""


@dataclass(frozen=True)
class Check:
    """One engine's answer."""

    engine: str
    passed: bool
    max_error: float | None
    """Largest difference from the golden audio, of full scale; None if it could not be run."""
    seconds_of_audio: float
    block_samples: tuple[int, ...]
    """Ways the calls were cut; all gave the same samples."""
    seconds: float
    """Wall time it took."""
    note: str = ""
    """Why it could not be run and what to do about it, what differs, why not all of the sound was played, or that what
    was played of it is silence."""
    golden_peak: float | None = None
    """Largest sample of the golden audio that was played, which says how much the error is; None if none was."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def peak_of(audio: FloatArray) -> float:
    """The largest sample of a sound, of full scale; 0 if it has none."""
    return float(np.abs(audio).max(initial=0.0))


def allowed_error(peak: float) -> float:
    """How far an engine may be from a golden sound: another processor's rounding, and not the sound itself.

    Rounding grows with what is rounded, so a quiet sound is held as closely, for its loudness, as a loud one: an engine
    that puts out nothing at all must not pass.

    Args:
        peak: of the golden sound that is played.

    Returns:
        the largest accepted difference, of full scale.
    """
    return max(LEAST_TOLERANCE, TOLERANCE * min(1.0, peak))


def silence_note(peak: float) -> str:
    """What has to be said of a golden sound that silence would pass for; nothing of any other."""
    return "" if peak > allowed_error(peak) else "What was played of the golden sound is silent: it proves little."


def runner_for(engine: str, source: EngineSource, wasm: bytes) -> Runner:
    """A fresh voice of an engine on one machine.

    Args:
        engine: one of `ENGINES`.
        source: C99, compiled for "c" and the emulators.
        wasm: the WebAssembly build.

    Returns:
        the voice.

    Raises:
        ToolError: what the machine needs is not installed.
        ExportError: the source does not compile.
    """
    if engine == "wasm":
        return WasmRunner(wasm)
    if engine == "c":
        import tempfile
        from pathlib import Path

        return NativeRunner(compile_host_library(source, Path(tempfile.mkdtemp(prefix="pochette-"))))
    if engine in PROCESSORS:
        return EmulatedRunner(compile_elf(source, PROCESSORS[engine]), engine)
    raise ToolError(f"There is no engine {engine!r}.", remedy=f"Use one of {', '.join(ENGINES)}.")


def verify(
    source: EngineSource,
    wasm: bytes,
    controls: FloatArray,
    audio: FloatArray,
    engines: Sequence[str] = USUAL,
    report: Callable[[Check], None] | None = None,
) -> list[Check]:
    """Play golden vectors on every engine this machine can run or emulate.

    Args:
        source: the engine.
        wasm: its WebAssembly build.
        controls: (frame, control).
        audio: (frame * hop,), what it must sound like.
        engines: which to try.
        report: told each answer as it comes.

    Returns:
        one answer an engine; one that cannot be run here says why and does not pass.
    """
    checks = []
    for engine in engines:
        begun = time.monotonic()
        try:
            runner = runner_for(engine, source, wasm)
            affordable = _affordable(source, engine, controls) if engine in PROCESSORS else None
        except ToolError as error:
            check = Check(engine, False, None, 0.0, (), 0.0, f"{error.what} {error.remedy}")
        else:
            check = _play(engine, runner, controls, audio, begun, affordable)
        checks.append(check)
        if report is not None:
            report(check)
    return checks


def _affordable(source: EngineSource, machine: Machine, controls: FloatArray) -> int:
    """How many frames an emulated processor plays within `EMULATED_INSTRUCTIONS`, one at least: by counting a few."""
    elf = compile_elf(source, PROCESSORS[machine])
    warm_up, counted = heard_frames(source, controls[:COUNTED_FRAMES])
    work = workload(elf, machine, counted, warm_up_frames=warm_up)
    return max(1, int(EMULATED_INSTRUCTIONS / (work.instructions / work.samples * source.hop_samples)))


def _play(
    engine: str, runner: Runner, controls: FloatArray, audio: FloatArray, begun: float, affordable: int | None = None
) -> Check:
    """One engine's answer, of all frames or of as many as can be afforded."""
    half_second = max(1, runner.sample_rate_hz // runner.hop_samples // 2)
    frames, short, cut = len(controls), half_second, ""
    if affordable is not None and affordable < frames + len(SHORT_BLOCKS) * short:
        short = max(1, min(half_second, affordable // (2 * len(SHORT_BLOCKS))))
        frames = min(frames, max(short, affordable - len(SHORT_BLOCKS) * short))
        whole, played = (count * runner.hop_samples / runner.sample_rate_hz for count in (len(controls), frames))
        if frames < len(controls):
            cut = f"The first {played:.3g} s of {whole:.3g} s: {EMULATED_INSTRUCTIONS:.2g} instructions are emulated."
    controls, audio = controls[:frames], audio[: frames * runner.hop_samples]
    made = run_frames(runner, controls)
    peak = peak_of(audio)
    error = float(np.abs(made - audio).max()) if np.isfinite(made).all() else float("inf")
    differing = [
        b
        for b in SHORT_BLOCKS
        if not np.array_equal(run_frames(runner, controls[:short], b), made[: short * runner.hop_samples])
    ]
    note = f"Calls of {differing[0]} samples change the audio." if differing else f"{cut} {silence_note(peak)}".strip()
    return Check(
        engine,
        error <= allowed_error(peak) and not differing,
        error,
        len(audio) / runner.sample_rate_hz,
        (runner.hop_samples, *SHORT_BLOCKS),
        time.monotonic() - begun,
        note,
        peak,
    )
