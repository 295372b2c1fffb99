"""Magnitude: how large the weights are that make a unit."""

from __future__ import annotations

import numpy as np

from pochette.families import criteria
from pochette.graph.units import UnitFamily
from pochette.reduce.evidence import Evidence, FloatArray, weights_of_each


@criteria.member("magnitude")
def magnitude(family: UnitFamily, evidence: Evidence) -> FloatArray:
    """Sum of the absolute weights that make a unit (Li et al. 2016; Esling et al. 2020).

    A unit is made by its rows: in a recurrent layer those of all gates, in both matrices. What reads it is not asked,
    nor are biases. Of a weight-normed layer the evidence holds the effective weight, and that is what counts.

    Args:
        family: the units to score.
        evidence: its weights.

    Returns:
        (unit,), larger is more worth keeping. Between layers the sum grows with what a unit reads: see
        `pochette.reduce.scaling`.
    """
    scores = np.zeros(family.units)
    for place in evidence.makers(family):
        scores += np.abs(weights_of_each(family, place, evidence.tensors[place.path])).sum(axis=1)
    return scores
