"""N of M: of every few neighbouring inputs the same number stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from pochette.families import methods
from pochette.models.model import Model
from pochette.recipe import check_ranges
from pochette.reduce.sparse.patterns import n_of_m
from pochette.reduce.sparse.rounds import masked_after_training, score
from pochette.reduce.sparse.weights import Masks
from pochette.reduce.technique import Axes, Round, Technique, Told
from pochette.train.session import Session


@methods.member("n-of-m")
@dataclass(frozen=True)
class NOfM(Technique):
    """Keep the n largest of every m neighbouring inputs and train on (Zhou et al. 2021)."""

    axes: ClassVar[Axes] = Axes(
        source="Zhou et al. 2021, with the mask fixed after training",
        scored="magnitude of trained weights",
        over="single weights, so many of each group",
        when="after training, at once",
        rest="trained on from where it is",
    )
    leaves_zeros: ClassVar[bool] = True

    n: int = 2
    """Weights of each group that stay."""
    m: int = 4
    """Neighbouring inputs that are a group."""

    @classmethod
    def keeping(cls, keep: float) -> Self:
        """See `Technique.keeping`: one of as many as that takes."""
        return cls(n=1, m=round(1.0 / keep))

    def __post_init__(self) -> None:
        check_ranges(self, m=(2, 64), n=(1, self.m - 1))

    @property
    def keep(self) -> float:
        """Share of the weights that stays where groups are whole."""
        return self.n / self.m

    def apply(self, model: Model, session: Session, told: Told | None = None) -> list[Round]:
        """See `Technique.apply`."""

        def chosen(trained: Model) -> Masks:
            return n_of_m(score("magnitude", trained, session), self.n, self.m)

        return masked_after_training(model, session, told, chosen)
