"""Mixture of logistics: probabilities that sum to 1 at the edges too, and draws that follow them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pochette.layers.logistics import LOG_SCALE_FLOOR, bin_number, draw_logistic, log_likelihood


def parameters(seed: int, components: int = 5, mean: float | None = None, log_scale: float | None = None) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits, means = torch.randn(2, components, generator=generator).double()
    log_scales = -3.0 + 2.0 * torch.randn(components, generator=generator).double()
    if mean is not None:
        means = torch.full_like(means, mean)
    if log_scale is not None:
        log_scales = torch.full_like(log_scales, log_scale)
    return torch.cat([logits, means, log_scales])


def by_hand(p: Tensor, levels: int) -> np.ndarray:
    """Probability of every bin, from differences of the distribution function at the halfway points."""
    logits, means, log_scales = (part.numpy() for part in p.chunk(3))
    weights = np.exp(logits) / np.exp(logits).sum()
    scales = np.exp(np.maximum(log_scales, LOG_SCALE_FLOOR))
    halfway = -1 + (2 * np.arange(levels - 1) + 1) / (levels - 1)
    z = np.clip((halfway[:, None] - means) / scales, -700, 700)
    below = (weights / (1 + np.exp(-z))).sum(1)
    return np.diff(np.concatenate([[0.0], below, [1.0]]))


@pytest.mark.parametrize("levels", [256, 65536])
@pytest.mark.parametrize(
    "p",
    [parameters(0), parameters(1), parameters(2, 1), *(parameters(3, 4, m, s) for m in (0.9995, -1.0, 0.98, 1.4, 0.0)
     for s in (-20.0, -7.0, -4.0, 1.0))],
)  # fmt: skip
def test_probabilities_sum_to_one_and_are_the_differences(p: Tensor, levels: int) -> None:
    found = log_likelihood(p.expand(levels, -1), torch.arange(levels), levels)
    assert torch.isfinite(found).all()
    assert abs(found.exp().sum().item() - 1.0) < 1e-6
    assert np.allclose(found.exp().numpy(), by_hand(p, levels), atol=1e-12)


def test_single_precision_is_enough() -> None:
    levels = 65536
    for p in (parameters(0), parameters(3, 4, 0.9995, -7.0), parameters(3, 4, -1.0, -20.0)):
        total = log_likelihood(p.float().expand(levels, -1), torch.arange(levels), levels).double().exp().sum()
        assert abs(total.item() - 1.0) < 2e-3


def test_far_from_every_component_there_is_still_a_gradient() -> None:
    p = parameters(0, 1, 0.9, -9.0).float().requires_grad_(True)
    likelihood = (
        log_likelihood(p[None], torch.tensor([0]), 65536).sum()
        + log_likelihood(p[None], torch.tensor([900]), 65536).sum()
    )
    likelihood.backward()
    assert math.isfinite(likelihood.item()) and torch.isfinite(p.grad).all()  # type: ignore[arg-type]
    assert p.grad is not None and p.grad[1] < 0  # the mean is drawn towards the sample


def test_nearest_bins() -> None:
    assert bin_number(torch.tensor([-2.0, -1.0, 1.0, 3.0]), 256).tolist() == [0, 0, 255, 255]
    grid = -1 + 2 * torch.arange(65536).double() / 65535
    assert torch.equal(bin_number(grid.float(), 65536), torch.arange(65536))


def test_draws_follow_the_probabilities() -> None:
    p, draws, levels = torch.tensor([0.3, -0.4, -0.5, 0.6, -2.0, -1.2]), 60_000, 17
    samples, after = draw_logistic(p.expand(draws, -1), torch.ones(draws, 1), 2 * torch.arange(draws))
    assert samples.shape == (draws, 1) and after[-1].item() == 2 * draws
    share = np.bincount(bin_number(samples[:, 0], levels), minlength=levels) / draws
    wanted = by_hand(p.double(), levels)
    assert (np.abs(share - wanted) < 4 * np.sqrt(wanted * (1 - wanted) / draws) + 1e-4).all()


def test_draws_have_the_floor_of_the_likelihood() -> None:
    p, draws = torch.tensor([0.0, 0.25, -50.0]), 20_000
    samples, _ = draw_logistic(p.expand(draws, -1), torch.ones(draws, 1), 2 * torch.arange(draws))
    # A logistic distribution's standard deviation is its scale times pi / sqrt(3).
    deviation = samples.double().std().item()
    assert deviation == pytest.approx(math.exp(LOG_SCALE_FLOOR) * math.pi / math.sqrt(3), rel=0.03)
    wide = draw_logistic(p.expand(draws, -1), torch.full((draws, 1), 2.0), 2 * torch.arange(draws))[0]
    assert wide.double().std().item() == pytest.approx(2 * deviation, rel=1e-2)
