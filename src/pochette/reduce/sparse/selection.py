"""Exactly so many weights, the ones worth most: ranks are taken among the living, and of equals the first stay.

Comparing with a threshold removes one too many, and all of a tie; dead weights, which are zero, must not be ranked
beside living ones that happen to be zero. Hence places, not values.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pochette.errors import ReductionError
from pochette.reduce.sparse.weights import Masks, Scores


def kept_in_each(scores: Scores, alive: Mapping[str, Tensor], counts: Mapping[str, int]) -> Masks:
    """The best of every layer.

    Args:
        scores: of every weight, any order of magnitude.
        alive: which of them are ranked.
        counts: how many stay in each layer; no more than are alive.

    Returns:
        masks with exactly so many alive.

    Raises:
        ReductionError: fewer are alive than shall stay, or a score is not finite.
    """
    return {path: _best(path, scores[path], alive[path], counts[path]) for path in alive}


def kept_of_all(scores: Scores, alive: Mapping[str, Tensor], count: int) -> Masks:
    """The best of all layers together.

    Args:
        scores: of every weight, comparable between layers.
        alive: which of them are ranked.
        count: how many stay.

    Returns:
        masks with exactly so many alive; a layer may lose all of its weights.

    Raises:
        ReductionError: see `kept_in_each`.
    """
    flat = torch.cat([scores[path].flatten() for path in alive])
    mask = _best("all layers", flat, torch.cat([alive[path].flatten() for path in alive]), count)
    parts = torch.split(mask, [alive[path].numel() for path in alive])
    return {path: part.view(alive[path].shape) for path, part in zip(alive, parts, strict=True)}


def _best(where: str, scores: Tensor, alive: Tensor, count: int) -> Tensor:
    """A mask of the highest living scores."""
    living = alive.flatten().nonzero()[:, 0]
    if not 0 <= count <= len(living):
        raise ReductionError(
            f"{count} weights cannot stay where {len(living)} are alive.", where=where, remedy="Keep fewer."
        )
    ranked = scores.detach().flatten()[living]
    if not torch.isfinite(ranked).all():
        raise ReductionError(
            "A weight's score is not a finite number.",
            where=where,
            remedy="Lower the learning rate, or score on other sound: a derivative has no value here.",
        )
    order = torch.argsort(ranked.double(), descending=True, stable=True)
    mask = torch.zeros(alive.numel(), dtype=torch.bool, device=alive.device)
    mask[living[order[:count]]] = True
    return mask.view(alive.shape)
