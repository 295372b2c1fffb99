"""Weights of few bits: rounded as the engines store them, and a training that knows it (straight-through).

The network always computes with rounded weights; gradients go to the weights behind them as if nothing had been rounded
(Jacob et al. 2018). Rounding once more changes nothing, so an engine of 8 bits holds exactly what was trained.

8 bits are those of `engine.precision`: a scale a row, whole numbers from -127 to 127. Vectors and states, which the
engines round too where they multiply in whole numbers, are not rounded in training: they are rounded to 16 bits, and
that moves the held-out error of a trained network by less than a ten-thousandth of it, less than rounding its weights
does; `tests/reduce/test_rounded.py` measures it on a network that was trained so and its engine's twin.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pochette.engine.precision import quantise_rows
from pochette.reduce.sparse.storage import stored
from pochette.reduce.sparse.weights import Weight, weights_of
from pochette.train.loop import Trainer

FULL_BITS = 8


def rounded(weight: Tensor, bits: int = FULL_BITS, axis: int = 0) -> Tensor:
    """A matrix, or filters, as so many bits hold them.

    Args:
        weight: any shape of two axes or more.
        bits: 2 to 8; of each number, its sign among them.
        axis: of the outputs, each of which has a scale of its own.

    Returns:
        the same shape; each number off by half a step at most.
    """
    rows = weight.detach().movedim(axis, 0)
    matrix = rows.reshape(len(rows), -1)
    if bits == FULL_BITS:
        whole, scales = quantise_rows(matrix.float().cpu().numpy())
        held = (torch.from_numpy(whole).float() * torch.from_numpy(scales)[:, None]).to(weight.device)
    else:
        levels = 2 ** (bits - 1) - 1
        steps = matrix.abs().amax(dim=1, keepdim=True) / levels
        held = torch.where(steps > 0, torch.round(matrix / steps.clamp(min=1e-30)) * steps, 0.0)
    return held.view(rows.shape).movedim(0, axis).to(weight.dtype)


def stored_bytes(
    weights: Mapping[str, Weight], bits: int, axes: Mapping[str, int], alive: Mapping[str, Tensor]
) -> int:  # fmt: skip
    """What rounded weights take: their bits, in the smallest form where some have gone, and a float a row.

    Args:
        weights: by path.
        bits: of each number.
        axes: of the outputs.
        alive: masks of the weights.

    Returns:
        bytes.
    """
    return sum(
        stored(alive[path], bits).size_bytes + 4 * weight.parameter.shape[axes[path]]
        for path, weight in weights.items()
    )


def output_axes(module: nn.Module) -> dict[str, int]:
    """Along which axis of each weight the outputs lie: the second of transposed convolutions, else the first."""
    transposed = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    parts = dict(module.named_modules())
    return {path: int(isinstance(parts.get(path.rpartition(".")[0]), transposed)) for path in weights_of(module)}


class Rounding:
    """Weights that are rounded at all times but while an optimiser moves those behind them.

    Args:
        weights: that are rounded, at once; without gains.
        bits: see `rounded`.
        axes: of the outputs, by path.
    """

    name = "rounding"

    def __init__(self, weights: Mapping[str, Weight], bits: int, axes: Mapping[str, int]) -> None:
        self.weights, self.bits, self.axes = dict(weights), bits, dict(axes)
        self._behind: dict[str, Tensor] = {}
        self._round()

    @torch.no_grad()
    def _round(self, *_: object) -> None:
        """Rounded weights in place of those behind them, which are kept."""
        for path, weight in self.weights.items():
            self._behind[path] = weight.parameter.detach().clone()
            weight.parameter.copy_(rounded(weight.parameter, self.bits, self.axes[path]))

    @torch.no_grad()
    def _exact(self, *_: object) -> None:
        """The weights behind the rounded ones."""
        for path, weight in self.weights.items():
            weight.parameter.copy_(self._behind[path])

    def attach(self, optimiser: torch.optim.Optimizer) -> None:
        """Let an optimiser move the weights behind."""
        optimiser.register_step_pre_hook(self._exact)
        optimiser.register_step_post_hook(self._round)

    def join(self, trainer: Trainer) -> None:
        """Go along with a training; see `pochette.train.loop.Companion`."""
        for optimiser in trainer.optimisers_of(weight.parameter for weight in self.weights.values()):
            self.attach(optimiser)

    def state(self) -> dict[str, Tensor]:
        """The weights behind; see `pochette.train.loop.Companion`."""
        return dict(self._behind)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave; see `pochette.train.loop.Companion`."""
        self._behind = {path: state[path].clone() for path in self._behind}
