"""Normalisation: how large a gain a unit has learnt."""

from __future__ import annotations

import numpy as np

from pochette.families import criteria
from pochette.graph.units import UnitFamily
from pochette.reduce.evidence import Evidence, FloatArray, falls_back, weights_of_each


def _has_no_gain(family: UnitFamily, evidence: Evidence) -> bool:
    return not evidence.gains(family)


@criteria.member("normalisation")
@falls_back(_has_no_gain, "gains of normalisations and of weight normalisation")
def normalisation(family: UnitFamily, evidence: Evidence) -> FloatArray:
    """Mean absolute gain of the normalisations of a unit (Liu et al. 2017; Esling et al. 2020).

    Deviation: the papers prune layers with a batch norm only. Here a family without gains is scored by the gain that
    weight normalisation would give it, the Euclidean norm of each row that makes a unit, averaged over these rows.
    This is exactly |g| in a layer that has weight normalisation, and orders equal rows as their size does; a family
    with a layer norm and one without can be ranked within themselves but hardly against each other. Trimming refuses a
    network without any gain, and its report names the families that were scored so (`fell_back`).

    Args:
        family: the units to score.
        evidence: its gains, or its weights where it has none.

    Returns:
        (unit,), larger is more worth keeping.
    """
    gains = [
        np.abs(weights_of_each(family, place, evidence.tensors[place.path])).mean(axis=1)
        for place in evidence.gains(family)
    ]
    if gains:
        mean_gain: FloatArray = np.mean(gains, axis=0)
        return mean_gain
    norms = []
    for place in evidence.makers(family):
        rows = weights_of_each(family, place, evidence.tensors[place.path])
        owned = family.indices[place].shape[1]
        norms.append(np.linalg.norm(rows.reshape(family.units, owned, -1), axis=2))
    mean_norm: FloatArray = np.concatenate(norms, axis=1).mean(axis=1)
    return mean_norm
