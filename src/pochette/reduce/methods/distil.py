"""Distillation: what is left of a model learns from the whole one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pochette.families import methods
from pochette.models.model import Model
from pochette.recipe import check_ranges
from pochette.reduce.choosing import Choice
from pochette.reduce.distillation import Lesson
from pochette.reduce.structure import check_share
from pochette.reduce.technique import DENSE_SHARE, Axes, Path, Round, Technique, Told
from pochette.reduce.trimming import structure_of, trim_model
from pochette.train.session import Session


@methods.member("distil")
@dataclass(frozen=True)
class Distil(Technique):
    """Trim a trained model, and let the whole one teach what is left (Hinton, Vinyals & Dean 2015)."""

    axes: ClassVar[Axes] = Axes(
        source="Hinton, Vinyals & Dean 2015; spectral distances for sound are ours",
        scored="a criterion of units, on trained weights",
        over="units, which are removed",
        when="after training, at once",
        rest="trained on by its own loss and by what the whole model says",
    )

    keep: float = 0.1
    """Share of the network's multiply-accumulates left."""
    criterion: str = "magnitude"
    """What makes a unit worth keeping; of weights alone (pochette list criteria)."""
    weight: float = 0.5
    """Of the lesson; the model's own loss counts the rest."""
    temperature: float = 2.0
    """That softens distributions, of models that draw sample by sample."""

    def __post_init__(self) -> None:
        check_ranges(self, keep=(1e-6, 0.999999), weight=(0.0, 1.0), temperature=(1e-3, 1e3))
        Choice(self.criterion)

    def apply(self, model: Model, session: Session, told: Told | None = None) -> list[Round]:
        """See `Technique.apply`."""
        Lesson(model, model)  # refuses what cannot teach before it trains
        check_share(structure_of(model), self.keep)  # and what cannot be left
        path = Path(told)
        path.reach("dense", model, session.phase("dense", model, DENSE_SHARE))
        structure = structure_of(model)
        choice = Choice(self.criterion, seed=session.training.seed)
        small, _, report = trim_model(
            model, macs=self.keep * structure.matrix_macs(), choice=choice, structure=structure
        )
        lesson = Lesson(model, small, weight=self.weight, temperature=self.temperature)
        progress = session.phase("round-1", small, 1.0 - DENSE_SHARE, again=True, companions=(lesson,))
        path.reach("round-1", small, progress, report)
        return path
