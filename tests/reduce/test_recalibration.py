"""Normalisations over trimmed units: fitted to data, they give what they gave before as nearly as a line allows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pochette.reduce import trim
from pochette.reduce.recalibration import _fitted


class Normed(nn.Module):
    def __init__(self, norm: nn.Module, *, channels_first: bool) -> None:
        super().__init__()
        self.one, self.norm, self.two = nn.Linear(3, 24), norm, nn.Linear(24, 2)
        self.channels_first = channels_first
        with torch.no_grad():
            self.one.weight[::3] *= 6.0  # unlike channels: losing some changes the statistics
            self.one.bias += torch.linspace(-2, 2, 24)

    def forward(self, x: Tensor) -> Tensor:
        y = self.one(x)
        y = self.norm(y.transpose(1, 2)).transpose(1, 2) if self.channels_first else self.norm(y)
        return self.two(torch.relu(y))


@pytest.mark.parametrize("kind", ["layer", "group", "rms"])
def test_what_is_left_comes_out_nearer_to_what_it_was(kind: str) -> None:
    torch.manual_seed(0)
    norm: nn.Module = {"layer": nn.LayerNorm(24), "group": nn.GroupNorm(2, 24), "rms": nn.RMSNorm(24)}[kind]
    network = Normed(norm, channels_first=kind == "group").eval()
    data, fresh = torch.randn(4, 200, 3), torch.randn(4, 200, 3)
    plain = trim(network, (data,), keep=0.5)
    fitted = trim(network, (data,), keep=0.5, data=[(data, None)])
    assert plain.trim_report.recalibrated == () and fitted.trim_report.recalibrated == ("norm",)
    assert fitted.trim_report.not_exact == ("norm",)
    kept = next(indices for place, indices in fitted.trim_report.survivors.items() if place.path == "one.weight")
    readers = network.two.weight.detach().clone()
    network.two.weight.data.zero_()[:, kept] = readers[:, kept]  # the original, its removed units unread

    def apart(smaller: nn.Module, x: Tensor) -> float:
        with torch.no_grad():
            return float((smaller(x) - network(x)).square().mean().sqrt())

    assert apart(fitted, data) < 0.7 * apart(plain, data)
    assert apart(fitted, fresh) < 0.8 * apart(plain, fresh)


def test_a_line_is_found() -> None:
    x = torch.randn(1000, 3, dtype=torch.float64)
    slopes, places = torch.tensor([2.0, -1.0, 0.5]).double(), torch.tensor([1.0, 0.0, -3.0]).double()
    found, place = _fitted(x, x * slopes + places, torch.ones(3).double(), centred=True)
    assert torch.allclose(found, slopes, atol=5e-3) and torch.allclose(place, places, atol=5e-3)


def test_constant_features_keep_their_gain() -> None:
    x = torch.zeros(50, 2, dtype=torch.float64)
    found, place = _fitted(x, x + 4.0, torch.tensor([1.5, -2.0]).double(), centred=True)
    assert torch.allclose(found, torch.tensor([1.5, -2.0]).double()) and torch.allclose(
        place, torch.tensor(4.0).double()
    )
