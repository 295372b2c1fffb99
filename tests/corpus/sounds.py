"""Small sounds on disk for the tests of corpora."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pochette.sound.audio import FloatArray, write_wav

RATE, HOP = 16000, 160


def tone(f0_hz: float, seconds: float = 1.0, rate: int = RATE, level: float = 0.3) -> FloatArray:
    """A harmonic tone of six partials."""
    t = np.arange(round(seconds * rate)) / rate
    return np.asarray(level * sum(np.sin(2 * np.pi * f0_hz * k * t) / k for k in range(1, 7)) / 2, np.float32)


def midi_hz(note: float) -> float:
    """Equal temperament, A = 440 Hz."""
    return float(440 * 2 ** ((note - 69) / 12))


def scale(folder: Path, notes: range, dynamics: tuple[str, ...] = ("p", "f"), seconds: float = 0.6) -> None:
    """One file a note and dynamic: `060_p.wav`."""
    for note in notes:
        for number, dynamic in enumerate(dynamics):
            sound = tone(midi_hz(note), seconds, level=0.1 * (number + 1))
            write_wav(folder / f"{note:03d}_{dynamic}.wav", sound, RATE)
