"""What every reduction technique is: what it scores, over which units, when, and what becomes of the rest.

A technique is pure in what it decides; training is the session's, removal is that of `pochette.reduce.trimming` for
units and of `pochette.reduce.sparse` for single weights. It is one file, mostly a screen, and a member of
`pochette.families.methods`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Self

from pochette.models.model import Model
from pochette.reduce.sparse.storage import stored_bytes
from pochette.reduce.sparse.weights import Masks, all_alive, weights_of
from pochette.reduce.trimming import TrimReport
from pochette.train.loop import Progress
from pochette.train.session import Session

DENSE_SHARE = 0.4
"""Of the budget, for the dense model, where a technique begins with one that is trained."""
EARLY = 0.1
"""Share of dense training at which the weights to rewind to are kept."""


@dataclass(frozen=True)
class Axes:
    """Where a technique stands among the others."""

    source: str
    """The paper: authors and year."""
    scored: str
    """What decides: "magnitude of trained weights"."""
    over: str
    """What goes: "single weights", "units"."""
    when: str
    """"before training", "after training, in rounds", "while training"."""
    rest: str
    """What becomes of what stays: "trained on", "rewound to its first weights", "drawn anew"."""

    @property
    def in_training(self) -> bool:
        """Whether it works while a network trains, so that only moments of that training show how."""
        return "while training" in self.when


@dataclass(frozen=True)
class Round:
    """One stop on the path from the dense model to the smallest."""

    name: str
    model: Model
    progress: Progress
    report: TrimReport | None
    """What was trimmed before the round; None for the dense model and for what only masks."""
    masks: Masks = field(default_factory=dict)
    """Where single weights live, if some have gone."""
    stored_bytes: int | None = None
    """What its weights take to store, where that is not what masks or shapes say."""

    @property
    def weight_bytes(self) -> int:
        """What its matrices and filters take to store, in the smallest form that is known of them."""
        return self.stored_bytes or stored_bytes(self.masks or all_alive(weights_of(self.model)))


Told = Callable[[Round], None]


class Technique(ABC):
    """A way to make a model smaller: a frozen dataclass of its options.

    A technique trains with the session it is given, in phases that are skipped when they are there; so it goes on where
    it was stopped.
    """

    axes: ClassVar[Axes]
    trains_for: ClassVar[float] = 1.0
    """Share of a session's budget that it trains for; one that begins with no dense model leaves that share alone."""
    leaves_zeros: ClassVar[bool] = False
    """Whether it sets single weights to zero, which whatever follows must hold."""
    few_values: ClassVar[bool] = False
    """Whether it leaves weights on few values, off which any further training would bring them."""
    computes_anew: ClassVar[bool] = False
    """Whether it makes weights of others by arithmetic in which zeros do not stay zero."""

    @classmethod
    def keeping(cls, keep: float) -> Self:
        """The technique with its defaults, leaving so much.

        Args:
            keep: share of weights, of the network's multiply-accumulates, or of bytes: what it counts by.

        Returns:
            the technique.

        Raises:
            RecipeError: it cannot leave that.
        """
        return cls(keep=keep)  # type: ignore[call-arg]  # nearly all have that option; others say how

    @property
    def needs_first_weights(self) -> bool:
        """Whether it goes back to weights from before or early in training, which a reduced model has not."""
        return False

    @abstractmethod
    def apply(self, model: Model, session: Session, told: Told | None = None) -> list[Round]:
        """Walk the whole path.

        Args:
            model: fresh, with the first weights that the session's seed draws; changed in place.
            session: where phases train and leave their checkpoints.
            told: called after each round.

        Returns:
            every round, in order; the last is the technique's result.

        Raises:
            ReductionError: the technique does not suit the model, nothing would go, or nothing would be left.
            RunError: see `Session.phase`.
        """


class Path(list[Round]):
    """Rounds as they come, told to whoever listens.

    Args:
        told: called after each round.
    """

    def __init__(self, told: Told | None = None) -> None:
        super().__init__()
        self._told = told

    def reach(
        self,
        name: str,
        model: Model,
        progress: Progress,
        report: TrimReport | None = None,
        masks: Masks | None = None,
        stored_bytes: int | None = None,
    ) -> None:
        """Add a round; see `Round`."""
        self.append(Round(name, model, progress, report, masks or {}, stored_bytes))
        if self._told is not None:
            self._told(self[-1])
