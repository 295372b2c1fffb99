"""Information of the input: how much a unit tells of what its layer reads."""

from __future__ import annotations

from pochette.families import criteria
from pochette.graph.units import UnitFamily
from pochette.measure.information import information_of_each_nats
from pochette.reduce.evidence import Evidence, FloatArray, reads_data


@criteria.member("information_input")
@reads_data
def information_input(family: UnitFamily, evidence: Evidence) -> FloatArray:
    """Mutual information of what a unit puts out and what its layer reads: not the paper's, but its published code's.

    The default criterion of the code of Esling et al. 2020 is this one, that of the paper's equation 7 is
    `information`. Without memory a unit is a function of its input, so the true value is infinite; the noise that the
    estimate adds and the few principal components of the input make it finite.

    Args:
        family: the units to score.
        evidence: its activations and inputs.

    Returns:
        (unit,) nats, not below zero; larger is more worth keeping.
    """
    return information_of_each_nats(evidence.activations(family), evidence.inputs(family), evidence.seed)
