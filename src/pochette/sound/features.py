"""What a listener follows in a sound, frame by frame: how loud it is.

The convention of the whole house: frame f is centred on sample f * hop_samples, there are samples // hop_samples + 1
frames, and beyond the edges the sound is zero. Pitch is in `pitch.py`, spectra in `spectra.py`, timbre in
`descriptors.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pochette.sound.audio import Array, FloatArray

LOUDNESS_WINDOW_SECONDS = 512 / 16000
"""Length of the window of `loudness_db`: 32 ms, whatever the rate."""

LOUDNESS_FLOOR_DB = -80.0
"""Loudness of silence."""

_CHUNK_SAMPLES = 1 << 20


def frame_count(samples: int, hop_samples: int) -> int:
    """How many frames a sound has: one at its start and one after every whole hop.

    Args:
        samples: length of the sound, >= 0.
        hop_samples: samples from frame to frame, >= 1.

    Returns:
        samples // hop_samples + 1.
    """
    return samples // hop_samples + 1


def frames_at(audio: Array, centres: Array, length: int) -> Iterator[tuple[slice, Array]]:
    """Pieces of a sound around given samples, a chunk of frames at a time so that memory stays small.

    Args:
        audio: (samples,).
        centres: (frames,), integer sample in the middle of each frame.
        length: samples a frame; the centre is sample length // 2 of it.

    Yields:
        which frames these are, and (frames of this chunk, length) float64; zero beyond the edges of the sound.
    """
    padded = np.pad(np.asarray(audio, np.float64), (length // 2, length))
    offsets = np.arange(length)
    step = max(1, _CHUNK_SAMPLES // length)
    for first in range(0, len(centres), step):
        chunk = slice(first, min(first + step, len(centres)))
        starts = np.clip(centres[chunk], 0, len(audio))
        yield chunk, padded[starts[:, None] + offsets]


def centres(samples: int, hop_samples: int) -> Array:
    """Sample in the middle of each frame: 0, hop, 2 hop...

    Args:
        samples: length of the sound.
        hop_samples: samples from frame to frame.

    Returns:
        (frames,), integers.
    """
    return np.arange(frame_count(samples, hop_samples)) * hop_samples


def a_weighting_power(frequency_hz: Array) -> Array:
    """How much of a partial's power the ear hears at low level, relative to 1 kHz: the A curve of IEC 61672-1.

    Args:
        frequency_hz: any shape, >= 0.

    Returns:
        power gain of the same shape: 1 at 1 kHz, about 0.001 (-30.2 dB) at 50 Hz, 0 at 0 Hz.
    """
    f2 = np.asarray(frequency_hz, np.float64) ** 2
    curve = (12194.0**2 * f2**2) / ((f2 + 20.6**2) * np.sqrt((f2 + 107.7**2) * (f2 + 737.9**2)) * (f2 + 12194.0**2))
    return np.asarray(curve**2 * 10**0.2)  # the standard's 2.00 dB, which makes it 0 dB at 1 kHz


def loudness_db(
    audio: FloatArray, sample_rate_hz: int, hop_samples: int, window_seconds: float = LOUDNESS_WINDOW_SECONDS
) -> FloatArray:
    """How loud a sound is over time: A-weighted power in dB, 0 dB being a full-scale sine at 1 kHz.

    The definition of DDSP (Engel et al. 2020) as its code corrected it in January 2022: power spectrum, A-weighted,
    *averaged over bins as power*, then dB. Here the average is scaled by the window so that it is twice the weighted
    mean square, at any rate: a sine of amplitude a at 1 kHz gives 20 log10(a) dB (to 0.02 dB); at 50 Hz 27.8 dB
    less (the curve says 30.2; the window leaks into what weighs more).
    DDSP's own numbers are 19.8 dB higher (its sum depends on FFT size and rate).

    Args:
        audio: (samples,), full scale is 1.
        sample_rate_hz: its rate.
        hop_samples: samples from frame to frame.
        window_seconds: length of the Hann window.

    Returns:
        (frames,), dB, clipped to [-80, 0].
    """
    length = max(16, 2 * round(window_seconds * sample_rate_hz / 2))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    weight = a_weighting_power(np.fft.rfftfreq(length, 1 / sample_rate_hz))
    # Parseval: each bin but the first and last stands for two; times 2 so that a full-scale sine is 0 dB.
    weight *= 4.0 / (length * np.sum(window**2))
    power = np.zeros(frame_count(len(audio), hop_samples))
    for chunk, frames in frames_at(audio, centres(len(audio), hop_samples), length):
        spectrum = np.fft.rfft(frames * window, axis=1)
        power[chunk] = (spectrum.real**2 + spectrum.imag**2) @ weight
    decibels = 10 * np.log10(np.maximum(power, 1e-12))
    return np.asarray(np.clip(decibels, LOUDNESS_FLOOR_DB, 0.0), np.float32)
