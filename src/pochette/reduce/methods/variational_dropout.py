"""Sparse variational dropout: weights that drown in the noise that they can bear go."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar

from pochette.families import methods
from pochette.models.model import Model
from pochette.recipe import check_ranges
from pochette.reduce.sparse.held import Held, living
from pochette.reduce.sparse.rounds import left_of, thinned
from pochette.reduce.sparse.variational import Noise
from pochette.reduce.sparse.weights import weights_of
from pochette.reduce.technique import DENSE_SHARE, Axes, Path, Round, Technique, Told
from pochette.train.session import Session


@methods.member("variational-dropout")
@dataclass(frozen=True)
class VariationalDropout(Technique):
    """Learn how much noise every weight bears, and remove those that bear the most (Molchanov et al. 2017)."""

    axes: ClassVar[Axes] = Axes(
        source="Molchanov, Ashukha & Vetrov 2017; Lobacheva et al. 2017",
        scored="noise over signal of each weight",
        over="single weights",
        when="after training, and a phase of noise",
        rest="trained on from where it is",
    )
    leaves_zeros: ClassVar[bool] = True

    keep: float = 0.1
    """Share of the weights that stays: those of least noise over signal. As published, all whose logarithm exceeds 3
    go, however many these are."""
    examples: float = 0.0
    """How many losses the training sound has, one of which the divergence counts as; 0 for its length in excerpts."""
    warm_up: float = 0.2
    """Share of the noisy phase over which the divergence comes to count."""

    def __post_init__(self) -> None:
        check_ranges(self, keep=(1e-6, 0.999999), examples=(0.0, 1e12), warm_up=(1e-6, 1.0))

    def apply(self, model: Model, session: Session, told: Told | None = None) -> list[Round]:
        """See `Technique.apply`."""
        left_of(living(model, session), self.keep)  # refuses all and nothing before it trains
        path, half = Path(told), (1.0 - DENSE_SHARE) / 2.0
        path.reach("dense", model, session.phase("dense", model, DENSE_SHARE))
        noisy = copy.deepcopy(model)
        excerpts = max(1.0, session.corpus.seconds / session.training.excerpt_seconds)
        noise = Noise(
            weights_of(noisy),
            examples=self.examples or excerpts,
            warm_up=self.warm_up,
            rate=session.training.learning_rate,
            seed=session.training.seed,
        )
        path.reach("noisy", noisy, session.phase("noisy", noisy, half, again=True, companions=(noise,)))
        worth = {where: -value for where, value in noise.log_alphas().items()}
        masks = thinned(worth, living(noisy, session), self.keep, "global")
        small = copy.deepcopy(noisy)
        held = Held(weights_of(small), masks)
        progress = session.phase("round-1", small, half, again=True, companions=(held,))
        path.reach("round-1", small, progress, masks=masks)
        return path
