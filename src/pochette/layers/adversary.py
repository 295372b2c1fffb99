"""What a critic needs besides its layers: phase shuffle, the penalty that keeps its slope at one, losses with pitches.

Pure functions of what is drawn elsewhere, so that real, made and mixed sounds can be shown the same draw.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

PENALTY = 10.0
"""Weight of the slope, in losses with pitches (Engel et al. 2019), as of the two that follow."""
DRIFT = 0.001
"""Weight of the squared score of recorded sounds, which keeps scores near zero."""
PITCH = 10.0
"""Weight of telling the pitch."""

PitchedCritic = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Of a batch: scores (batch,), and logits of the pitches (batch, pitch)."""


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
    between = torch.rand(len(real), *[1] * (real.dim() - 1), generator=generator).to(real.device)
    mixed = (real + between * (made - real)).detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(score(mixed).sum(), mixed, create_graph=True)
    norms: Tensor = torch.linalg.vector_norm(slope.flatten(1), dim=1)
    return (norms - 1.0).square().mean()


def pitched_critic_loss(
    critic: PitchedCritic, real: Tensor, made: Tensor, rows: Tensor, generator: torch.Generator | None
) -> Tensor:
    """What a critic goes down that also tells pitches (Engel et al. 2019; Odena et al. 2017).

    Args:
        critic: the batch's members may be compared in it; the slopes then mix, as published.
        real: (batch, ...).
        made: the same shape.
        rows: (batch,), whole: which pitch the real ones have.
        generator: see `gradient_penalty`.

    Returns:
        scalar: made less real, the penalty, the drift, and the pitches that are not told.
    """
    penalty = gradient_penalty(lambda x: critic(x)[0], real, made, generator)
    scores, pitches = critic(real)
    apart = critic(made)[0].mean() - scores.mean()
    missed = functional.cross_entropy(pitches, rows)
    return apart + PENALTY * penalty + DRIFT * scores.square().mean() + PITCH * missed


def pitched_generator_loss(critic: PitchedCritic, made: Tensor, rows: Tensor) -> Tensor:
    """What a generator goes down: the score turned over, and the pitches that are not told.

    Args:
        critic: see `pitched_critic_loss`.
        made: (batch, ...).
        rows: (batch,), whole: which pitches were asked for.

    Returns:
        scalar.
    """
    scores, pitches = critic(made)
    return PITCH * functional.cross_entropy(pitches, rows) - scores.mean()
