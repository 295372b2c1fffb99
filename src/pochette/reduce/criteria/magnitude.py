"""Magnitude: how large the weights are that make a unit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pochette.families import criteria
from pochette.graph.coupling import UnitFamily


@criteria.member("magnitude")
def magnitude(family: UnitFamily, tensors: Mapping[str, Tensor]) -> npt.NDArray[np.float64]:
    """Mean absolute value of the weights that make a unit (sum in Esling et al. 2020; the same order in a family).

    A unit is made by its rows: in a recurrent layer those of all gates, in both matrices. What reads it is not asked.

    Args:
        family: the units to score.
        tensors: the trained weights by path.

    Returns:
        (unit,), larger is more worth keeping.
    """
    total = np.zeros(family.units)
    count = 0
    for place, owned in family.indices.items():
        tensor = tensors[place.path]
        if place.axis != 0 or tensor.dim() < 2 or not tensor.is_floating_point():
            continue
        rows = tensor.detach().abs().flatten(1).double().numpy()
        total += rows[owned].sum(axis=(1, 2))
        count += owned.shape[1] * rows.shape[1]
    return total / max(count, 1)
