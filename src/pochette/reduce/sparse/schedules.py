"""How much has gone when, and how much moves when: numbers of a moment, nothing else."""

from __future__ import annotations

import math


def cubic(used: float, start: float, end: float, *, first: float = 0.0, last: float) -> float:
    """Sparsity that grows fast and ends slowly (Zhu & Gupta 2017, equation 1).

    Args:
        used: share of the training that is over.
        start: share at which removal begins.
        end: share at which it has ended.
        first: sparsity up to the beginning.
        last: sparsity from the end on.

    Returns:
        share of the weights that is gone.
    """
    position = min(1.0, max(0.0, (used - start) / (end - start)))
    return last + (first - last) * (1.0 - position) ** 3


def fading(used: float, end: float, most: float) -> float:
    """Share of the living weights that move to other places (Evci et al. 2020, equation 1): half a cosine to none.

    Args:
        used: share of the training that is over.
        end: share of the training at which nothing moves any more.
        most: share at the beginning.

    Returns:
        the share; none from the end on.
    """
    return 0.0 if used >= end else 0.5 * most * (1.0 + math.cos(math.pi * used / end))


def remaining(density: float, rounds: int, number: int) -> float:
    """Share that is left after some rounds that each take the same share of what is there.

    Args:
        density: left after the last round.
        rounds: how many there are.
        number: of the round, from 1.

    Returns:
        the share.
    """
    return float(density ** (number / rounds))
