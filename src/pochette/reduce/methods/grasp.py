"""GraSP: before any training, keep the connections that gradients flow by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pochette.families import methods
from pochette.models.model import Model
from pochette.reduce.sparse.from_start import ScoredAtStart
from pochette.reduce.sparse.rounds import score, thinned
from pochette.reduce.sparse.weights import Masks, all_alive, weights_of
from pochette.reduce.technique import Axes
from pochette.train.session import Session


@methods.member("grasp")
@dataclass(frozen=True)
class Grasp(ScoredAtStart):
    """Remove connections without which gradients flow as well, before training (Wang et al. 2020)."""

    axes: ClassVar[Axes] = Axes(
        source="Wang, Zhang & Grosse 2020",
        scored="w H g of first weights",
        over="single weights",
        when="before training, at once",
        rest="trained from its first weights",
    )
    score: ClassVar[str] = "grasp"

    absolute: bool = False
    """Whether the score's absolute value ranks, which did better in later work (Frankle et al. 2021)."""

    def masks(self, model: Model, session: Session) -> Masks:
        """See `ScoredAtStart.masks`."""
        name = "grasp-abs" if self.absolute else "grasp"
        return thinned(score(name, model, session), all_alive(weights_of(model)), self.keep, self.where)
