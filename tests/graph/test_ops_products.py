"""Products: smaller equals masked wherever the weight stands, and MACs by hand and by PyTorch's own counter."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pochette.graph.operator import Cost, operators
from pochette.graph.units import units_of
from tests.graph.trimmed import Network, captured, check, cost, removable

X = torch.randn(4, 5, generator=torch.Generator().manual_seed(1))
Expression = Callable[..., Tensor]


def network(middle: Expression, width: int = 8, **parts: Tensor | nn.Module) -> Network:
    """Eight features h made by a layer, an expression of them, and a layer that reads its `width` features."""
    made = {"maker": nn.Linear(5, 8), **parts, "reader": nn.Linear(width, 3)}
    return Network(lambda m, x: m.reader(torch.tanh(middle(m, torch.tanh(m.maker(x))))), **made)


W, SQUARE, V = torch.zeros(8, 6), torch.zeros(6, 6), torch.zeros(6)
# Name to (h and a weight to the reader's 6 features; its parts; operator; its cost by hand). h is (4, 8).
WEIGHTED: dict[str, tuple[Expression, dict[str, Tensor | nn.Module], str, Cost]] = {
    "linear": (lambda m, h: m.w(h), {"w": nn.Linear(8, 6)}, "linear.default", Cost(4 * (48 + 15 + 18 + 22), 4 * 17)),
    "mm": (lambda m, h: torch.mm(h, m.w), {"w": W}, "mm.default", Cost(4 * 48)),
    "matmul": (lambda m, h: (h[:, None] @ m.w)[:, 0], {"w": W}, "matmul.default", Cost(4 * 48)),
    "weight on the left": (lambda m, h: (m.w.T @ h.T).T, {"w": W}, "matmul.default", Cost(4 * 48)),
    "transposed": (lambda m, h: torch.mm(m.w, h.t()).t(), {"w": W.T.clone()}, "mm.default", Cost(4 * 48)),
    "computed": (lambda m, h: h @ torch.exp(m.w).mT, {"w": W.T.clone()}, "matmul.default", Cost(4 * 48)),
    "mv": (lambda m, h: torch.stack([torch.mv(m.w, h[i]) for i in range(4)]), {"w": W.T.clone()}, "mv.default",
           Cost(4 * 48)),
    "addmm": (lambda m, h: torch.addmm(m.v, h, m.w), {"w": W, "v": V}, "addmm.default", Cost(4 * 48, 24)),
    "addmm scaled": (lambda m, h: torch.addmm(m.v, h, m.w, beta=2, alpha=3), {"w": W, "v": V}, "addmm.default",
                     Cost(4 * 48, 72)),
    "addmv": (lambda m, h: torch.addmv(m.v, m.w, h[0])[None], {"w": W.T.clone(), "v": V}, "addmv.default",
              Cost(48, 6)),
    "bmm": (lambda m, h: torch.bmm(h[None], m.w)[0], {"w": W[None].clone()}, "bmm.default", Cost(4 * 48)),
    "baddbmm": (lambda m, h: torch.baddbmm(m.v, h[None], m.w)[0], {"w": W[None].clone(), "v": V}, "baddbmm.default",
                Cost(4 * 48, 24)),
    "inner": (lambda m, h: torch.inner(h, m.w), {"w": W.T.clone()}, "inner.default", Cost(4 * 48)),
    "tensordot": (lambda m, h: torch.tensordot(h, m.w, ([1], [0])), {"w": W}, "tensordot.default", Cost(4 * 48)),
    "einsum": (lambda m, h: torch.einsum("bi,io->bo", h, m.w), {"w": W}, "einsum.default", Cost(4 * 48)),
    "einsum without arrow": (lambda m, h: torch.einsum("bi, io", h, m.w), {"w": W}, "einsum.default", Cost(4 * 48)),
    "einsum of three": (lambda m, h: torch.einsum("bi,io,op->bp", h, m.w, m.u), {"w": W, "u": SQUARE},
                        "einsum.default", Cost(4 * 48 + 4 * 36)),
    "einsum with dots": (lambda m, h: torch.einsum("io,...i->...o", m.w, h[None])[0], {"w": W}, "einsum.default",
                         Cost(4 * 48)),
    "einsum gain": (lambda m, h: torch.einsum("bi,i,io->bo", h, m.g, m.w), {"w": W, "g": torch.zeros(8)},
                    "einsum.default", Cost(4 * 48, 4 * 8)),
}  # fmt: skip


@pytest.mark.parametrize("name", WEIGHTED)
def test_units_on_both_sides_of_a_weight(name: str) -> None:
    middle, parts, op, by_hand = WEIGHTED[name]
    expected = {"maker": 8, "w": 6} | ({"u": 6} if name == "einsum of three" else {})
    graph = check(network(middle, 6, **parts), X, expected=expected)
    counted = cost(graph, op)
    if op == "linear.default":
        by_hand = Cost(4 * (8 * 5 + 8 * 6 + 6 * 3), 4 * (8 + 6 + 3))
    assert counted == by_hand


# Products that nothing sums are pointwise, no multiply-accumulates.
# Expressions of h in which no weight takes part: they must pass, tie or keep its features.
PASSING: dict[str, tuple[Expression, int, dict[str, int], str, Cost]] = {
    "time mixed by data": (lambda m, h: torch.matmul(h @ h.T, h), 8, {"maker": 8}, "matmul.default",
                           Cost(2 * 4 * 4 * 8)),
    "batch": (lambda m, h: torch.einsum("bi,bi->bi", h, h), 8, {"maker": 8}, "einsum.default", Cost(0, 32)),
    "diagonal of a product": (lambda m, h: torch.einsum("bi,ci->i", h, h), 8, {"maker": 8}, "einsum.default",
                              Cost(0, 64 + 8)),
    "outer": (lambda m, h: torch.outer(h[:, 0], h[0]), 8, {"maker": 7}, "outer.default", Cost(0, 32)),
    "ger": (lambda m, h: torch.ger(m.v, h[1]), 8, {"maker": 8}, "ger.default", Cost(0, 48)),
    "addr": (lambda m, h: torch.addr(h, h.sum(1), h[1]), 8, {"maker": 8}, "addr.default", Cost(0, 32 + 32)),
    "sum of a letter": (lambda m, h: torch.einsum("bi->i", h)[None], 8, {"maker": 8}, "einsum.default", Cost(0, 32)),
}  # fmt: skip


@pytest.mark.parametrize("name", PASSING)
def test_units_pass_products_of_data(name: str) -> None:
    middle, width, expected, op, by_hand = PASSING[name]
    # The sum in addr adds all features up: said to be inexact, though a masked one adds nothing.
    graph = check(network(middle, width, v=V), X, expected=expected, norms=name == "addr")
    assert cost(graph, op) == by_hand


@pytest.mark.parametrize("name", ["dot", "vdot"])
def test_scalar_products_scale_what_passes(name: str) -> None:
    graph = check(network(lambda m, h: h * getattr(torch, name)(h[0], h[1])), X, expected={"maker": 8})
    assert cost(graph, f"{name}.default") == Cost(8)


def test_bilinear() -> None:
    module = network(lambda m, h: F.bilinear(h, h, m.w, m.v), 6, w=torch.zeros(6, 8, 8), v=V)
    graph = check(module, X, expected={"maker": 8, "w": 6})
    # x1 W to (b, o, j), then that with x2.
    assert cost(graph, "bilinear.default") == Cost(4 * 6 * 8 * 8 + 4 * 6 * 8, 24)


def test_grouped_matrices_part_a_layer_in_two() -> None:
    module = network(
        lambda m, h: torch.einsum("bgi,gio->bgo", h.view(4, 2, 4), m.w).reshape(4, 6), 6, w=torch.zeros(2, 4, 3)
    )
    graph = check(module, X, expected={"maker": 4, "w": 3})
    assert cost(graph, "einsum.default") == Cost(4 * 2 * 4 * 3)


def test_two_heads_of_attention_written_by_hand() -> None:
    def heads(m: nn.Module, h: Tensor) -> Tensor:
        q, k, v = (part(h).view(4, 3, 2).transpose(0, 1) for part in (m.q, m.k, m.v))
        return ((q @ k.mT).softmax(-1) @ v).transpose(0, 1).reshape(4, 6)

    parts = {name: nn.Linear(8, 6) for name in "qkv"}
    graph = check(network(heads, 6, **parts), X, expected={"maker": 8, "q": 3})
    assert cost(graph, "matmul.default") == Cost(3 * 4 * 4 * 2 * 2)


def test_diagonals_stay_whole() -> None:
    units = units_of(captured(network(lambda m, h: torch.einsum("ii->i", h[:, :4])[None], 4), X))
    assert not units.families
    units = units_of(captured(network(lambda m, h: torch.einsum("ii,bi->bi", m.w, h), 8, w=torch.zeros(8, 8)), X))
    assert not units.families and "diagonal" in units.kept["w:0"]


def test_the_rank_of_a_weight_is_a_family() -> None:
    module = network(lambda m, h: F.linear(h, m.a @ m.b), 6, a=torch.zeros(6, 2), b=torch.zeros(2, 8))
    assert removable(module, X) == {"maker": 8, "a": 6, "a#2": 2}


def test_products_of_weights_with_constants_make_no_units() -> None:
    """Spectral norm: its vectors follow the weight they belong to, and are no units of their own."""
    normed = nn.utils.parametrizations.spectral_norm
    module = nn.Sequential(normed(nn.Linear(5, 8)), nn.Tanh(), normed(nn.Linear(8, 1)))
    assert removable(module, X) == {"0": 8}


def test_a_weight_of_one_row() -> None:
    graph = check(network(lambda m, h: F.linear(h, m.w)[:, None], 1, w=torch.zeros(8)), X, expected={"maker": 8})
    assert cost(graph, "linear.default") == Cost(4 * (40 + 8 + 3), 4 * (8 + 3))


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]),
        ("bct,cd->bdt", [(2, 3, 4), (3, 6)]),
        ("bhid,bhjd->bhij", [(2, 2, 3, 4), (2, 2, 5, 4)]),
        ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)]),
        ("...ij,jk->...ik", [(2, 3, 4), (4, 5)]),
    ],
)
def test_macs_of_einsum_are_pytorchs(equation: str, shapes: list[tuple[int, ...]]) -> None:
    tensors = [torch.randn(shape) for shape in shapes]
    graph = captured(Network(lambda m, *given: torch.einsum(equation, *given)), *tensors)
    torch.backends.opt_einsum.enabled, before = False, torch.backends.opt_einsum.enabled
    try:
        with FlopCounterMode(display=False) as counter:
            torch.einsum(equation, *tensors)
    finally:
        torch.backends.opt_einsum.enabled = before
    assert cost(graph, "einsum.default") == Cost(counter.get_total_flops() // 2)


@pytest.mark.parametrize(
    ("left", "right"), [((3, 4), (4, 5)), ((2, 3, 4), (4, 5)), ((3, 4), (2, 4, 5)), ((4,), (4, 5)), ((2, 3, 4), (4,)),
                        ((6, 1, 3, 4), (2, 4, 5))],
)  # fmt: skip
def test_macs_of_matmul_are_pytorchs(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    a, b = torch.randn(left), torch.randn(right)
    graph = captured(Network(lambda m, a, b: a @ b), a, b)
    with FlopCounterMode(display=False) as counter:
        a @ b
    # PyTorch's counter knows no product of a matrix with a vector.
    flops = counter.get_total_flops() or 2 * prod(left) * (right[-1] if len(right) > 1 else 1)
    assert cost(graph, "matmul.default") == Cost(flops // 2)


def test_no_product_is_left_out() -> None:
    operators.load()
    mine = {name for name in operators.names() if type(operators[name]).__module__ == "pochette.graph.ops.products"}
    used = {f"aten.{op}" for _, _, op, _ in WEIGHTED.values()} | {f"aten.{op}" for _, _, _, op, _ in PASSING.values()}
    assert mine - used == {f"aten.{name}.default" for name in ("dot", "vdot", "bilinear")}
