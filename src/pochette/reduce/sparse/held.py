"""Masks that hold through training: dead weights are exactly zero after every step, whatever the optimiser remembers.

Masking the gradient alone is not enough, as moments from before move what has died; masking in the forward pass alone
leaves numbers in the file. So gradients are masked before anybody takes their norm, and weights and moments after
every step. Who moves masks while training (`Changes`) sees the gradient before it is masked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from pochette.models.model import Model
from pochette.reduce.sparse.weights import Masks, Weight, all_alive, not_zero, weights_of
from pochette.train.loop import Trainer
from pochette.train.session import Session


class Changes(Protocol):
    """How masks change while a network trains."""

    @property
    def rests(self) -> bool:
        """Whether a step at which masks change moves no weight; they are then told its gradient."""

    def watch(self, gradients: Mapping[str, Tensor]) -> None:
        """Told the whole gradient, dead weights' included, of every step that was asked for by `wants_gradient`."""

    def wants_gradient(self, step: int, used: float) -> bool:
        """Whether the whole gradient of this step is wanted."""

    def is_due(self, step: int, used: float) -> bool:
        """Whether masks change after this step."""

    def change(self, masks: Masks, weights: Mapping[str, Weight], step: int, used: float) -> Masks:
        """The masks from now on; those that were are left as they are."""

    def revived(self, path: str) -> Tensor | None:
        """What weights that come to life begin with, of the weight's shape; None for zero."""

    def state(self) -> dict[str, Tensor]:
        """What an interrupted training must find again."""

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from there."""


class Held:
    """Weights under masks, for the time of a training.

    Args:
        weights: under masks.
        masks: of each weight; cut at once.
        changes: moves the masks; None if they stay.
    """

    name = "masks"

    def __init__(self, weights: Mapping[str, Weight], masks: Masks, changes: Changes | None = None) -> None:
        self.weights, self.masks, self.changes = dict(weights), dict(masks), changes
        self._optimisers: list[torch.optim.Optimizer] = []
        self._gradients: dict[str, Tensor] = {}
        self._wanted = self._due = self._resting = False
        for path, weight in self.weights.items():
            weight.cut(self.masks[path])

    # -- holding -------------------------------------------------------------------------------------------------------

    def attach(self, optimiser: torch.optim.Optimizer) -> None:
        """Hold through every step of an optimiser.

        Args:
            optimiser: of all or some of the weights.
        """
        if not self._optimisers:
            for path, weight in self.weights.items():
                weight.parameter.register_hook(lambda gradient, path=path: self._masked(path, gradient))  # type: ignore[no-untyped-call]
        self._optimisers.append(optimiser)
        optimiser.register_step_pre_hook(self._before)
        optimiser.register_step_post_hook(self._after)

    def _masked(self, path: str, gradient: Tensor) -> Tensor:
        if self._wanted:
            self._gradients[path] = gradient.detach().clone()
        return gradient * self.masks[path]

    def _before(self, optimiser: torch.optim.Optimizer, *_: object) -> None:
        if self._resting:
            # Without a gradient an optimiser leaves a weight and its moments alone.
            for group in optimiser.param_groups:
                for parameter in group["params"]:
                    parameter.grad = None

    @torch.no_grad()
    def _after(self, optimiser: torch.optim.Optimizer, *_: object) -> None:
        for path, weight in self.weights.items():
            for parameter, alive in weight.held(self.masks[path]):
                parameter.mul_(alive)
                self._still(optimiser, parameter, alive)

    @staticmethod
    def _still(optimiser: torch.optim.Optimizer, parameter: nn.Parameter, alive: Tensor) -> None:
        """Moments of what is not alive, to zero."""
        for moment in optimiser.state.get(parameter, {}).values():
            if torch.is_tensor(moment) and moment.shape == parameter.shape:
                moment.mul_(alive)

    @torch.no_grad()
    def replace(self, masks: Masks) -> None:
        """Other masks from now on: what dies is zero, and so is what comes to life unless it is remembered.

        Args:
            masks: of each weight.
        """
        for path, weight in self.weights.items():
            stayed = self.masks[path] & masks[path]
            remembered = None if self.changes is None else self.changes.revived(path)
            if remembered is None:
                weight.cut(stayed)
            else:
                weight.become(torch.where(stayed, weight.effective(), remembered * masks[path]))
            for optimiser in self._optimisers:
                self._still(optimiser, weight.parameter, stayed)
        self.masks = dict(masks)

    # -- a training ----------------------------------------------------------------------------------------------------

    def begin_step(self, step: int, used: float) -> None:
        """Told before every step.

        Args:
            step: number of the step, from 0.
            used: share of the training that is over.
        """
        if self.changes is None:
            return
        self._due = self.changes.is_due(step, used)
        self._resting = self._due and self.changes.rests
        self._wanted = self._resting or self.changes.wants_gradient(step, used)
        self._gradients.clear()

    def end_step(self, step: int, used: float) -> None:
        """Told after every step; see `begin_step`."""
        if self.changes is None:
            return
        if self._wanted:
            self.changes.watch(self._gradients)
        if self._due:
            self.replace(self.changes.change(self.masks, self.weights, step, used))
        self._due = self._resting = self._wanted = False

    def join(self, trainer: Trainer) -> None:
        """Go along with a training; see `pochette.train.loop.Companion`."""
        for optimiser in trainer.optimisers_of(weight.parameter for weight in self.weights.values()):
            self.attach(optimiser)
        trainer.before_step.append(lambda t: self.begin_step(t.progress.steps, t.used))
        trainer.after_step.append(lambda t: self.end_step(t.progress.steps - 1, t.used))

    def state(self) -> dict[str, Tensor]:
        """Masks, and what their changes remember; see `pochette.train.loop.Companion`."""
        held = {f"mask/{path}": mask for path, mask in self.masks.items()}
        return held | {f"changes/{k}": v for k, v in (self.changes.state() if self.changes else {}).items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave; see `pochette.train.loop.Companion`."""
        self.masks = {path: state[f"mask/{path}"].bool() for path in self.masks}
        if self.changes is not None:
            self.changes.restore({k[8:]: v for k, v in state.items() if k.startswith("changes/")})


class Zeros(Held):
    """The zeros that a network comes with, for the time of a training: what an earlier method removed stays so.

    Where units were removed since, their weights went and the others' zeros are where they were.

    Args:
        model: with the zeros.
    """

    name = "zeros"

    def __init__(self, model: Model) -> None:
        weights = weights_of(model)
        super().__init__(weights, not_zero(weights))

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """See `Held.restore`; a phase that an earlier method trained left nothing, and is over."""
        if state:
            super().restore(state)


def holds_zeros(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a checkpoint is of a training under masks."""
    return any(name.startswith((f"companion/{Held.name}/", f"companion/{Zeros.name}/")) for name in tensors)


def living(model: Model, session: Session) -> Masks:
    """Which weights a method may choose from: all, or those that an earlier one left.

    Args:
        model: that is reduced.
        session: that holds zeros, or not.

    Returns:
        masks.
    """
    weights = weights_of(model)
    return all_alive(weights) if session.throughout is None else not_zero(weights)
