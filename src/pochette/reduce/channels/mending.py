"""How who reads a layer makes up for the channels that went: one factor a channel, or all its weights anew.

Both are least squares with the least change: where the data leave a choice (channels that always say the same, more
weights than moments), what comes out is nearest to what was there, and nothing is divided by nearly zero.
"""

from __future__ import annotations

import numpy as np

from pochette.reduce.evidence import FloatArray

SMALLEST = 1e-6
"""Directions whose share of the data is less than this are left as they are."""


def factors(contributions: FloatArray, response: FloatArray) -> FloatArray:
    """The factor of each channel that is left, so that together they come nearest to what all channels gave.

    Args:
        contributions: (entry, channel) of those that are left.
        response: (entry,).

    Returns:
        (channel,).
    """
    change = np.linalg.lstsq(contributions, response - contributions.sum(axis=1), rcond=SMALLEST)[0]
    found: FloatArray = 1.0 + change
    return found


def refitted(rows: FloatArray, weights: FloatArray, response: FloatArray) -> FloatArray:
    """The weights on what is left that come nearest to what was there.

    Args:
        rows: (row, channel, feature) of the channels that are left.
        weights: (channel, feature, output), as they were.
        response: (row, output) of all channels, before anything was cut.

    Returns:
        (channel, feature, output).
    """
    x, old = rows.reshape(len(rows), -1), weights.reshape(-1, weights.shape[-1])
    change = np.linalg.lstsq(x, response - x @ old, rcond=SMALLEST)[0]
    found: FloatArray = (old + change).reshape(weights.shape)
    return found
