"""Gradient: how much the loss asks to change the weights that make a unit."""

from __future__ import annotations

import numpy as np

from pochette.families import criteria
from pochette.graph.units import UnitFamily
from pochette.reduce.evidence import Evidence, FloatArray, reads_data, weights_of_each


@criteria.member("gradient")
@reads_data
def gradient(family: UnitFamily, evidence: Evidence) -> FloatArray:
    """Sum of the absolute derivatives of the loss by the weights that make a unit (Esling et al. 2020).

    The loss is summed over all data before the absolute value is taken, as in the paper: sounds that pull a weight in
    opposite directions cancel. At a minimum of the training loss every derivative is near zero, so the data should be
    other than that trained on.

    Args:
        family: the units to score.
        evidence: its gradients.

    Returns:
        (unit,), larger is more worth keeping.
    """
    scores, gradients = np.zeros(family.units), evidence.gradients()
    for place in evidence.makers(family):
        scores += np.abs(weights_of_each(family, place, gradients[place.path])).sum(axis=1)
    return scores
