"""Log-spectral distance with a stated floor."""

from __future__ import annotations

import numpy as np

from pochette.families import metrics
from pochette.sound.audio import FloatArray
from pochette.sound.pairs import paired, rate_scaled
from pochette.sound.spectra import magnitudes

_FLOOR = 1e-8


@metrics.member("log_spectral_db")
def log_spectral_db(reference: FloatArray, estimate: FloatArray, sample_rate_hz: int) -> float:
    """Difference of level per time and frequency, in dB; 0 is equal, lower is better.

    Gray & Markel 1976: the root mean square over bins of the difference of log power spectra, averaged over frames.
    Windows of 2048 samples at 16 kHz (128 ms, to a power of two), 75 % overlap. Levels below -80 dB of the reference's
    loudest bin count as -80 dB, so that silence is not compared with silence to the last bit.

    Args:
        reference: (samples,).
        estimate: (samples,).
        sample_rate_hz: rate of both.

    Returns:
        dB, >= 0; |20 log10 g| if the estimate is the reference times g > 0 and no bin is near the floor.

    Raises:
        ShapeError: the sounds cannot be compared.
    """
    reference, estimate = paired(reference, estimate)
    size = rate_scaled(2048, sample_rate_hz)
    own, other = (magnitudes(sound, size, size // 4).astype(np.float64) ** 2 for sound in (reference, estimate))
    floor = max(float(own.max()) * _FLOOR, 1e-20)
    difference = 10 * (np.log10(np.maximum(own, floor)) - np.log10(np.maximum(other, floor)))
    return float(np.mean(np.sqrt(np.mean(difference**2, axis=1))))
