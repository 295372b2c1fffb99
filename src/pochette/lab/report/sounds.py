"""Sounds as a page carries them: samples as FLAC, spectrograms as small pictures, both inside the page's own text."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import soundfile
from PIL import Image

from pochette.sound.audio import FloatArray
from pochette.sound.spectra import log_mel

COLUMNS = 280
BANDS = 96
RANGE_DB = 75.0
"""From the brightest colour of a clip down to its darkest."""
_WINDOW_SECONDS = 0.064
_STOPS = ((22, 12, 8), (62, 24, 18), (122, 40, 26), (181, 83, 30), (222, 148, 58), (245, 209, 133), (255, 249, 232))
"""Wood to brass to light, ever brighter, so that it reads in grey as well."""


@dataclass(frozen=True)
class Clip:
    """One stretch of music in several versions, to be compared by ear."""

    title: str
    versions: dict[str, FloatArray]
    """Name ("recording", "dense", "trimmed", ...) to mono samples, (samples,)."""
    sample_rate_hz: int


@dataclass(frozen=True)
class Take:
    """One version of a clip as the page shows it."""

    name: str
    audio: str
    """data: URI, FLAC."""
    picture: str
    """data: URI, PNG."""
    seconds: float


def takes_of(clip: Clip) -> list[Take]:
    """Encode a clip's versions alike: one gain, one colour scale, one length.

    A clip that goes beyond full scale is turned down as a whole, so that its versions stay comparable. Samples that are
    not numbers are silence here.

    Args:
        clip: its versions may differ in length; the shorter end in silence.

    Returns:
        the versions in their order; none if there is no sample at all.
    """
    sounds = {name: np.nan_to_num(np.asarray(sound, np.float32).reshape(-1), nan=0.0, posinf=0.0, neginf=0.0)
              for name, sound in clip.versions.items()}  # fmt: skip
    samples = max((len(sound) for sound in sounds.values()), default=0)
    if samples == 0:
        return []
    sounds = {name: np.pad(sound, (0, samples - len(sound))) for name, sound in sounds.items()}
    peak = max(1.0, *(float(np.max(np.abs(sound))) for sound in sounds.values()))
    pictures = spectrograms({name: sound / np.float32(peak) for name, sound in sounds.items()}, clip.sample_rate_hz)
    return [
        Take(name, flac(sound / np.float32(peak), clip.sample_rate_hz), pictures[name], samples / clip.sample_rate_hz)
        for name, sound in sounds.items()
    ]


def flac(sound: FloatArray, sample_rate_hz: int) -> str:
    """Samples as a data URI, without loss beyond 16 bit."""
    buffer = io.BytesIO()
    soundfile.write(buffer, sound, sample_rate_hz, format="FLAC", subtype="PCM_16")
    return data_uri("audio/flac", buffer.getvalue())


def spectrograms(sounds: Mapping[str, FloatArray], sample_rate_hz: int) -> dict[str, str]:
    """Pictures of sounds of one length on one colour scale, height as the ear hears it.

    Args:
        sounds: name to (samples,).
        sample_rate_hz: of all.

    Returns:
        name to data URI of a PNG, time to the right, mel upwards.
    """
    fft_samples = 1 << max(6, round(np.log2(_WINDOW_SECONDS * sample_rate_hz)))
    levels = {}
    for name, sound in sounds.items():
        hop_samples = max(1, -(-len(sound) // COLUMNS))
        levels[name] = log_mel(sound, sample_rate_hz, hop_samples, bands=BANDS, fft_samples=fft_samples)
    top = max(float(level.max()) for level in levels.values())
    return {name: _picture((level - (top - RANGE_DB)) / RANGE_DB) for name, level in levels.items()}


def data_uri(kind: str, data: bytes) -> str:
    """Bytes as an address that needs no network."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _picture(level: FloatArray) -> str:
    """(frames, bands) from 0 to 1 as a PNG of 128 colours."""
    indices = np.round(np.clip(level, 0, 1) * 127).astype(np.uint8).T[::-1]
    image = Image.frombytes("P", indices.shape[::-1], indices.tobytes())
    image.putpalette(_palette())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return data_uri("image/png", buffer.getvalue())


def _palette() -> bytes:
    positions = np.linspace(0, 1, len(_STOPS))
    wanted = np.linspace(0, 1, 128)
    channels = [np.interp(wanted, positions, channel) for channel in zip(*_STOPS, strict=True)]
    return np.round(np.stack(channels, axis=1)).astype(np.uint8).tobytes()
