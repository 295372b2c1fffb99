"""SynFlow: before any training and without any sound, keep the connections that most flows through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pochette.families import methods
from pochette.models.model import Model
from pochette.recipe import check_ranges
from pochette.reduce.sparse.flow import Flow, in_many_rounds
from pochette.reduce.sparse.from_start import trained_under
from pochette.reduce.sparse.weights import all_alive, weights_of
from pochette.reduce.technique import Axes, Round, Technique, Told
from pochette.train.session import Session


@methods.member("synflow")
@dataclass(frozen=True)
class SynFlow(Technique):
    """Remove connections that little flows through, in many rounds before training (Tanaka et al. 2020)."""

    axes: ClassVar[Axes] = Axes(
        source="Tanaka et al. 2020",
        scored="flow through first weights, without data",
        over="single weights",
        when="before training, in a hundred rounds",
        rest="trained from its first weights",
    )
    leaves_zeros: ClassVar[bool] = True
    keep: float = 0.1
    """Share of the weights that stays."""
    iterations: int = 100
    """How often the flow is asked; once would let whole layers die."""

    @property
    def needs_first_weights(self) -> bool:
        """See `Technique.needs_first_weights`."""
        return True

    def __post_init__(self) -> None:
        check_ranges(self, keep=(1e-6, 0.999999), iterations=(1, 10**4))

    def apply(self, model: Model, session: Session, told: Told | None = None) -> list[Round]:
        """See `Technique.apply`."""
        masks = in_many_rounds(Flow(model), all_alive(weights_of(model)), self.keep, self.iterations)
        return trained_under(masks, model, session, told)
