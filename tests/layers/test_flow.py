"""Flows hear the past only, laws are what formulas and sampling say, and noise has its law."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from pochette.layers.flow import Flow, logistic_noise, normal_noise
from pochette.layers.laws import (
    mixture_divergence,
    mixture_log_density,
    normal_divergence,
    normal_log_density,
    regularised_divergence,
)


def lively(flow: Flow) -> Flow:
    """Weights large enough that every sample matters."""
    with torch.no_grad():
        flow.head.weight.mul_(10.0)
    return flow.double()


@pytest.mark.parametrize("carriers", [0, 1])
def test_a_sample_is_changed_by_earlier_ones_only(carriers: int) -> None:
    torch.manual_seed(0)
    flow, samples = lively(Flow(4, 4, 3, 0, -0.5, carriers)), 24
    noise = torch.randn(samples, dtype=torch.float64)
    pasts = [past.double() for past in flow.empty(1)]
    beside = torch.randn(1, samples, carriers, dtype=torch.float64) if carriers else None

    def parts(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        made, shift, log_scale, _ = flow(x[None], None, pasts, beside)
        return made[0], shift[0], log_scale[0]

    of_made, of_shift, of_scale = torch.autograd.functional.jacobian(parts, noise)
    assert not torch.triu(of_shift).any() and not torch.triu(of_scale).any()
    assert not torch.triu(of_made, 1).any()
    # The diagonal is the scale, and so the change of volume is the product of scales.
    _, _, log_scale = parts(noise)
    assert torch.allclose(of_made.diagonal(), torch.exp(log_scale))
    assert torch.linalg.slogdet(of_made)[1].item() == pytest.approx(log_scale.sum().item(), abs=1e-9)
    # What it reaches is what it says.
    reached = of_shift[-1].nonzero()
    assert int(samples - 1 - reached.min()) == flow.reach() == 1 + 2 + 2 * (1 + 2 + 4)


def test_a_carrier_is_heard_at_once_and_no_sooner() -> None:
    torch.manual_seed(0)
    flow, samples = lively(Flow(4, 4, 3, 0, -0.5, 1)), 24
    noise, beside = torch.randn(1, samples, dtype=torch.float64), torch.randn(samples, dtype=torch.float64)
    pasts = [past.double() for past in flow.empty(1)]
    of_shift = torch.autograd.functional.jacobian(lambda x: flow(noise, None, pasts, x[None, :, None])[1][0], beside)
    assert (of_shift.diagonal() != 0).all() and not torch.triu(of_shift, 1).any()


def test_a_chain_of_flows_has_the_law_it_says() -> None:
    from pochette.models.parallel_wavenet import ParallelWavenet

    torch.manual_seed(0)
    student = ParallelWavenet.sized("tiny", conditioning="none").build().network.double()
    for flow in student.all_flows():
        lively(flow)
    noise = torch.randn(2, 50, dtype=torch.float64)
    pasts = [[past.double() for past in flow.empty(2)] for flow in student.all_flows()]
    made, mean, log_scale, _ = student(noise, None, pasts)
    assert torch.allclose(made, noise * torch.exp(log_scale) + mean, atol=1e-12)
    # And its density is the noise's, divided by the change of volume.
    dense = normal_log_density(noise, torch.zeros(()), torch.zeros(())) - log_scale
    assert torch.allclose(normal_log_density(made, mean, log_scale), dense, atol=1e-9)


@torch.no_grad()
@pytest.mark.parametrize("cuts", [[1] * 30, [7, 13, 10], [29, 1]])
def test_in_pieces_it_is_the_same(cuts: list[int]) -> None:
    torch.manual_seed(0)
    flow = lively(Flow(4, 4, 4, 0, -0.5))
    noise = torch.randn(1, 30, dtype=torch.float64)
    whole, *_ = flow(noise, None, [past.double() for past in flow.empty(1)])
    pasts, pieces = [past.double() for past in flow.empty(1)], []
    for piece in noise.split(cuts, dim=1):
        made, _, _, pasts = flow(piece, None, pasts)
        pieces.append(made)
    assert torch.allclose(torch.cat(pieces, dim=1), whole)


@pytest.mark.parametrize(("noise", "law"), [(normal_noise, stats.norm), (logistic_noise, stats.logistic)])
def test_noise_has_its_law_and_its_counter(noise: object, law: stats.rv_continuous) -> None:
    assert callable(noise)
    drawn, counter = noise(torch.tensor([5]), 20000)
    assert stats.kstest(drawn[0].double().numpy(), law.cdf).pvalue > 0.01
    assert torch.isfinite(drawn).all() and abs(np.corrcoef(drawn[0, 1:], drawn[0, :-1])[0, 1]) < 0.03
    first, middle = noise(torch.tensor([5]), 7000)
    second, last = noise(middle, 13000)
    assert torch.equal(torch.cat([first, second], dim=1), drawn) and torch.equal(last, counter)


def test_divergence_of_normal_laws() -> None:
    one = torch.tensor(1.0)
    assert normal_divergence(one, one, one, one).item() == 0.0
    mean_q, log_q, mean_p, log_p = (torch.tensor(x, dtype=torch.float64) for x in (0.3, -0.7, -0.2, -0.1))
    drawn = mean_q + torch.exp(log_q) * torch.randn(
        400_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    sampled = (normal_log_density(drawn, mean_q, log_q) - normal_log_density(drawn, mean_p, log_p)).mean()
    exact = normal_divergence(mean_q, log_q, mean_p, log_p)
    assert exact.item() == pytest.approx(sampled.item(), abs=0.005) and exact > 0
    assert normal_log_density(drawn[:9], mean_q, log_q).numpy() == pytest.approx(
        stats.norm(0.3, math.exp(-0.7)).logpdf(drawn[:9].numpy())
    )


def test_floors_are_below_the_divergence_and_not_below_the_difference() -> None:
    mean, low, lower = torch.zeros(1), torch.tensor([-8.0]), torch.tensor([-9.0])
    # Both are floored at -7, where they are alike; the squared difference sees them as they are.
    assert regularised_divergence(mean, low, mean, lower).item() == pytest.approx(4.0)


def test_density_of_a_mixture_of_logistics() -> None:
    parameters = torch.tensor([0.5, -0.3, 0.1, -0.4, -1.0, -2.0], dtype=torch.float64)
    shares = torch.softmax(parameters[:2], 0)
    x = torch.linspace(-1.5, 1.5, 31, dtype=torch.float64)
    wanted = sum(
        shares[i].item() * stats.logistic(parameters[2 + i].item(), math.exp(parameters[4 + i].item())).pdf(x.numpy())
        for i in range(2)
    )
    assert np.exp(mixture_log_density(x, parameters.expand(31, 6)).numpy()) == pytest.approx(wanted)


def test_divergence_of_a_logistic_law_from_itself_is_nothing() -> None:
    mean, log_scale = torch.full((1, 4000), 0.2), torch.full((1, 4000), -1.5)
    told = torch.tensor([0.0, 0.2, -1.5]).expand(1, 4000, 3)
    generator = torch.Generator().manual_seed(0)
    assert abs(mixture_divergence(mean, log_scale, told, generator).item()) < 0.01
    wider = torch.tensor([0.0, 0.2, -0.5]).expand(1, 4000, 3)
    assert mixture_divergence(mean, log_scale, wider, generator).item() > 0.1
