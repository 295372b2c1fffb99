"""Widths that are multiples: in every group of a grouped convolution, or the report says why not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pochette.errors import ReductionError
from pochette.reduce import trim


class Grouped(nn.Module):
    """Convolutions in groups, each way round, and widths of a group that are few or odd."""

    def __init__(self, groups: int, width: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one = nn.Conv1d(1, groups * width, 3)
        self.two = nn.Conv1d(groups * width, 2 * groups * width, 3, groups=groups)
        self.three = nn.ConvTranspose1d(2 * groups * width, groups * width, 3, groups=groups)
        self.head = nn.Conv1d(groups * width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.three(torch.tanh(self.two(torch.tanh(self.one(x)))))))


@pytest.mark.parametrize(("groups", "width"), [(2, 12), (3, 8), (4, 6), (8, 3), (2, 5), (1, 10)])
@pytest.mark.parametrize("keep", [0.3, 0.7, 0.9])
@pytest.mark.parametrize("scope", ["local", "global"])
def test_every_group_has_a_multiple_or_the_report_says_why_not(
    groups: int, width: int, keep: float, scope: str
) -> None:
    network, x = Grouped(groups, width), torch.zeros(1, 1, 30)
    try:
        smaller = trim(network, (x,), keep, scope=scope, multiple_of=4)
    except ReductionError as error:
        assert "multiples of 4" in error.what
        return
    reasons = smaller.trim_report.not_multiples
    layers = {name: getattr(smaller, name) for name in ("one", "two", "three")}
    for name, layer in layers.items():
        left = layer.out_channels // groups
        whole = getattr(network, name).out_channels // groups
        assert left % 4 == 0 or left == whole
        assert (name in reasons) == (left % 4 != 0)
        if name in reasons:
            assert reasons[name] == f"all {whole} units stay; the next multiple of 4 would be {-(-whole // 4) * 4}"
    assert trim(network, (x,), keep, scope=scope).trim_report.not_multiples == {}
