"""The divergence against its integral, the noise against its law, and inputs that mean nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from pochette.reduce.sparse.variational import THRESHOLD, Noise, divergence, log_alpha
from pochette.reduce.sparse.weights import weights_of


def test_the_divergence_by_its_integral() -> None:
    """-KL = log(alpha)/2 - E log|1 + sqrt(alpha) z| + constant; the constant makes pure noise cost nothing."""
    z = np.linspace(-12.0, 12.0, 400_001)
    density = np.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi)
    worst = 0.0
    for log in np.linspace(-8.0, 8.0, 33):
        inside = np.log(np.abs(1.0 + math.exp(log / 2.0) * z) + 1e-12)
        expected = np.trapezoid(inside * density, z)
        wanted = -(0.5 * log - expected - 0.5 * (0.5772156649 + math.log(2.0)))
        worst = max(worst, abs(float(divergence(torch.tensor(log))) - wanted))
    assert worst < 0.0095
    told = divergence(torch.tensor([-4.0, 0.0, 3.0])).tolist()
    assert told == pytest.approx([2.634, 0.431, 0.0254], abs=1e-3)


def test_noise_has_its_law_and_is_gone_after_the_step() -> None:
    layer = nn.Linear(100, 100, bias=False)
    noise, before = Noise(weights_of(layer), examples=10.0), layer.weight.detach().clone()
    with torch.no_grad():
        noise.log_variances["weight"].fill_(math.log(0.04))
    drawn = []
    for step in range(50):
        noise.begin_step(step, 0.5)
        drawn.append(layer.weight.detach() - before)
        noise.end_step()
        assert torch.equal(layer.weight, before)
    drawn_all = torch.stack(drawn)
    assert abs(drawn_all.mean().item()) < 1e-3 and drawn_all.std().item() == pytest.approx(0.2, rel=0.01)
    assert not torch.equal(drawn[0], drawn[1])


def test_gradients_are_those_of_the_law() -> None:
    """Of mean and logarithm of the variance, against autograd through theta + sigma epsilon and the divergence."""
    torch.manual_seed(0)
    layer, x = nn.Linear(4, 3, bias=False), torch.randn(8, 4)
    noise = Noise(weights_of(layer), examples=5.0, warm_up=0.5, rate=0.0)
    with torch.no_grad():
        noise.log_variances["weight"].fill_(-1.0)
    stepper = torch.optim.SGD(layer.parameters(), 0.0)
    noise.attach(stepper)
    noise.begin_step(3, 0.25)
    draw = noise._draws["weight"].clone()
    layer(x).square().sum().backward()
    stepper.step()
    noise.end_step()
    mean = layer.weight.detach().clone().requires_grad_()
    variance = torch.full((3, 4), -1.0, requires_grad=True)
    weight = mean + torch.exp(0.5 * variance) * draw
    cost = (x @ weight.T).square().sum() + 0.5 / 5.0 * divergence(log_alpha(mean, variance)).sum()
    by_mean, by_variance = torch.autograd.grad(cost, [mean, variance])
    gradient, own = layer.weight.grad, noise.log_variances["weight"].grad
    assert gradient is not None and own is not None
    assert torch.allclose(gradient, by_mean, atol=1e-4) and torch.allclose(own, by_variance, atol=1e-4)


def test_inputs_that_mean_nothing_drown() -> None:
    torch.manual_seed(0)
    x = torch.randn(400, 10)
    wanted = x[:, :3] @ torch.tensor([1.0, -2.0, 0.5])
    layer = nn.Linear(10, 1, bias=False)
    noise = Noise(weights_of(layer), examples=1.0, warm_up=0.3, rate=5e-2)
    stepper = torch.optim.Adam(layer.parameters(), 2e-3)
    noise.attach(stepper)
    for step in range(3000):
        noise.begin_step(step, step / 3000)
        stepper.zero_grad()
        # A likelihood: squared errors in units of twice the noise's variance.
        ((layer(x)[:, 0] - wanted).square().sum() / (2.0 * 0.09)).backward()
        stepper.step()
        noise.end_step()
    found = noise.log_alphas()["weight"][0]
    assert bool((found[3:] > THRESHOLD).all()) and bool((found[:3] < 0.0).all())
