"""Products of every unit of one layer with every one of another: both go, each with its row or column of products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pochette.errors import ReductionError
from pochette.graph.capture import capture
from pochette.graph.units import units_of
from pochette.measure import profile
from pochette.reduce import trim
from pochette.reduce.structure import Structure
from tests.graph.trimmed import Network, check, removable

ROWS, COLUMNS = 6, 4
Pairs = Callable[[Any, Tensor, Tensor], Tensor]


def network(pairs: Pairs, inputs: int = ROWS * COLUMNS, **parts: nn.Module) -> Network:
    """Pairs of what two layers make, read by a third."""
    return Network(
        lambda m, x: m.head(pairs(m, torch.tanh(m.left(x)), torch.tanh(m.right(x)))),
        left=nn.Linear(3, ROWS),
        right=nn.Linear(3, COLUMNS),
        head=nn.Linear(inputs, 2),
        **parts,
    )


def einsum(m: Any, a: Tensor, b: Tensor) -> Tensor:
    return torch.einsum("bi,bj->bij", a, b).flatten(1)


def by_hand(m: Any, a: Tensor, b: Tensor) -> Tensor:
    return (a[:, :, None] * b[:, None]).reshape(len(a), -1)


def doubled(m: Any, a: Tensor, b: Tensor) -> Tensor:
    """Each product twice among the inputs of the head."""
    flat = torch.tanh(einsum(m, a, b))
    return torch.cat([flat, flat.square()], 1)


def normed(m: Any, a: Tensor, b: Tensor) -> Tensor:
    """Batch statistics that belong to products."""
    return m.norm(einsum(m, a, b))


# Pairs, inputs of the head, other layers, units.
BOTH: dict[str, tuple[Pairs, int, dict[str, Callable[[], nn.Module]]]] = {
    "einsum": (einsum, ROWS * COLUMNS, {}),
    "by hand": (by_hand, ROWS * COLUMNS, {}),
    "doubled": (doubled, 2 * ROWS * COLUMNS, {}),
    "normed": (normed, ROWS * COLUMNS, {"norm": lambda: nn.BatchNorm1d(ROWS * COLUMNS)}),
}


@pytest.mark.parametrize("name", BOTH)
def test_rows_and_columns_go(name: str) -> None:
    pairs, inputs, parts = BOTH[name]
    module = network(pairs, inputs, **{part: make() for part, make in parts.items()})
    assert removable(module, torch.randn(5, 3)) == {"left": ROWS, "right": COLUMNS}


@pytest.mark.parametrize("name", BOTH)
def test_what_is_left_is_a_rectangle(name: str) -> None:
    pairs, inputs, parts = BOTH[name]
    module, x = network(pairs, inputs, **{part: make() for part, make in parts.items()}).eval(), (torch.randn(5, 3),)
    smaller = trim(module, x, keep=0.5)
    report = smaller.trim_report
    assert [(f.name, f.after) for f in report.families] == [("left", 3), ("right", 2)]
    assert smaller.get_parameter("head.weight").shape == (2, inputs // 4)
    assert report.parameters_after == sum(p.numel() for p in smaller.parameters())
    assert report.macs_after == profile(smaller, x).macs


def test_sizes_of_every_rectangle() -> None:
    """Which no sum over units gives: a product that loses row and column is lost once."""
    structure = Structure.of(network(doubled, 2 * ROWS * COLUMNS), (torch.randn(5, 3),))
    for rows in range(1, ROWS + 1):
        for columns in range(1, COLUMNS + 1):
            counts = {"left": rows, "right": columns}
            assert structure.parameters(counts) == 4 * (rows + columns) + 2 * 2 * rows * columns + 2
            if rows > 1:
                assert structure.marginal(counts, "bytes")["left"] == 4 * (4 + 4 * columns)
            remains = structure.remains({name: np.arange(count) for name, count in counts.items()})
            shape = remains.shape(structure.graph.stored["head.weight"])
            assert shape == (2, 2 * rows * columns)


def test_norms_over_products_are_norms_over_both() -> None:
    module = network(lambda m, a, b: m.norm(einsum(m, a, b)), norm=nn.LayerNorm(ROWS * COLUMNS))
    report = trim(module, (torch.randn(5, 3),), keep=0.5).trim_report
    assert report.not_exact == ("norm",) and all(family.norms == ("norm",) for family in report.families)


@pytest.mark.parametrize("criterion", ["activation", "information"])
def test_criteria_of_data_see_rows_and_columns(criterion: str) -> None:
    """One row and one column are never heard: they go first."""
    module = network(einsum)
    with torch.no_grad():
        module.left.weight[2] = module.left.bias[2] = 0.0  # type: ignore[index,union-attr]
        module.right.weight[1] = module.right.bias[1] = 0.0  # type: ignore[index,union-attr]
    x = torch.randn(64, 3)
    smaller = trim(module, (x,), keep=0.75, criterion=criterion, data=[(x, torch.randn(64, 2))])
    survivors = {place.path: kept.tolist() for place, kept in smaller.trim_report.survivors.items()}
    assert 2 not in survivors["left.weight"] and 1 not in survivors["right.weight"]


def test_products_that_others_tie_go_along_one_side() -> None:
    """A layer of its own adds to every product: rows and columns of these can go, not those of the layers alone."""
    module = network(lambda m, a, b: einsum(m, a, b) + m.more(a), more=nn.Linear(ROWS, ROWS * COLUMNS))
    units = units_of(capture(module, (torch.randn(5, 3),)))
    assert units.crossed == () and sum(family.name == "left" for family in units.families) == 1
    check(module, torch.randn(5, 3), expected={family.name: family.units for family in units.families})


@pytest.mark.parametrize(
    ("inputs", "pairs"),
    [
        (10, lambda m, a, b: einsum(m, a, b)[:, :10]),
        (COLUMNS, lambda m, a, b: einsum(m, a, b).unflatten(1, (ROWS, COLUMNS)).sum(1)),
        (ROWS * COLUMNS, lambda m, a, b: einsum(m, a, b).unflatten(1, (COLUMNS, ROWS)).transpose(1, 2).flatten(1)),
        (ROWS * COLUMNS * COLUMNS, lambda m, a, b: (einsum(m, a, b)[:, :, None] * b[:, None]).flatten(1)),
    ],
    ids=["cut off", "summed", "re-arranged", "three of them"],
)
def test_whatever_else_becomes_of_products_is_right(inputs: int, pairs: Pairs) -> None:
    """Not all that could go goes, but what goes goes rightly, or nothing does."""
    module, x = network(pairs, inputs).double(), torch.randn(5, 3, dtype=torch.float64)
    structure = units_of(capture(module, (x,)))
    if not any(family.units > 1 for family in structure.families):
        with pytest.raises(ReductionError, match="No unit"):
            trim(module, (x,))
        return
    smaller = trim(module, (x,), keep=0.5)
    readers = module.head.weight.data  # type: ignore[union-attr]
    kept = [found for place, found in smaller.trim_report.survivors.items() if (place.path, place.axis) == HEAD]
    mask = torch.zeros(readers.shape[1])
    mask[kept[0]] = 1.0
    readers *= mask
    assert torch.allclose(module(x), smaller(x), atol=1e-12)


HEAD = ("head.weight", 1)
