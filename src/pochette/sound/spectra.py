"""Short-time spectra: magnitudes, the mel filterbank, log-mel pictures.

Windows are normalised so that a steady sine of amplitude a has magnitude a / 2 in its bin, at any window length and
rate. Frame f is centred on sample f * hop_samples; beyond the edges the sound is zero.
"""

from __future__ import annotations

import numpy as np

from pochette.sound.audio import Array, FloatArray
from pochette.sound.features import centres, frame_count, frames_at


def hann(samples: int) -> Array:
    """The periodic Hann window: copies of it, half a window apart, add up to 1.

    Args:
        samples: its length, even.

    Returns:
        (samples,), 0 to 1, greatest in the middle.
    """
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(samples) / samples))


def magnitudes(audio: FloatArray, fft_samples: int, hop_samples: int) -> FloatArray:
    """How strong each frequency is in each frame.

    Args:
        audio: (samples,).
        fft_samples: length of window and transform, even.
        hop_samples: samples from frame to frame.

    Returns:
        (frames, fft_samples // 2 + 1), >= 0; a sine of amplitude a on a bin's frequency gives a / 2.
    """
    window = hann(fft_samples)
    window /= window.sum()
    out = np.empty((frame_count(len(audio), hop_samples), fft_samples // 2 + 1), np.float32)
    for chunk, frames in frames_at(audio, centres(len(audio), hop_samples), fft_samples):
        out[chunk] = np.abs(np.fft.rfft(frames * window, axis=1))
    return out


def mel_from_hz(frequency_hz: Array | float) -> Array:
    """Perceived height of a frequency: O'Shaughnessy's formula, 1000 Hz being 1000 mel.

    Args:
        frequency_hz: >= 0.

    Returns:
        mel, of the same shape.
    """
    return np.asarray(2595.0 * np.log10(1.0 + np.asarray(frequency_hz, np.float64) / 700.0))


def hz_from_mel(mel: Array | float) -> Array:
    """The frequency of a perceived height; the inverse of `mel_from_hz`.

    Args:
        mel: >= 0.

    Returns:
        Hz, of the same shape.
    """
    return np.asarray(700.0 * (10.0 ** (np.asarray(mel, np.float64) / 2595.0) - 1.0))


def mel_filterbank(
    sample_rate_hz: int, fft_samples: int, bands: int, *, low_hz: float = 20.0, high_hz: float | None = None
) -> FloatArray:
    """Triangles that share the spectrum out among bands equally wide to the ear.

    Between the first and the last centre the triangles add up to 1 at every bin (a partition of unity), so band powers
    add up to the power of the spectrum there. A band narrower than a bin is read between bins rather than left empty.

    Args:
        sample_rate_hz: rate of the sound.
        fft_samples: length of its transform.
        bands: how many, >= 1.
        low_hz: lower edge of the first band.
        high_hz: upper edge of the last band; None for half the rate.

    Returns:
        (bands, fft_samples // 2 + 1), 0 to 1.
    """
    top = sample_rate_hz / 2 if high_hz is None else high_hz
    edges = hz_from_mel(np.linspace(mel_from_hz(low_hz), mel_from_hz(top), bands + 2))
    bins = np.fft.rfftfreq(fft_samples, 1 / sample_rate_hz)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    bank = np.maximum(0.0, np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)))
    for band in np.flatnonzero(bank.sum(axis=1) == 0):
        position = edges[band + 1] * fft_samples / sample_rate_hz
        left = min(int(position), len(bins) - 2)
        bank[band, left], bank[band, left + 1] = 1 - (position - left), position - left
    return np.asarray(bank, np.float32)


def log_mel(
    audio: FloatArray, sample_rate_hz: int, hop_samples: int, *, bands: int = 80, fft_samples: int = 2048
) -> FloatArray:
    """A picture of a sound as the ear divides it: power in mel bands, in dB.

    Args:
        audio: (samples,).
        sample_rate_hz: its rate.
        hop_samples: samples from frame to frame.
        bands: how many, from 20 Hz to half the rate.
        fft_samples: length of the window.

    Returns:
        (frames, bands), dB, at least -100; a full-scale sine gives about -6 dB + its leakage (1.8 dB).
    """
    power = magnitudes(audio, fft_samples, hop_samples).astype(np.float64) ** 2
    mel = power @ mel_filterbank(sample_rate_hz, fft_samples, bands).T
    return np.asarray(10 * np.log10(np.maximum(mel, 1e-10)), np.float32)
