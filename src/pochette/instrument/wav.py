"""16-bit wave files with the standard library alone, for the light player."""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pochette.engine.runner import FloatArray
from pochette.instrument.archive import write_atomically


@dataclass(frozen=True)
class Level:
    """How hot some audio is."""

    peak: float
    """Largest absolute sample, full scale 1, before clipping."""
    clipped_samples: int
    """Samples beyond full scale, which the file holds at full scale."""


def write_wav(path: Path, audio: FloatArray, sample_rate_hz: int) -> Level:
    """Write mono audio as it is: no normalisation, no dither, held at full scale where it exceeds it.

    Args:
        path: the file, replaced as a whole or not at all.
        audio: (samples,), full scale 1; what is not finite becomes silence.
        sample_rate_hz: its rate.

    Returns:
        the level, so that clipping can be told.

    Raises:
        InstrumentError: the file cannot be written.
    """
    finite = np.nan_to_num(audio, nan=0.0, posinf=0.0, neginf=0.0)
    loudness = np.abs(finite)
    level = Level(float(loudness.max(initial=0.0)), int((loudness > 1).sum()))
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate_hz)
        file.writeframes(np.round(np.clip(finite, -1, 1) * 32767).astype("<i2").tobytes())
    write_atomically(Path(path), buffer.getvalue())
    return level
