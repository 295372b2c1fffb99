"""Every criterion against its definition, on networks small enough to work them out by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pochette.errors import ReductionError
from pochette.families import criteria, scores
from pochette.graph.units import Place, UnitFamily
from pochette.measure.analyses.similarity import linear_cka
from pochette.reduce import trim
from pochette.reduce.evidence import Evidence, FloatArray, WeightsOnly, needs_data, reads_data
from pochette.reduce.scaling import weights_of_a_unit
from pochette.reduce.selection import local
from pochette.reduce.sparse.subject import Subject

OF_WEIGHTS = {"magnitude", "normalisation", "random"}
SAMPLES, UNITS = 200, 6


@dataclass
class Observed:
    """What one hidden layer does on some data, worked out by torch's own means."""

    network: nn.Sequential
    data: Tensor
    wanted: Tensor
    gain_places: tuple[Place, ...] = ()
    seed: int = 0
    calls: list[str] = field(default_factory=list)

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        return dict(self.network.named_parameters())

    def loss(self) -> Tensor:
        return self.loss_of(self.network)

    def loss_of(self, network: nn.Module) -> Tensor:
        found: Tensor = (network(self.data) - self.wanted).square().sum()
        return found

    def gradients(self) -> Mapping[str, Tensor]:
        self.calls.append("gradients")
        self.network.zero_grad()
        self.loss().backward()
        return {path: p.grad for path, p in self.network.named_parameters() if p.grad is not None}

    def weight_scores(self, name: str) -> Mapping[str, Tensor]:
        self.calls.append(name)
        found: Mapping[str, Tensor] = scores[name](Subject.of(self.network, [self.loss_of]))
        return found

    def activations(self, family: UnitFamily) -> FloatArray:
        self.calls.append("activations")
        return self.network[:2](self.data).detach().double().numpy()

    def inputs(self, family: UnitFamily) -> FloatArray:
        self.calls.append("inputs")
        return self.data.double().numpy()

    def targets(self) -> FloatArray:
        self.calls.append("targets")
        return self.wanted.double().numpy()

    def makers(self, family: UnitFamily) -> tuple[Place, ...]:
        return family.makers

    def gains(self, family: UnitFamily) -> tuple[Place, ...]:
        return self.gain_places


def units_at(*places: tuple[str, int], makers: int = 1, units: int = UNITS, per_unit: int = 1) -> UnitFamily:
    """A family whose unit i owns i, i + units, i + 2 units... of each place; the first `makers` places make it."""
    owned = np.arange(units)[:, None] + units * np.arange(per_unit)
    found = tuple(Place(*place) for place in places)
    return UnitFamily("layer", dict.fromkeys(found, owned), (), found[:makers])


HIDDEN = units_at(("0.weight", 0), ("0.bias", 0), ("2.weight", 1))


@pytest.fixture
def observed() -> Observed:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, UNITS), nn.Tanh(), nn.Linear(UNITS, 4)).double()
    data = torch.randn(SAMPLES, 3).double()
    return Observed(network, data, network(data).detach() + 0.3 * torch.randn(SAMPLES, 4).double())


def weights_only(module: nn.Module, *gains: Place) -> Evidence:
    evidence = WeightsOnly({path: p.detach() for path, p in module.named_parameters()})
    if gains:
        evidence.gains = lambda family: gains  # type: ignore[method-assign]
    return evidence


@pytest.mark.parametrize("name", criteria.names())
def test_contract_of_every_criterion(name: str, observed: Observed) -> None:
    """One finite float64 a unit, the same twice, the weights untouched, and data only where it is announced."""
    before = {path: tensor.detach().clone() for path, tensor in observed.tensors.items()}
    scores = criteria[name](HIDDEN, observed)
    assert scores.shape == (UNITS,)
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()
    assert (scores >= 0).all()
    assert len(set(scores.tolist())) == UNITS
    assert np.array_equal(scores, criteria[name](HIDDEN, observed))
    assert all(torch.equal(tensor, before[path]) for path, tensor in observed.tensors.items())
    assert needs_data(criteria[name]) == bool(observed.calls) == (name not in OF_WEIGHTS)


@pytest.mark.parametrize("name", criteria.names())
def test_without_data(name: str, observed: Observed) -> None:
    bare = WeightsOnly(observed.tensors)
    if needs_data(criteria[name]):
        with pytest.raises(ReductionError, match="takes data") as caught:
            criteria[name](HIDDEN, bare)
        assert "data=" in caught.value.remedy
    else:
        np.testing.assert_array_equal(criteria[name](HIDDEN, bare), criteria[name](HIDDEN, observed))


def test_snip_of_a_unit_is_the_sum_of_its_weights(observed: Observed) -> None:
    slope, weight = observed.gradients()["0.weight"], observed.tensors["0.weight"].detach()
    np.testing.assert_allclose(criteria["snip"](HIDDEN, observed), (slope * weight).abs().sum(1).numpy(), rtol=1e-12)


def test_redundancy_is_what_regressions_leave(observed: Observed) -> None:
    """Every step is worked out anew by least squares on the units that are left."""
    values, reading = observed.activations(HIDDEN), observed.tensors["2.weight"].detach().numpy()
    values = values - values.mean(axis=0)
    left, wanted = list(range(UNITS)), np.zeros(UNITS)
    while left:
        lost = {}
        for unit in left:
            others = values[:, [other for other in left if other != unit]]
            rest = values[:, unit] - others @ np.linalg.lstsq(others, values[:, unit], rcond=None)[0]
            lost[unit] = np.square(rest).mean() * np.square(reading[:, unit]).sum()
        least = min(lost, key=lost.__getitem__)
        wanted[least] = lost[least]
        left.remove(least)
    np.testing.assert_allclose(criteria["redundancy"](HIDDEN, observed), wanted, rtol=1e-3)


def test_of_copies_one_is_kept() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, UNITS), nn.Tanh(), nn.Linear(UNITS, 4)).double()
    with torch.no_grad():
        for path in ("weight", "bias"):
            made = getattr(network[0], path)
            made[3:] = made[:3]
    data = torch.randn(SAMPLES, 3).double()
    scores = criteria["redundancy"](HIDDEN, Observed(network, data, network(data).detach()))
    kept = set(np.argsort(scores)[3:] % 3)
    assert kept == {0, 1, 2}
    assert np.sort(scores)[2] < 1e-3 * np.sort(scores)[3]


def test_units_that_never_move_are_worth_nothing() -> None:
    """Not one of them: nothing can be divided by their variance."""
    network = nn.Sequential(nn.Conv1d(1, 16, 3), nn.ReLU(), nn.Conv1d(16, 1, 3))
    with torch.no_grad():
        network[0].weight.zero_()
        network[0].bias.fill_(-1.0)
    data = [(torch.randn(4, 1, 30), torch.randn(4, 1, 26))]
    small = trim(network, (torch.randn(1, 1, 30),), criterion="redundancy", data=data, loss=nn.functional.mse_loss)
    assert small[0].weight.shape == (8, 1, 3)  # type: ignore[index]


def test_similarity_is_that_of_trying_every_removal(observed: Observed) -> None:
    values, read = observed.activations(HIDDEN), observed.inputs(HIDDEN)
    left, order = list(range(UNITS)), []
    while len(left) > 1:
        alike = {unit: linear_cka(read, values[:, [other for other in left if other != unit]]) for unit in left}
        order.append(max(alike, key=alike.__getitem__))
        left.remove(order[-1])
    found = criteria["similarity"](HIDDEN, observed)
    assert np.argsort(found).tolist() == order + left and found.max() == 1.0


def test_marking_a_criterion() -> None:
    def one(family: UnitFamily, evidence: Evidence) -> FloatArray:
        return np.ones(family.units)

    assert not needs_data(one)
    assert reads_data(one) is one
    assert needs_data(one)


# -- magnitude ---------------------------------------------------------------------------------------------------------


def test_filters_of_li() -> None:
    """Filters whose absolute weights sum to 4, 1, 3 and 2: 1 and 3 are removed."""
    layer = nn.Conv1d(2, 4, 2, bias=False)
    with torch.no_grad():
        layer.weight[:] = torch.tensor([1.0, -1.0, 1.0, -1.0]).view(2, 2) * torch.tensor([1.0, 0.25, 0.75, 0.5]).view(
            4, 1, 1
        )
    family = units_at(("weight", 0), units=4)
    scores = criteria["magnitude"](family, weights_only(layer))
    assert scores.tolist() == [4.0, 1.0, 3.0, 2.0]
    assert local({"filters": scores}, 0.5)["filters"].tolist() == [0, 2]


def test_magnitude_of_a_recurrent_unit_is_of_all_its_gates() -> None:
    layer = nn.GRU(3, 5)
    family = units_at(("weight_ih_l0", 0), ("weight_hh_l0", 0), makers=2, units=5, per_unit=3)
    w, u = layer.weight_ih_l0.detach().double(), layer.weight_hh_l0.detach().double()
    wanted = [sum(m[unit + 5 * gate].abs().sum().item() for m in (w, u) for gate in range(3)) for unit in range(5)]
    evidence = weights_only(layer)
    np.testing.assert_allclose(criteria["magnitude"](family, evidence), wanted, rtol=1e-12)
    assert weights_of_a_unit(family, evidence) == 3 * (3 + 5)


def test_magnitude_of_a_transposed_convolution_is_of_its_second_axis() -> None:
    layer = nn.ConvTranspose1d(3, 5, 4)
    family = units_at(("weight", 1), units=5)
    wanted = layer.weight.detach().double().abs().sum(dim=(0, 2)).numpy()
    np.testing.assert_allclose(criteria["magnitude"](family, weights_only(layer)), wanted, rtol=1e-12)
    assert weights_of_a_unit(family, weights_only(layer)) == 12


def test_what_reads_a_unit_and_its_bias_are_not_asked(observed: Observed) -> None:
    before = criteria["magnitude"](HIDDEN, observed)
    with torch.no_grad():
        observed.network[2].weight.mul_(9.0)
        observed.network[0].bias.mul_(9.0)
    np.testing.assert_array_equal(criteria["magnitude"](HIDDEN, observed), before)


def test_effective_weights_stand_where_makers_say() -> None:
    """A weight-normed layer: the direction is arbitrary, the effective weight is what the evidence holds."""
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(3, UNITS))
    direction, gain = layer.parametrizations.weight.original1, layer.parametrizations.weight.original0
    family = units_at(("parametrizations.weight.original1", 0))
    with torch.no_grad():
        direction.mul_(torch.linspace(9.0, 1.0, UNITS)[:, None])
        gain.copy_(torch.linspace(1.0, 2.0, UNITS)[:, None])
    effective = WeightsOnly({"parametrizations.weight.original1": layer.weight.detach()})
    raw = WeightsOnly(dict(layer.named_parameters()))
    np.testing.assert_allclose(
        criteria["magnitude"](family, effective), layer.weight.detach().double().abs().sum(1), rtol=1e-12
    )
    assert criteria["magnitude"](family, raw).argmax() != criteria["magnitude"](family, effective).argmax()


# -- normalisation -----------------------------------------------------------------------------------------------------


def test_gains_of_norms() -> None:
    """Liu et al.: two layers of gains, of which two fifths go: those of 0.01 and 0.02."""
    gains = torch.tensor([0.9, -0.01, -0.5])
    evidence = WeightsOnly({"norm.weight": gains, "norm.bias": torch.ones(3), "conv.weight": torch.ones(3, 2)})
    family = UnitFamily(
        "conv",
        {Place(path, 0): np.arange(3)[:, None] for path in ("conv.weight", "norm.weight", "norm.bias")},
        ("norm",),
        (Place("conv.weight", 0),),
    )
    assert evidence.gains(family) == (Place("norm.weight", 0),)
    np.testing.assert_allclose(criteria["normalisation"](family, evidence), [0.9, 0.01, 0.5], rtol=1e-7)


def test_a_family_without_gains_has_the_gain_that_weight_norm_would_give_it() -> None:
    """The deviation: where there is weight norm, both readings are the same number."""
    layer = nn.Conv1d(2, UNITS, 3)
    family = units_at(("weight", 0))
    normed = nn.utils.parametrizations.weight_norm(nn.Conv1d(2, UNITS, 3))
    with torch.no_grad():
        normed.weight = layer.weight.detach()
    gain = Place("parametrizations.weight.original0", 0)
    with_gain = UnitFamily("layer", {gain: np.arange(UNITS)[:, None]}, ())
    by_gain = criteria["normalisation"](with_gain, weights_only(normed, gain))
    np.testing.assert_allclose(criteria["normalisation"](family, weights_only(layer)), by_gain, rtol=1e-6)
    wanted = layer.weight.detach().double().flatten(1).norm(dim=1)
    np.testing.assert_allclose(by_gain, wanted, rtol=1e-6)


def test_rows_of_all_gates_are_averaged() -> None:
    layer = nn.LSTM(3, 5)
    family = units_at(("weight_ih_l0", 0), ("weight_hh_l0", 0), makers=2, units=5, per_unit=4)
    w, u = layer.weight_ih_l0.detach().double(), layer.weight_hh_l0.detach().double()
    wanted = [np.mean([m[unit + 5 * gate].norm().item() for m in (w, u) for gate in range(4)]) for unit in range(5)]
    np.testing.assert_allclose(criteria["normalisation"](family, weights_only(layer)), wanted, rtol=1e-12)


# -- criteria of data --------------------------------------------------------------------------------------------------


def test_gradient_by_finite_differences(observed: Observed) -> None:
    """One weight moved at a time, the loss of all data read: summed first, then absolute."""
    weight, step = observed.network[0].weight, 1e-6
    slopes = np.zeros(weight.shape)
    with torch.no_grad():
        for index in np.ndindex(*weight.shape):
            losses = []
            for sign in (1, -1):
                weight[index] += sign * step
                losses.append(observed.loss().item())
                weight[index] -= sign * step
            slopes[index] = (losses[0] - losses[1]) / (2 * step)
    np.testing.assert_allclose(criteria["gradient"](HIDDEN, observed), np.abs(slopes).sum(axis=1), rtol=1e-5)


def test_opposite_gradients_cancel() -> None:
    """The paper's one backward over all data: two sounds that pull a weight both ways say nothing."""
    network = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Identity(), nn.Linear(2, 1, bias=False)).double()
    with torch.no_grad():
        network[0].weight.zero_()
        network[2].weight.fill_(1.0)
    pulled = Observed(network, torch.ones(2, 1).double(), torch.tensor([[1.0], [-1.0]]).double())
    family = units_at(("0.weight", 0), ("2.weight", 1), units=2)
    assert criteria["gradient"](family, pulled).tolist() == [0.0, 0.0]
    alone = Observed(network, pulled.data[:1], pulled.wanted[:1])
    assert criteria["gradient"](family, alone).tolist() == [2.0, 2.0]


def test_activation_by_a_hand_sum(observed: Observed) -> None:
    layer = observed.network[0]
    total = np.zeros(UNITS)
    for sample in observed.data.numpy():
        for unit in range(UNITS):
            row = layer.weight.detach().numpy()[unit]
            total[unit] += abs(np.tanh(sum(w * x for w, x in zip(row, sample, strict=True)) + layer.bias[unit].item()))
    np.testing.assert_allclose(criteria["activation"](HIDDEN, observed), total, rtol=1e-9)


class Heard(Observed):
    """Units whose relation to target and input is known, whatever the network."""

    def targets(self) -> FloatArray:
        return np.random.default_rng(1).standard_normal((1000, 3))

    def inputs(self, family: UnitFamily) -> FloatArray:
        return np.random.default_rng(2).standard_normal((1000, 3))

    def activations(self, family: UnitFamily) -> FloatArray:
        wanted, read = self.targets(), self.inputs(family)
        noise = np.random.default_rng(3).standard_normal((1000, 2))
        units = [wanted[:, 0], wanted[:, 1] + noise[:, 0], noise[:, 1], read[:, 0], read[:, 1] + noise[:, 0]]
        return np.stack([*units, np.full(1000, 0.5)], axis=1)


def test_information_ranks_what_tells_of_the_target(observed: Observed) -> None:
    """The target itself first, a noisy part of it next; noise, the input and the dead last. And likewise the input."""
    heard = Heard(observed.network, observed.data, observed.wanted)
    of_target = criteria["information"](HIDDEN, heard)
    assert of_target.argsort()[::-1][:2].tolist() == [0, 1]
    assert of_target[1] == pytest.approx(0.5 * np.log(2), abs=0.08)
    assert (of_target[2:] < 0.1).all()
    assert of_target[5] == 0.0
    of_input = criteria["information_input"](HIDDEN, heard)
    assert of_input.argsort()[::-1][:2].tolist() == [3, 4]
    assert of_input[4] == pytest.approx(0.5 * np.log(2), abs=0.08)
    assert (of_input[[0, 1, 2, 5]] < 0.1).all()


@pytest.mark.parametrize("name", ["information", "information_input", "random"])
def test_seeds_repeat_and_differ(name: str, observed: Observed) -> None:
    first = criteria[name](HIDDEN, observed)
    observed.seed = 1
    other = criteria[name](HIDDEN, observed)
    observed.seed = 0
    assert np.array_equal(criteria[name](HIDDEN, observed), first)
    assert not np.array_equal(first, other)


def test_random_differs_between_families(observed: Observed) -> None:
    other = UnitFamily("another", HIDDEN.indices, (), HIDDEN.makers)
    assert not np.array_equal(criteria["random"](HIDDEN, observed), criteria["random"](other, observed))
    drawn = criteria["random"](units_at(("0.weight", 0), units=4000), observed)
    assert 0 <= drawn.min() < 0.01
    assert 0.99 < drawn.max() < 1
    assert drawn.mean() == pytest.approx(0.5, abs=0.02)
