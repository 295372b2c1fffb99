"""Rounded weights: how far they are off, that rounding twice is rounding once, and that training with it helps."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pochette.engine.export import export_with_twin
from pochette.engine.precision import rounded_matrix
from pochette.engine.twin import Playing
from pochette.models.ddsp import Ddsp
from pochette.reduce.methods.quantise import Quantise
from pochette.reduce.rounded import Rounding, output_axes, rounded
from pochette.reduce.sparse.weights import weights_of
from pochette.train.loop import Training
from pochette.train.session import Session
from tests.corpora import notes_corpus


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("axis", [0, 1])
def test_every_number_is_off_by_half_a_step_at_most(bits: int, axis: int) -> None:
    weight = torch.randn(7, 5, 3, generator=torch.Generator().manual_seed(0))
    weight.select(axis, 2).zero_()
    held = rounded(weight, bits, axis)
    largest = weight.abs().amax(dim=[a for a in range(3) if a != axis], keepdim=True)
    step = largest / (2 ** (bits - 1) - 1)
    assert bool(((held - weight).abs() <= 0.5 * step * (1 + 1e-5) + 1e-9).all())
    assert torch.allclose(rounded(held, bits, axis), held, atol=1e-7)
    for row in held.movedim(axis, 0):
        assert len(row.unique()) <= 2**bits - 1


def test_eight_bits_are_the_engines() -> None:
    weight = torch.randn(9, 20, generator=torch.Generator().manual_seed(0))
    assert np.array_equal(rounded(weight).numpy(), rounded_matrix(weight.numpy(), "int8"))


def test_outputs_of_a_transposed_convolution_lie_along_its_second_axis() -> None:
    module = nn.Sequential(nn.Conv1d(3, 4, 5), nn.ConvTranspose1d(4, 2, 6), nn.GRU(2, 3))
    assert output_axes(module) == {"0.weight": 0, "1.weight": 1, "2.weight_ih_l0": 0, "2.weight_hh_l0": 0}


def test_training_with_few_bits_beats_rounding_afterwards() -> None:
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 2))
    x = torch.randn(512, 12)
    wanted = teacher(x).detach()
    module = nn.Sequential(nn.Linear(12, 32), nn.Tanh(), nn.Linear(32, 2))

    def train(net: nn.Module, rounding: Rounding | None) -> None:
        stepper = torch.optim.Adam(net.parameters(), 3e-3)
        if rounding is not None:
            rounding.attach(stepper)
        for _ in range(400):
            stepper.zero_grad()
            (net(x) - wanted).square().mean().backward()
            stepper.step()

    def error(net: nn.Module) -> float:
        return (net(x) - wanted).square().mean().item()

    train(module, None)
    at_once, trained = copy.deepcopy(module), copy.deepcopy(module)
    Rounding(weights_of(at_once), 3, output_axes(module))
    rounding = Rounding(weights_of(trained), 3, output_axes(module))
    train(trained, rounding)
    assert error(trained) < 0.5 * error(at_once)
    for weight in weights_of(trained).values():
        assert torch.equal(rounded(weight.parameter, 3), weight.parameter.detach())


def test_rounding_vectors_to_16_bits_is_not_worth_training_for(tmp_path: Path) -> None:
    """The engine of 8 bits rounds vectors and states too. By how much that moves a trained network's held-out error is
    measured here: by its twin with and without that, beside what rounding the weights does."""
    torch.manual_seed(0)
    model = Ddsp(hidden=32, stack_width=32, stack_layers=1, partials=16, noise_bands=17).build()
    how = Training(batch=2, excerpt_seconds=0.1, evaluate_steps=10)
    session = Session(tmp_path / "run", *notes_corpus(tmp_path / "c"), how, float("inf"), steps=30)
    models: list[Any] = [item.model.eval() for item in Quantise().apply(model, session)]
    trained = models[-1]
    excerpt = session.watched_excerpt(trained, frames=25, sounds=3)
    curves = trained.controls_of(excerpt).numpy()
    _, twin = export_with_twin(trained, "rounded", "int8")

    def played(one: Playing) -> torch.Tensor:
        sounds = []
        for curve in curves:
            one.reset()
            sounds.append(torch.from_numpy(one.play(curve)))
        return torch.stack(sounds)

    sounds = {"all": played(twin), "weights": played(twin.floats(rounded=True))}
    errors = {name: float(trained.distance(sound, excerpt["audio"])) for name, sound in sounds.items()}
    assert not torch.equal(sounds["all"], sounds["weights"]), "vectors are rounded"
    assert abs(errors["all"] - errors["weights"]) < 1e-4 * errors["weights"]
    with torch.no_grad():
        exact, at_once = (float(one.distance(one(torch.from_numpy(curves)), excerpt["audio"])) for one in models[:2])
    assert abs(errors["all"] - errors["weights"]) < abs(at_once - exact), "less than rounding the weights does"
