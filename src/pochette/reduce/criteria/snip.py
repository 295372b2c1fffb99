"""SNIP of units: how much the loss feels the connections that make a unit."""

from __future__ import annotations

from pochette.families import criteria
from pochette.graph.units import UnitFamily
from pochette.reduce.evidence import Evidence, FloatArray, reads_data, sum_over_makers


@criteria.member("snip")
@reads_data
def snip(family: UnitFamily, evidence: Evidence) -> FloatArray:
    """Sum of |w dL/dw| over the weights that make a unit (Lee et al. 2018, of units).

    Structured form of the score of single weights; see `pochette.reduce.sparse.scores.snip`.

    Args:
        family: the units to score.
        evidence: its weights' scores.

    Returns:
        (unit,), larger is more worth keeping.
    """
    return sum_over_makers(family, evidence, evidence.weight_scores("snip"))
