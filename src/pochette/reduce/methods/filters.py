"""Filters: the smallest go, judged by their weights alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pochette.errors import ReductionError
from pochette.families import methods
from pochette.graph.copying import copy_of
from pochette.models.model import Model
from pochette.recipe import check_ranges
from pochette.reduce.channels.filters import Scored, counts_within, most_sensitive, sensitivity, smallest_filters_gone
from pochette.reduce.channels.flow import Decided, cut_after_training
from pochette.reduce.observed import Observed
from pochette.reduce.structure import Structure
from pochette.reduce.technique import Axes, Round, Technique, Told
from pochette.train.session import Session


@methods.member("filters")
@dataclass(frozen=True)
class Filters(Technique):
    """Train, remove the filters with the smallest sums of weights, train on (Li et al. 2016)."""

    axes: ClassVar[Axes] = Axes(
        source="Li et al. 2016",
        scored="sum of absolute trained weights",
        over="units, which are removed",
        when="after training, at once",
        rest="trained on from where it is",
    )

    keep: float = 0.1
    """Share of the network's multiply-accumulates that is left."""
    scored: Scored = "greedy"
    """Whether weights that read units which are already gone count (independent) or not (greedy)."""
    spared: int = 0
    """How many layers stay whole: those that held-out sound minds most when each alone is thinned alike."""

    def __post_init__(self) -> None:
        check_ranges(self, keep=(1e-6, 0.999999), spared=(0, 1000))

    def apply(self, model: Model, session: Session, told: Told | None = None) -> list[Round]:
        """See `Technique.apply`."""

        def decide(trained: Model, structure: Structure, macs: float) -> Decided:
            form, _ = copy_of(trained).trim_form()  # type: ignore[operator]
            evidence = Observed(form, structure.graph, seed=session.training.seed)
            spared: list[str] = []
            if self.spared:
                self._check(structure)
                shares = [structure.keep_for(macs)]
                excerpt = session.watched_excerpt(trained)
                spared = most_sensitive(sensitivity(trained, structure, evidence, excerpt, shares), self.spared)
            counts = counts_within(structure, macs, spared)
            return Decided(trained, smallest_filters_gone(structure, evidence, counts, self.scored))

        return cut_after_training(model, session, told, self.keep, decide)

    def _check(self, structure: Structure) -> None:
        if self.spared >= len(structure.families):
            raise ReductionError(
                f"{self.spared} layers are to be spared, and {len(structure.families)} can be trimmed.",
                remedy="Spare fewer layers.",
            )
