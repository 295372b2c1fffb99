"""Random: the control that every criterion must beat."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pochette.families import criteria
from pochette.graph.coupling import UnitFamily


@criteria.member("random")
def random(family: UnitFamily, tensors: Mapping[str, Tensor]) -> npt.NDArray[np.float64]:
    """A number drawn for each unit, from the family's name alone: the same for every model of the same shape.

    Args:
        family: the units to score.
        tensors: not looked at.

    Returns:
        (unit,), in [0, 1).
    """
    return np.random.default_rng(zlib.crc32(family.name.encode())).random(family.units)
