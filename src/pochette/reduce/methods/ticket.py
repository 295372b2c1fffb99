"""The lottery ticket as it was first told: single weights are masked, and what is left is rewound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pochette.families import methods
from pochette.models.model import Model
from pochette.recipe import check_ranges
from pochette.reduce.sparse.rounds import Plan, Rewind, Where, in_rounds
from pochette.reduce.sparse.schedules import remaining
from pochette.reduce.technique import Axes, Round, Technique, Told
from pochette.train.session import Session


@methods.member("ticket")
@dataclass(frozen=True)
class Ticket(Technique):
    """Train, mask the smallest weights, rewind the others, and again (Frankle & Carbin 2019; Renda et al. 2020)."""

    axes: ClassVar[Axes] = Axes(
        source="Frankle & Carbin 2019; Frankle et al. 2019; Renda et al. 2020",
        scored="magnitude of trained weights",
        over="single weights",
        when="after training, in rounds",
        rest="rewound: to its first weights, to early ones, or in its learning rate alone",
    )
    leaves_zeros: ClassVar[bool] = True

    keep: float = 0.1
    """Share of the weights left at the end."""
    rounds: int = 3
    """Each removes the same share of what the one before left; the paper took a fifth each time."""
    rewind: Rewind = "weights"
    """Where what is left starts again: its weights early in training, its first ones ("init"), or as it is."""
    where: Where = "global"
    """Whether layers are thinned alike, by their shape, or all weights are ranked together."""
    output_rate: float = 1.0
    """How fast the last layer loses weights beside the others, where layers are thinned alike; 0.5 in the paper."""

    @property
    def needs_first_weights(self) -> bool:
        """See `Technique.needs_first_weights`."""
        return self.rewind != "learning_rate"

    def __post_init__(self) -> None:
        check_ranges(self, keep=(1e-6, 0.999999), rounds=(1, 100), output_rate=(0.0, 1.0))

    def apply(self, model: Model, session: Session, told: Told | None = None) -> list[Round]:
        """See `Technique.apply`."""
        kept = tuple(remaining(self.keep, self.rounds, number) for number in range(1, self.rounds + 1))
        plan = Plan(kept, where=self.where, rewind=self.rewind, output_rate=self.output_rate)
        return in_rounds(plan, model, session, told)
