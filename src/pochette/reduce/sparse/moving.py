"""Masks that change while a network trains: small weights give their places up to others, or to nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from pochette.reduce.sparse.densities import counts_of, densities
from pochette.reduce.sparse.schedules import cubic, fading
from pochette.reduce.sparse.selection import kept_in_each
from pochette.reduce.sparse.weights import Masks, Weight

Growth = Literal["gradient", "momentum", "random"]
"""By the gradient of the moment (RigL), by its running mean (SNFS), or by chance (SET)."""
MOMENTUM = 0.9
"""Of the running mean of gradients (Dettmers & Zettlemoyer 2019)."""


@dataclass
class Moving:
    """Drop the smallest of the living, grow as many elsewhere, every so many steps (Evci et al. 2020, algorithm 1).

    Args:
        growth: where new weights are tried.
        every: steps between two moves.
        most: share of the living weights that moves at first; it fades along a cosine.
        end: share of the training from which on nothing moves.
        seed: where chance begins.
    """

    growth: Growth
    every: int = 100
    most: float = 0.3
    end: float = 0.75
    seed: int = 0
    rests = True
    _gradients: dict[str, Tensor] = field(default_factory=dict)

    def is_due(self, step: int, used: float) -> bool:
        """See `Changes`."""
        return step > 0 and step % self.every == 0 and used < self.end

    def wants_gradient(self, step: int, used: float) -> bool:
        """See `Changes`."""
        return self.growth == "momentum" and used < self.end

    def watch(self, gradients: Mapping[str, Tensor]) -> None:
        """See `Changes`."""
        for path, gradient in gradients.items():
            if self.growth == "momentum" and path in self._gradients:
                self._gradients[path].mul_(MOMENTUM).add_(gradient, alpha=1.0 - MOMENTUM)
            else:
                self._gradients[path] = gradient.clone()

    def change(self, masks: Masks, weights: Mapping[str, Weight], step: int, used: float) -> Masks:
        """See `Changes`; every layer keeps as many weights as it had."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        share, moved = fading(used, self.end, self.most), {}
        for path, alive in masks.items():
            living = int(alive.sum())
            # Who drops must find a place that is free or its own: no more can move than are dead.
            count = min(int(share * living), alive.numel() - living)
            stays = kept_in_each({path: weights[path].effective().abs()}, {path: alive}, {path: living - count})[path]
            if self.growth == "random":
                worth = torch.rand(alive.shape, generator=generator).to(alive.device)
            else:
                worth = self._gradients.get(path, torch.zeros(alive.shape, device=alive.device)).abs()
            # Just dropped places may be grown again, as published: then nothing changed there but the moments.
            moved[path] = stays | kept_in_each({path: worth}, {path: ~stays}, {path: count})[path]
        return moved

    def revived(self, path: str) -> Tensor | None:
        """See `Changes`: what grows begins at zero."""
        return None

    def state(self) -> dict[str, Tensor]:
        """See `Changes`."""
        return dict(self._gradients) if self.growth == "momentum" else {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """See `Changes`."""
        self._gradients = {path: tensor.clone() for path, tensor in state.items()}


@dataclass
class Fewer:
    """Fewer and fewer of the largest weights live, along a cubic schedule (Zhu & Gupta 2017).

    Args:
        keep: share of the weights that is left at the end.
        every: steps between two removals.
        span: shares of the training between which removal happens; from its end on the masks stay.
        regrow: whether a weight that died is remembered and may come back, as in the published code.
    """

    keep: float
    every: int = 100
    span: tuple[float, float] = (0.0, 0.75)
    regrow: bool = True
    rests = False
    _parked: dict[str, Tensor] = field(default_factory=dict)
    _done: bool = False

    def wants_gradient(self, step: int, used: float) -> bool:
        """See `Changes`."""
        return False

    def watch(self, gradients: Mapping[str, Tensor]) -> None:
        """See `Changes`."""

    def is_due(self, step: int, used: float) -> bool:
        """See `Changes`: on the grid, and once at the end of the span wherever that falls."""
        ended = used >= self.span[1]
        return not self._done and used >= self.span[0] and (ended or step % self.every == 0)

    def change(self, masks: Masks, weights: Mapping[str, Weight], step: int, used: float) -> Masks:
        """See `Changes`."""
        sparsity = cubic(used, *self.span, last=1.0 - self.keep)
        self._done = used >= self.span[1]
        shares = densities({path: tuple(mask.shape) for path, mask in masks.items()}, 1.0 - sparsity)
        counts = counts_of({path: mask.numel() for path, mask in masks.items()}, shares)
        made = {}
        for path, alive in masks.items():
            acting = weights[path].effective()
            worth, ranked = acting.abs(), alive
            if self.regrow:
                remembered = self._parked.get(path, torch.zeros_like(acting))
                worth, ranked = torch.where(alive, acting, remembered).abs(), torch.ones_like(alive)
            kept = kept_in_each({path: worth}, {path: ranked}, {path: min(counts[path], int(ranked.sum()))})[path]
            if self.regrow:
                self._parked[path] = torch.where(alive, acting, remembered)
            made[path] = kept
        return made

    def revived(self, path: str) -> Tensor | None:
        """See `Changes`."""
        return self._parked.get(path)

    def state(self) -> dict[str, Tensor]:
        """See `Changes`."""
        return dict(self._parked) | {"done": torch.tensor(self._done)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """See `Changes`."""
        self._done = bool(state["done"])
        self._parked = {path: tensor.clone() for path, tensor in state.items() if path != "done"}
