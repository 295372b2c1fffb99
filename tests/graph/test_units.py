"""Which weights make a unit: all of them, also where several are laid side by side before they are used."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pochette.graph.capture import capture
from pochette.graph.units import units_of
from tests.graph.trimmed import Network, removable


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


X = torch.linspace(-1.0, 1.0, 15).reshape(5, 3)


@pytest.mark.parametrize(("pieces", "units"), [(4, 4), (8, 4), (2, 2), (4, 8), (6, 3)])
@pytest.mark.parametrize("pool", ["largest", "softmax"])
def test_what_no_weight_reads_is_no_unit_where_something_else_is(pool: str, pieces: int, units: int) -> None:
    """Of a maxout's pieces and units, however many of each there are, the head reads the units."""

    def run(m: Any, x: Tensor) -> Tensor:
        y = m.first(x).view(len(x), pieces, -1)
        return m.head(y.amax(1) if pool == "largest" else (y.softmax(1) * y).sum(1))  # type: ignore[no-any-return]

    network = Network(run, first=nn.Linear(3, pieces * units), head=nn.Linear(units, 2))
    assert removable(network, X) == {"first": units}


@pytest.mark.parametrize(("bands", "units"), [(4, 8), (8, 4), (4, 4)])
def test_the_outer_of_two_axes_is_the_units_where_it_is_what_is_read(bands: int, units: int) -> None:
    network = Network(
        lambda m, x: m.head(torch.tanh(m.first(x)).view(len(x), bands, -1).amax(2)),
        first=nn.Linear(3, bands * units), head=nn.Linear(bands, 2),
    )  # fmt: skip
    assert removable(network, X) == {"first": bands}
