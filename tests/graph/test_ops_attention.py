"""Attention: heads are units, or the features of queries, keys and values within them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pochette.graph.operator import Cost
from pochette.graph.units import units_of
from tests.graph.trimmed import Network, captured, check, cost, removable

X = torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(1))


def attention(heads: int, width: int, values: int, *, mask: bool = False, **options: Any) -> Network:
    """Self-attention with its own projections."""

    def expression(m: nn.Module, x: Tensor) -> Tensor:
        q, k, v = (part(x).view(2, 7, heads, -1).transpose(1, 2) for part in (m.q, m.k, m.v))
        given = m.mask if mask else None
        mixed = F.scaled_dot_product_attention(q, k, v, given, **options)
        return m.out(mixed.transpose(1, 2).reshape(2, 7, heads * values))  # type: ignore[no-any-return]

    parts: dict[str, Any] = {"mask": torch.zeros(heads, 7, 7)} if mask else {}
    return Network(
        expression, q=nn.Linear(5, heads * width), k=nn.Linear(5, heads * width), v=nn.Linear(5, heads * values),
        out=nn.Linear(heads * values, 3), **parts,
    )  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"scale": 0.3}, {"mask": True}])
def test_heads_are_units(options: dict[str, Any]) -> None:
    graph = check(attention(4, 3, 2, **options), X, expected={"q": 4})
    scores = 2 * 4 * 7 * 7
    masked = "is_causal" in options or "mask" in options
    by_hand = Cost(scores * (3 + 2), (5 + masked) * scores, scores)
    assert cost(graph, "scaled_dot_product_attention.default") == by_hand


def test_features_of_one_head_are_units() -> None:
    """Queries and keys read each other; the scale stays what it was, though by itself it would follow their width."""
    module = Network(
        lambda m, x: m.out(F.scaled_dot_product_attention(m.q(x), m.k(x), m.v(x))),
        q=nn.Linear(5, 4), k=nn.Linear(5, 4), v=nn.Linear(5, 6), out=nn.Linear(6, 3),
    )  # fmt: skip
    assert removable(module, X) == {"q": 4, "v": 6}


def test_shared_keys_stay() -> None:
    """Two heads a key: which belong together is counted, so heads stay; their features can go."""

    def expression(m: nn.Module, x: Tensor) -> Tensor:
        q, k = (part(x).view(2, 7, heads, 3).transpose(1, 2) for part, heads in ((m.q, 4), (m.k, 2)))
        mixed = F.scaled_dot_product_attention(q, k, m.v(x).view(2, 7, 2, 5).transpose(1, 2), enable_gqa=True)
        return m.out(mixed.transpose(1, 2).reshape(2, 7, 20))  # type: ignore[no-any-return]

    module = Network(expression, q=nn.Linear(5, 12), k=nn.Linear(5, 6), v=nn.Linear(5, 10), out=nn.Linear(20, 3))
    assert removable(module, X) == {"q": 3, "v": 5}


def test_macs_are_pytorchs() -> None:
    q, k, v = torch.randn(2, 4, 6, 8), torch.randn(2, 4, 9, 8), torch.randn(2, 4, 9, 5)
    graph = captured(Network(lambda m, q, k, v: F.scaled_dot_product_attention(q, k, v)), q, k, v)
    with FlopCounterMode(display=False) as counter:
        (q @ k.mT).softmax(-1) @ v
    assert cost(graph, "scaled_dot_product_attention.default").macs == counter.get_total_flops() // 2


def test_what_no_weight_makes_cannot_lose_features() -> None:
    """Keys that are given are read as they are: the queries that meet them keep their features."""
    module = Network(
        lambda m, x, k: m.out(F.scaled_dot_product_attention(m.q(x), k, m.v(x))),
        q=nn.Linear(5, 4), v=nn.Linear(5, 6), out=nn.Linear(6, 3),
    )  # fmt: skip
    assert removable(module, X, torch.randn(2, 7, 4)) == {"v": 6}


@pytest.mark.parametrize("need_weights", [False, True])
def test_pytorchs_own_module(need_weights: bool) -> None:
    layer = nn.MultiheadAttention(12, 4, batch_first=True)
    module = Network(
        lambda m, x: m.out(m.layer(h := m.maker(x), h, h, need_weights=need_weights)[0]),
        maker=nn.Linear(5, 12), layer=layer, out=nn.Linear(12, 3),
    )  # fmt: skip
    units = units_of(captured(module, X))
    families = {family.name: family.units for family in units.families}
    check(module, X, expected=families)
    assert families["maker"] == 12 and 12 in families.values()


@pytest.mark.parametrize("op", ["softmax", "log_softmax"])
def test_shares_over_units_are_named(op: str) -> None:
    module = Network(
        lambda m, x: m.reader(getattr(torch, op)(m.maker(x), -1)), maker=nn.Linear(5, 8), reader=nn.Linear(8, 2)
    )
    graph = check(module, X, expected={"maker": 8}, exact=False)
    logarithm = op == "log_softmax"
    assert cost(graph, f"{op}.int") == Cost(0, 4 * 112, 112 + 14 * logarithm)


@pytest.mark.parametrize("op", ["softmax", "log_softmax"])
def test_shares_over_time_let_units_pass(op: str) -> None:
    module = Network(
        lambda m, x: m.reader(getattr(torch.ops.aten, f"_{op}").default(m.maker(x), 1, False)),
        maker=nn.Linear(5, 8), reader=nn.Linear(8, 2),
    )  # fmt: skip
    graph = check(module, X, expected={"maker": 8})
    assert cost(graph, f"_{op}.default") == Cost(0, 4 * 112, 112 + 16 * (op == "log_softmax"))
