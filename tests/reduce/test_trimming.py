"""Removing units from a model: exactly as many as asked, the least worthy, and never from the model that was given."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from pochette.errors import ReductionError
from pochette.families import criteria
from pochette.graph.units import Place
from pochette.measure import profile_model
from pochette.models.ddsp import Ddsp, DdspModel
from pochette.models.wavenet import Wavenet
from pochette.reduce.choosing import Choice
from pochette.reduce.evidence import needs_data
from pochette.reduce.observed import Observed
from pochette.reduce.structure import Structure
from pochette.reduce.trimming import PREFIX, structure_of, trim_model

RECIPE = Ddsp(hidden=24, stack_width=20, stack_layers=1, partials=12, noise_bands=9)


@pytest.fixture
def model() -> DdspModel:
    torch.manual_seed(0)
    return RECIPE.build().eval()


def matrix_size(model: DdspModel) -> int:
    """Multiply-accumulates of a frame, from the shapes alone."""
    return sum(p.numel() for p in model.network.parameters() if p.dim() == 2)


@pytest.mark.parametrize("keep", [0.5, 0.25, 0.1, 0.01])
def test_keeps_exactly_what_was_asked(model: DdspModel, keep: float) -> None:
    smaller, _, report = trim_model(model, keep)
    for family in report.families:
        assert family.after == max(1, round(keep * family.before))
    assert smaller.network.gru.hidden_size == max(1, round(keep * 24))
    assert report.macs_after == matrix_size(smaller) == profile_model(smaller).part("model.network").cost.macs
    assert report.macs_before == matrix_size(model)


def test_the_given_model_is_untouched(model: DdspModel) -> None:
    before = copy.deepcopy(model.state_dict())
    trim_model(model, 0.5)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_smaller_model_plays_and_learns(model: DdspModel) -> None:
    smaller, _, _ = trim_model(model, 0.3)
    controls = torch.tensor([[220.0, -20.0, 0.0, 0.0]]).expand(2, 10, 4)
    audio = smaller(controls)
    assert audio.shape == (2, 10 * model.hop_samples)
    audio.square().mean().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in smaller.network.parameters())


@pytest.mark.parametrize("keep", [0.0, 1.0, -0.1, 1.5, 0.999])
def test_requests_that_change_nothing_or_everything_are_refused(model: DdspModel, keep: float) -> None:
    with pytest.raises(ReductionError) as caught:
        trim_model(model, keep)
    assert caught.value.remedy


@pytest.mark.parametrize("share", [0.5, 0.2, 0.05])
def test_the_target_is_met_and_hardly_undershot(model: DdspModel, share: float) -> None:
    structure = structure_of(model)
    keep = structure.keep_for(share * structure.matrix_macs())
    smaller, _, _ = trim_model(model, keep, structure=structure)
    assert matrix_size(smaller) <= share * matrix_size(model)
    more = {name: count + 1 for name, count in structure.uniform(keep).items()}
    assert structure.matrix_macs(more) > share * matrix_size(model)


@pytest.mark.parametrize("share", [0.5, 0.2, 0.05])
def test_a_target_of_weights_is_met_and_hardly_undershot(model: DdspModel, share: float) -> None:
    """Learnt numbers of the network, biases and norms included; the room has no units and does not count."""
    structure = structure_of(model)
    total = structure.parameters()
    assert total == sum(p.numel() for p in model.network.parameters())
    smaller, _, report = trim_model(model, weights=round(share * total), structure=structure)
    left = sum(p.numel() for p in smaller.network.parameters())
    assert report.parameters_before == total
    assert report.parameters_after == left <= round(share * total)
    more = {family.name: family.after + 1 for family in report.families}
    assert structure.parameters(more) > share * total


def test_a_target_below_one_unit_a_layer_is_refused(model: DdspModel) -> None:
    with pytest.raises(ReductionError, match="one unit in every layer"):
        structure_of(model).keep_for(10)


def test_the_same_cuts_fit_any_state_of_the_model(model: DdspModel) -> None:
    """Rewinding: weights of another moment, cut alike, load into the smaller model and equal its own shapes."""
    early = {name: torch.randn_like(tensor) for name, tensor in model.state_dict().items()}
    smaller, cuts, report = trim_model(model, 0.4)
    cut = cuts.apply(early)
    smaller.load_state_dict(cut)
    kept = report.survivors[Place(f"{PREFIX}network.head.weight", 1)]
    assert len(kept) == round(0.4 * 20)
    assert torch.equal(smaller.network.head.weight, early["network.head.weight"][:, kept])


def test_what_stays_says_why(model: DdspModel) -> None:
    _, _, report = trim_model(model, 0.5)
    assert report.kept["model.network.head.weight:0"] == "an output of the model"
    assert "input" in report.kept["model.network.pitch_stack.0.weight:1"]


def test_norms_over_trimmed_units_are_named(model: DdspModel) -> None:
    _, _, report = trim_model(model, 0.5)
    by_name = {family.name: family for family in report.families}
    assert by_name["model.network.pitch_stack.0"].norms == ("model.network.pitch_stack.1",)
    assert by_name["model.network.gru"].norms == ()


def test_magnitude_keeps_the_largest_rows(model: DdspModel) -> None:
    """A unit whose gates were made large must survive; one made zero must go."""
    units, strong, weak = 24, 5, 17
    with torch.no_grad():
        for matrix in (model.network.gru.weight_ih_l0, model.network.gru.weight_hh_l0):
            for gate in range(3):
                matrix[gate * units + strong] = 3.0
                matrix[gate * units + weak] = 0.0
    _, _, report = trim_model(model, 0.1)
    survivors = report.survivors[Place("model.network.out_stack.0.weight", 1)].tolist()
    inputs = 2 * 20  # both stacks' features, where nothing says which of them stayed
    recurrent = [index - inputs for index in survivors if index >= inputs]
    assert strong in recurrent
    assert weak not in recurrent


@pytest.mark.parametrize("name", [name for name in criteria.names() if not needs_data(criteria[name])])
def test_contract_of_every_criterion_of_weights(model: DdspModel, name: str) -> None:
    """One finite score a unit, the same twice, and a model that is smaller by it."""
    structure = structure_of(model)
    evidence = Observed(model, structure.graph)
    for family in structure.families:
        scores = criteria[name](family, evidence)
        assert scores.shape == (family.units,)
        assert np.isfinite(scores).all()
        assert np.array_equal(scores, criteria[name](family, evidence))
    smaller, _, report = trim_model(model, 0.5, choice=Choice(name), structure=structure)
    assert matrix_size(smaller) == report.macs_after < report.macs_before


@pytest.mark.parametrize("name", [name for name in criteria.names() if needs_data(criteria[name])])
def test_criteria_of_data_ask_for_it(model: DdspModel, name: str) -> None:
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ReductionError, match="no data was given") as caught:
        trim_model(model, 0.5, choice=Choice(name))
    assert "data=" in caught.value.remedy
    assert all(torch.equal(tensor, before[path]) for path, tensor in model.state_dict().items())


def test_of_equals_the_first_stay(model: DdspModel) -> None:
    with torch.no_grad():
        model.network.out_stack[0].weight.fill_(0.25)
    _, _, report = trim_model(model, 0.5)
    assert report.survivors[Place("model.network.head.weight", 1)].tolist() == list(range(10))


def test_magnitude_is_the_sum_over_all_gates(model: DdspModel) -> None:
    structure = structure_of(model)
    gru = next(family for family in structure.families if family.name.endswith("gru"))
    w, u = model.network.gru.weight_ih_l0.detach().double(), model.network.gru.weight_hh_l0.detach().double()
    wanted = [torch.cat([w[i::24].abs().flatten(), u[i::24].abs().flatten()]).sum().item() for i in range(24)]
    found = criteria["magnitude"](gru, Observed(model, structure.graph))
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_both_or_neither_of_share_and_weights_is_refused(model: DdspModel) -> None:
    structure = structure_of(model)
    for wanted in ({}, {"keep": 0.5, "weights": 100}):
        with pytest.raises(ReductionError, match="how much") as caught:
            trim_model(model, structure=structure, **wanted)  # type: ignore[arg-type]
        assert "keep, weights and macs" in caught.value.remedy


def test_deep_networks_are_analysed_and_trimmed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty layers: beside what torch.export takes, finding the units takes no half second and trimming no whole one.

    Processor time, so that other work on the machine does not count; about ten times what was measured.
    """
    model = Wavenet(stacks=3, layers_per_stack=10).build()
    spent = 0.0

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            nonlocal spent
            began = time.process_time()
            try:
                return function(*args, **options)
            finally:
                spent += time.process_time() - began

        return call

    monkeypatch.setattr(torch.export, "export", counted(torch.export.export))
    program = torch.export.ExportedProgram
    monkeypatch.setattr(program, "run_decompositions", counted(program.run_decompositions))
    form, inputs = model.trim_form()
    began = time.process_time()
    structure = Structure.of(form, inputs)
    own = time.process_time() - began - spent
    assert len(structure.families) > 30 and spent > 0.0
    assert own < 1.5  # a second, and what sharing caches with other work may add
    began = time.process_time()
    smaller, _, report = trim_model(model, 0.5, structure=structure)
    assert time.process_time() - began < 1.5
    assert report.parameters_after == sum(p.numel() for p in smaller.parameters()) < 0.3 * report.parameters_before
