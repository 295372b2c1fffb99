"""Activation: how loud a unit is on the data."""

from __future__ import annotations

import numpy as np

from pochette.families import criteria
from pochette.graph.units import UnitFamily
from pochette.reduce.evidence import Evidence, FloatArray, reads_data


@criteria.member("activation")
@reads_data
def activation(family: UnitFamily, evidence: Evidence) -> FloatArray:
    """Sum over the data of the absolute value that a unit puts out (Esling et al. 2020).

    A unit that is large but constant scores high, although a bias could replace it; the paper has it so.

    Args:
        family: the units to score.
        evidence: its activations.

    Returns:
        (unit,), larger is more worth keeping.
    """
    scores: FloatArray = np.abs(evidence.activations(family)).sum(axis=0, dtype=np.float64)
    return scores
