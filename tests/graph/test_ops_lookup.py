"""Tables, indices and buckets: columns of tables are units, numbered axes stay."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pochette.graph.operator import Cost
from pochette.graph.units import units_of
from tests.graph.trimmed import Network, captured, check, cost, removable

X = torch.randn(4, 5, generator=torch.Generator().manual_seed(1))
NUMBERS = torch.tensor([[0, 3, 1], [2, 2, 0]])


def test_columns_of_an_embedding() -> None:
    module = Network(
        lambda m, n: m.reader(torch.tanh(m.table(n))), table=nn.Embedding(5, 8, padding_idx=2), reader=nn.Linear(8, 2)
    )
    graph = check(module, NUMBERS, expected={"table": 8})
    assert cost(graph, "embedding.default") == Cost()
    assert units_of(graph).kept["table.weight:0"] == "looked up by number"


def test_an_embedding_added_to_features() -> None:
    module = Network(
        lambda m, x, n: m.reader(torch.tanh(m.maker(x) + m.table(n)[0, :1])),
        maker=nn.Linear(5, 8), table=nn.Embedding(5, 8), reader=nn.Linear(8, 2),
    )  # fmt: skip
    assert removable(module, X, NUMBERS) == {"maker": 8}


def test_an_embedding_whose_table_reads_features_too() -> None:
    """Rows are numbered on the way in and are logits on the way out."""
    module = Network(lambda m, n: F.linear(torch.tanh(m.table(n)), m.table.weight), table=nn.Embedding(5, 8))
    assert removable(module, NUMBERS) == {"table": 8}


# An expression of a table (5, 8), 8 its made columns, or of features h (4, 8), and a reader of 8.
INDEXED: dict[str, tuple[Any, dict[str, int]]] = {
    "table": (lambda m, h, n: m.table[n], {"table": 8}),
    "table by two numbers": (lambda m, h, n: m.cube[n, n], {"cube": 8}),
    "numbers that meet": (lambda m, h, n: m.cube[n[:, :1], n[0]], {"cube": 8}),
    "numbers apart": (lambda m, h, n: m.apart[n, :, n], {"apart": 8}),
    "middle axis": (lambda m, h, n: m.apart[:, :, n].transpose(1, -1), {"apart": 8}),
    "rows of features": (lambda m, h, n: h[n], {"maker": 8}),
    "index_select": (lambda m, h, n: torch.index_select(m.table, 0, n[0]), {"table": 8}),
    "index_select of features": (lambda m, h, n: torch.index_select(h, 0, n[0]), {"maker": 8}),
    "gather": (lambda m, h, n: torch.gather(h, 0, n[:1, :1].expand(2, 8)), {"maker": 8}),
    "columns": (lambda m, h, n: h[:, [3, 1, 2, 0, 4, 5, 6, 7]], {}),
    "gather columns": (lambda m, h, n: torch.gather(h, 1, n.repeat(2, 3)[:, :8]), {}),
    "one hot": (lambda m, h, n: F.one_hot(n, 8).to(h.dtype), {}),
    "buckets of features": (lambda m, h, n: h * torch.bucketize(h, m.boundaries), {"maker": 8}),
}


@pytest.mark.parametrize("name", INDEXED)
def test_indexing(name: str) -> None:
    expression, expected = INDEXED[name]

    class Indexed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.maker, self.reader = nn.Linear(5, 8), nn.Linear(8, 2)
            self.table, self.cube = nn.Parameter(torch.zeros(5, 8)), nn.Parameter(torch.zeros(4, 6, 8))
            self.apart = nn.Parameter(torch.zeros(4, 8, 6))
            self.register_buffer("boundaries", torch.linspace(-1, 1, 6))

        def forward(self, x: Tensor, n: Tensor) -> Tensor:
            return self.reader(torch.tanh(expression(self, torch.tanh(self.maker(x)), n)))  # type: ignore[no-any-return]

    module = Indexed()
    graph = captured(module, X, NUMBERS)
    found = units_of(graph)
    made = next(iter(expected), None)
    assert {family.name: family.units for family in found.families} == expected, found.kept
    if made:
        check(module, X, NUMBERS, expected=expected)


def test_flags_keep_everything_whole() -> None:
    module = Network(lambda m, x: m.maker(x), maker=nn.Linear(5, 8))
    graph = captured(module, X)
    assert not units_of(graph).families


def test_searching_costs_the_digits_of_the_answer() -> None:
    for boundaries, steps in ((1, 1), (3, 2), (4, 3), (255, 8), (256, 9)):

        class Buckets(nn.Module):
            def __init__(self, count: int) -> None:
                super().__init__()
                self.register_buffer("boundaries", torch.linspace(-1, 1, count))

            def forward(self, x: Tensor) -> Tensor:
                return torch.bucketize(x, self.boundaries)

        assert cost(captured(Buckets(boundaries), X), "bucketize.Tensor") == Cost(0, 20 * steps)
