"""Low rank: the nearest matrices, what they cost, and that disk, graph and C hold the same two."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from pochette.engine.compiled import compile_engine
from pochette.errors import ReductionError
from pochette.families import models
from pochette.graph.trim import resize
from pochette.layers.factored import (
    Factored,
    FactoredConv,
    FactoredGru,
    FactoredLstm,
    FactoredTransposed,
    can_be_factored,
)
from pochette.layers.lstm import JointLstmLayer, LstmLayer
from pochette.measure import profile, profile_model
from pochette.models.ddsp import Ddsp
from pochette.models.model import Model
from pochette.reduce.low_rank import Spectrum, _matrices_of, factor, ranks_within, spectra_of
from pochette.reduce.methods.low_rank import LowRank
from pochette.reduce.sparse.weights import weights_of
from pochette.train.loop import Training
from pochette.train.session import Session, describe, load_model, rebuild
from tests.corpora import notes_corpus
from tests.played import off, parts_off

RECIPE = Ddsp(hidden=24, stack_width=20, stack_layers=1, partials=12, noise_bands=9)


FEW = {"layers_per_stack": 2, "stacks": 1}


class Net(nn.Module):
    """A layer of each kind that can be factored, and one that cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(6, 20, 5, stride=2, dilation=3, padding=4)
        self.linear, self.gru = nn.Linear(20, 30), nn.GRU(30, 16, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made, _ = self.gru(self.linear(self.conv(x).transpose(1, 2)), x[None, :, 0, :16])
        return made  # type: ignore[no-any-return]


def spectra(net: nn.Module) -> dict[str, Spectrum]:
    return {path: Spectrum.of(weight) for path, weight in net.named_parameters() if weight.dim() > 1}


def of_rank(net: nn.Module, rank: int) -> nn.Module:
    found = spectra(net)
    factor(net, found, dict.fromkeys(found, rank))  # type: ignore[arg-type]
    return net


def low(recipe: Any, keep: float) -> tuple[Model, Model, dict[str, str]]:
    """A model, and it of low rank."""
    torch.manual_seed(0)
    whole = recipe.build().eval()
    torch.manual_seed(0)
    small = recipe.build().eval()
    found, kept = spectra_of(small)
    size = sum(p.numel() for p in small.parameters() if p.dim() > 1)
    fixed = size - sum(spectrum.matrix.numel() for spectrum in found.values())
    factor(small, found, ranks_within(found, math.floor(keep * size) - fixed))
    return whole, small, kept


@pytest.mark.parametrize("shape", [(30, 20), (20, 6, 5), (48, 30)])
@pytest.mark.parametrize("rank", [1, 4, 11])
def test_what_is_lost_are_the_singular_values_left_out(shape: tuple[int, ...], rank: int) -> None:
    """Eckart & Young, against eigenvalues of the Gram matrix: no decomposition of ours."""
    torch.manual_seed(0)
    weight = torch.randn(shape, dtype=torch.float64)
    matrix = weight.flatten(1)
    wide, narrow = Spectrum.of(weight).factors(rank)
    squares = torch.linalg.eigvalsh(matrix.T @ matrix).flip(0)[: min(matrix.shape)]
    assert float((wide @ narrow - matrix).norm()) == pytest.approx(float(squares[rank:].sum().sqrt()), rel=1e-9)


def test_full_rank_changes_nothing() -> None:
    torch.manual_seed(0)
    net, x = Net(), torch.randn(2, 6, 20)
    wanted, found = net(x), spectra(net)
    factor(net, found, {path: min(spectrum.matrix.shape) for path, spectrum in found.items()})  # type: ignore[arg-type]
    assert isinstance(net.conv, FactoredConv) and isinstance(net.linear, Factored) and isinstance(net.gru, FactoredGru)
    assert torch.allclose(net(x), wanted, atol=1e-5)
    assert torch.allclose(net.linear.weight, found["linear.weight"].matrix, atol=1e-5)


def test_a_gru_may_keep_one_matrix_whole() -> None:
    torch.manual_seed(0)
    net, x = Net(), torch.randn(2, 6, 20)
    wanted, found = net(x), spectra(net)
    factor(net, found, {**dict.fromkeys(found), "gru.weight_hh_l0": 16})
    assert isinstance(net.gru, FactoredGru) and isinstance(net.gru.of_input, nn.Linear)
    assert torch.allclose(net(x), wanted, atol=1e-5)


def test_multiplications_are_those_of_two_products() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 6, 20)
    steps = Net().conv(x).shape[-1]
    counted = {layer.layer: layer.cost.macs for layer in profile(of_rank(Net(), 3), (x,)).layers}
    sizes = {"conv": (6 * 5, 20), "linear": (20, 30), "gru.of_input": (30, 48), "gru.of_state": (16, 48)}
    for name, (inputs, outputs) in sizes.items():
        assert counted[f"{name}.narrow"] == steps * inputs * 3 and counted[f"{name}.wide"] == steps * 3 * outputs


def test_ranks_are_those_of_the_least_worst_error_within_the_budget() -> None:
    torch.manual_seed(0)
    found = {name: Spectrum.of(torch.randn(shape)) for name, shape in (("a", (40, 30)), ("b", (64, 20)), ("c", (8, 4)))}
    whole = sum(spectrum.matrix.numel() for spectrum in found.values())
    for most in (whole // 4, whole // 2, whole - 1):
        ranks = ranks_within(found, most)
        assert sum(found[name].size(rank) for name, rank in ranks.items()) <= most
        assert all(rank is None or rank < found[name].pays_below for name, rank in ranks.items())
    assert Spectrum.of(torch.eye(4)).rank_for(0.0) is None, "two of 4 x 4 are no smaller"
    single = {"a": found["a"]}
    assert ranks_within(single, 10 * 70 + 69) == {"a": 10}
    with pytest.raises(ReductionError, match="low enough") as refused:
        ranks_within(single, 69)
    assert refused.value.remedy


def test_a_ddsp_of_low_rank_is_smaller_on_disk_and_cheaper_and_comes_back() -> None:
    whole, small, kept = low(RECIPE, 0.4)
    assert not kept
    counts = [profile_model(model) for model in (whole, small)]
    assert counts[1].macs < 0.6 * counts[0].macs and counts[1].parameters < 0.5 * counts[0].parameters
    again = rebuild(describe(small), small.state_dict())
    controls = torch.tensor([[220.0, -20.0, 0.0, 0.0]]).expand(1, 8, 4)
    assert torch.equal(again(controls), small(controls)) and not torch.equal(whole(controls), small(controls))


def test_the_engine_of_a_ddsp_says_what_torch_says(tmp_path: Path) -> None:
    _, small, _ = low(RECIPE, 0.4)
    controls = np.tile(np.array([[220.0, -20.0, 0.0, 0.0]], np.float32), (40, 1))
    assert off(small, controls, tmp_path) < 1e-5


def test_the_parts_of_a_wavenet_say_what_torch_says() -> None:
    recipe = models["wavenet"].sized("tiny", residual_channels=24, gate_channels=24, skip_channels=24, **FEW)
    whole, small, kept = low(recipe, 0.6)
    assert set(kept) <= {"network.first.weight", "network.conditioner.weight"}
    assert profile_model(small).macs < 0.75 * profile_model(whole).macs
    assert parts_off(small) < 1e-5


# -- more kinds of layers ----------------------------------------------------------------------------------------------


class Kinds(nn.Module):
    """A layer of each further kind, one behind the other, the recurrent one with its state in buffers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.normed = weight_norm(nn.Conv1d(4, 12, 3, dilation=2))
        self.up = nn.ConvTranspose1d(12, 10, 6, stride=3, padding=1, output_padding=1)
        self.normed_up = weight_norm(nn.ConvTranspose1d(10, 8, 4, stride=2, bias=False))
        self.lstm, self.own = nn.LSTM(8, 12, batch_first=True), LstmLayer(12, 9)
        for name, size in (("h", 12), ("c", 12)):
            self.register_buffer(name, torch.zeros(1, 1, size))
        for name in ("own_h", "own_c"):
            self.register_buffer(name, torch.zeros(1, 9))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.normed_up(torch.tanh(self.up(torch.tanh(self.normed(x))))).transpose(1, 2)
        x, (h, c) = self.lstm(x, (self.h, self.c))
        x, own_h, own_c = self.own(x, self.own_h, self.own_c)
        for name, new in (("h", h), ("c", c), ("own_h", own_h), ("own_c", own_c)):
            self.get_buffer(name).copy_(new)
        return x


HEARD = (1, 4, 6)


def matrices(net: nn.Module) -> dict[str, Spectrum]:
    """Of all its layers, whoever calls them."""
    found, kept = _matrices_of(net)
    assert not kept
    return {
        f"{one.owner}.{one.name}": Spectrum.of(one.weight) for one in found
    }  # fmt: skip


def test_full_rank_changes_nothing_whatever_the_layer() -> None:
    net, x = Kinds(), torch.randn(HEARD)
    wanted = copy.deepcopy(net)(x)
    found = matrices(net)
    assert set(found) == {
        *(f"{name}.weight" for name in ("normed", "up", "normed_up")),
        *("lstm.weight_ih_l0", "lstm.weight_hh_l0", "own.from_input", "own.from_hidden"),
    }
    weights = {name: net.get_submodule(name).weight.detach().clone() for name in ("normed", "up", "normed_up")}  # type: ignore[operator,union-attr]
    factor(net, found, {path: min(spectrum.matrix.shape) for path, spectrum in found.items()})
    assert torch.allclose(copy.deepcopy(net)(x), wanted, atol=1e-5)
    assert not any("parametrizations" in path for path in net.state_dict()), "a factored weight has no norm"
    for name, weight in weights.items():
        assert torch.allclose(net.get_submodule(name).weight, weight, atol=1e-5)  # type: ignore[arg-type]


def test_a_transposed_convolution_loses_the_singular_values_left_out() -> None:
    """Against the filters themselves, laid out as the matrix of inputs by outputs and taps."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.ConvTranspose1d(9, 5, 4, stride=2, bias=False).double())
    weight = net.get_parameter("0.weight").detach().clone()
    factor(net, matrices(net), {"0.weight": 3})
    squares = torch.linalg.eigvalsh(weight.flatten(1) @ weight.flatten(1).T).flip(0)
    lost = float((net.get_submodule("0").weight - weight).detach().norm())  # type: ignore[operator,union-attr]
    assert lost == pytest.approx(float(squares[3:].sum().sqrt()), rel=1e-6)


def test_gates_of_an_lstm_are_those_of_torchs_in_both_forms() -> None:
    """Of low rank by nature, matrices lose nothing: what is computed then is torch's own LSTM on the same matrices."""
    torch.manual_seed(0)
    torch_one, x = nn.LSTM(5, 8, batch_first=True), torch.randn(3, 7, 5)
    with torch.no_grad():
        for name in ("weight_ih_l0", "weight_hh_l0"):
            own = getattr(torch_one, name)
            own.copy_(torch.randn(len(own), 2) @ torch.randn(2, own.shape[1]) / 3)
    state = torch.randn(1, 3, 8), torch.randn(1, 3, 8)
    wanted, (h, c) = torch_one(x, state)
    net = nn.Sequential(torch_one)
    factor(net, matrices(net), {"0.weight_ih_l0": 2, "0.weight_hh_l0": 2})
    made, (own_h, own_c) = net[0](x, state)
    assert isinstance(net[0], FactoredLstm) and net[0].hidden_size == 8
    for mine, theirs in ((made, wanted), (own_h, h), (own_c, c)):
        assert torch.allclose(mine, theirs, atol=1e-5)


@pytest.mark.parametrize("whole", ["", "lstm.weight_ih_l0", "own.from_hidden"])
def test_every_kind_is_one_on_disk_and_in_c(whole: str) -> None:
    net, x = Kinds(), torch.randn(HEARD)
    found = matrices(net)
    factor(net, found, {path: None if path == whole else 2 for path in found})
    empty = Kinds()
    resize(empty, net.state_dict())
    wanted = copy.deepcopy(net)(x)
    assert torch.equal(copy.deepcopy(empty)(x), wanted)
    if whole:
        return  # one engine is enough
    engine, step = compile_engine(copy.deepcopy(net).eval(), (x,)), copy.deepcopy(net).eval()
    for _ in range(3):
        x = torch.randn(HEARD)
        with torch.no_grad():
            assert torch.allclose(torch.from_numpy(engine.process(x.numpy())), step(x), atol=1e-5)


@pytest.mark.slow
def test_models_of_normed_transposed_and_recurrent_layers_play_on_and_come_back() -> None:
    """RAVE is nothing but normed ones, MCNN nothing but transposed ones, and SING has an LSTM of its own."""
    for name, kind in (("rave", FactoredConv), ("mcnn", FactoredTransposed), ("sing", JointLstmLayer)):
        torch.manual_seed(0)
        model: Model = models[name].sized("tiny").build().eval()
        found, kept = spectra_of(model)
        played = [path for path in kept if path.partition(".")[0] not in model.aids]
        assert found and not [path for path in played if not path.startswith("network.decoder.input.taps")]
        ranks = {path: 2 if spectrum.pays_below > 2 else None for path, spectrum in found.items()}
        size = sum(p.numel() for p in model.played_parameters().values())
        factor(model, found, ranks)
        assert any(isinstance(part, kind) for part in model.modules())
        assert sum(p.numel() for p in model.played_parameters().values()) < size
        again = rebuild(describe(model), model.state_dict())
        controls = torch.tensor([[knob.default for knob in model.controls]] * 3)[None]
        with torch.no_grad():
            wanted, state, pieces = model(controls), again.initial_state(1), []
            for frame in controls.unbind(1):
                made, state = again.advance(frame[:, None], state)
                pieces.append(made)
        assert torch.allclose(torch.cat(pieces, 1), wanted, atol=1e-4)


@pytest.mark.slow
def test_of_a_model_with_critics_what_plays_is_made_as_small_as_was_asked(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model: Model = models["rave"].sized("tiny").build()
    played = sum(weight.parameter.numel() for weight in weights_of(model).values())
    how = Training(batch=2, excerpt_seconds=0.2, evaluate_steps=2)
    session = Session(tmp_path / "r", *notes_corpus(tmp_path / "c", model.hop_samples), how, float("inf"), steps=4)
    last = LowRank(keep=0.5, filters="fewest").apply(model, session)[-1]
    assert last.report is not None and " and " in last.report.note, "some filters became three"
    assert not any(path.startswith("critics") for path in last.report.kept)
    left = sum(weight.parameter.numel() for weight in weights_of(last.model).values())
    assert 0.4 * played < left <= 0.5 * played
    again, _ = load_model(tmp_path / "r" / "round-1.safetensors")
    assert all(torch.equal(tensor, again.state_dict()[path]) for path, tensor in last.model.state_dict().items())


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.utils.parametrizations.orthogonal(nn.Linear(3, 3)), "its weight is made by something else than a norm"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)), ""),
        (nn.Conv1d(4, 4, 3, groups=2), "grouped"),
        (nn.Conv1d(4, 4, 3, padding=1, padding_mode="circular"), "padded with other than zeros"),
        (nn.ConvTranspose1d(4, 4, 3, groups=2), "grouped"),
        (nn.ConvTranspose1d(4, 4, 3), ""),
        (nn.ConvTranspose2d(4, 4, 3), "no factored form of ConvTranspose2d"),
        (nn.GRU(4, 4, num_layers=2, batch_first=True), "a stack, or both ways, or time first"),
        (nn.LSTM(4, 4), "a stack, or both ways, or time first"),
        (nn.LSTM(4, 4, proj_size=2, batch_first=True), "a stack, or both ways, or time first"),
        (nn.LSTM(4, 4, batch_first=True), ""),
        (nn.Linear(3, 3), ""),
    ],
)
def test_what_cannot_be_factored_says_why(layer: nn.Module, reason: str) -> None:
    assert can_be_factored(layer) == reason
