"""A fixed random mask from the first step on: what every moving mask must beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pochette.families import methods
from pochette.reduce.sparse.from_start import SparseFromStart
from pochette.reduce.technique import Axes


@methods.member("static")
@dataclass(frozen=True)
class Static(SparseFromStart):
    """Train under a mask that is drawn before and stays (the control of Evci et al. 2020)."""

    axes: ClassVar[Axes] = Axes(
        source="Evci et al. 2020",
        scored="nothing: chance",
        over="single weights",
        when="before training",
        rest="trained from its first weights",
    )
