"""A small network trained from scratch: what every ticket must beat to have been worth finding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pochette.families import methods
from pochette.measure import profile_model
from pochette.models.model import Model
from pochette.recipe import check_ranges
from pochette.reduce.choosing import Choice
from pochette.reduce.drawn_small import drawn_small
from pochette.reduce.structure import check_share
from pochette.reduce.technique import DENSE_SHARE, Axes, Path, Round, Technique, Told
from pochette.reduce.trimming import structure_of, trim_model
from pochette.train.session import Session


@methods.member("scratch")
@dataclass(frozen=True)
class Scratch(Technique):
    """Draw a small network and train it: the control of all methods that begin with a large one (Liu et al. 2018)."""

    axes: ClassVar[Axes] = Axes(
        source="Liu et al. 2018",
        scored="nothing, or magnitude of trained weights for the shape alone",
        over="units, which are removed",
        when="before training",
        rest="drawn anew",
    )
    trains_for: ClassVar[float] = DENSE_SHARE

    keep: float = 0.1
    """Share of the network's multiply-accumulates."""
    shape: Literal["uniform", "found"] = "uniform"
    """Whether layers are thinned alike, or each as far as ranking a trained network's units all together goes."""
    budget: Literal["epochs", "compute"] = "epochs"
    """Whether it trains for as many steps as a dense model does (Scratch-E), or for as much arithmetic (Scratch-B)."""

    @property
    def needs_first_weights(self) -> bool:
        """See `Technique.needs_first_weights`."""
        return True

    def __post_init__(self) -> None:
        check_ranges(self, keep=(1e-6, 0.999999))

    def apply(self, model: Model, session: Session, told: Told | None = None) -> list[Round]:
        """See `Technique.apply`."""
        path, seed = Path(told), session.training.seed
        choice = Choice("random", seed=seed)
        check_share(structure_of(model), self.keep)  # before anything trains
        if self.shape == "found":
            path.reach("dense", model, session.phase("dense", model, DENSE_SHARE))
            choice = Choice("magnitude", "global", seed=seed)
        structure = structure_of(model)
        small, cuts, report = trim_model(
            model, macs=self.keep * structure.matrix_macs(), choice=choice, structure=structure
        )
        small = drawn_small(small, session.fresh(model), cuts)
        ratio = (profile_model(model).macs_per_second or 1.0) / (profile_model(small).macs_per_second or 1.0)
        progress = session.phase("round-1", small, share(self.budget, ratio))
        path.reach("round-1", small, progress, report)
        return path


def share(budget: str, ratio: float) -> float:
    """Share of a session that a small network trains for.

    Args:
        budget: "epochs" or "compute".
        ratio: of multiply-accumulates, the dense model's per the small one's.

    Returns:
        the dense model's share, or that times the ratio; no more than other techniques train after their dense phase
        (Liu et al. double the steps at most where a doubling is much).
    """
    return DENSE_SHARE if budget == "epochs" else min(DENSE_SHARE * max(ratio, 1.0), 1.0 - DENSE_SHARE)
