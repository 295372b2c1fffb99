"""What a training's first steps do to the weights, step by step (Frankle et al. 2020, "The Early Phase").

Loss and gradient belong to the weights before the step at which they are told, as do distance and direction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pochette.lab.stability.apart import as_vector
from pochette.models.model import Model
from pochette.reduce.sparse.weights import Masks, effective, weights_of
from pochette.train.loop import Trainer

EARLY_STEPS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
"""Thirds of decades: the early phase is told in them."""


@dataclass(frozen=True)
class Moment:
    """A training before one of its steps."""

    step: int
    """How many were taken before."""
    loss: float
    """Of the step's own excerpts."""
    gradient_norm: float
    """Before it was clipped."""
    signs_changed: float
    """Share of the weights whose sign is not that of the start."""
    from_start: float
    """Euclidean distance of the weights from those of the start."""
    to_end: float
    """And from those of the end."""
    cosine_to_start: float
    """0 where either is zero."""
    cosine_to_end: float


class Telemetry:
    """Records a training at chosen steps; a `pochette.train.loop.Companion`.

    It keeps the weights of every chosen step, in memory and in checkpoints, as their distance to the end is known only
    there. The start is where it joined, or where the training stood that was restored before it began.

    Args:
        model: in training; matrices and filters are watched, as they act.
        steps: before which to look.
        masks: which weights are watched; None for all.
    """

    name = "telemetry"

    def __init__(self, model: Model, steps: Sequence[int] = EARLY_STEPS, masks: Masks | None = None) -> None:
        self.model, self.steps, self.masks = model, frozenset(steps), masks
        self._start: Tensor | None = None
        self._weights: dict[int, Tensor] = {}
        self._told: dict[int, tuple[float, float]] = {}

    def join(self, trainer: Trainer) -> None:
        """Go along with a training; see `pochette.train.loop.Companion`."""
        trainer.before_step.append(self._before)
        trainer.after_step.append(self._after)

    def _before(self, trainer: Trainer) -> None:
        if self._start is None:
            self._start = self._now()
        if trainer.progress.steps in self.steps:
            self._weights[trainer.progress.steps] = self._now()

    def _after(self, trainer: Trainer) -> None:
        step = trainer.progress.steps - 1
        if step in self._weights:
            self._told[step] = trainer.loss, trainer.gradient_norm()

    def _now(self) -> Tensor:
        return as_vector(effective(weights_of(self.model)), self.masks).float()

    def moments(self) -> tuple[Moment, ...]:
        """What was recorded, seen from the weights that the model has now as the end.

        Returns:
            in the order of steps; none if nothing was trained.
        """
        if self._start is None:
            return ()
        start, end = self._start, self._now()
        return tuple(self._moment(step, start, end) for step in sorted(self._told))

    def _moment(self, step: int, start: Tensor, end: Tensor) -> Moment:
        now, (loss, norm) = self._weights[step], self._told[step]
        return Moment(
            step=step,
            loss=loss,
            gradient_norm=norm,
            signs_changed=float((now.sign() != start.sign()).double().mean()),
            from_start=float((now - start).norm()),
            to_end=float((now - end).norm()),
            cosine_to_start=float(torch.cosine_similarity(now.double(), start.double(), dim=0)),
            cosine_to_end=float(torch.cosine_similarity(now.double(), end.double(), dim=0)),
        )

    def state(self) -> dict[str, Tensor]:
        """What was recorded; see `pochette.train.loop.Companion`."""
        found = {} if self._start is None else {"start": self._start}
        for step, told in self._told.items():
            found |= {f"weights/{step}": self._weights[step], f"told/{step}": torch.tensor(told, dtype=torch.float64)}
        return found

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave; see `pochette.train.loop.Companion`."""
        self._start = state.get("start")
        told = {int(name[5:]): tensor.tolist() for name, tensor in state.items() if name.startswith("told/")}
        self._told = {step: (loss, norm) for step, (loss, norm) in told.items()}
        self._weights = {step: state[f"weights/{step}"].clone() for step in self._told}
