"""What a critic needs besides its layers: phase shuffle, and the penalty that keeps its slope at one.

Pure functions of what is drawn elsewhere, so that real, made and mixed sounds can be shown the same draw.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional


def shuffled(x: Tensor, shifts: Tensor) -> Tensor:
    """A signal moved by whole samples, its edges mirrored (Donahue et al. 2019, phase shuffle).

    A transposed convolution leaves a pattern at its stride; a critic that cannot tell phases apart cannot learn to find
    sounds out by it.

    Args:
        x: (batch, channel, time), time longer than any shift.
        shifts: (1,), the same for the whole batch as in the published code, or (batch,); later is positive.

    Returns:
        the same shape.
    """
    if len(shifts) == 1:
        return _moved(x, int(shifts))
    return torch.stack([_moved(row, int(shift)) for row, shift in zip(x, shifts, strict=True)])


def _moved(x: Tensor, shift: int) -> Tensor:
    if shift == 0:
        return x
    length = x.shape[-1]
    padded = functional.pad(x, (max(shift, 0), max(-shift, 0)), mode="reflect")
    return padded[..., max(-shift, 0) :][..., :length]


def gradient_penalty(
    score: Callable[[Tensor], Tensor], real: Tensor, made: Tensor, generator: torch.Generator | None
) -> Tensor:
    """How far a critic's slope is from one between real and made sounds (Gulrajani et al. 2017, eq. 3, without lambda).

    Args:
        score: of a batch, (batch,); each of its own example alone, or the slopes would mix.
        real: (batch, ...).
        made: the same shape.
        generator: draws where between them each example is looked at, one number an example.

    Returns:
        mean over examples of (|gradient| - 1)^2, the norm of each over all its axes; it can be differentiated again.
    """
    between = torch.rand(len(real), *[1] * (real.dim() - 1), generator=generator)
    mixed = (real + between * (made - real)).detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(score(mixed).sum(), mixed, create_graph=True)
    norms: Tensor = torch.linalg.vector_norm(slope.flatten(1), dim=1)
    return (norms - 1.0).square().mean()
