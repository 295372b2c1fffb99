"""Norms: exact where channels know nothing of each other, named where they do; weight norm mended."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, weight_norm

from pochette.graph.operator import Cost
from pochette.graph.rewrite import Remains, cut_graph, cut_tensors
from pochette.graph.run import run
from pochette.graph.units import units_of
from tests.graph.trimmed import Network, captured, check, cost, removable, removal

X = torch.randn(2, 3, 10, generator=torch.Generator().manual_seed(1))


def network(norm: nn.Module, channels: int = 12, **parts: Any) -> Network:
    """Channels made by one convolution, normalised, read by another."""
    return Network(
        lambda m, x: m.reader(torch.tanh(m.norm(m.maker(x)))),
        maker=nn.Conv1d(3, channels, 3), norm=norm, reader=nn.Conv1d(channels, 2, 1), **parts,
    )  # fmt: skip


# 2 x 12 x 8 elements; roots by channel, or by channel and example.
PER_CHANNEL: dict[str, tuple[nn.Module, str, Cost]] = {
    "batch": (nn.BatchNorm1d(12), "_native_batch_norm_legit_no_training.default", Cost(0, 4 * 192, 12)),
    "bare batch": (nn.BatchNorm1d(12, affine=False), "_native_batch_norm_legit_no_training.default",
                   Cost(0, 2 * 192, 12)),
    "batch of this call": (nn.BatchNorm1d(12, track_running_stats=False), "_native_batch_norm_legit.no_stats",
                           Cost(0, 7 * 192, 12)),
    "instance": (nn.InstanceNorm1d(12, affine=True), "instance_norm.default", Cost(0, 7 * 192, 24)),
    "bare instance": (nn.InstanceNorm1d(12), "instance_norm.default", Cost(0, 5 * 192, 24)),
    "stored instance": (nn.InstanceNorm1d(12, affine=True, track_running_stats=True), "instance_norm.default",
                        Cost(0, 4 * 192, 12)),
    "group a channel": (nn.GroupNorm(12, 12), "group_norm.default", Cost(0, 7 * 192, 24)),
}  # fmt: skip


@pytest.mark.parametrize("name", PER_CHANNEL)
def test_statistics_of_each_channel_are_exact(name: str) -> None:
    norm, op, by_hand = PER_CHANNEL[name]
    assert cost(check(network(norm), X, expected={"maker": 12}), op) == by_hand


@pytest.mark.parametrize("op", ["batch_norm.default", "native_batch_norm.default", "_native_batch_norm_legit.default",
                                "_native_batch_norm_legit_functional.default"])  # fmt: skip
@pytest.mark.parametrize("taken", [False, True])
def test_batch_norms_called_by_name(op: str, taken: bool) -> None:
    class Called(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.zeros(12))
            self.register_buffer("variance", torch.ones(12))
            self.weight = nn.Parameter(torch.ones(12))

        def forward(self, x: Tensor) -> Tensor:
            name, overload = op.split(".")
            # Running statistics are written where they are taken; copies keep the call without side effects.
            stored = (self.mean.clone(), self.variance.clone())
            call = getattr(getattr(torch.ops.aten, name), overload)
            out = call(x, self.weight, None, *stored, taken, 0.1, 1e-5, *([False] if name == "batch_norm" else []))
            return out if isinstance(out, Tensor) else out[0]

    module = network(Called())
    graph = captured(module, X)
    names = {node.op.removeprefix("aten.") for node in graph.nodes}
    found = op if op in names else next(name for name in names if "batch_norm" in name)
    assert cost(check(module, X, expected={"maker": 12}), found) == Cost(0, (6 if taken else 3) * 192, 12)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("affine", [False, True])
def test_groups_of_several_channels_are_named(groups: int, affine: bool) -> None:
    module = network(nn.GroupNorm(groups, 12, affine=affine))
    graph = check(module, X, expected={"maker": 12 // groups}, exact=False)
    assert cost(graph, "group_norm.default") == Cost(0, (5 + 2 * affine) * 192, 2 * groups)
    assert [family.norms for family in units_of(graph).families] == [("norm",)]


def test_groups_keep_their_number_and_their_members() -> None:
    """What is left is the same norm over the kept channels, computed here without the graph."""
    module = network(nn.GroupNorm(3, 12))
    graph = captured(module, X)
    units = units_of(graph)
    remains = Remains(units, removal(units, {"maker": [1]}))
    (said,) = run(cut_graph(graph, remains, cut_tensors(graph, remains)), [X.double()]).outputs
    kept = [index for index in range(12) if index % 4 != 1]
    made = F.group_norm(module.maker(X.double())[:, kept], 3, module.norm.weight[kept], module.norm.bias[kept])
    wanted = F.conv1d(torch.tanh(made), module.reader.weight[:, kept], module.reader.bias)
    assert torch.allclose(said, wanted, atol=1e-12)


LAST: dict[str, tuple[nn.Module, str, int]] = {
    "layer": (nn.LayerNorm(12), "layer_norm.default", 7),
    "layer without offset": (nn.LayerNorm(12, bias=False), "layer_norm.default", 6),
    "bare layer": (nn.LayerNorm(12, elementwise_affine=False), "layer_norm.default", 5),
    "root mean square": (nn.RMSNorm(12), "rms_norm.default", 4),
    "root mean square with epsilon": (nn.RMSNorm(12, eps=1e-3), "rms_norm.default", 4),
    "bare root mean square": (nn.RMSNorm(12, elementwise_affine=False), "rms_norm.default", 3),
}


@pytest.mark.parametrize("name", LAST)
def test_statistics_over_features_are_named(name: str) -> None:
    norm, op, each = LAST[name]
    module = Network(
        lambda m, x: m.reader(m.norm(m.maker(x))), maker=nn.Linear(10, 12), norm=norm, reader=nn.Linear(12, 2)
    )
    graph = check(module, X, expected={"maker": 12}, exact=False)
    assert cost(graph, op) == Cost(0, each * 72, 6)


def test_statistics_over_two_axes() -> None:
    module = Network(
        lambda m, x: m.reader(m.norm(m.maker(x))),
        maker=nn.Conv1d(3, 6, 1),
        norm=nn.LayerNorm((6, 10)),
        reader=nn.Conv1d(6, 2, 1),
    )
    graph = check(module, X, expected={"maker": 6}, exact=False)
    assert cost(graph, "layer_norm.default") == Cost(0, 7 * 120, 2)


NORMED = {
    "hook": weight_norm,
    "hook over inputs": lambda layer: weight_norm(layer, dim=1),
    "hook over taps": lambda layer: weight_norm(layer, dim=2),
    "hook over all": lambda layer: weight_norm(layer, dim=None),
    "parametrised": parametrizations.weight_norm,
    "parametrised over inputs": lambda layer: parametrizations.weight_norm(layer, dim=1),
    "parametrised over all": lambda layer: parametrizations.weight_norm(layer, dim=None),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*")
@pytest.mark.parametrize("name", NORMED)
@pytest.mark.parametrize("transposed", [False, True])
def test_weight_norm_is_mended(name: str, transposed: bool) -> None:
    kind = nn.ConvTranspose1d if transposed else nn.Conv1d
    first, second, third = (NORMED[name](kind(inputs, outputs, 3)) for inputs, outputs in ((3, 8), (8, 6), (6, 2)))
    graph = check(nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), third), X, expected={"0": 8, "2": 6})
    norms = sum(node.args[1].size for node in graph.nodes if node.op == "aten._weight_norm.default")
    assert cost(graph, "_weight_norm.default") == Cost(0, 3 * 3 * (24 + 48 + 12) + norms, norms)


def test_weight_norm_of_a_layer_called_twice_is_mended_once() -> None:
    module = Network(
        lambda m, x: m.reader(m.layer(torch.tanh(m.layer(torch.tanh(m.maker(x)))))),
        maker=nn.Linear(10, 8), layer=weight_normed(nn.Linear(8, 8)), reader=weight_normed(nn.Linear(8, 2)),
    )  # fmt: skip
    assert removable(module, X) == {"maker": 8}


def weight_normed(layer: nn.Module) -> nn.Module:
    return parametrizations.weight_norm(layer)


@torch.no_grad()
def test_weights_of_which_nothing_but_zeros_is_left() -> None:
    """0 / 0 must not come out: a row whose kept columns are zero weighs zero."""
    module = nn.Sequential(nn.Linear(10, 8), nn.Tanh(), weight_normed(nn.Linear(8, 2)))
    graph = captured(module, X)
    v = "2.parametrizations.weight.original1"
    tensors = dict(graph.tensors)
    tensors[v] = tensors[v].clone()
    tensors[v][0, :4] = 0
    units = units_of(graph)
    remains = Remains(units, removal(units, {"0": [4, 5, 6, 7]}))
    graph.tensors = tensors
    (said,) = run(cut_graph(graph, remains, cut_tensors(graph, remains)), [X.double()]).outputs
    weight = torch._weight_norm(tensors[v], tensors["2.parametrizations.weight.original0"], 0)
    hidden = torch.tanh(module[0](X.double()))[..., :4]
    assert torch.allclose(said, hidden @ weight[:, :4].T + module[2].bias, atol=1e-12)
    assert torch.equal(said[..., 0], module[2].bias[0].expand(2, 3))


def test_weight_norm_of_what_is_computed_is_named() -> None:
    module = Network(
        lambda m, x: m.reader(F.linear(m.maker(x), torch._weight_norm(torch.exp(m.v), m.g, 0))),
        maker=nn.Linear(10, 8), v=torch.zeros(6, 8), g=torch.zeros(6, 1), reader=nn.Linear(6, 2),
    )  # fmt: skip
    units = units_of(captured(module, X))
    norms = {family.name: bool(family.norms) for family in units.families}
    assert sum(norms.values()) == 1 and len(norms) == 2  # rows are exact, columns are not
