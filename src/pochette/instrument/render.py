"""A MIDI file played by an instrument into a wave file, faster or slower than it sounds."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pochette.engine.runner import FloatArray, Runner
from pochette.errors import InstrumentError
from pochette.instrument.archive import check_place
from pochette.instrument.file import EngineKind, Instrument
from pochette.instrument.midi import Score, read_midi
from pochette.instrument.polyphony import Polyphony
from pochette.instrument.wav import write_wav

WAV_SUFFIXES = (".wav", ".wave")
BLOCK_S = 0.1
"""Longest stretch between two reports of progress."""


@dataclass(frozen=True)
class RenderReport:
    """What became of a rendering."""

    path: Path
    seconds: float
    """Length of the audio."""
    notes: int
    left_out: int
    """Notes of the percussion channel that were not played."""
    stolen_notes: int
    """Notes that were cut short because all voices were busy."""
    peak: float
    """Largest sample, full scale 1, before clipping."""
    clipped_samples: int
    real_time_factor: float
    """Measured here: seconds of work a second of audio; below 1 it could have been played live."""


def render(
    instrument: Instrument,
    midi_path: Path,
    out_path: Path,
    engine: EngineKind = "wasm",
    *,
    runner_factory: Callable[[], Runner] | None = None,
    voices: int = 8,
    tail_seconds: float = 2.0,
    progress: Callable[[float], None] | None = None,
    trust: bool = False,
    mono: bool = False,
) -> RenderReport:
    """Play a MIDI file into a 16-bit mono wave file at the instrument's own rate.

    The same files give the same bytes on every run.

    Args:
        instrument: who plays.
        midi_path: what is played.
        out_path: the wave file to write.
        engine: "wasm" or "c".
        runner_factory: makes other runners than the instrument's own.
        voices: how many notes may sound at once.
        tail_seconds: how long to wait at most for the last notes to fall silent.
        progress: called with the fraction done, 0 to 1.
        trust: allow "c" for a file that was not built here.
        mono: one voice that slurs from note to note.

    Returns:
        length, level, lost notes and speed.

    Raises:
        SoundError: the MIDI file cannot be used.
        InstrumentError: the engine cannot be run, or the wave file cannot be written or would replace an input.
    """
    check_output(out_path, instrument.path, midi_path)
    score = read_midi(midi_path)
    player = Polyphony(instrument, voices, engine=engine, trust=trust, runner_factory=runner_factory, mono=mono)
    began = time.perf_counter()
    audio = perform(player, score, tail_seconds, progress)
    worked_s = time.perf_counter() - began
    level = write_wav(out_path, audio, instrument.sample_rate_hz)
    seconds = len(audio) / instrument.sample_rate_hz
    return RenderReport(
        path=Path(out_path),
        seconds=seconds,
        notes=score.notes,
        left_out=score.left_out,
        stolen_notes=player.stolen_notes,
        peak=level.peak,
        clipped_samples=level.clipped_samples,
        real_time_factor=worked_s / seconds if seconds else 0.0,
    )


def check_output(path: Path, *inputs: Path | None) -> None:
    """Refuse a wave file that would replace what it is made from, or that would bear the name of another format.

    Args:
        path: the wave file to write.
        inputs: files that are read.

    Raises:
        InstrumentError: see above; or nothing can be written there.
    """
    path = Path(path)
    for source in inputs:
        with contextlib.suppress(OSError):
            if source is not None and path.exists() and path.samefile(source):
                raise InstrumentError(
                    "The wave file would replace a file that it is made from.",
                    where=str(path),
                    remedy="Give --out another name, ending in .wav.",
                )
    if path.suffix.lower() not in WAV_SUFFIXES and not path.is_dir():
        raise InstrumentError(
            f"Only wave files are written, and {path.name!r} is no name of one.",
            where=str(path),
            remedy=f"Give a name ending in .wav: {path.with_suffix('.wav').name!r}."
            if path.name
            else "Give a name ending in .wav.",
        )
    check_place(path)


def perform(
    player: Polyphony, score: Score, tail_seconds: float = 2.0, progress: Callable[[float], None] | None = None
) -> FloatArray:
    """Play a score, every event on its very sample.

    Args:
        player: an instrument in its initial state.
        score: what is played.
        tail_seconds: how long to wait at most for the last notes to fall silent.
        progress: called with the fraction done, 0 to 1.

    Returns:
        (samples,), not clipped.
    """
    rate = player.sample_rate_hz
    pieces: list[FloatArray] = []
    done = 0
    length = round((score.seconds + tail_seconds) * rate)
    for seconds, message in score.events:
        for samples in _blocks(round(seconds * rate) - done, rate):
            pieces.append(player.render(samples))
            done += samples
            if progress:
                progress(done / length)
        player.apply(message)
    for samples in _blocks(length - done, rate):
        if player.active_voices == 0:
            break
        pieces.append(player.render(samples))
        done += samples
        if progress:
            progress(done / length)
    if progress:
        progress(1.0)
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)


def _blocks(samples: int, sample_rate_hz: int) -> Iterator[int]:
    """Cut a stretch into pieces short enough to report progress between them."""
    block = max(1, round(BLOCK_S * sample_rate_hz))
    while samples > 0:
        yield min(block, samples)
        samples -= block
