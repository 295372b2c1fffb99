"""Few bits with steps that are learnt beside the weights (LSQ: Esser et al. 2020), one a row.

    held = round(clip(v / s, -Qn, Qp)) s,   Qn = 2^(bits - 1),  Qp = 2^(bits - 1) - 1          equations 1 and 2

The largest weight of a row decides its step where nothing is learnt: of 2 bits it leaves nearly all others zero. Here a
step weighs what it rounds against what it cuts off, by the gradient of equation 3, scaled as equation 4 wants it.

Deviations: a step a row instead of one a layer, as everywhere here; activations are not rounded (see `rounded`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from pochette.reduce.sparse.weights import Weight
from pochette.train.loop import Trainer, annealed

MOST_BITS = 4
"""Of more, nothing is cut off that would matter."""
INERTIA = 0.9
"""Of the steps' own descent, as published."""
_LEAST = 1e-8
"""A step is positive; of a row of zeros it is this."""


def limits(bits: int) -> tuple[int, int]:
    """How many steps a number can lie below zero, and above: Qn and Qp."""
    return 2 ** (bits - 1), 2 ** (bits - 1) - 1


def first_steps(rows: Tensor, bits: int) -> Tensor:
    """2 mean|v| / sqrt(Qp), of each row (section 2.1).

    Args:
        rows: (row, weight).
        bits: of each number.

    Returns:
        (row, 1), positive.
    """
    return (2.0 * rows.abs().mean(dim=1, keepdim=True) / math.sqrt(limits(bits)[1])).clamp(min=_LEAST)


def held(rows: Tensor, steps: Tensor, bits: int) -> Tensor:
    """Weights as so many bits hold them (equations 1 and 2).

    Args:
        rows: (row, weight).
        steps: (row, 1).
        bits: of each number.

    Returns:
        (row, weight).
    """
    below, above = limits(bits)
    return torch.round((rows / steps).clamp(-below, above)) * steps


def slopes(rows: Tensor, steps: Tensor, bits: int, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients behind rounded weights.

    Args:
        rows: the weights behind, (row, weight).
        steps: (row, 1).
        bits: of each number.
        gradient: of the loss by the rounded weights.

    Returns:
        by the weights (equation 5), which is nothing for those that are cut off; and by the steps (equation 3), (row,
        1), times 1 / sqrt(weights Qp).
    """
    below, above = limits(bits)
    places = rows / steps
    inside = (places > -below) & (places < above)
    by_step = torch.where(inside, torch.round(places) - places, places.clamp(-below, above))
    scale = 1.0 / math.sqrt(rows.shape[1] * above)
    return gradient * inside, (gradient * by_step).sum(dim=1, keepdim=True) * scale


class LearntSteps:
    """Weights that are rounded at all times but while an optimiser moves those behind them, and their steps.

    Args:
        weights: that are rounded, at once; without gains.
        bits: 2 to 4.
        axes: of the outputs, by path.
        rate: of the steps' own descent, before it is annealed.
    """

    name = "learnt-steps"

    def __init__(self, weights: Mapping[str, Weight], bits: int, axes: Mapping[str, int], rate: float) -> None:
        self.weights, self.bits, self.axes, self.rate = dict(weights), bits, dict(axes), rate
        self._behind = {path: weight.parameter.detach().clone() for path, weight in weights.items()}
        self.steps = {path: first_steps(self._rows(path, behind), bits) for path, behind in self._behind.items()}
        """(row, 1), by path."""
        self._momenta = {path: torch.zeros_like(steps) for path, steps in self.steps.items()}
        self._fall = 1.0
        for path in self.weights:
            self._round(path)

    def _rows(self, path: str, tensor: Tensor) -> Tensor:
        """(row, weight)."""
        return tensor.movedim(self.axes[path], 0).flatten(1)

    def _filters(self, path: str, rows: Tensor) -> Tensor:
        """What `_rows` was made of."""
        axis, whole = self.axes[path], self.weights[path].parameter
        return rows.view(whole.movedim(axis, 0).shape).movedim(0, axis)

    @torch.no_grad()
    def _round(self, path: str) -> None:
        rows = self._rows(path, self._behind[path])
        self.weights[path].parameter.copy_(self._filters(path, held(rows, self.steps[path], self.bits)))

    @torch.no_grad()
    def _before(self, paths: list[str]) -> None:
        """The weights behind the rounded ones, and their gradients; steps move by theirs."""
        for path in paths:
            parameter, behind = self.weights[path].parameter, self._behind[path]
            if parameter.grad is not None:
                rows, steps = self._rows(path, behind), self.steps[path]
                by_rows, by_steps = slopes(rows, steps, self.bits, self._rows(path, parameter.grad))
                parameter.grad.copy_(self._filters(path, by_rows))
                self._momenta[path] = INERTIA * self._momenta[path] + by_steps
                self.steps[path] = (steps - self.rate * self._fall * self._momenta[path]).clamp(min=_LEAST)
            parameter.copy_(behind)

    @torch.no_grad()
    def _after(self, paths: list[str]) -> None:
        """Rounded weights in place of those behind them, which are kept."""
        for path in paths:
            self._behind[path] = self.weights[path].parameter.detach().clone()
            self._round(path)

    def attach(self, optimiser: torch.optim.Optimizer) -> None:
        """Let an optimiser move the weights behind."""
        theirs = {id(parameter) for group in optimiser.param_groups for parameter in group["params"]}
        paths = [path for path, weight in self.weights.items() if id(weight.parameter) in theirs]
        optimiser.register_step_pre_hook(lambda *_: self._before(paths))
        optimiser.register_step_post_hook(lambda *_: self._after(paths))

    def join(self, trainer: Trainer) -> None:
        """Go along with a training; see `pochette.train.loop.Companion`."""
        for optimiser in trainer.optimisers_of(weight.parameter for weight in self.weights.values()):
            self.attach(optimiser)

        def follow(trainer: Trainer) -> None:
            self._fall = annealed(trainer.used, trainer.training.anneal_from)

        trainer.before_step.append(follow)

    def state(self) -> dict[str, Tensor]:
        """The weights behind, steps and momenta; see `pochette.train.loop.Companion`."""
        kinds = {"behind": self._behind, "step": self.steps, "momentum": self._momenta}
        return {f"{kind}/{path}": tensor.clone() for kind, own in kinds.items() for path, tensor in own.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave; see `pochette.train.loop.Companion`."""
        for kind, own in (("behind", self._behind), ("step", self.steps), ("momentum", self._momenta)):
            own.update((path, state[f"{kind}/{path}"].clone()) for path in list(own))
