"""Redundancy: what of a unit the others cannot say."""

from __future__ import annotations

import numpy as np

from pochette.families import criteria
from pochette.graph.units import UnitFamily
from pochette.reduce.evidence import Evidence, FloatArray, reads_data, weights_of_each

NOISE = 1e-6
"""Share of the mean variance that is added to each unit's own: copies would make the covariance singular, and with less
rounding alone would decide between units that say next to nothing."""


@criteria.member("redundancy")
@reads_data
def redundancy(family: UnitFamily, evidence: Evidence) -> FloatArray:
    """Variance of a unit that no linear function of those left explains, times the squared weights that read it.

    Units go one by one, the one that loses least first, and what goes explains nothing any more: of two copies one
    scores next to nothing, the other all that they say. The score is the mean square that is lost to the layers that
    read a unit even if their weights were fitted anew to the units that are left (as ThiNet and channel pruning do
    layer by layer, Luo et al. 2017, He et al. 2017); with every removal it can only grow for the others.

    Args:
        family: the units to score.
        evidence: its activations and weights.

    Returns:
        (unit,), larger is more worth keeping.
    """
    values = evidence.activations(family)
    centred = values - values.mean(axis=0)
    return lost_in_turn(centred.T @ centred / len(centred), _read_with(family, evidence))


def lost_in_turn(covariance: FloatArray, worth: FloatArray) -> FloatArray:
    """Backward elimination: conditional variance, times its worth, of each at the moment it is the least.

    Args:
        covariance: (unit, unit).
        worth: (unit,) of a unit's variance.

    Returns:
        (unit,), in whose order they go.
    """
    units = len(covariance)
    if not np.trace(covariance) > 0.0:
        return np.zeros(units)  # units that never move: behind a rectifier that lets nothing through
    noise = NOISE * max(float(np.trace(covariance)) / units, np.finfo(np.float64).tiny)
    precision = np.linalg.inv(covariance + noise * np.eye(units))
    scores, left = np.zeros(units), np.ones(units, dtype=bool)
    # What is left of a variance is never more than all of it.
    floor = 1.0 / (np.diag(covariance) + noise)
    for _ in range(units):
        lost = np.where(left, worth / np.maximum(np.diag(precision), floor), np.inf)
        least = int(np.argmin(lost))
        scores[least], left[least] = lost[least], False
        # What is left without a unit has the Schur complement for its precision.
        row = precision[least].copy()
        precision -= np.outer(row, row) / row[least]
        precision[least, least] = 1.0
    return scores


def _read_with(family: UnitFamily, evidence: Evidence) -> FloatArray:
    """Sum of the squared weights that read each unit; 1 where nothing that is learnt does."""
    found = np.zeros(family.units)
    for place in family.indices:
        tensor = evidence.tensors.get(place.path)
        if tensor is not None and tensor.dim() > 1 and place not in (*family.makers, *evidence.gains(family)):
            found += np.square(weights_of_each(family, place, tensor)).sum(axis=1)
    return found if found.any() else np.ones(family.units)
