"""Networks that are sparse from their first step: masks chosen before any training, which may move later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pochette.models.model import Model
from pochette.recipe import check_ranges
from pochette.reduce.sparse.held import Changes, Held
from pochette.reduce.sparse.moving import Growth, Moving
from pochette.reduce.sparse.rounds import Where, score, thinned
from pochette.reduce.sparse.weights import Masks, all_alive, weights_of
from pochette.reduce.technique import DENSE_SHARE, Path, Round, Technique, Told
from pochette.train.session import Session

REDRAWN = 1_000_003
"""Added to the seed where weights are drawn anew."""


def trained_under(
    masks: Masks, model: Model, session: Session, told: Told | None, changes: Changes | None = None
) -> list[Round]:
    """Train under masks in one phase, as long as other techniques train after their dense phase.

    Args:
        masks: at the beginning.
        model: fresh.
        session: where the phase trains.
        told: called at the end.
        changes: moves the masks.

    Returns:
        one round.
    """
    path, held = Path(told), Held(weights_of(model), masks, changes)
    progress = session.phase("round-1", model, 1.0 - DENSE_SHARE, companions=(held,))
    path.reach("round-1", model, progress, masks=held.masks)
    return path


def drawn(model: Model, keep: float, where: Where, seed: int) -> Masks:
    """Masks of so many weights by chance.

    Args:
        model: any.
        keep: share of all weights that lives.
        where: how it is divided between layers.
        seed: of the draws.

    Returns:
        masks.

    Raises:
        ReductionError: no weight would go, or none would be left.
    """
    generator = torch.Generator().manual_seed(seed)
    alive = all_alive(weights_of(model))
    worth: dict[str, Tensor] = {path: torch.rand(mask.shape, generator=generator) for path, mask in alive.items()}
    return thinned(worth, alive, keep, where)


@dataclass(frozen=True)
class SparseFromStart(Technique):
    """What trainings under masks that are drawn, and may move, have for options."""

    trains_for: ClassVar[float] = 1.0 - DENSE_SHARE
    leaves_zeros: ClassVar[bool] = True

    keep: float = 0.1
    """Share of the weights that live, at every moment."""
    where: Where = "erk"
    """How the share is divided between layers: alike, or denser where a layer is small."""

    @property
    def needs_first_weights(self) -> bool:
        """See `Technique.needs_first_weights`."""
        return True

    def __post_init__(self) -> None:
        check_ranges(self, keep=(1e-6, 0.999999))

    def changes(self, seed: int) -> Changes | None:
        """What moves the masks.

        Args:
            seed: for what is drawn.

        Returns:
            the changes, or None.
        """
        return None

    def apply(self, model: Model, session: Session, told: Told | None = None) -> list[Round]:
        """See `Technique.apply`."""
        seed = session.training.seed
        return trained_under(drawn(model, self.keep, self.where, seed), model, session, told, self.changes(seed))


@dataclass(frozen=True)
class MovingMasks(SparseFromStart):
    """What trainings under moving masks have for options."""

    every: int = 100
    """Steps between two moves."""
    most: float = 0.3
    """Share of the living weights that moves at first."""
    end: float = 0.75
    """Share of the training from which on nothing moves."""

    growth: ClassVar[Growth]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, every=(1, 10**6), most=(0.0, 1.0), end=(1e-6, 1.0))

    def changes(self, seed: int) -> Changes:
        """See `SparseFromStart.changes`."""
        return Moving(self.growth, self.every, self.most, self.end, seed)


@dataclass(frozen=True)
class ScoredAtStart(Technique):
    """What techniques have for options that score first weights once and train what is left."""

    trains_for: ClassVar[float] = 1.0 - DENSE_SHARE
    leaves_zeros: ClassVar[bool] = True

    score: ClassVar[str]
    """Member of `pochette.families.scores`."""

    keep: float = 0.1
    """Share of the weights that stays."""
    where: Where = "global"
    """Whether all weights are ranked together, or within layers."""

    @property
    def needs_first_weights(self) -> bool:
        """See `Technique.needs_first_weights`."""
        return True

    def __post_init__(self) -> None:
        check_ranges(self, keep=(1e-6, 0.999999))

    def apply(self, model: Model, session: Session, told: Told | None = None) -> list[Round]:
        """See `Technique.apply`."""
        masks = self.masks(model, session)
        if getattr(self, "redraw", False):
            model = session.fresh(model, REDRAWN)
        return trained_under(masks, model, session, told)

    def masks(self, model: Model, session: Session) -> Masks:
        """What stays.

        Args:
            model: fresh.
            session: has sound to score on.

        Returns:
            masks.
        """
        return thinned(score(self.score, model, session), all_alive(weights_of(model)), self.keep, self.where)
