"""Shared values: how they are found, that sharers stay equal to the bit, and what they take to store."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pochette.reduce.clusters import Shared, clustered, stored_bytes
from pochette.reduce.sparse.weights import weights_of


def test_few_values_are_kept_as_they_are() -> None:
    values = torch.tensor([[0.5, -1.0, 0.5], [3.0, -1.0, 0.0]])
    centres, chosen = clustered(values, 4)
    assert torch.equal(centres[chosen], values) and centres.tolist() == [-1.0, 0.0, 0.5, 3.0]


def test_every_weight_takes_the_nearest_value_and_values_are_means() -> None:
    values = torch.randn(40, 50, generator=torch.Generator().manual_seed(0))
    centres, chosen = clustered(values, 8)
    distances = (values[..., None] - centres).abs()
    assert torch.equal(distances.argmin(-1), chosen)
    for number in range(8):
        assert centres[number].item() == pytest.approx(values[chosen == number].mean().item(), abs=1e-6)
    # Much better than the even steps it began from.
    even = torch.linspace(float(values.min()), float(values.max()), 8)
    begun = (values - even[(values[..., None] - even).abs().argmin(-1)]).square().mean()
    assert (values - centres[chosen]).square().mean() < 0.6 * begun


def test_what_has_gone_stays_gone() -> None:
    torch.manual_seed(0)
    module = nn.Linear(30, 30, bias=False)
    module.weight.data[:, ::2] = 0.0
    centres, chosen = clustered(module.weight, 8)
    assert len(centres) == 8 and not centres[chosen][:, ::2].any() and bool(centres[chosen][:, 1::2].all())
    shared = Shared(weights_of(module), 8)
    shared.attach()
    stepper = torch.optim.Adam(module.parameters(), 1e-2)
    for _ in range(5):
        stepper.zero_grad()
        (module(torch.randn(8, 30)) - 1.0).square().mean().backward()
        stepper.step()
    assert not module.weight[:, ::2].any() and len(module.weight.unique()) == 8
    # Seven values, of which three bits tell, a bit a place, and the values themselves; or three bits for all.
    assert shared.stored_bytes() == min(-(-(900 + 450 * 3) // 8) + 28, -(-(900 * 3 + 8 * 32) // 8))


def test_bytes() -> None:
    assert 4000 * 4 / stored_bytes(4000, 16) == pytest.approx(7.75, abs=0.01)
    assert stored_bytes(10, 1) == 4 and stored_bytes(10, 2) == 10


@pytest.mark.parametrize("optimiser", ["adam", "momentum"])
def test_sharers_stay_equal_and_learn(optimiser: str) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(10, 20), nn.Tanh(), nn.Linear(20, 3))
    x, wanted = torch.randn(64, 10), torch.randn(64, 3)
    shared = Shared(weights_of(module), 8)
    shared.attach()
    stepper: torch.optim.Optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    if optimiser == "momentum":
        stepper = torch.optim.SGD(module.parameters(), 1e-2, momentum=0.9, weight_decay=1e-3)
    losses = []
    for step in range(100):
        stepper.zero_grad()
        loss = (module(x) - wanted).square().mean()
        loss.backward()
        if step == 0:
            weight, chosen = module[0].weight, shared.chosen["0.weight"]
            plain = torch.autograd.grad((module(x) - wanted).square().mean(), weight)[0]
            summed = torch.stack([plain[chosen == n].sum() for n in range(8)])
        stepper.step()
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0]
    for path, weight_of in weights_of(module).items():
        for number in range(shared.counts[path]):
            own = weight_of.parameter[shared.chosen[path] == number]
            assert len(own.unique()) == 1
    assert summed.shape == (8,)
