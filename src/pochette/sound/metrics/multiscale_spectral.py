"""Multi-scale spectral distance: what DDSP minimised, as a number to compare by."""

from __future__ import annotations

import numpy as np

from pochette.families import metrics
from pochette.sound.audio import FloatArray
from pochette.sound.pairs import paired, rate_scaled
from pochette.sound.spectra import magnitudes

_SIZES = (2048, 1024, 512, 256, 128, 64)


@metrics.member("multiscale_spectral")
def multiscale_spectral(reference: FloatArray, estimate: FloatArray, sample_rate_hz: int) -> float:
    """Distance of magnitude spectra at six resolutions, loud and soft parts alike; 0 is equal, lower is better.

    Engel et al. 2020, eq. 2-3, as their code of that time had it (v0.0.6): FFT sizes 2048 to 64 at 16 kHz with 75 %
    overlap, mean |S - S'| + mean |log(S + 1e-5) - log(S' + 1e-5)|, summed over sizes. At other rates windows keep their
    duration (to a power of two) and magnitudes their scale, but bins above 8 kHz join in: compare at one rate only.
    Near-silent bins dominate the second term: read it beside `log_spectral_db`.

    Args:
        reference: (samples,).
        estimate: (samples,).
        sample_rate_hz: rate of both.

    Returns:
        the distance, >= 0, no unit.

    Raises:
        ShapeError: the sounds cannot be compared.
    """
    reference, estimate = paired(reference, estimate)
    total = 0.0
    for size in _SIZES:
        samples = rate_scaled(size, sample_rate_hz)
        # `magnitudes` divides by the window's sum; DDSP does not, and its Hann window at 16 kHz sums to size / 2.
        own, other = (magnitudes(sound, samples, samples // 4) * (size / 2) for sound in (reference, estimate))
        total += float(np.mean(np.abs(own - other)))
        total += float(np.mean(np.abs(np.log(own + 1e-5) - np.log(other + 1e-5))))
    return total
