"""Magnitude: how large a weight is."""

from __future__ import annotations

from torch import Tensor

from pochette.families import scores
from pochette.reduce.sparse.subject import Subject


@scores.member("magnitude")
def magnitude(subject: Subject) -> dict[str, Tensor]:
    """Absolute weight, as it acts (Han et al. 2015)."""
    return {path: tensor.abs() for path, tensor in subject.tensors().items()}
