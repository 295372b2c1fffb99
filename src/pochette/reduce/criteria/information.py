"""Information: how much a unit tells of the sound that is wanted."""

from __future__ import annotations

from pochette.families import criteria
from pochette.graph.units import UnitFamily
from pochette.measure.information import information_of_each_nats
from pochette.reduce.evidence import Evidence, FloatArray, reads_data


@criteria.member("information")
@reads_data
def information(family: UnitFamily, evidence: Evidence) -> FloatArray:
    """Mutual information of what a unit puts out and the training target (Esling et al. 2020, equation 7).

    Deviations: the estimator is that of Kraskov et al., not EDGE, whose error is about twice as large (see
    `pochette.measure.information`); the target is reduced to its first principal components instead of to a random
    choice of its dimensions, which the authors' code draws anew for every batch.

    Args:
        family: the units to score.
        evidence: its activations and targets.

    Returns:
        (unit,) nats, not below zero; larger is more worth keeping.
    """
    return information_of_each_nats(evidence.activations(family), evidence.targets(), evidence.seed)
