"""Channels that a LASSO leaves, and a next layer whose weights are fitted anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pochette.families import methods
from pochette.models.model import Model
from pochette.recipe import check_ranges
from pochette.reduce.channels.choosing import lasso_selected
from pochette.reduce.channels.flow import reconstructing
from pochette.reduce.technique import Axes, Round, Technique, Told
from pochette.train.session import Session


@methods.member("channel-lasso")
@dataclass(frozen=True)
class ChannelLasso(Technique):
    """Train, choose channels by LASSO, fit the next layer anew by least squares, train on (He et al. 2017)."""

    axes: ClassVar[Axes] = Axes(
        source="He et al. 2017",
        scored="factors of a LASSO on what channels add to outputs of the next layer, on sound",
        over="units, which are removed",
        when="after training, layer after layer",
        rest="the next layer fitted by least squares, then trained on",
    )
    computes_anew: ClassVar[bool] = True

    keep: float = 0.1
    """Share of the network's multiply-accumulates that is left."""

    def __post_init__(self) -> None:
        check_ranges(self, keep=(1e-6, 0.999999))

    def apply(self, model: Model, session: Session, told: Told | None = None) -> list[Round]:
        """See `Technique.apply`."""
        return reconstructing(model, session, told, self.keep, lasso_selected, "weights")
