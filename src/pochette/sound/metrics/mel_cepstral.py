"""Mel-cepstral distortion."""

from __future__ import annotations

import numpy as np

from pochette.families import metrics
from pochette.sound.audio import Array, FloatArray
from pochette.sound.pairs import paired, rate_scaled
from pochette.sound.spectra import log_mel

_BANDS, _COEFFICIENTS = 80, 13


@metrics.member("mel_cepstral")
def mel_cepstral(reference: FloatArray, estimate: FloatArray, sample_rate_hz: int) -> float:
    """Difference of timbre, level left out: mel-cepstral distortion in dB; 0 is equal, lower is better.

    Kubichek 1993, with 13 coefficients of 80 mel bands (20 Hz to half the rate), c0 excluded, frame against frame
    without warping, windows of 128 ms with 75 % overlap: K times the Euclidean distance, K = 10 / ln 10 * sqrt 2.

    Args:
        reference: (samples,).
        estimate: (samples,).
        sample_rate_hz: rate of both.

    Returns:
        dB, >= 0; near 0 if the estimate is the reference times a constant.

    Raises:
        ShapeError: the sounds cannot be compared.
    """
    reference, estimate = paired(reference, estimate)
    distance = _cepstra(reference, sample_rate_hz) - _cepstra(estimate, sample_rate_hz)
    return float(10 / np.log(10) * np.sqrt(2) * np.mean(np.sqrt(np.sum(distance**2, axis=1))))


def _cepstra(audio: FloatArray, sample_rate_hz: int) -> Array:
    """(frames, 13): coefficients 1 to 13 of the cosine transform of natural log mel magnitudes."""
    size = rate_scaled(2048, sample_rate_hz)
    decibels = log_mel(audio, sample_rate_hz, size // 4, bands=_BANDS, fft_samples=size)
    magnitude_log = decibels.astype(np.float64) * (np.log(10) / 20)
    order, band = np.arange(1, _COEFFICIENTS + 1)[:, None], np.arange(_BANDS)
    cosines = np.cos(np.pi * order * (band + 0.5) / _BANDS) / _BANDS
    return np.asarray(magnitude_log @ cosines.T)
