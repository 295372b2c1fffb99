"""How much the sound changes when weights do: by noise, and by rounding to fewer bits.

Noise is Gaussian, each tensor's relative to the root mean square of its own weights, so that tensors of all scales are
shaken alike. Rounding is that of `reduce.rounded`, a scale a row. Every halving of the bits' step is an octave, as is
every doubling of the noise; curves are summed over octaves.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from pochette.errors import RunError
from pochette.lab.stability.early_phase import put
from pochette.lab.stability.interpolation import ErrorOf
from pochette.models.model import Excerpt, Model
from pochette.reduce.rounded import output_axes, rounded
from pochette.reduce.sparse.weights import Masks, effective, weights_of
from pochette.sound.metrics.log_spectral_db import log_spectral_db

NOISE = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32)
"""Per root mean square of a tensor."""
DRAWS = 3
"""Of noise, at each strength."""
BITS = (8, 7, 6, 5, 4, 3, 2)

ChangeOf = Callable[[nn.Module], float]
"""How far a network is from the one whose sensitivity is asked for: 0 for that itself."""


@dataclass(frozen=True)
class Curve:
    """Change against disturbance, rising."""

    amounts: tuple[float, ...]
    """Relative noise, or bits."""
    octaves: tuple[float, ...]
    """The same on the scale that the area is taken over: each doubles the disturbance."""
    changes: tuple[float, ...]
    """Mean over draws."""
    largest: tuple[float, ...]
    """Of the draws."""

    @property
    def area_per_octave(self) -> float:
        """Mean height: the area under the curve (trapezoids over octaves) per octave that it spans."""
        if len(self.octaves) == 1:
            return self.changes[0]
        heights = [(low + high) / 2.0 for low, high in pairwise(self.changes)]
        widths = [above - below for below, above in pairwise(self.octaves)]
        return sum(h * w for h, w in zip(heights, widths, strict=True)) / sum(widths)


def to_noise(
    module: nn.Module,
    change_of: ChangeOf,
    *,
    amounts: Sequence[float] = NOISE,
    draws: int = DRAWS,
    seed: int = 0,
    masks: Masks | None = None,
) -> Curve:
    """Shake all weights.

    Args:
        module: left as it was.
        change_of: asked of each shaken network, which is in the state of playing.
        amounts: deviations of the noise per root mean square of each tensor, rising; above 0.
        draws: of each.
        seed: of the noise; stronger noise is the same noise, louder.
        masks: which weights are shaken; the root mean square is theirs. None for all.

    Returns:
        the curve.

    Raises:
        RunError: a change is not finite.
    """
    acting = effective(weights_of(module))
    lives = masks or {path: torch.ones_like(tensor, dtype=torch.bool) for path, tensor in acting.items()}
    found = []
    for amount in amounts:
        generators = [torch.Generator().manual_seed(1_000_003 * seed + draw) for draw in range(draws)]
        shaken = [{p: _shaken(acting[p], lives[p], amount, generator) for p in lives} for generator in generators]
        found.append([_change(module, weights, change_of, f"noise of {amount:g}") for weights in shaken])
    return _curve(amounts, [math.log2(amount) for amount in amounts], found)


def to_bits(module: nn.Module, change_of: ChangeOf, *, bits: Sequence[int] = BITS) -> Curve:
    """Round all weights.

    Args:
        module: left as it was.
        change_of: asked of each rounded network, which is in the state of playing.
        bits: of each weight, 8 to 2, falling.

    Returns:
        the curve; dead weights stay zero.

    Raises:
        RunError: a change is not finite.
    """
    acting, axes = effective(weights_of(module)), output_axes(module)
    found = []
    for number in bits:
        weights = {path: rounded(tensor, number, axes[path]) for path, tensor in acting.items()}
        found.append([_change(module, weights, change_of, f"{number} bits")])
    return _curve(bits, [float(-number) for number in bits], found)


def heard(model: Model, excerpt: Excerpt) -> ChangeOf:
    """Change of a model as a listener has it: log-spectral distance from what it played before, in dB.

    A model that draws its sound sample by sample plays something else after the least change, and no worse for that; of
    such a model the change is how much its loss rises.

    Args:
        model: before it is changed.
        excerpt: whose controls it plays.

    Returns:
        model to dB (or the loss's unit), mean over the excerpt's sounds.
    """
    reference = copy.deepcopy(model).eval()
    if model.feeds_back:
        loss = loss_on(excerpt)
        before = loss(reference)
        return lambda other: loss(other) - before
    with torch.no_grad():
        played = reference.resynthesised(excerpt).numpy()

    def change(other: nn.Module) -> float:
        assert isinstance(other, Model)
        with torch.no_grad():
            now = other.resynthesised(excerpt).numpy()
        rows = zip(played, now, strict=True)
        return float(np.mean([log_spectral_db(one, two, model.sample_rate_hz) for one, two in rows]))

    return change


def loss_on(excerpt: Excerpt) -> ErrorOf:
    """A model's own loss on some sound, chance always the same.

    Args:
        excerpt: a batch of sound with its features.

    Returns:
        model to loss.
    """

    @torch.no_grad()
    def loss(model: nn.Module) -> float:
        assert isinstance(model, Model)
        return float(model.loss(excerpt, torch.Generator().manual_seed(0)))

    return loss


def _shaken(weight: Tensor, lives: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    scale = weight[lives].square().mean().sqrt().nan_to_num()
    return weight + amount * scale * torch.randn(weight.shape, generator=generator).to(weight.dtype) * lives


@torch.no_grad()
def _change(module: nn.Module, weights: dict[str, Tensor], change_of: ChangeOf, by: str) -> float:
    other = copy.deepcopy(module).eval()
    put(other, weights)
    change = change_of(other)
    if not math.isfinite(change):
        raise RunError(f"The change by {by} is {change}.", remedy="Ask for less disturbance.")
    return change


def _curve(amounts: Sequence[float], octaves: Sequence[float], found: list[list[float]]) -> Curve:
    means = tuple(sum(changes) / len(changes) for changes in found)
    return Curve(tuple(amounts), tuple(octaves), means, tuple(max(changes) for changes in found))
