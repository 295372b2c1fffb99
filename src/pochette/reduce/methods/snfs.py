"""SNFS: sparse from the first step, and weights move to where the mean gradient wants them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pochette.families import methods
from pochette.reduce.sparse.from_start import MovingMasks
from pochette.reduce.sparse.moving import Growth
from pochette.reduce.technique import Axes


@methods.member("snfs")
@dataclass(frozen=True)
class Snfs(MovingMasks):
    """Drop the smallest weights and grow where the mean gradient is largest (Dettmers & Zettlemoyer 2019)."""

    axes: ClassVar[Axes] = Axes(
        source="Dettmers & Zettlemoyer 2019, without moving weights between layers, as in Evci et al. 2020",
        scored="magnitude, to drop; running mean of gradients, to grow",
        over="single weights",
        when="while training",
        rest="trained on; what is grown begins at zero",
    )
    growth: ClassVar[Growth] = "momentum"
