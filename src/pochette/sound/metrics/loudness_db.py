"""Error of loudness."""

from __future__ import annotations

import numpy as np

from pochette.families import metrics
from pochette.sound import features
from pochette.sound.audio import FloatArray
from pochette.sound.pairs import paired


@metrics.member("loudness_db")
def loudness_db(reference: FloatArray, estimate: FloatArray, sample_rate_hz: int) -> float:
    """How far loudness is off, in dB; 0 is equal, lower is better.

    Mean absolute difference of A-weighted loudness (`features.loudness_db`) every 4 ms, both limited to -80 to 0 dB.

    Args:
        reference: (samples,).
        estimate: (samples,).
        sample_rate_hz: rate of both.

    Returns:
        dB, 0 to 80; |20 log10 g| if the estimate is the reference times g and neither limit is met.

    Raises:
        ShapeError: the sounds cannot be compared.
    """
    reference, estimate = paired(reference, estimate)
    hop = max(1, round(0.004 * sample_rate_hz))
    own, other = (features.loudness_db(sound, sample_rate_hz, hop) for sound in (reference, estimate))
    return float(np.mean(np.abs(own - other)))
