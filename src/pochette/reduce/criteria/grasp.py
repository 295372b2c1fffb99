"""GraSP of units: what removing a unit's connections does to the flow of gradients."""

from __future__ import annotations

from pochette.families import criteria
from pochette.graph.units import UnitFamily
from pochette.reduce.evidence import Evidence, FloatArray, reads_data, sum_over_makers


@criteria.member("grasp")
@reads_data
def grasp(family: UnitFamily, evidence: Evidence) -> FloatArray:
    """Sum of |w H g| over the weights that make a unit (Wang et al. 2020, of units).

    Structured form of the score of single weights; see `pochette.reduce.sparse.scores.grasp`.

    Args:
        family: the units to score.
        evidence: its weights' scores.

    Returns:
        (unit,), larger is more worth keeping.
    """
    return sum_over_makers(family, evidence, evidence.weight_scores("grasp-abs"))
