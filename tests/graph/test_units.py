"""Which weights make a unit: all of them, also where several are laid side by side before they are used."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pochette.graph.capture import capture
from pochette.graph.units import units_of


class SideBySide(nn.Module):
    """Two matrices as one, between two layers."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.first = nn.Linear(3, 6)
        self.left, self.right = nn.Linear(6, wide, bias=False), nn.Linear(6, wide, bias=False)
        self.last = nn.Linear(wide, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.first(x))
        both = torch.cat([self.left.weight, self.right.weight], dim=1)
        return self.last(torch.tanh(functional.linear(torch.cat([x, x * x], dim=-1), both)))


def makers(module: nn.Module) -> dict[str, set[str]]:
    families = units_of(capture(module.eval(), (torch.zeros(1, 3),))).families
    return {family.name: {f"{place.path}:{place.axis}" for place in family.makers} for family in families}


def test_every_concatenated_weight_makes_the_units() -> None:
    assert makers(SideBySide(5)) == {
        "first": {"first.weight:0"},
        "left": {"left.weight:0", "right.weight:0"},
    }


def test_square_ones_make_by_their_rows() -> None:
    """The columns have as many members, but are another layer's units."""
    assert makers(SideBySide(6))["left"] == {"left.weight:0", "right.weight:0"}
