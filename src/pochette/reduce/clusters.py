"""Weights that share few values: which each takes, and a training in which sharers stay equal (Han et al. 2016)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from pochette.reduce.sparse.storage import stored
from pochette.reduce.sparse.weights import Weight
from pochette.train.loop import Trainer

ITERATIONS = 50
"""Of the division into clusters, at most."""


def clustered(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Divide numbers among a few values, the mean of each one's own.

    Begun with values evenly spaced from the least to the largest, which keeps the rare large ones (Han et al. 2016,
    section 3.2).

    Args:
        values: any shape; where some are zero, as weights are that have gone, one of the values is zero.
        count: of values.

    Returns:
        the values ascending, and for each number which it takes, of the shape of `values`.
    """
    flat = values.detach().double().flatten().numpy()
    dead = flat == 0.0
    if dead.any() and not dead.all():
        alive, chosen = clustered(torch.from_numpy(flat[~dead]), max(1, count - 1))
        centres = np.unique(np.append(alive.numpy(), 0.0))
        numbers = np.full(len(flat), np.searchsorted(centres, 0.0))
        numbers[~dead] = np.searchsorted(centres, alive.numpy())[chosen.numpy()]
        return torch.from_numpy(centres).to(values.dtype), torch.from_numpy(numbers).view(values.shape)
    distinct = np.unique(flat)
    if len(distinct) <= count:
        centres = distinct
    else:
        centres = np.linspace(distinct[0], distinct[-1], count)
        for _ in range(ITERATIONS):
            nearest = _nearest(flat, centres)
            sums = np.bincount(nearest, flat, len(centres))
            sizes = np.bincount(nearest, minlength=len(centres))
            moved = np.sort(np.where(sizes > 0, sums / np.maximum(sizes, 1), centres))
            if np.array_equal(moved, centres):
                break
            centres = moved
    return torch.from_numpy(centres).to(values.dtype), torch.from_numpy(_nearest(flat, centres)).view(values.shape)


def _nearest(flat: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Number of the nearest of ascending centres; one in the middle goes up."""
    return np.searchsorted((centres[1:] + centres[:-1]) / 2.0, flat, side="right")


def stored_bytes(size: int, count: int, number_bits: int = 32) -> int:
    """A number for each weight that says its value, and the values.

    Args:
        size: weights.
        count: values.
        number_bits: of one value.

    Returns:
        bytes.
    """
    return -(-(size * stored_bits(count) + count * number_bits) // 8)


def stored_bits(count: int) -> int:
    """Bits that tell so many values apart; none where there is one."""
    return math.ceil(math.log2(count)) if count > 1 else 0


class Shared:
    """Weights that share values, for the time of a training.

    The gradient of a value is the sum of its sharers', and none where the value is zero. With equal weights, gradients
    and moments they stay equal to the bit, whatever the optimiser.

    Args:
        weights: that share, layer by layer; they take their values at once. Without gains.
        count: values a layer.
    """

    name = "clusters"

    def __init__(self, weights: Mapping[str, Weight], count: int) -> None:
        self.weights, self.chosen = dict(weights), dict[str, Tensor]()
        self.counts: dict[str, int] = {}
        self._moves: dict[str, Tensor] = {}
        for path, weight in self.weights.items():
            centres, chosen = clustered(weight.parameter, count)
            with torch.no_grad():
                weight.parameter.copy_(centres[chosen])
            self.chosen[path], self.counts[path] = chosen, len(centres)
            self._moves[path] = centres != 0.0

    def join(self, trainer: Trainer) -> None:
        """Go along with a training; see `pochette.train.loop.Companion`."""
        self.attach()

    def attach(self) -> None:
        """From now on gradients are shared."""
        for path, weight in self.weights.items():
            weight.parameter.register_hook(lambda gradient, path=path: self._summed(path, gradient))  # type: ignore[no-untyped-call]

    def _summed(self, path: str, gradient: Tensor) -> Tensor:
        chosen = self.chosen[path]
        sums = gradient.new_zeros(self.counts[path]).index_add(0, chosen.flatten(), gradient.flatten())
        return (sums * self._moves[path].to(sums.device))[chosen]

    def stored_bytes(self) -> int:
        """All layers together; where many have gone, of the others alone which value they take."""
        return sum(self._stored(path) for path in self.chosen)

    def _stored(self, path: str) -> int:
        chosen, count = self.chosen[path], self.counts[path]
        alive = self._moves[path][chosen]
        # Zero need not be told by who is not there.
        sparse = stored(alive, stored_bits(count - 1)).size_bytes + 4 * (count - 1)
        whole = stored_bytes(chosen.numel(), count)
        return whole if bool(alive.all()) else min(whole, sparse)

    def state(self) -> dict[str, Tensor]:
        """Who shares with whom; see `pochette.train.loop.Companion`."""
        return {path: chosen.to(torch.int32) for path, chosen in self.chosen.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave; see `pochette.train.loop.Companion`."""
        self.chosen = {path: state[path].long() for path in self.chosen}
