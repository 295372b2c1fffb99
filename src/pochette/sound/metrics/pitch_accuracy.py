"""Share of time in tune, by the tracker that training never sees."""

from __future__ import annotations

import numpy as np

from pochette.families import metrics
from pochette.sound.audio import FloatArray
from pochette.sound.pairs import pitch_pair


@metrics.member("pitch_accuracy")
def pitch_accuracy(reference: FloatArray, estimate: FloatArray, sample_rate_hz: int) -> float:
    """Share of the reference's voiced frames that the estimate plays in tune; 1 is best, higher is better.

    Raw pitch accuracy of Poliner et al. 2007: voiced in both and within 50 cents, over voiced in the reference, every
    10 ms, by `boersma`. Frames that the estimate leaves without pitch count as wrong.

    Args:
        reference: (samples,).
        estimate: (samples,).
        sample_rate_hz: rate of both.

    Returns:
        0 to 1; NaN if the reference has no pitch.

    Raises:
        ShapeError: the sounds cannot be compared.
    """
    cents, voiced, both = pitch_pair(reference, estimate, sample_rate_hz)
    return float(np.sum(both & (cents <= 50)) / np.sum(voiced)) if voiced.any() else float("nan")
