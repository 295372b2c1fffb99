"""What a network costs, counted by hand."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor, nn

from pochette.errors import ExportError
from pochette.graph.operator import Cost
from pochette.measure import profile, profile_model
from pochette.models.ddsp import Ddsp


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 5, 3), (2, 1, 5, 3)])
def test_linear_on_any_rank(shape: tuple[int, ...]) -> None:
    rows = torch.Size(shape[:-1]).numel()
    counted = profile(nn.Linear(3, 7), (torch.zeros(shape),))
    assert counted.cost == Cost(macs=rows * 21, pointwise=rows * 7)
    assert (counted.parameters, counted.weight_bytes, counted.state_bytes) == (28, 112, 0)
    assert counted.peak_activation_bytes == rows * 7 * 4
    assert profile(nn.Linear(3, 7, bias=False), (torch.zeros(shape),)).cost == Cost(macs=rows * 21)


@pytest.mark.parametrize("batch_first", [True, False])
def test_gru_over_time(batch_first: bool) -> None:
    batch, steps, inputs, units = 2, 9, 5, 4
    shape = (batch, steps, inputs) if batch_first else (steps, batch, inputs)
    counted = profile(nn.GRU(inputs, units, batch_first=batch_first), (torch.zeros(shape),))
    each = batch * steps
    assert counted.macs == each * 3 * units * (inputs + units)
    # Six biases; r and z one sum each, n a product and a sum, h' a difference, a product and a sum.
    assert counted.cost.pointwise == each * units * (6 + 7)
    assert counted.cost.transcendental == each * units * 3
    assert counted.parameters == 3 * units * (inputs + units) + 6 * units
    assert profile(nn.GRU(inputs, units), (torch.zeros(steps, inputs),)).macs == steps * 3 * units * (inputs + units)


def test_gru_of_many_layers_and_directions() -> None:
    counted = profile(nn.GRU(5, 4, num_layers=2, bidirectional=True), (torch.zeros(3, 1, 5),))
    assert counted.macs == 3 * (2 * 12 * (5 + 4) + 2 * 12 * (8 + 4))


def test_layer_norm() -> None:
    assert profile(nn.LayerNorm(6), (torch.zeros(4, 6),)).cost == Cost(pointwise=7 * 24, transcendental=4)
    bare = nn.LayerNorm((3, 2), elementwise_affine=False)
    assert profile(bare, (torch.zeros(4, 3, 2),)).cost == Cost(pointwise=5 * 24, transcendental=4)


class Chain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Linear(4, 100), nn.Linear(100, 2)
        self.register_buffer("seen", torch.zeros(1, 2))
        self.register_buffer("unused", torch.zeros(1000))

    def forward(self, x: Tensor) -> Tensor:
        y = self.narrow(torch.tanh(self.wide(x)))
        self.seen.copy_(y)
        return torch.sigmoid(y)


def test_peak_memory_of_a_chain() -> None:
    counted = profile(Chain(), (torch.zeros(1, 4),))
    # wide (100) alone; wide and tanh (200); tanh and narrow (102); narrow (kept as state) and sigmoid (4).
    assert counted.peak_activation_bytes == 200 * 4
    assert counted.state_bytes == 8
    assert counted.weight_bytes == 4 * counted.parameters == 4 * (500 + 202)


def test_a_value_read_late_stays_in_memory() -> None:
    class Skip(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            early = x + 1.0
            late = torch.tanh(torch.tanh(torch.tanh(early)))
            return late + early

    # early, and two links of the chain; at the end late, early and their sum.
    assert profile(Skip(), (torch.zeros(1, 10),)).peak_activation_bytes == 3 * 10 * 4


def test_layers_add_up() -> None:
    counted = profile(Chain(), (torch.zeros(1, 4),))
    assert [layer.layer for layer in counted.layers if layer.parameters] == ["wide", "narrow"]
    assert counted.part("wide").cost == Cost(macs=400, pointwise=100) and counted.part("wide").parameters == 500
    assert sum((layer.cost for layer in counted.layers), Cost()) == counted.cost
    assert counted.part("wid").parameters == 0  # a prefix is a path, not a beginning of letters
    assert counted.macs_per_second is None


def test_ddsp_of_the_paper() -> None:
    model = Ddsp.sized("paper", partials=60).build()
    counted = profile_model(model)
    h = w = 512
    stacks = 2 * (1 * w + 2 * w * w)
    gru = 3 * h * (2 * w + h)
    after = (2 * w + h) * w + 2 * w * w
    head = w * (1 + 60 + 65)
    assert counted.part("model.network").cost.macs == stacks + gru + after + head == 4_784_128
    taps, hop, partials = 128, 64, 60
    assert counted.macs - 4_784_128 == 65 * taps + taps * hop + 2 * partials * hop
    assert counted.parameters == counted.part("model.network").parameters == 4_801_150
    assert counted.calls_per_second == 250 and counted.macs_per_second == counted.macs * 250
    # hidden, f0, amplitudes, phase, counter, tail
    assert counted.state_bytes == 4 * (512 + 1 + 60 + 1 + 1 + 127)
    assert counted.unknown == ()


def test_the_recurrent_ddsp_without_stacks() -> None:
    counted = profile_model(Ddsp(hidden=256, stack_layers=0, partials=60).build())
    assert counted.part("model.network").cost.macs == 768 * (2 + 256) + 258 * 126


def test_what_is_not_counted_is_named() -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.erf(torch.kthvalue(x, 3, dim=1)[0]) + 1.0

    counted = profile(Odd(), (torch.zeros(5, 7),))
    assert counted.unknown == ("aten.kthvalue.default",)
    assert counted.cost == Cost(pointwise=5, transcendental=5)


def test_what_follows_from_weights_alone_costs_a_call_nothing() -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.utils.parametrizations.weight_norm(nn.Linear(5, 4, bias=False))
            self.scale = nn.Parameter(torch.zeros(4))

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) * torch.exp(self.scale) + torch.rand(4)  # type: ignore[no-any-return]

    counted = profile(Normed(), (torch.zeros(3, 5),))
    assert counted.cost == Cost(macs=60, pointwise=24)
    assert counted.parameters == 20 + 4 + 4 and counted.weight_bytes == 112
    assert counted.unknown == ()


def test_figures_per_second_of_any_module() -> None:
    layer = nn.Conv1d(1, 8, 5, padding=2, bias=False)
    counted = profile(layer, (torch.zeros(1, 1, 4000),), seconds=0.25)
    assert counted.macs == 4000 * 40 and counted.macs_per_second == 16000 * 40
    assert profile(layer, (torch.zeros(1, 1, 400),)).macs_per_second is None
    for given in ("1", True, 0, -1.0, float("nan")):
        with pytest.raises(ExportError, match=f"cannot be {given!r} seconds of audio"):
            profile(layer, (torch.zeros(1, 1, 400),), seconds=given)  # type: ignore[arg-type]


def test_transforms_are_plain_data_too() -> None:
    class Spectrum(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.fft.rfft(x).abs()

    data = json.loads(json.dumps(profile(Spectrum(), (torch.zeros(3, 256),)).to_json()))
    assert data["cost"]["fft"] == 3 * 2.5 * 256 * 8


def test_costs_add_and_scale() -> None:
    assert Cost(1, 2, 3) + Cost(10, 20, 30) == Cost(11, 22, 33)
    assert Cost(1, 2, 3) * 2.5 == Cost(2, 5, 8)


def test_is_plain_data() -> None:
    data = json.loads(json.dumps(profile_model(Ddsp.sized("tiny").build()).to_json()))
    assert data["cost"]["macs"] > 0 and data["obtained"] == "counted" and data["macs_per_second"] > 0


def test_leaves_the_module_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(), nn.Linear(2, 2))
    model.train()
    model[0].eval()
    profile(model, (torch.zeros(1, 2),))
    assert [part.training for part in model.modules()] == [True, False, True, True]


def test_what_cannot_be_captured_is_said() -> None:
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 1 if x.sum() > 0 else x - 1

    with pytest.raises(ExportError, match=r"torch\.export cannot follow") as caught:
        profile(Branching(), (torch.zeros(2),))
    assert caught.value.where == "Branching"


def test_views_take_no_memory_but_keep_what_they_look_at() -> None:
    class Halves(nn.Module):
        """Two halves of one sum: 20 values, and the 10 of the product; never 40."""

        def forward(self, x: Tensor) -> Tensor:
            whole = x + 1.0
            return whole[:, :10] * whole[:, 10:]

    assert profile(Halves(), (torch.zeros(1, 20),)).peak_activation_bytes == (20 + 10) * 4
