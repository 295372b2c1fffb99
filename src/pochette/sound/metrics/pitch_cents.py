"""Error of pitch, by the tracker that training never sees."""

from __future__ import annotations

import numpy as np

from pochette.families import metrics
from pochette.sound.audio import FloatArray
from pochette.sound.pairs import pitch_pair


@metrics.member("pitch_cents")
def pitch_cents(reference: FloatArray, estimate: FloatArray, sample_rate_hz: int) -> float:
    """How far pitch is off, in cents; 0 is equal, lower is better.

    Median absolute difference on the frames (every 10 ms) that are voiced in both sounds, by `boersma`. A sound
    without pitch cannot be in tune: with no such frame the answer is NaN.

    Args:
        reference: (samples,).
        estimate: (samples,).
        sample_rate_hz: rate of both.

    Returns:
        cents, >= 0, or NaN.

    Raises:
        ShapeError: the sounds cannot be compared.
    """
    cents, _, both = pitch_pair(reference, estimate, sample_rate_hz)
    return float(np.median(cents[both])) if both.any() else float("nan")
