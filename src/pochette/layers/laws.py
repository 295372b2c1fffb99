"""Laws of single samples that a teacher and its student speak of, and how far one is from the other."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

LOG_SCALE_FLOOR = -7.0
"""Of both laws, before their divergence is taken (Ping et al. 2019)."""
TEACHER_FLOOR = -9.0
"""Of the teacher's own likelihood."""
ALIKE = 4.0
"""Weight of the squared difference of the logarithms of the scales (Ping et al. 2019)."""
DRAWS = 16
"""Of each sample, for the divergence from a mixture; the published code takes 100."""


def normal_log_density(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Logarithm of a normal density, element by element."""
    return -0.5 * ((x - mean) * torch.exp(-log_scale)).square() - log_scale - 0.5 * math.log(2.0 * math.pi)


def normal_divergence(mean_q: Tensor, log_q: Tensor, mean_p: Tensor, log_p: Tensor) -> Tensor:
    """Kullback-Leibler divergence of a normal law q from another p, in nats, element by element.

    Args:
        mean_q: of q.
        log_q: logarithm of its deviation.
        mean_p: of p.
        log_p: logarithm of its deviation.

    Returns:
        the same shape, at least 0.
    """
    gap = (torch.exp(2.0 * log_q) - torch.exp(2.0 * log_p) + (mean_p - mean_q).square()) * torch.exp(-2.0 * log_p)
    return log_p - log_q + 0.5 * gap


def regularised_divergence(mean_q: Tensor, log_q: Tensor, mean_p: Tensor, log_p: Tensor) -> Tensor:
    """The divergence with both scales floored, and four times the squared difference of the unfloored ones."""
    floored = normal_divergence(mean_q, log_q.clamp(min=LOG_SCALE_FLOOR), mean_p, log_p.clamp(min=LOG_SCALE_FLOOR))
    return (floored + ALIKE * (log_p - log_q).square()).mean()


def mixture_log_density(x: Tensor, parameters: Tensor) -> Tensor:
    """Logarithm of the density of a mixture of logistics.

    Args:
        x: (...).
        parameters: (..., 3 * component): logits, means, logarithms of scales.

    Returns:
        (...).
    """
    logits, means, log_scales = parameters.chunk(3, dim=-1)
    log_scales = log_scales.clamp(min=TEACHER_FLOOR)
    place = (x[..., None] - means) * torch.exp(-log_scales)
    parts = -place - log_scales - 2.0 * functional.softplus(-place)
    return torch.logsumexp(torch.log_softmax(logits, dim=-1) + parts, dim=-1)


def mixture_divergence(mean: Tensor, log_scale: Tensor, told: Tensor, generator: torch.Generator | None) -> Tensor:
    """Divergence of logistic laws from mixtures, the cross-entropy estimated from `DRAWS` draws a sample.

    Args:
        mean: of the student's laws, (batch, sample).
        log_scale: of theirs.
        told: the teacher's mixtures, (batch, sample, 3 * component).
        generator: of the draws.

    Returns:
        mean over samples, in nats.
    """
    log_scale = log_scale.clamp(min=LOG_SCALE_FLOOR)
    uniform = torch.rand((DRAWS, *mean.shape), generator=generator).to(mean.device).clamp(1e-6, 1.0 - 1e-6)
    draws = mean + torch.exp(log_scale) * (torch.log(uniform) - torch.log1p(-uniform))
    crossed = -mixture_log_density(draws, told.expand(DRAWS, *told.shape)).mean(dim=0)
    # A logistic law of scale s has the entropy log s + 2.
    return (crossed - log_scale - 2.0).mean()
