"""What all metrics do first: bring a sound and its reference to one form."""

from __future__ import annotations

import numpy as np

from pochette.errors import ShapeError
from pochette.sound.audio import Array, FloatArray
from pochette.sound.boersma import boersma


def paired(reference: FloatArray, estimate: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Both sounds as mono float32 of equal length.

    Args:
        reference: (samples,).
        estimate: (samples,); a difference of up to 5 % or 2048 samples in length is cut off, a model's last hop being
            rarely the reference's.

    Returns:
        the two, each (samples,).

    Raises:
        ShapeError: not one axis, empty, not finite, or of different length.
    """
    reference, estimate = np.asarray(reference, np.float32), np.asarray(estimate, np.float32)
    if reference.ndim != 1 or estimate.ndim != 1:
        raise ShapeError(
            f"Metrics compare mono sounds (samples,), not {reference.shape} and {estimate.shape}.",
            remedy="Give one channel of each.",
        )
    length = min(len(reference), len(estimate))
    surplus = max(len(reference), len(estimate)) - length
    if not length or surplus > max(2048, 0.05 * length):
        raise ShapeError(
            f"The sounds differ in length: {len(reference)} and {len(estimate)} samples.",
            remedy="Render the estimate with as many frames as the reference has.",
        )
    if not (np.isfinite(reference).all() and np.isfinite(estimate).all()):
        raise ShapeError("One of the sounds holds NaN or infinity.", remedy="Look for a division by zero in the model.")
    return reference[:length], estimate[:length]


def rate_scaled(samples_at_16_khz: int, sample_rate_hz: int) -> int:
    """The power of two nearest (in ratio) to a duration given in samples at 16 kHz.

    Args:
        samples_at_16_khz: the duration.
        sample_rate_hz: rate at which it is wanted.

    Returns:
        samples, a power of two, at least 16: 2048 becomes 4096 at 44.1 kHz and 8192 at 48 kHz.
    """
    return int(max(16, 2 ** round(float(np.log2(samples_at_16_khz * sample_rate_hz / 16000)))))


def pitch_pair(reference: FloatArray, estimate: FloatArray, sample_rate_hz: int) -> tuple[Array, Array, Array]:
    """How far apart two sounds are in pitch, every 10 ms.

    Args:
        reference: (samples,).
        estimate: (samples,).
        sample_rate_hz: rate of both.

    Returns:
        (frames,) each: absolute difference in cents; voiced in the reference; voiced in both.

    Raises:
        ShapeError: as `paired`.
    """
    reference, estimate = paired(reference, estimate)
    hop = max(1, round(0.01 * sample_rate_hz))
    own, other = (boersma(sound, sample_rate_hz, hop) for sound in (reference, estimate))
    cents = np.abs(1200 * np.log2(other.f0_hz.astype(np.float64) / own.f0_hz))
    return cents, own.voiced, own.voiced & other.voiced
