"""Making scores of different layers comparable, so that units can be ranked across the whole network.

A criterion orders the units of one family. A sum of weights grows with how many there are, a sum of activations with
the layer's level: ranked globally as they are, one family may lose nearly all its units for its scale alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np

from pochette.errors import ReductionError
from pochette.graph.units import UnitFamily
from pochette.reduce.evidence import Evidence, FloatArray

Scaling = Literal["none", "maximum", "dimension"]
"""none: as they are; maximum: by the family's largest; dimension: by the number of weights that make a unit."""

Scores = Mapping[str, FloatArray]
"""Family name to a score per unit."""


def scaled(scores: Scores, scaling: str, weights: Mapping[str, int]) -> dict[str, FloatArray]:
    """Scores that may be compared between families (Esling et al. 2020); the order within each stays.

    Args:
        scores: of every family.
        scaling: none, maximum or dimension.
        weights: how many weights make a unit of each family (`weights_of_a_unit`); looked at for dimension only.

    Returns:
        new arrays. A family whose scores are all zero keeps them, and so ranks last.

    Raises:
        ReductionError: there is no such scaling.
    """
    if scaling not in get_args(Scaling):
        raise ReductionError(
            f"There is no scaling called {scaling!r}.",
            where="--scaling",
            remedy=f"Choose one of: {', '.join(get_args(Scaling))}.",
        )
    return {name: values / _divisor(scaling, values, weights[name]) for name, values in scores.items()}


def weights_of_a_unit(family: UnitFamily, evidence: Evidence) -> int:
    """How many weights make one unit: what `magnitude` sums over.

    Args:
        family: of the unit.
        evidence: names the weights.

    Returns:
        their number.
    """
    total = 0
    for place in evidence.makers(family):
        tensor = evidence.tensors[place.path]
        total += family.indices[place].shape[1] * tensor.numel() // tensor.shape[place.axis]
    return total


def _divisor(scaling: str, values: FloatArray, weights: int) -> float:
    """What a family's scores are divided by; the largest by absolute value, lest a negative one turn them round."""
    if scaling == "maximum":
        return float(np.abs(values).max(initial=0.0)) or 1.0
    return float(max(1, weights)) if scaling == "dimension" else 1.0
