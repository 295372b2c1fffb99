"""Samples as a mixture of logistic distributions, cut into bins (Salimans et al. 2017; Parallel WaveNet for sound).

Bins stand at -1 + 2 i / (levels - 1), i = 0 ... levels - 1: the first at -1, the last at 1. A bin's probability is the
mixture's between the halfway points to its neighbours; the first and the last also take the open tails. Only they do:
known implementations treat everything beyond 0.999 as a tail, which at 65536 levels is 33 bins, whose probabilities
then sum to far more than 1.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from pochette.layers.generator import hash32
from pochette.layers.sampling import place_of
from pochette.layers.synthesis import CYCLE

LOG_SCALE_FLOOR = -9.0
"""Smallest logarithm of a scale, in training and in drawing: a scale of 4 bins of 65536."""


def mixture(parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, means and floored logarithms of scales of each component.

    Args:
        parameters: (..., 3 * component).

    Returns:
        three of (..., component).
    """
    logits, means, log_scales = parameters.chunk(3, dim=-1)
    return logits, means, log_scales.clamp(min=LOG_SCALE_FLOOR)


def bin_number(samples: Tensor, levels: int) -> Tensor:
    """The nearest bin.

    Args:
        samples: any shape; beyond full scale the first or the last bin.
        levels: how many bins.

    Returns:
        the same shape, int64.
    """
    return torch.round((samples.double().clamp(-1.0, 1.0) + 1.0) * ((levels - 1) / 2.0)).long()


def log_likelihood(parameters: Tensor, bins: Tensor, levels: int) -> Tensor:
    """Natural logarithm of the probability of bins.

    Args:
        parameters: (..., 3 * component).
        bins: (...), int64, 0 to levels - 1.
        levels: how many bins.

    Returns:
        (...).
    """
    logits, means, log_scales = mixture(parameters)
    centre = (bins.to(parameters.dtype) * (2.0 / (levels - 1)) - 1.0)[..., None]
    half, inverse = 1.0 / (levels - 1), torch.exp(-log_scales)
    upper, lower = (centre + half - means) * inverse, (centre - half - means) * inverse
    # sig(u) - sig(l) = sig(u) sig(-l) (1 - exp(l - u)): no difference of numbers that are nearly 1.
    inside = functional.logsigmoid(upper) + functional.logsigmoid(-lower) + _log_one_minus_exp(2.0 * half * inverse)
    first, last = (bins == 0)[..., None], (bins == levels - 1)[..., None]
    each = torch.where(first, functional.logsigmoid(upper), torch.where(last, functional.logsigmoid(-lower), inside))
    return torch.logsumexp(functional.log_softmax(logits, dim=-1) + each, dim=-1)


def _log_one_minus_exp(width: Tensor) -> Tensor:
    """log(1 - exp(-width)) of a positive width."""
    return torch.log(-torch.expm1(-width))


def draw_logistic(parameters: Tensor, temperature: Tensor, counter: Tensor) -> tuple[Tensor, Tensor]:
    """A sample of the mixture: a component by its weight, then a place on its distribution function.

    The sample is not rounded to a bin: whoever stores 16 bits does that, and the discretised law is the result.

    Args:
        parameters: (batch, 3 * component).
        temperature: (batch, 1), above 0: divides the logits, multiplies the scales.
        counter: (batch,), int64: number of the first of the two noise samples that decide.

    Returns:
        sample (batch, 1), -1 to 1, and the counter after it.
    """
    if torch.compiler.is_exporting():
        return torch.ops.pochette.draw_logistic(parameters, temperature, counter)  # type: ignore[no-any-return]
    logits, means, log_scales = mixture(parameters)
    component = place_of(logits, temperature, hash32(counter) >> 8)[:, None]
    # 23 bits and a half: never 0, never 1, and exact in float32.
    u = ((hash32(counter + 1) >> 9).to(parameters.dtype) + 0.5)[:, None] * 2.0**-23
    scale = torch.exp(log_scales.gather(1, component)) * temperature
    sample = means.gather(1, component) + scale * (torch.log(u) - torch.log(1.0 - u))
    return sample.clamp(-1.0, 1.0), (counter + 2) % CYCLE


@torch.library.custom_op("pochette::draw_logistic", mutates_args=())
def _draw_logistic_op(parameters: Tensor, temperature: Tensor, counter: Tensor) -> tuple[Tensor, Tensor]:
    return draw_logistic(parameters, temperature, counter)


@_draw_logistic_op.register_fake
def _(parameters, temperature, counter):  # type: ignore[no-untyped-def]
    return parameters.new_empty(parameters.shape[0], 1), torch.empty_like(counter)
