"""RigL: sparse from the first step, and weights move to where the gradient wants them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pochette.families import methods
from pochette.reduce.sparse.from_start import MovingMasks
from pochette.reduce.sparse.moving import Growth
from pochette.reduce.technique import Axes


@methods.member("rigl")
@dataclass(frozen=True)
class Rigl(MovingMasks):
    """Drop the smallest weights and grow where the gradient is largest, while training (Evci et al. 2020)."""

    axes: ClassVar[Axes] = Axes(
        source="Evci et al. 2020",
        scored="magnitude, to drop; gradient of dead weights, to grow",
        over="single weights",
        when="while training",
        rest="trained on; what is grown begins at zero",
    )
    growth: ClassVar[Growth] = "gradient"
