"""How a number under an L1 penalty moves, one step at a time: pure functions.

A step of gradient descent on g |x| by its sign never rests at zero: it steps over it, back and forth. The proximal step
does: what the penalty would carry across zero stays there, exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor


def signed(gradient: Tensor, at: Tensor, strength: float) -> Tensor:
    """The gradient with the penalty's own added, as network slimming does it (Liu et al. 2017).

    Args:
        gradient: of the loss.
        at: where it was taken.
        strength: of the penalty.

    Returns:
        a new tensor; at zero the penalty adds nothing.
    """
    return gradient + strength * at.sign()


def shrunk(x: Tensor, by: float) -> Tensor:
    """What is left of numbers that all come nearer to zero by so much, and stop there."""
    return x.sign() * (x.abs() - by).clamp(min=0.0)


def proximal(x: Tensor, gradient: Tensor, rate: float, strength: float) -> Tensor:
    """A step of gradient descent on the loss, then the penalty's: it rests where loss and penalty balance, or at zero.

    Args:
        x: the numbers.
        gradient: of the loss there.
        rate: of the step.
        strength: of the penalty.

    Returns:
        the numbers after it.
    """
    return shrunk(x - rate * gradient, rate * strength)


def accelerated(
    x: Tensor, momentum: Tensor, gradient: Tensor, rate: float, strength: float, inertia: float
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """A proximal step that goes on where the last one went (Huang & Wang 2018, equations 10 to 12); never negative.

    Args:
        x: the numbers.
        momentum: what the last steps left; zeros to begin with.
        gradient: of the loss there.
        rate: of the step.
        strength: of the penalty.
        inertia: share of the momentum that is kept.

    Returns:
        the numbers and the momentum after it. Inertia can carry a number below zero; it stays at zero, as in the
        published code.
    """
    rested = proximal(x, gradient, rate, strength)
    momentum = rested - x + inertia * momentum
    return torch.clamp(rested + inertia * momentum, min=0.0), momentum
