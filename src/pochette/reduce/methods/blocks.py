"""Block sparsity: weights go by the vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pochette.families import methods
from pochette.models.model import Model
from pochette.recipe import check_ranges
from pochette.reduce.sparse.patterns import blocks
from pochette.reduce.sparse.rounds import masked_after_training, score
from pochette.reduce.sparse.weights import Masks
from pochette.reduce.technique import Axes, Round, Technique, Told
from pochette.train.session import Session


@methods.member("blocks")
@dataclass(frozen=True)
class Blocks(Technique):
    """Remove whole blocks of neighbouring outputs that share an input, and train on (Narang et al. 2017)."""

    axes: ClassVar[Axes] = Axes(
        source="Narang et al. 2017, with the mask fixed after training",
        scored="magnitude of trained weights",
        over="blocks of weights",
        when="after training, at once",
        rest="trained on from where it is",
    )
    leaves_zeros: ClassVar[bool] = True

    keep: float = 0.1
    """Share of the weights that stays at most."""
    size: int = 4
    """Outputs of a block: what a vector of the processor holds."""

    def __post_init__(self) -> None:
        check_ranges(self, keep=(1e-6, 0.999999), size=(1, 64))

    def apply(self, model: Model, session: Session, told: Told | None = None) -> list[Round]:
        """See `Technique.apply`."""

        def chosen(trained: Model) -> Masks:
            return blocks(score("magnitude", trained, session), self.keep, self.size)

        return masked_after_training(model, session, told, chosen)
