"""Which of a lottery's networks becomes the instrument: the smallest that sounds as well, if the board bears it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

LOST_AT_MOST = 0.05
"""Of what training brought nearer to held-out sounds, a smaller network may lose so much and still sounds as well."""


def kept_of(distances: Sequence[float], untrained: float, fits: Callable[[int], bool]) -> int:
    """Choose one network of a path.

    Args:
        distances: to held-out sounds: of the dense network first, then of ever smaller ones; what is not finite is
            as far as can be.
        untrained: the distance of the dense network before it learnt anything.
        fits: whether the board bears the network of a number; asked only where the answer decides.

    Returns:
        number of the smallest network that sounds as well as the nearest; where the board does not bear it, of the
        largest smaller one that it does; of the last if there is none.
    """
    known = [distance if math.isfinite(distance) else math.inf for distance in distances]
    nearest, last = min(known), len(known) - 1
    brought = max(untrained - nearest, 0.0) if math.isfinite(untrained) else 0.0
    as_well = max(number for number, own in enumerate(known) if own <= nearest + LOST_AT_MOST * brought)
    return next((number for number in range(as_well, last) if fits(number)), last)
