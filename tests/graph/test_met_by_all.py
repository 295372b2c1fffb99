"""A unit that is broadcast over its whole family cannot go: every other one needs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pochette.graph.units import Place
from pochette.reduce import trim


class OneForAll(nn.Module):
    """One of the channels gates them all, itself too."""

    def __init__(self, use: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.make, self.use, self.out = nn.Conv1d(2, 8, 3), use, nn.Conv1d(8, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.out(self.use(self.make(x)))
        return made


USES: dict[str, Callable[[Tensor], Tensor]] = {
    "product": lambda h: torch.relu(h) * torch.sigmoid(h[:, :1]),
    "in the middle": lambda h: h * h[:, 3:4],
    "sum": lambda h: h + h[:, -1:],
    "expanded": lambda h: h + h[:, :1].expand_as(h),
    "split": lambda h: torch.cat([h[:, :1], h[:, 1:] * h[:, :1]], 1),
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("use", USES)
def test_a_unit_that_all_others_meet_stays(use: str, seed: int) -> None:
    torch.manual_seed(seed)
    network, x = OneForAll(USES[use]).eval(), torch.randn(1, 2, 20)
    small = trim(network, (x,), keep=0.5)
    report: Any = small.trim_report
    left = report.survivors[Place("make.weight", 0)].tolist()
    gate = {"in the middle": 3, "sum": 7}.get(use, 0)
    assert gate in left and "every index of another axis meets it" in report.kept.values()
    # The original whose readers do not hear what went: no channel but the gate is read besides by the last layer.
    with torch.no_grad():
        network.out.weight[:, [unit for unit in range(8) if unit not in left]] = 0
        assert (small(x) - network(x)).abs().max() < 1e-6
