"""Random: the control that every criterion must beat."""

from __future__ import annotations

import zlib

import numpy as np

from pochette.families import criteria
from pochette.graph.units import UnitFamily
from pochette.reduce.evidence import Evidence, FloatArray


@criteria.member("random")
def random(family: UnitFamily, evidence: Evidence) -> FloatArray:
    """A number drawn for each unit, from the seed and the family's name: the same for every model of the same shape.

    Args:
        family: the units to score.
        evidence: its seed.

    Returns:
        (unit,), in [0, 1).
    """
    return np.random.default_rng([evidence.seed, zlib.crc32(family.name.encode())]).random(family.units)
