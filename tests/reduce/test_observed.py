"""What is seen of a network on data, against autograd and runs by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from pochette.errors import ReductionError
from pochette.families import criteria, models
from pochette.graph.capture import capture
from pochette.graph.copying import copy_of
from pochette.graph.units import UnitFamily, units_of
from pochette.models.model import Excerpt
from pochette.reduce.evidence import needs_data
from pochette.reduce.observed import SAMPLES, Batch, Observed


def observed(
    module: nn.Module, *batches: Batch, example: tuple[Tensor, ...] | None = None, loss: Any = None
) -> tuple[Observed, dict[str, UnitFamily]]:
    graph = capture(module, batches[0].inputs if example is None else example)
    return Observed(module, graph, batches, loss), {f.name: f for f in units_of(graph).families}


def squared(network: nn.Module, batch: Batch) -> Tensor:
    assert batch.target is not None
    return (network(*batch.inputs) - batch.target).square().sum()  # type: ignore[no-any-return]


class Filters(nn.Module):
    """Three convolutions, causal by padding; the second at half the rate."""

    def __init__(self, *, normed: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.head = nn.Conv1d(2, 6, 3), nn.Conv1d(6, 4, 2, stride=2), nn.Conv1d(4, 3, 1)
        if normed:
            for name in ("first", "second", "head"):
                weight_norm(getattr(self, name))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.first(nn.functional.pad(x, (2, 0))))
        return self.head(torch.relu(self.second(y)))  # type: ignore[no-any-return]


def sounds(items: int = 2, length: int = 40, seed: int = 1) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch((torch.randn(items, 2, length, generator=generator),), torch.randn(items, 3, length // 2))


def at_moments(signal: Tensor, moments: int) -> np.ndarray:
    """(item, channel, time) to rows at the middles of so many equal stretches."""
    length = signal.shape[-1]
    places = [int((2 * i + 1) * length // (2 * moments)) for i in range(moments)]
    return np.concatenate([item[:, places].T.double().numpy() for item in signal.detach()])


# -- weights and gradients ---------------------------------------------------------------------------------------------


def test_gradients_are_those_of_all_batches_summed() -> None:
    module = Filters()
    batches = [sounds(), sounds(3, 40, 2)]
    evidence, _ = observed(module, *batches, loss=squared)
    found = evidence.gradients()
    total = sum((squared(module, batch) for batch in batches), torch.tensor(0.0))
    expected = torch.autograd.grad(total, list(module.parameters()))
    for (path, _), gradient in zip(module.named_parameters(), expected, strict=True):
        assert torch.allclose(found[path], gradient, rtol=1e-4, atol=1e-5), path
    assert all(p.grad is None for p in module.parameters())


def test_weight_normed_layers_stand_for_plain_ones() -> None:
    """Effective weights, their gradients, and so the scores, are those of layers that hold them as they are."""
    normed, plain = Filters(normed=True), Filters()
    with torch.no_grad():
        for name in ("first", "second", "head"):
            layer = getattr(normed, name)
            gain = layer.parametrizations.weight.original0
            gain.mul_(torch.linspace(-1.0, 2.5, gain.numel()).view_as(gain))  # some turn their direction round
            layer.parametrizations.weight.original1.mul_(3.0)
            getattr(plain, name).weight.copy_(layer.weight)
            getattr(plain, name).bias.copy_(layer.bias)
    batch = sounds()
    one, families = observed(normed, batch, loss=squared)
    other, same = observed(plain, batch, loss=squared)
    for name in ("first", "second", "head"):
        path = f"{name}.parametrizations.weight.original1"
        assert torch.allclose(one.tensors[path], getattr(plain, name).weight, atol=1e-6)
        scale = other.gradients()[f"{name}.weight"].abs().max()
        assert torch.allclose(one.gradients()[path] / scale, other.gradients()[f"{name}.weight"] / scale, atol=1e-5)
    assert list(families) == list(same) == ["first", "second"]
    for name, family in families.items():
        assert [place.path for place in one.makers(family)] == [f"{name}.parametrizations.weight.original1"]
        assert [place.path for place in one.gains(family)] == [f"{name}.parametrizations.weight.original0"]
        for criterion in ("magnitude", "gradient", "activation"):
            left, right = criteria[criterion](family, one), criteria[criterion](same[name], other)
            np.testing.assert_allclose(left, right, rtol=1e-4)


def test_a_weight_normed_layer_that_is_called_twice_is_normed_once() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.mix, self.head = nn.Linear(3, 5), weight_norm(nn.Linear(5, 5)), nn.Linear(5, 1)
            with torch.no_grad():
                self.mix.parametrizations.weight.original0.mul_(-2.0)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.tanh(self.mix(torch.tanh(self.mix(self.first(x))))))  # type: ignore[no-any-return]

    module = Twice()
    evidence, _ = observed(module, Batch((torch.randn(4, 3),), torch.zeros(4, 1)), loss=squared)
    path = "mix.parametrizations.weight.original1"
    assert torch.allclose(evidence.tensors[path], module.mix.weight, atol=1e-6)
    weight = module.mix.weight.detach().requires_grad_()
    linear = nn.functional.linear
    y = torch.tanh(linear(module.first(torch.zeros(1, 3)), weight, module.mix.bias))
    assert y.shape == (1, 5)
    x = evidence.batches[0].inputs[0]
    y = torch.tanh(linear(torch.tanh(linear(module.first(x), weight, module.mix.bias)), weight, module.mix.bias))
    (expected,) = torch.autograd.grad(module.head(y).square().sum(), [weight])
    assert torch.allclose(evidence.gradients()[path], expected, atol=1e-4)


def test_a_gain_of_zero_gives_finite_gradients() -> None:
    module = Filters(normed=True)
    with torch.no_grad():
        module.first.parametrizations.weight.original0[2] = 0.0
    evidence, _ = observed(module, sounds(), loss=squared)
    assert all(gradient.isfinite().all() for gradient in evidence.gradients().values())


def test_what_the_loss_does_not_reach_has_gradient_zero() -> None:
    module = Filters()
    module.first.weight.requires_grad_(False)
    evidence, _ = observed(module, sounds(), loss=squared)
    assert not evidence.gradients()["first.weight"].any()
    assert evidence.gradients()["second.weight"].any()


def test_losses_that_cannot_be_derived_are_refused() -> None:
    for loss in (lambda *_: 3.0, lambda *_: torch.ones(1), lambda m, b: m(*b.inputs)):
        with pytest.raises(ReductionError, match="no single number") as caught:
            observed(Filters(), sounds(), loss=loss)[0].gradients()
        assert caught.value.remedy
    with pytest.raises(ReductionError, match="gradient of a loss") as caught:
        observed(Filters(), sounds())[0].gradients()
    assert "loss=" in caught.value.remedy


def test_without_data_nothing_is_seen() -> None:
    evidence, families = observed(Filters(), example=sounds().inputs, loss=squared)
    for ask in (
        evidence.gradients,
        evidence.targets,
        lambda: evidence.activations(families["first"]),
        lambda: evidence.inputs(families["first"]),
    ):
        with pytest.raises(ReductionError, match="no data was given") as caught:
            ask()
        assert "data=" in caught.value.remedy


# -- activations, inputs, targets --------------------------------------------------------------------------------------


@torch.no_grad()
def test_activations_inputs_and_targets_are_of_the_same_moments() -> None:
    """Against a run by hand: after the nonlinearity, before the padding, fast and slow signals the same way through."""
    module, batch = Filters(), sounds()
    evidence, families = observed(module, batch)
    (x,) = batch.inputs
    first = torch.tanh(module.first(nn.functional.pad(x, (2, 0))))
    second = torch.relu(module.second(first))
    moments = 20  # as many as the target has
    np.testing.assert_allclose(evidence.activations(families["first"]), at_moments(first, moments), atol=1e-6)
    np.testing.assert_allclose(evidence.activations(families["second"]), at_moments(second, moments), atol=1e-6)
    np.testing.assert_allclose(evidence.inputs(families["first"]), at_moments(x, moments), atol=1e-6)
    np.testing.assert_allclose(evidence.inputs(families["second"]), at_moments(first, moments), atol=1e-6)
    assert batch.target is not None
    np.testing.assert_allclose(evidence.targets(), at_moments(batch.target, moments), atol=1e-6)


@torch.no_grad()
def test_batches_of_other_shapes_join() -> None:
    module = Filters()
    batches = [sounds(), sounds(1, 60, 2), sounds(3, 40, 3)]
    evidence, families = observed(module, *batches)
    alone = [observed(module, batch)[0].activations(families["second"]) for batch in batches]
    np.testing.assert_allclose(evidence.activations(families["second"]), np.concatenate(alone), atol=1e-6)
    assert len(evidence.targets()) == len(evidence.inputs(families["first"])) == 2 * 20 + 30 + 3 * 20


def test_no_more_samples_than_published() -> None:
    evidence, families = observed(Filters(), Batch((torch.randn(2, 2, 4000),), torch.randn(2, 3, 2000)))
    rows = evidence.activations(families["first"])
    assert rows.shape == (SAMPLES, 6) and evidence.targets().shape == (SAMPLES, 3)
    assert len(np.unique(rows, axis=0)) == SAMPLES


@torch.no_grad()
def test_recurrent_units_are_seen_where_they_are_read() -> None:
    class Memory(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.gru, self.head = nn.GRU(2, 5, batch_first=True), nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.gru(x)[0])  # type: ignore[no-any-return]

    module, x = Memory(), torch.randn(3, 7, 2)
    evidence, families = observed(module, Batch((x,), torch.randn(3, 2, 7)))
    hidden = module.gru(x)[0]
    np.testing.assert_allclose(evidence.activations(families["gru"]), hidden.reshape(21, 5), atol=1e-6)
    np.testing.assert_allclose(evidence.inputs(families["gru"]), x.reshape(21, 2), atol=1e-6)


@torch.no_grad()
def test_targets_of_two_axes_are_features_or_time_as_the_output_is() -> None:
    dense = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4))
    target = torch.randn(6, 4)
    evidence, families = observed(dense, Batch((torch.randn(6, 3),), target))
    np.testing.assert_allclose(evidence.targets()[:: len(evidence.targets()) // 6], target, atol=1e-6)
    assert evidence.targets().shape[1] == 4
    assert len(evidence.targets()) == len(evidence.activations(families["0"]))
    sound = nn.Sequential(nn.Conv1d(1, 5, 1), nn.Tanh(), nn.Conv1d(5, 1, 1), nn.Flatten())
    target = torch.randn(6, 30)
    evidence, families = observed(sound, Batch((torch.randn(6, 1, 30),), target))
    np.testing.assert_allclose(evidence.targets(), target.reshape(180, 1), atol=1e-6)
    assert evidence.activations(families["0"]).shape == (180, 5)


@torch.no_grad()
def test_units_of_two_families_in_one_layer_are_told_apart() -> None:
    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.left, self.right = nn.Linear(2, 7), nn.Linear(3, 1), nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            left, right = self.first(x).split([3, 4], dim=-1)
            return self.left(torch.tanh(left)) * self.right(torch.relu(right))  # type: ignore[no-any-return]

    module, x = Halves(), torch.randn(50, 2)
    evidence, families = observed(module, Batch((x,), torch.randn(50, 1)))
    y = module.first(x)
    seen = {family.units: evidence.activations(family) for family in families.values()}
    repeats = len(seen[3]) // 50
    np.testing.assert_allclose(seen[3][::repeats], torch.tanh(y[:, :3]), atol=1e-6)
    np.testing.assert_allclose(seen[4][::repeats], torch.relu(y[:, 3:]), atol=1e-6)


# -- pochette's own models ---------------------------------------------------------------------------------------------


def excerpt_for(model: Any) -> Excerpt:
    """Two gliding tones."""
    samples = 2048 // model.hop_samples * model.hop_samples
    frames = samples // model.hop_samples
    glide = torch.arange(samples) * 0.1 * torch.linspace(1.0, 1.2, samples)
    return {
        "audio": torch.stack([0.3 * torch.sin(glide), 0.1 * torch.sin(1.7 * glide)]),
        "f0_hz": torch.linspace(200.0, 300.0, frames).repeat(2, 1),
        "loudness_db": torch.linspace(-30.0, -10.0, frames).repeat(2, 1),
    }


@pytest.mark.parametrize("name", ["ddsp", "wavenet", "samplernn", "nsynth", "sing-ae"])
def test_every_criterion_scores_every_unit(name: str) -> None:
    """As the laboratory asks: the trim form on what `watched` gives, the loss of the model within it."""
    torch.manual_seed(0)
    model = models[name].sized("tiny").build()
    excerpt = excerpt_for(model)
    form, inputs = copy_of(model).trim_form()  # type: ignore[operator]
    with torch.no_grad():
        given, target = model.watched(excerpt)

    def loss(network: Any, _: Batch) -> Tensor:
        return network.model.loss(excerpt, torch.Generator().manual_seed(0))  # type: ignore[no-any-return]

    evidence, families = observed(form, Batch(given, target), example=inputs, loss=loss)
    rows = len(evidence.targets())
    assert 2 <= rows <= SAMPLES and len(families) > 2
    for family in families.values():
        assert evidence.activations(family).shape == (rows, family.units)
        assert len(evidence.inputs(family)) == rows
        for criterion in criteria.names():
            scores = criteria[criterion](family, evidence)
            assert scores.shape == (family.units,) and np.isfinite(scores).all(), (criterion, family.name)
            assert (scores >= 0).all()
            if needs_data(criteria[criterion]) and criterion in ("activation", "gradient"):
                # Units behind a ReLU may well be silent, but not all.
                assert len(set(scores.tolist())) >= min(3, family.units), (criterion, family.name)
