"""Filters narrow on two sides: what they lose is what is left of the core, and of one side it is the matrix's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pochette.engine.compiled import compile_engine
from pochette.graph.trim import resize
from pochette.layers.factored import FactoredConv
from pochette.measure import profile
from pochette.reduce.low_rank import Spectrum, factor, ranks_within
from pochette.reduce.tucker import Tucker

SHAPES = [(12, 8, 5), (6, 20, 3), (10, 9, 3, 3), (24, 2, 2)]


def drawn(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def rebuilt(weight: Tensor, rank: tuple[int, int]) -> Tensor:
    narrow, core, wide = Tucker.of(weight).factors(rank)
    return torch.einsum("op,pqk,qi->oik", wide, core, narrow).view(weight.shape)


def tails(weight: Tensor, side: int, rank: int) -> float:
    """Energy of what is left out on one side alone, from eigenvalues: no singular vectors of ours."""
    matrix = weight.movedim(side, 0).flatten(1)
    squares = torch.linalg.eigvalsh(matrix @ matrix.T).flip(0)
    return float(squares[rank:].clamp(min=0.0).sum())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rank", [(1, 1), (2, 3), (2, 1)])
def test_the_error_is_what_the_table_says_within_the_bound_of_truncation(
    shape: tuple[int, ...], rank: tuple[int, int]
) -> None:
    """Each side's tail is the least that any tensor so narrow there loses; both together are the most that this one
    does (De Lathauwer et al. 2000, property 10)."""
    weight = drawn(shape)
    lost = float((rebuilt(weight, rank) - weight).square().sum())
    told = float(Tucker.of(weight).lost()[rank[0] - 1, rank[1] - 1] * weight.square().sum())
    assert lost == pytest.approx(told, rel=1e-9)
    sides = [tails(weight, 1, rank[0]), tails(weight, 0, rank[1])]
    assert max(sides) * (1 - 1e-9) <= lost <= sum(sides) * (1 + 1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_with_one_side_whole_it_is_the_nearest_matrix(shape: tuple[int, ...]) -> None:
    weight = drawn(shape)
    for rank in range(1, 1 + min(shape[0], weight.numel() // shape[0])):
        wide, narrow = Spectrum.of(weight).factors(rank)
        whole = len(Tucker.of(weight).lost())
        assert torch.allclose(rebuilt(weight, (whole, rank)), (wide @ narrow).view(shape), atol=1e-9)


def test_it_is_taken_where_it_is_nearer_with_as_many_numbers() -> None:
    """Filters that are narrow on both sides: of the same size two are further away than three."""
    weight = torch.einsum("op,pqk,qi->oik", drawn((32, 4)), drawn((4, 3, 5)), drawn((3, 30)))
    both, alone = Spectrum.of(weight, tucker=True), Spectrum.of(weight)
    assert both.rank_for(1e-9) == (3, 4) and alone.rank_for(1e-9) == 4
    assert both.size((3, 4)) == 3 * 30 + 3 * 4 * 5 + 4 * 32 < alone.size(4)
    most = both.size((3, 4))
    at_equal_size = ranks_within({"w": alone}, most)["w"]
    assert isinstance(at_equal_size, int)
    wide, narrow = alone.factors(at_equal_size)
    assert float((wide @ narrow - weight.flatten(1)).square().sum()) > 1e-2 * float(weight.square().sum())
    assert ranks_within({"w": both}, most) == {"w": (3, 4)}
    assert torch.allclose(rebuilt(weight, (3, 4)), weight, atol=1e-9)


def test_the_fewest_numbers_are_found_by_trying_all() -> None:
    weight = drawn((12, 8, 5))
    tucker = Tucker.of(weight)
    lost = tucker.lost()
    for error in (0.9, 0.5, 0.2, 0.05):
        fits = [(i + 1, o + 1) for i in range(8) for o in range(12) if lost[i, o] <= error]
        assert tucker.size(tucker.rank_for(error)) == min(tucker.size(rank) for rank in fits)


def test_of_one_tap_it_is_never_smaller() -> None:
    spectrum = Spectrum.of(drawn((9, 7, 1)), tucker=True)
    assert all(not isinstance(spectrum.rank_for(error), tuple) for error in (0.9, 0.5, 0.1, 0.01))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv1d(6, 10, 5, stride=2, dilation=3, padding=4), (2, 6, 40)),
        (nn.Conv2d(5, 8, (3, 2), stride=(1, 2), padding=1), (2, 5, 9, 8)),
    ],
)
def test_three_filters_are_one_layer_on_disk_in_the_count_and_in_c(layer: nn.Module, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    net, x = nn.Sequential(layer), torch.randn(shape)
    wanted = net(x)
    found = {"0.weight": Spectrum.of(net.get_parameter("0.weight"), tucker=True)}
    inputs, outputs = shape[1], wanted.shape[1]
    empty = nn.Sequential(type(layer)(*_sizes(layer), bias=True))
    factor(net, found, {"0.weight": (inputs, outputs)})
    assert isinstance(net[0], FactoredConv) and torch.allclose(net(x), wanted, atol=1e-5)
    assert torch.allclose(net[0].weight.flatten(1), found["0.weight"].matrix, atol=1e-5)
    resize(empty, net.state_dict())
    assert isinstance(empty[0], FactoredConv) and torch.allclose(empty(x), wanted, atol=1e-5)
    fresh = nn.Sequential(type(layer)(*_sizes(layer), bias=True))
    factor(fresh, {"0.weight": Spectrum.of(fresh.get_parameter("0.weight"), tucker=True)}, {"0.weight": (2, 3)})
    counted = {one.layer: one.cost.macs for one in profile(fresh, (x,)).layers}
    moments, taps = wanted[:, 0].numel(), fresh.get_parameter("0.core.weight")[0, 0].numel()
    assert counted["0.narrow"] == x[:, 0].numel() * inputs * 2
    assert counted["0.core"] == moments * 2 * 3 * taps and counted["0.wide"] == moments * 3 * outputs
    engine = compile_engine(fresh.eval(), (x[:1],))
    with torch.no_grad():
        assert torch.allclose(torch.from_numpy(engine.process(x[:1].numpy())), fresh(x[:1]), atol=1e-5)


def _sizes(layer: nn.Module) -> tuple[object, ...]:
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation")
    return tuple(getattr(layer, name) for name in names)
