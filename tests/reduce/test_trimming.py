"""Removing units from a model: exactly as many as asked, the least worthy, and never from the model that was given."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from pochette.errors import ReductionError
from pochette.families import criteria
from pochette.measure import profile_model
from pochette.models.ddsp import Ddsp, DdspModel
from pochette.reduce.trimming import PREFIX, Structure, trim_model

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
    structure = Structure.of(model)
    keep = structure.keep_for(share * structure.matrix_macs())
    smaller, _, _ = trim_model(model, keep, structure=structure)
    assert matrix_size(smaller) <= share * matrix_size(model)
    more = {name: count + 1 for name, count in structure.uniform(keep).items()}
    scores = {family.name: np.zeros(family.units) for family in structure.families}
    assert structure.matrix_macs(structure.cuts(more, scores)) > share * matrix_size(model)


def test_a_target_below_one_unit_a_layer_is_refused(model: DdspModel) -> None:
    with pytest.raises(ReductionError, match="one unit in every layer"):
        Structure.of(model).keep_for(10)


def test_the_same_cuts_fit_any_state_of_the_model(model: DdspModel) -> None:
    """Rewinding: weights of another moment, cut alike, load into the smaller model and equal its own shapes."""
    early = {name: torch.randn_like(tensor) for name, tensor in model.state_dict().items()}
    smaller, cuts, _ = trim_model(model, 0.4)
    cut = cuts.apply(early, PREFIX)
    smaller.load_state_dict(cut)
    kept = cuts.of_path()["model.network.head.weight"][1]
    assert torch.equal(smaller.network.head.weight, early["network.head.weight"][:, kept])


def test_what_stays_says_why(model: DdspModel) -> None:
    _, _, report = trim_model(model, 0.5)
    assert "sliced" in report.kept["model.network.head.weight:0"]
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
    _, cuts, _ = trim_model(model, 0.1)
    survivors = cuts.of_path()["model.network.out_stack.0.weight"][1].tolist()
    inputs = 2 * 20  # both stacks' features, where nothing says which of them stayed
    recurrent = [index - inputs for index in survivors if index >= inputs]
    assert strong in recurrent
    assert weak not in recurrent


@pytest.mark.parametrize("name", criteria.names())
def test_contract_of_every_criterion(model: DdspModel, name: str) -> None:
    """One finite score a unit, the same twice, and ties that keep the lower numbers."""
    structure = Structure.of(model)
    for family in structure.families:
        scores = criteria[name](family, structure.graph.tensors)
        assert scores.shape == (family.units,)
        assert np.isfinite(scores).all()
        assert np.array_equal(scores, criteria[name](family, structure.graph.tensors))
    tied = {family.name: np.ones(family.units) for family in structure.families}
    cuts = structure.cuts(structure.uniform(0.5), tied)
    assert cuts.of_path()["model.network.head.weight"][1].tolist() == list(range(10))
    smaller, _, report = trim_model(model, 0.5, name, structure)
    assert matrix_size(smaller) == report.macs_after < report.macs_before


def test_magnitude_against_its_definition(model: DdspModel) -> None:
    structure = Structure.of(model)
    gru = next(family for family in structure.families if family.name.endswith("gru"))
    w, u = model.network.gru.weight_ih_l0.detach().double(), model.network.gru.weight_hh_l0.detach().double()
    wanted = [torch.cat([w[i::24].abs().flatten(), u[i::24].abs().flatten()]).mean().item() for i in range(24)]
    np.testing.assert_allclose(criteria["magnitude"](gru, structure.graph.tensors), wanted, rtol=1e-12)
