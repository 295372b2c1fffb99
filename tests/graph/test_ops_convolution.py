"""Convolutions, plain, grouped and transposed: smaller equals masked, and MACs by hand and by PyTorch's counter."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pochette.graph.operator import Cost, description_of
from pochette.graph.units import units_of
from tests.graph.trimmed import Network, captured, check, cost, removable

X = torch.randn(2, 3, 10, generator=torch.Generator().manual_seed(1))


def network(*middle: nn.Module, channels: int = 12, width: int | None = None) -> nn.Sequential:
    """A maker of 12 channels, some layers, and a reader of what they give."""
    return nn.Sequential(nn.Conv1d(3, channels, 1), nn.Tanh(), *middle, nn.Conv1d(width or channels, 2, 1))


# Layers between maker ("0") and reader, their channels, and units of each family.
LAYERS: dict[str, tuple[nn.Module, int, dict[str, int]]] = {
    "plain": (nn.Conv1d(12, 6, 3), 6, {"0": 12, "2": 6}),
    "strided": (nn.Conv1d(12, 6, 3, stride=2, padding=2, dilation=2), 6, {"0": 12, "2": 6}),
    "without bias": (nn.Conv1d(12, 6, 3, bias=False), 6, {"0": 12, "2": 6}),
    "same": (nn.Conv1d(12, 6, 4, padding="same", dilation=2), 6, {"0": 12, "2": 6}),
    "valid": (nn.Conv1d(12, 6, 4, padding="valid"), 6, {"0": 12, "2": 6}),
    "circular": (nn.Conv1d(12, 6, 3, padding=1, padding_mode="circular"), 6, {"0": 12, "2": 6}),
    "depthwise": (nn.Conv1d(12, 12, 3, groups=12), 12, {"0": 12}),
    # Two outputs a channel: twelve channels against two of each.
    "multiplied": (nn.Conv1d(12, 24, 3, groups=12), 24, {"0": 12}),
    "one a group": (nn.Conv1d(12, 6, 3, groups=6), 6, {"0": 6}),
    "grouped": (nn.Conv1d(12, 9, 3, groups=3, padding=1), 9, {"0": 4, "2": 3}),
    "transposed": (nn.ConvTranspose1d(12, 6, 4, stride=2, padding=1), 6, {"0": 12, "2": 6}),
    "transposed, longer": (nn.ConvTranspose1d(12, 6, 4, stride=3, output_padding=1, dilation=2), 6, {"0": 12, "2": 6}),
    "transposed, without bias": (nn.ConvTranspose1d(12, 6, 4, bias=False), 6, {"0": 12, "2": 6}),
    "transposed depthwise": (nn.ConvTranspose1d(12, 12, 3, groups=12), 12, {"0": 12}),
    "transposed multiplied": (nn.ConvTranspose1d(12, 24, 3, groups=12), 24, {"0": 12}),
    "transposed, one a group": (nn.ConvTranspose1d(12, 6, 3, groups=6, stride=2), 6, {"0": 6}),
    "transposed grouped": (nn.ConvTranspose1d(12, 9, 3, groups=3, stride=2), 9, {"0": 4, "2": 3}),
}


@pytest.mark.parametrize("name", LAYERS)
def test_channels(name: str) -> None:
    layer, width, expected = LAYERS[name]
    graph = check(network(layer, width=width), X, expected=expected)
    # By hand: every weight meets every output's place (plain), or every input's (transposed), of both examples.
    (node,) = [node for node in graph.nodes if node.layer == "2" and node.op.startswith("aten.conv")]
    length = node.args[0].shape[-1] if "transposed" in name else node.output.shape[-1]
    bias = layer.bias is not None
    assert description_of(node).cost(node) == Cost(2 * length * layer.weight.numel(), node.output.size * bias)


@pytest.mark.parametrize("transposed", [False, True])
def test_multiplied_outputs_of_channels_that_must_stay(transposed: bool) -> None:
    """The three inputs stay; the same one of the four outputs of each can go."""
    kind = nn.ConvTranspose1d if transposed else nn.Conv1d
    assert removable(nn.Sequential(kind(3, 12, 3, groups=3), nn.Tanh(), nn.Conv1d(12, 2, 1)), X) == {"0": 4}


@pytest.mark.parametrize("transposed", [False, True])
def test_inputs_of_groups_whose_outputs_must_stay(transposed: bool) -> None:
    """The two outputs stay, being the model's; the same one of the six inputs of each can go."""
    kind = nn.ConvTranspose1d if transposed else nn.Conv1d
    assert removable(nn.Sequential(nn.Conv1d(3, 12, 1), nn.Tanh(), kind(12, 2, 3, groups=2)), X) == {"0": 6}


SPATIAL = {
    "two axes": (nn.Conv2d(2, 6, 3, padding=(1, 0)), nn.Conv2d(6, 2, (1, 3)), (1, 2, 7, 8)),
    "three axes": (nn.Conv3d(2, 4, 3), nn.Conv3d(4, 2, 1), (1, 2, 4, 5, 4)),
    "two axes back": (nn.ConvTranspose2d(2, 6, 3, stride=2), nn.Conv2d(6, 2, 3), (1, 2, 4, 5)),
    "three axes back": (nn.ConvTranspose3d(2, 4, 3), nn.ConvTranspose3d(4, 2, 2), (1, 2, 3, 2, 4)),
    "no batch": (nn.Conv1d(2, 6, 3), nn.ConvTranspose1d(6, 2, 3), (2, 9)),
    "same in two axes": (nn.Conv2d(2, 6, 3, padding="same"), nn.Conv2d(6, 2, 1, padding="same"), (1, 2, 4, 5)),
    "same in three axes": (nn.Conv3d(2, 6, 3, padding="same"), nn.Conv3d(6, 2, 1), (1, 2, 4, 3, 3)),
}


@pytest.mark.parametrize("name", SPATIAL)
def test_more_axes(name: str) -> None:
    first, second, shape = SPATIAL[name]
    x = torch.randn(shape)
    module = nn.Sequential(first, nn.Tanh(), second)
    graph = check(module, x, expected={"0": first.out_channels})
    counted = sum((description_of(node).cost(node) for node in graph.nodes if ".conv" in node.op), Cost())
    module, x = module.float(), x.float()
    with FlopCounterMode(display=False) as counter:
        out = module(x)
    assert counted == Cost(counter.get_total_flops() // 2, module[:1](x).numel() + out.numel())


@pytest.mark.parametrize("groups", [1, 2])
def test_macs_of_plain_convolutions_are_pytorchs(groups: int) -> None:
    x = torch.randn(2, 4, 20)
    for layer in (
        nn.Conv1d(4, 6, 5, stride=3, padding=4, dilation=2, groups=groups, bias=False),
        nn.ConvTranspose1d(4, 6, 5, stride=3, padding=1, groups=groups, bias=False),
    ):
        with FlopCounterMode(display=False) as counter:
            layer(x)
        graph = captured(layer, x)
        # For groups PyTorch's counter takes the weight's own shape for the channels, as is done here.
        assert sum((description_of(node).cost(node) for node in graph.nodes), Cost()) == Cost(
            counter.get_total_flops() // 2
        )
        layer.float()


@pytest.mark.parametrize("transposed", [False, True])
def test_the_general_operator(transposed: bool) -> None:
    def expression(m: nn.Module, x: Tensor) -> Tensor:
        op = torch.ops.aten.convolution.default
        made = torch.tanh(op(x, m.a, m.b, [1], [0], [1], False, [0], 1))
        return op(made, m.c, None, [2], [1], [1], transposed, [1 * transposed], 2)

    shape = (8, 1, 3) if transposed else (2, 4, 3)
    module = Network(expression, a=torch.zeros(8, 3, 3), b=torch.zeros(8), c=torch.zeros(shape))
    graph = check(module, X, expected={"a": 4})
    lengths = (10 - 2, 8 if transposed else 4)
    assert cost(graph, "convolution.default") == Cost(2 * (72 * lengths[0] + 24 * lengths[1]), 2 * 8 * 8)


def test_time_passes_a_convolution_of_one_tap() -> None:
    """A mixer over time between: its hidden places are units, though a convolution stands between maker and reader."""
    module = Network(
        lambda m, x: m.back(torch.tanh(m.mix(m.there(x)))),
        there=nn.Linear(10, 7), mix=nn.Conv1d(3, 4, 1), back=nn.Linear(7, 10),
    )  # fmt: skip
    check(module, X, expected={"there": 7})
    module.mix = nn.Conv1d(3, 4, 3, padding=1)
    units = units_of(captured(module, X))
    assert not units.families and units.kept["there.weight:0"] == "convolved over"


def test_filters_that_a_layer_makes() -> None:
    """Their taps are no units; channels are, and so are the numbers that the filters are made from."""
    module = Network(
        lambda m, x: F.conv1d(m.wide(x), m.filters(m.key).view(2, 4, 3)),
        key=torch.zeros(5), filters=nn.Linear(5, 24), wide=nn.Conv1d(3, 4, 1),
    )  # fmt: skip
    graph = check(module, X, expected={"key": 5, "filters": 4})
    kept = units_of(graph).kept
    assert "filters.weight:0" not in kept and "wide.weight:0" not in kept


def test_residuals_tie_channels_across_layers() -> None:
    module = Network(
        lambda m, x: m.last((h := torch.tanh(m.first(x))) + m.point(torch.tanh(m.deep(h)))),
        first=nn.Conv1d(3, 8, 1), deep=nn.Conv1d(8, 8, 3, padding="same", groups=8), point=nn.Conv1d(8, 8, 1),
        last=nn.Conv1d(8, 2, 1),
    )  # fmt: skip
    assert removable(module, X) == {"first": 8}
