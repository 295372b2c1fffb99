"""SET: sparse from the first step, and weights move about by chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pochette.families import methods
from pochette.reduce.sparse.from_start import MovingMasks
from pochette.reduce.sparse.moving import Growth
from pochette.reduce.technique import Axes


@methods.member("set")
@dataclass(frozen=True)
class Set(MovingMasks):
    """Drop the smallest weights and grow others by chance, while training (Mocanu et al. 2018)."""

    axes: ClassVar[Axes] = Axes(
        source="Mocanu et al. 2018, as in Evci et al. 2020",
        scored="magnitude, to drop; chance, to grow",
        over="single weights",
        when="while training",
        rest="trained on; what is grown begins at zero",
    )
    growth: ClassVar[Growth] = "random"
