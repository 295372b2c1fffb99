"""Masks of a regular form: so many of so many neighbours, or whole blocks, as processors with vectors could use them.

None of the engines here skips them; what they save is bytes, and what they cost in quality is what is to be compared.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pochette.errors import ReductionError
from pochette.reduce.shares import check_least
from pochette.reduce.sparse.selection import kept_of_all
from pochette.reduce.sparse.weights import Masks, Scores


def n_of_m(scores: Scores, n: int, m: int) -> Masks:
    """The n best of every m consecutive inputs of an output (and tap).

    Args:
        scores: (output, input, ...) each.
        n: how many stay of each group.
        m: inputs of a group; the last of a row may have fewer, of which the same share stays, rounded up.

    Returns:
        masks.

    Raises:
        ReductionError: no layer has a whole group.
    """
    if all(score.shape[1] < m for score in scores.values()):
        raise ReductionError(f"No layer has {m} inputs.", remedy="Give smaller groups.")
    masks = {}
    for path, score in scores.items():
        mask = torch.zeros(score.shape, dtype=torch.bool)
        for start in range(0, score.shape[1], m):
            group = score[:, start : start + m]
            count = -(-n * group.shape[1] // m)
            places = torch.argsort(group, dim=1, descending=True, stable=True)[:, :count]
            mask[:, start : start + m].scatter_(1, places, True)
        masks[path] = mask
    return masks


def blocks(scores: Scores, keep: float, size: int) -> Masks:
    """The best blocks of so many consecutive outputs that share an input (and tap), ranked over all layers by means.

    Args:
        scores: (output, input, ...) each.
        keep: share of all weights that stays at most.
        size: outputs of a block; the last of a column may have fewer.

    Returns:
        masks in which every block is alive or dead as a whole.

    Raises:
        ReductionError: not even one block stays.
    """
    means = {path: _by_block(score, size) for path, score in scores.items()}
    total = sum(score.numel() for score in scores.values())
    largest = max(min(size, score.shape[0]) for score in scores.values())
    least = max(largest / total, 1 / sum(mean.numel() for mean in means.values()))
    check_least(
        keep,
        least,
        f"One block of {largest} outputs is {100 * least:.3g} % of all weights",
        ", or give smaller blocks (--size)",
    )
    count = round(keep * sum(mean.numel() for mean in means.values()))
    alive = {path: torch.ones_like(mean, dtype=torch.bool) for path, mean in means.items()}
    kept = {path: _spread(mask, scores[path], size) for path, mask in kept_of_all(means, alive, count).items()}
    # Short blocks weigh less: when the long ones were chosen, a few too many weights are left.
    while sum(int(mask.sum()) for mask in kept.values()) > keep * total and count > 0:
        count -= 1
        kept = {path: _spread(mask, scores[path], size) for path, mask in kept_of_all(means, alive, count).items()}
    return kept


def _by_block(score: Tensor, size: int) -> Tensor:
    """Mean of each block, (block, input, ...)."""
    return torch.stack([part.double().mean(0) for part in torch.split(score, size)])


def _spread(mask: Tensor, like: Tensor, size: int) -> Tensor:
    return mask.repeat_interleave(size, dim=0)[: like.shape[0]]


def is_regular(masks: Mapping[str, Tensor], size: int) -> bool:
    """Whether every block of so many outputs is alive or dead as a whole."""
    return all(bool((part.all(0) | ~part.any(0)).all()) for mask in masks.values() for part in torch.split(mask, size))
