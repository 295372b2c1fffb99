"""Gates that are folded at all times, against gates written into a network; and gains, which find the same units."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from pochette.errors import ReductionError
from pochette.families import models
from pochette.models.ddsp import Ddsp, DdspModel
from pochette.reduce.channels.gains import Penalty, gains_of, sizes_of
from pochette.reduce.channels.gates import Gates, Pull
from pochette.reduce.channels.shrinking import proximal
from pochette.reduce.methods.slimming import Slimming
from pochette.reduce.methods.sss import Sss
from pochette.reduce.observed import Observed
from pochette.reduce.structure import Structure
from pochette.reduce.technique import Round
from pochette.reduce.trimming import structure_of
from pochette.train.loop import Trainer, Training
from pochette.train.session import Session
from tests.corpora import notes_corpus


class Plain(nn.Module):
    """A hidden layer that two layers read, one of them along another axis."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv1d(2, 5, 3)
        self.one, self.two = nn.Conv1d(5, 2, 2), nn.ConvTranspose1d(5, 2, 2, padding=1)

    def hidden(self, x: Tensor) -> Tensor:
        return torch.tanh(self.first(x))

    def forward(self, x: Tensor) -> Tensor:
        y = self.hidden(x)
        return self.one(y) + self.two(y)  # type: ignore[no-any-return]


class Gated(Plain):
    """The same with gates written into it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.ones(5))

    def hidden(self, x: Tensor) -> Tensor:
        return super().hidden(x) * self.gate[:, None]


def test_folded_gates_move_as_gates_written_into_the_network_do() -> None:
    plain, gated = Plain(), Gated()
    x, y = torch.randn(4, 2, 20), torch.randn(4, 2, 17)
    pull = Pull(0.2, 0.1, "proximal")
    gates = Gates(plain, Structure.of(plain, (x,)), pull)
    assert set(gates.gates) == {"first"}
    ours = torch.optim.Adam(plain.parameters(), lr=0.01)
    theirs = torch.optim.Adam([p for n, p in gated.named_parameters() if n != "gate"], lr=0.01)
    gates.attach(ours)
    for _ in range(80):
        for network, optimiser in ((plain, ours), (gated, theirs)):
            network.zero_grad()
            (network(x) - y).square().mean().backward()
            optimiser.step()
        with torch.no_grad():
            assert gated.gate.grad is not None
            gated.gate.copy_(proximal(gated.gate, gated.gate.grad, pull.rate, pull.strength))
    assert torch.allclose(gates.gates["first"], gated.gate, atol=1e-5)
    assert torch.allclose(plain(x), gated(x), atol=1e-5)
    assert zeros(gates.gates["first"]) == zeros(gated.gate.detach()) > 0
    gone = gates.gates["first"] == 0.0
    assert not plain.one.weight[:, gone].any() and not plain.two.weight[gone].any()


def zeros(tensor: Tensor) -> int:
    return int((tensor == 0.0).sum())


class Both(nn.Module):
    """A hidden layer with a batch norm, so that units can be judged by gains or by gates."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.head = nn.Conv1d(1, 8, 5), nn.BatchNorm1d(8), nn.Conv1d(8, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.norm(self.first(x))))  # type: ignore[no-any-return]


def test_gates_find_the_units_that_gains_find() -> None:
    """What is to be learnt is what three of the eight units say: both ways draw the other five to zero, or nearly."""
    used = [1, 4, 6]
    teacher = Both()
    x = torch.randn(32, 1, 40)
    with torch.no_grad():
        teacher.head.weight[:] = 0.0
        teacher.head.weight[0, used, 0] = torch.tensor([1.5, -2.0, 1.0])
        y = teacher(x)
    found = []
    for on in ("gains", "gates"):
        network = Both()
        structure = Structure.of(network, (x,))
        optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
        with torch.no_grad():
            network.head.weight[0, used, 0] = teacher.head.weight[0, used, 0]
        if on == "gains":
            Penalty({"norm.weight": network.norm.weight}, 0.02).attach(optimiser)
        else:
            gates = Gates(network, structure, Pull(0.02, 0.2, "proximal"))
            gates.attach(optimiser)
        for _ in range(300):
            optimiser.zero_grad()
            (network(x) - y).square().mean().backward()
            optimiser.step()
        worth = network.norm.weight.detach().abs().numpy() if on == "gains" else gates.scores()["first"]
        found.append(np.sort(np.argsort(-worth)[:3]).tolist())
        if on == "gates":
            assert np.count_nonzero(worth == 0.0) == 5
    assert found == [used, used]


# -- which of them a model gets ----------------------------------------------------------------------------------------


def chain(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers)


def kind_of(network: nn.Module, x: Tensor) -> set[str] | None:
    structure = Structure.of(network.eval(), (x,))
    found = gains_of(structure, Observed(network, structure.graph))
    return None if found is None else set(found.values())


def test_weight_norms_come_first_then_norms_then_gates() -> None:
    x = torch.randn(2, 3)
    normed = chain(weight_norm(nn.Linear(3, 4)), nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 1))
    plain = chain(nn.Linear(3, 4), nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 1))
    mixed = chain(nn.Linear(3, 4), nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 1))
    assert kind_of(normed, x) == {"weight norm"}
    assert kind_of(plain, x) == {"norm"}
    assert kind_of(mixed, x) is None


def test_only_gains_of_the_chosen_kind_count() -> None:
    network = chain(weight_norm(nn.Linear(3, 4)), nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 1))
    with torch.no_grad():
        gain = network.get_parameter("0.parametrizations.weight.original0")
        gain.copy_(torch.tensor([3.0, -1.0, 2.0, 0.5])[:, None])
        network.get_parameter("1.weight").copy_(torch.tensor([0.1, 5.0, 0.2, 7.0]))
    structure = Structure.of(network, (torch.randn(2, 3),))
    evidence = Observed(network, structure.graph)
    found = gains_of(structure, evidence)
    assert found is not None and set(found) == {"0.parametrizations.weight.original0"}
    (sizes,) = sizes_of(structure, evidence, found).values()
    assert sizes.tolist() == [3.0, 1.0, 2.0, 0.5]


def test_gates_are_not_folded_into_a_norm() -> None:
    network = chain(nn.Linear(3, 4), nn.ReLU(), weight_norm(nn.Linear(4, 1)))
    with pytest.raises(ReductionError) as refused:
        Gates(network, Structure.of(network, (torch.randn(2, 3),)), Pull(0.1, 0.1, "proximal"))
    assert refused.value.remedy


def small() -> DdspModel:
    torch.manual_seed(0)
    return Ddsp(hidden=12, stack_width=10, stack_layers=1, partials=6, noise_bands=5).build()


def session(folder: Path) -> Session:
    how = Training(batch=2, excerpt_seconds=0.1, evaluate_steps=5)
    return Session(folder / "run", *notes_corpus(folder / "c"), how, float("inf"), steps=40)


def walked(technique: Slimming | Sss, folder: Path) -> list[Round]:
    return technique.apply(small(), session(folder))


def test_a_training_with_gates_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    technique = Sss(keep=0.5, strength=1.0)
    whole = walked(technique, tmp_path / "whole")[1].model.state_dict()

    def stop(phase: str, trainer: Trainer) -> None:
        if phase == "penalised" and trainer.progress.steps == 5:
            raise KeyboardInterrupt

    broken = session(tmp_path / "broken")
    broken.report = stop
    with pytest.raises(KeyboardInterrupt):
        technique.apply(small(), broken)
    resumed = session(tmp_path / "broken")
    again = technique.apply(small(), resumed)[1].model.state_dict()
    assert resumed.resumed == ["dense: finished", "penalised: resumed at step 5"]
    assert all(torch.equal(tensor, again[path]) for path, tensor in whole.items())


def test_a_result_says_what_the_penalty_lay_on(tmp_path: Path) -> None:
    report = walked(Slimming(keep=0.5), tmp_path)[-1].report
    assert report is not None and report.note == "by gates, of which 0 are exactly zero"
    with pytest.raises(ReductionError) as refused:
        walked(Slimming(keep=0.5, on="gains"), tmp_path / "gains")
    assert "gru" in refused.value.where and "--on gates" in refused.value.remedy


def test_strong_enough_a_pull_makes_more_zeros_than_are_asked_for(tmp_path: Path) -> None:
    last = walked(Sss(keep=0.9, strength=5.0), tmp_path)[-1]
    assert last.report is not None and "exactly zero" in last.report.note
    units = sum(structure_of(small()).whole.values())
    zero = int(last.report.note.split("which ")[1].split()[0])
    left = sum(family.after for family in last.report.families)
    families = len(last.report.families)
    assert zero > 0.5 * units and left <= max(families, units - zero + families)


def test_a_penalty_adds_the_sign_of_gains_to_their_gradient() -> None:
    layer = weight_norm(nn.Linear(3, 4))
    gain = layer.get_parameter("parametrizations.weight.original0")
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.1)
    Penalty({"gain": gain}, 0.5).attach(optimiser)
    before, x = gain.detach().clone(), torch.randn(5, 3)
    layer(x).square().mean().backward()
    assert gain.grad is not None
    slope = gain.grad.clone()
    optimiser.step()
    assert torch.allclose(gain, before - 0.1 * (slope + 0.5 * before.sign()))


@pytest.mark.parametrize("name", models.names())
def test_every_model_can_be_slimmed_or_says_why_not(name: str) -> None:
    model = models[name].sized("tiny").build()
    structure = structure_of(model)
    form, _ = model.trim_form()
    found = gains_of(structure, Observed(form, structure.graph))
    if found is not None:
        own = dict(model.named_parameters())
        assert all(path.removeprefix("model.") in own for path in found)
        return
    try:
        gates = Gates(model, structure, Pull(0.1, 0.1, "accelerated"), "model.")
    except ReductionError as refused:
        assert refused.remedy
        return
    assert set(gates.gates) == set(structure.whole)
