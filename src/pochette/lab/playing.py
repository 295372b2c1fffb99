"""Does the instrument do what it is told: a chromatic scale and a crescendo, played on the engine and listened to.

The pitch tracker is Boersma's, which no training label comes from.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pochette.control import Control
from pochette.corpus.folder import FolderCorpus
from pochette.engine.runner import FloatArray, Runner, run_frames
from pochette.engine.verify import runner_for
from pochette.errors import ToolError
from pochette.instrument import Instrument
from pochette.sound.boersma import boersma
from pochette.sound.features import loudness_db

NOTE_SECONDS = 1.0


@dataclass(frozen=True)
class Playing:
    """Fidelity of the controls."""

    pitches: int
    pitch_accuracy: float
    """Share of sounding frames within 50 cents of the score."""
    median_pitch_error_cents: float
    voiced: float
    """Share of frames in which the tracker is sure of a pitch, among those meant to sound."""
    median_loudness_error_db: float
    """Between the loudness that was asked for and the one heard, over a crescendo on every fourth pitch."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def hear_playing(
    runner: Runner, controls: tuple[Control, ...], midi_notes: list[int], loudness_range_db: tuple[float, float]
) -> Playing:
    """Play a chromatic scale and crescendos, and measure what comes out.

    Args:
        runner: the engine, with controls named `pitch_hz` and `loudness_db`.
        controls: in the engine's order.
        midi_notes: to play, usually the corpus's pitches.
        loudness_range_db: softest and loudest level the corpus holds.

    Returns:
        pitch and loudness fidelity.
    """
    low, high = loudness_range_db
    middle = low + 0.75 * (high - low)
    cents, confident = [], []
    for note in midi_notes:
        audio = _play(runner, controls, note, np.full(_frames(runner), middle, np.float32))
        track = boersma(audio, runner.sample_rate_hz, runner.hop_samples)
        inside = slice(len(track.f0_hz) // 5, -len(track.f0_hz) // 10)
        sure = track.confidence[inside] > 0.5
        cents.append(1200 * np.log2(track.f0_hz[inside][sure] / _hertz(note)))
        confident.append(sure)
    errors = np.abs(np.concatenate(cents))
    loudness_errors = []
    for note in midi_notes[::4]:
        wanted = np.linspace(low, high, 2 * _frames(runner)).astype(np.float32)
        audio = _play(runner, controls, note, wanted)
        heard = loudness_db(audio, runner.sample_rate_hz, runner.hop_samples)[1 : len(wanted) + 1]
        edge = len(wanted) // 20
        loudness_errors.append(np.abs(heard - wanted)[edge:-edge])
    return Playing(
        len(midi_notes),
        float((errors <= 50.0).mean()) if len(errors) else 0.0,
        float(np.median(errors)) if len(errors) else float("inf"),
        float(np.concatenate(confident).mean()),
        float(np.median(np.concatenate(loudness_errors))),
    )


def _frames(runner: Runner) -> int:
    return round(NOTE_SECONDS * runner.sample_rate_hz / runner.hop_samples)


def _hertz(note: float) -> float:
    return float(440.0 * 2 ** ((note - 69) / 12))


def _play(runner: Runner, controls: tuple[Control, ...], note: int, loudness: FloatArray) -> FloatArray:
    curve = np.tile(np.array([knob.default for knob in controls], np.float32), (len(loudness), 1))
    names = [knob.name for knob in controls]
    curve[:, names.index("pitch_hz")] = _hertz(note)
    curve[:, names.index("loudness_db")] = loudness
    return run_frames(runner, curve)


def listen_to(instrument: Instrument, corpus: FolderCorpus) -> Playing | None:
    """How an instrument answers its controls, over the pitches that it learnt from.

    Args:
        instrument: its C engine is played, or its WebAssembly where there is no compiler.
        corpus: what it learnt from.

    Returns:
        what was heard; None of one that is not played by pitch and loudness.
    """
    pitches = [int(pitch) for pitch in corpus.pitches()]
    names = {knob.name for knob in instrument.source.controls}
    if not pitches or not {"pitch_hz", "loudness_db"} <= names:
        return None
    try:
        runner: Runner = runner_for("c", instrument.source, instrument.wasm)
    except ToolError:
        runner = instrument.runner("wasm")
    return hear_playing(runner, instrument.source.controls, pitches, corpus.loudness_range_db())
