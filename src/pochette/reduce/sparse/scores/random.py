"""Chance: the control of all other scores."""

from __future__ import annotations

import torch
from torch import Tensor

from pochette.families import scores
from pochette.reduce.sparse.subject import Subject


@scores.member("random")
def random(subject: Subject) -> dict[str, Tensor]:
    """Drawn: any other score must beat this one."""
    generator = torch.Generator().manual_seed(subject.seed)
    return {path: torch.rand(tensor.shape, generator=generator) for path, tensor in subject.tensors().items()}
