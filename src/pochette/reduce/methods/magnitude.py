"""Train, prune, train on, in rounds: single weights of least worth go and stay away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pochette.families import methods, scores
from pochette.models.model import Model
from pochette.recipe import check_ranges
from pochette.reduce.sparse.rounds import Plan, Where, in_rounds
from pochette.reduce.sparse.schedules import remaining
from pochette.reduce.technique import Axes, Round, Technique, Told
from pochette.train.session import Session


@methods.member("magnitude")
@dataclass(frozen=True)
class Magnitude(Technique):
    """Train, remove the smallest weights, train the rest on, and again (Han et al. 2015)."""

    axes: ClassVar[Axes] = Axes(
        source="Han et al. 2015",
        scored="magnitude of trained weights",
        over="single weights",
        when="after training, in rounds",
        rest="trained on from where it is",
    )
    leaves_zeros: ClassVar[bool] = True

    keep: float = 0.1
    """Share of the weights left at the end."""
    rounds: int = 3
    """Each removes the same share of what the one before left."""
    score: str = "magnitude"
    """What makes a weight worth keeping (pochette list scores)."""
    where: Where = "uniform"
    """Whether layers are thinned alike, by their shape, or all weights are ranked together."""

    def __post_init__(self) -> None:
        check_ranges(self, keep=(1e-6, 0.999999), rounds=(1, 100))
        scores[self.score]  # an unknown one raises with its remedy

    def apply(self, model: Model, session: Session, told: Told | None = None) -> list[Round]:
        """See `Technique.apply`."""
        kept = tuple(remaining(self.keep, self.rounds, number) for number in range(1, self.rounds + 1))
        return in_rounds(Plan(kept, self.score, self.where), model, session, told)
