"""Low rank: the nearest matrices, what they cost, and that disk, graph and C hold the same two."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pochette.engine.build import compile_host_library
from pochette.engine.compiled import compile_engine
from pochette.engine.export import export
from pochette.engine.native import NativeRunner
from pochette.engine.runner import run_frames
from pochette.errors import ReductionError
from pochette.families import models
from pochette.layers.factored import Factored, FactoredConv, FactoredGru, can_be_factored
from pochette.measure import profile, profile_model
from pochette.models.ddsp import Ddsp
from pochette.models.model import Model
from pochette.reduce.low_rank import Spectrum, factor, ranks_within, spectra_of
from pochette.train.session import describe, rebuild

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
    made = run_frames(NativeRunner(compile_host_library(export(small, "low"), tmp_path)), controls)
    with torch.no_grad():
        wanted = small(torch.from_numpy(controls)[None])[0].numpy()
    assert np.abs(made - wanted).max() < 1e-5


def test_the_parts_of_a_wavenet_say_what_torch_says() -> None:
    recipe = models["wavenet"].sized("tiny", residual_channels=24, gate_channels=24, skip_channels=24, **FEW)
    whole, small, kept = low(recipe, 0.6)
    assert set(kept) <= {"network.first.weight", "network.conditioner.weight"}
    assert profile_model(small).macs < 0.75 * profile_model(whole).macs
    for part in small.parts():  # type: ignore[operator]
        inputs = part.example_inputs()
        engine = compile_engine(part, inputs)
        for _ in range(4):
            given = tuple(x + 0.1 * torch.randn_like(x) for x in inputs)
            (wanted, *_), made = engine.twin.process(*given), engine.process(*(x.numpy() for x in given))
            first = made[0] if isinstance(made, tuple) else made
            assert np.abs(first - wanted.numpy()).max() < 1e-5


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)), "no factored form of ParametrizedLinear"),
        (nn.Conv1d(4, 4, 3, groups=2), "grouped"),
        (nn.Conv1d(4, 4, 3, padding=1, padding_mode="circular"), "padded with other than zeros"),
        (nn.ConvTranspose1d(4, 4, 3), "no factored form of ConvTranspose1d"),
        (nn.GRU(4, 4, num_layers=2, batch_first=True), "a stack, or both ways, or time first"),
        (nn.LSTM(4, 4), "no factored form of LSTM"),
        (nn.Linear(3, 3), ""),
    ],
)
def test_what_cannot_be_factored_says_why(layer: nn.Module, reason: str) -> None:
    assert can_be_factored(layer) == reason
