"""SNIP: one look at the loss before any training says which connections matter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pochette.families import methods
from pochette.reduce.sparse.from_start import ScoredAtStart
from pochette.reduce.technique import Axes


@methods.member("snip")
@dataclass(frozen=True)
class Snip(ScoredAtStart):
    """Remove connections that the loss does not feel, before training (Lee et al. 2018)."""

    axes: ClassVar[Axes] = Axes(
        source="Lee et al. 2018",
        scored="|w dL/dw| of first weights",
        over="single weights",
        when="before training, at once",
        rest="trained from its first weights, or drawn anew as published",
    )
    score: ClassVar[str] = "snip"

    redraw: bool = False
    """Whether the weights are drawn anew under the mask, as in the published code."""
