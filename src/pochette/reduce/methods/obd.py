"""Optimal brain damage: weights go whose loss the loss will hardly feel, by its curvature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pochette.families import methods
from pochette.models.model import Model
from pochette.recipe import check_ranges
from pochette.reduce.sparse.rounds import Plan, Where, in_rounds
from pochette.reduce.sparse.schedules import remaining
from pochette.reduce.technique import Axes, Round, Technique, Told
from pochette.train.session import Session


@methods.member("obd")
@dataclass(frozen=True)
class OptimalBrainDamage(Technique):
    """Train, remove the weights that the loss's curvature says it will not miss, train on (LeCun et al. 1990)."""

    axes: ClassVar[Axes] = Axes(
        source="LeCun, Denker & Solla 1990",
        scored="half the curvature times the square of trained weights",
        over="single weights",
        when="after training, in rounds",
        rest="trained on from where it is",
    )
    leaves_zeros: ClassVar[bool] = True

    keep: float = 0.1
    """Share of the weights left at the end."""
    rounds: int = 3
    """Each removes the same share of what the one before left."""
    form: Literal["hessian", "gauss_newton"] = "hessian"
    """Curvature of the loss itself, or of squared errors of what the model says."""
    where: Where = "global"
    """Whether all weights are ranked together, or within layers."""

    def __post_init__(self) -> None:
        check_ranges(self, keep=(1e-6, 0.999999), rounds=(1, 100))

    def apply(self, model: Model, session: Session, told: Told | None = None) -> list[Round]:
        """See `Technique.apply`."""
        kept = tuple(remaining(self.keep, self.rounds, number) for number in range(1, self.rounds + 1))
        name = "obd" if self.form == "hessian" else "obd-gauss-newton"
        return in_rounds(Plan(kept, name, self.where), model, session, told)
