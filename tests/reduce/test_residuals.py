"""Scale factors of whole blocks: how they move, which blocks go by them, and that what is left is a model like any."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pochette.errors import ReductionError
from pochette.families import models
from pochette.layers.factored import FactoredConv
from pochette.layers.residual import Block, Blocks, blocks_of, remove_blocks
from pochette.models.ddsp import Ddsp
from pochette.models.model import Model
from pochette.reduce.channels.gates import BLOCKS, BlockGates, Pull
from pochette.reduce.channels.shrinking import accelerated
from pochette.reduce.methods.sss import Sss
from pochette.reduce.residuals import blocks_to_choose, without_smallest
from pochette.reduce.trimming import structure_of
from pochette.train.loop import Training
from pochette.train.session import Session, load_model
from tests.corpora import notes_corpus
from tests.played import off, parts_off


class Branch(nn.Module):
    """x + f(x), with a factor written into it where there is one."""

    def __init__(self, factor: nn.Parameter | None = None) -> None:
        super().__init__()
        self.inner, self.outer, self.factor = nn.Linear(3, 4), nn.Linear(4, 3), factor

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.outer(torch.tanh(self.inner(x)))
        return x + (made if self.factor is None else self.factor * made)


class Tower(nn.Module):
    """Three of them."""

    def __init__(self, *, factors: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(Branch(nn.Parameter(torch.ones(())) if factors else None) for _ in range(3))

    def residual_blocks(self) -> Blocks:
        return {f"layers.{n}": (layer.outer,) for n, layer in enumerate(self.layers) if isinstance(layer, Branch)}

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def test_folded_factors_move_as_factors_written_into_the_network_do() -> None:
    plain, written = Tower(), Tower(factors=True)
    x, y = torch.randn(16, 3), torch.randn(16, 3)
    pull = Pull(0.3, 0.05, "accelerated")
    gates = BlockGates(plain, blocks_of(plain), pull)
    ours = torch.optim.Adam(plain.parameters(), lr=0.01)
    theirs = torch.optim.Adam([p for n, p in written.named_parameters() if not n.endswith("factor")], lr=0.01)
    gates.attach(ours)
    factors = [layer.get_parameter("factor") for layer in written.layers]
    momenta = [torch.zeros(()) for _ in factors]
    for _ in range(60):
        for network, optimiser in ((plain, ours), (written, theirs)):
            network.zero_grad()
            (network(x) - y).square().mean().backward()
            optimiser.step()
        for number, factor in enumerate(factors):
            assert factor.grad is not None
            moved, momenta[number] = accelerated(factor.detach(), momenta[number], factor.grad, 0.05, 0.3, 0.9)
            factor.data.copy_(moved)
    assert torch.allclose(gates.gates[BLOCKS], torch.stack(factors).detach(), atol=1e-5)
    assert torch.allclose(plain(x), written(x), atol=1e-5)
    zero = [number for number, factor in enumerate(factors) if factor.item() == 0.0]
    assert zero, "some factor got to zero, exactly"
    remove_blocks(plain, [f"layers.{number}" for number in zero])
    assert torch.allclose(plain(x), written(x), atol=1e-6), "without the block it computes what factor 0 computes"


class Scaled(nn.Module):
    """Three blocks side by side whose loss by their factors s is a sum of (s - a)^2 / 2: each says a unit vector."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(3, 1, bias=False) for _ in range(3))
        for number, layer in enumerate(self.maps):
            layer.get_parameter("weight").data.copy_(torch.eye(3)[number : number + 1])

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([layer(x) for layer in self.maps], dim=-1)


@pytest.mark.parametrize("step", ["proximal", "accelerated"])
def test_factors_come_to_rest_at_the_soft_threshold(step: str) -> None:
    """argmin of (s - a)^2 / 2 + g |s| is a - g, or 0 where g is more than a."""
    net, aims, strength = Scaled(), torch.tensor([1.5, 0.3, 0.05]), 0.1
    blocks = {f"maps.{n}": Block(f"maps.{n}", "", (layer,)) for n, layer in enumerate(net.maps)}
    gates = BlockGates(net, blocks, Pull(strength, 0.1, step))  # type: ignore[arg-type]
    still = torch.optim.SGD(net.parameters(), lr=0.0)
    gates.attach(still)
    for _ in range(400):
        still.zero_grad()
        made = net(torch.eye(3)).diagonal()
        (0.5 * (made - aims).square().sum()).backward()
        still.step()
    found = gates.gates[BLOCKS]
    assert torch.allclose(found, torch.tensor([1.4, 0.2, 0.0]), atol=1e-5) and found[2].item() == 0.0


def test_of_two_maps_in_a_row_one_is_multiplied() -> None:
    net = nn.Sequential(FactoredConv(nn.Conv1d(2, 3, 3), 1))
    gates = BlockGates(net, {"0": Block("0", "", (net[0],))}, Pull(0.1, 0.1, "proximal"))
    assert set(gates.free) == {"0.wide.weight", "0.wide.bias"}


# -- which go ----------------------------------------------------------------------------------------------------------


def wavenet(**changes: int) -> Model:
    torch.manual_seed(0)
    model: Model = models["wavenet"].sized("tiny", **changes).build().eval()
    return model


def zeroed(model: Model, paths: list[str]) -> Model:
    """A model into which a factor of zero is folded."""
    other = copy.deepcopy(model)
    for path in paths:
        for leaving in blocks_of(other)[path].leaving:
            for parameter in leaving.parameters():
                parameter.data.zero_()
    return other


def test_the_smallest_go_as_few_as_the_budget_asks_and_all_zeros() -> None:
    model = wavenet()
    factors = {f"network.layers.{n}": value for n, value in enumerate([0.5, 0.2, 0.9, 0.1, 0.8])}
    whole = structure_of(model).matrix_macs()
    small, report = without_smallest(model, factors, 0.8)
    assert list(blocks_of(small)) == [f"network.layers.{n}" for n in (0, 2, 4)]
    assert structure_of(small).matrix_macs() <= 0.8 * whole
    one_less = copy.deepcopy(model)
    remove_blocks(one_less, ["network.layers.3"])
    assert structure_of(one_less).matrix_macs() > 0.8 * whole, "fewer would not have done"
    assert [(f.name, f.before, f.after) for f in report.families] == [("network", 5, 3)]
    assert report.parameters_after < report.parameters_before and report.macs_after < report.macs_before
    zeros = {**factors, "network.layers.0": 0.0, "network.layers.1": 0.0, "network.layers.3": 0.0}
    folded = zeroed(model, ["network.layers.0", "network.layers.1", "network.layers.3"])
    small, report = without_smallest(folded, zeros, 0.8)
    assert list(blocks_of(small)) == ["network.layers.2", "network.layers.4"] and "3 of whose factors" in report.note
    (form, inputs), (left, _) = folded.trim_form(), small.trim_form()
    with torch.no_grad():
        assert torch.allclose(form.eval()(*inputs), left.eval()(*inputs), atol=1e-6)


def test_a_stack_keeps_one_block_whatever_its_factor() -> None:
    model = wavenet()
    factors = {f"network.layers.{n}": 0.0 for n in range(5)}
    small, report = without_smallest(model, factors, 0.9)
    assert list(blocks_of(small)) == ["network.layers.4"] == list(report.kept)


def test_what_cannot_be_done_is_refused_with_what_can() -> None:
    with pytest.raises(ReductionError, match="no stack of two") as refused:
        blocks_to_choose(Ddsp(hidden=8, stack_width=8, stack_layers=1, partials=4, noise_bands=4).build(), 0.5)
    assert "--structures channels" in refused.value.remedy
    with pytest.raises(ReductionError, match="one block left") as refused:
        blocks_to_choose(wavenet(), 0.1)
    share = float(refused.value.remedy.split()[1])
    assert blocks_to_choose(wavenet(), share), "what it says can be kept"


@pytest.mark.slow
def test_what_works_with_the_dearest_blocks_left_is_what_is_named() -> None:
    """RAVE's blocks cost 1152 and 2304 in each stack: which of them stays is not known before factors are trained."""
    torch.manual_seed(0)
    model: Model = models["rave"].sized("tiny").build().eval()
    with pytest.raises(ReductionError, match="one block left") as refused:
        blocks_to_choose(model, 0.5)
    whole = structure_of(model).matrix_macs()
    assert float(refused.value.remedy.split()[1]) == pytest.approx((whole - 2 * 1152) / whole, abs=1e-4)


# -- the whole way -----------------------------------------------------------------------------------------------------


def test_a_walk_ends_with_fewer_layers_that_come_back_and_go_on(tmp_path: Path) -> None:
    hop = 64
    model = wavenet(hop_samples=hop, layers_per_stack=4)
    how = Training(batch=2, excerpt_seconds=0.05, evaluate_steps=5)
    session = Session(tmp_path / "run", *notes_corpus(tmp_path / "c", hop), how, float("inf"), steps=20)
    path = Sss(keep=0.85, strength=30.0, rate=0.01, structures="blocks").apply(model, session)
    assert [item.name for item in path] == ["dense", "penalised", "round-1"]
    last, report = path[-1].model, path[-1].report
    assert report is not None and "exactly zero; gone: network.layers." in report.note
    assert int(report.note.split()[2]) > 0
    assert structure_of(last).matrix_macs() <= 0.85 * structure_of(path[0].model).matrix_macs()
    again, _ = load_model(tmp_path / "run" / "round-1.safetensors")
    assert list(blocks_of(again)) == list(blocks_of(last))
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in last.state_dict().items())


def test_the_engine_of_a_model_without_some_blocks_says_what_torch_says(tmp_path: Path) -> None:
    torch.manual_seed(0)
    small: Model = models["nsf"].sized("tiny", layers=3).build().eval()
    remove_blocks(small, ["network.blocks.0", "network.blocks.1.layers.1"])
    rest = np.array([[knob.default for knob in small.controls]], np.float32)
    controls = np.tile(rest, (20, 1))
    assert off(small, controls, tmp_path) < 1e-5


def test_the_parts_of_a_wavenet_without_some_layers_say_what_torch_says() -> None:
    small = wavenet(layers_per_stack=4)
    remove_blocks(small, ["network.layers.1", "network.layers.3"])
    assert parts_off(small) < 1e-5
