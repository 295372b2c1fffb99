"""Gradual magnitude pruning: fewer and fewer weights live while the network trains on."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar

from pochette.families import methods
from pochette.models.model import Model
from pochette.recipe import check_ranges
from pochette.reduce.sparse.held import Held, living
from pochette.reduce.sparse.moving import Fewer
from pochette.reduce.sparse.rounds import left_of
from pochette.reduce.sparse.weights import weights_of
from pochette.reduce.technique import DENSE_SHARE, Axes, Path, Round, Technique, Told
from pochette.train.session import Session


@methods.member("gradual")
@dataclass(frozen=True)
class Gradual(Technique):
    """Let the smallest weights go along a cubic schedule while training goes on (Zhu & Gupta 2017)."""

    axes: ClassVar[Axes] = Axes(
        source="Zhu & Gupta 2017",
        scored="magnitude",
        over="single weights",
        when="while training, after a dense phase",
        rest="trained on from where it is",
    )
    leaves_zeros: ClassVar[bool] = True

    keep: float = 0.1
    """Share of the weights left at the end."""
    every: int = 100
    """Steps between two removals."""
    end: float = 0.75
    """Share of the training after the dense phase from which on the mask stays."""
    regrow: bool = True
    """Whether a weight that died is remembered and may come back, as in the published code."""

    def __post_init__(self) -> None:
        check_ranges(self, keep=(1e-6, 0.999999), every=(1, 10**6), end=(1e-6, 1.0))

    def apply(self, model: Model, session: Session, told: Told | None = None) -> list[Round]:
        """See `Technique.apply`."""
        left_of(living(model, session), self.keep)  # refuses all and nothing before it trains
        path = Path(told)
        path.reach("dense", model, session.phase("dense", model, DENSE_SHARE))
        model = copy.deepcopy(model)
        weights = weights_of(model)
        held = Held(weights, living(model, session), Fewer(self.keep, self.every, (0.0, self.end), self.regrow))
        progress = session.phase("round-1", model, 1.0 - DENSE_SHARE, again=True, companions=(held,))
        path.reach("round-1", model, progress, masks=held.masks)
        return path
