"""Spectral convergence."""

from __future__ import annotations

import numpy as np

from pochette.families import metrics
from pochette.sound.audio import FloatArray
from pochette.sound.pairs import paired, rate_scaled
from pochette.sound.spectra import magnitudes


@metrics.member("spectral_convergence")
def spectral_convergence(reference: FloatArray, estimate: FloatArray, sample_rate_hz: int) -> float:
    """Relative error of the magnitude spectrogram, ruled by what is loud; 0 is equal, lower is better.

    Arik et al. 2018, eq. 2: the norm of S - S' over the norm of S, windows of 128 ms (to a power of two), 75 % overlap.

    Args:
        reference: (samples,).
        estimate: (samples,).
        sample_rate_hz: rate of both.

    Returns:
        >= 0: 1 for silence; |g - 1| if the estimate is the reference times g > 0. Infinity if only the reference is
        silent.

    Raises:
        ShapeError: the sounds cannot be compared.
    """
    reference, estimate = paired(reference, estimate)
    size = rate_scaled(2048, sample_rate_hz)
    own, other = (magnitudes(sound, size, size // 4).astype(np.float64) for sound in (reference, estimate))
    error, scale = float(np.linalg.norm(own - other)), float(np.linalg.norm(own))
    if scale == 0:
        return 0.0 if error == 0 else float("inf")
    return error / scale
