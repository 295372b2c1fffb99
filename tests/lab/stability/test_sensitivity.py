"""How change grows with noise and with the step of rounding, where both are known; and what a listener hears."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from pochette.corpus.folder import FolderCorpus
from pochette.errors import RunError
from pochette.lab.stability.early_phase import put
from pochette.lab.stability.sensitivity import BITS, NOISE, Curve, heard, to_bits, to_noise
from pochette.models.model import Excerpt, Model
from pochette.models.wavenet import Wavenet
from pochette.recipe import to_json
from pochette.reduce.sparse.weights import all_alive, effective, weights_of
from pochette.sound.metrics.log_spectral_db import log_spectral_db
from pochette.train.device import tensors_of
from tests.corpora import write_notes


def moved(module: nn.Module) -> object:
    """Root mean square by which another network's weights differ, per that of the weights."""
    before = torch.cat([weight.flatten() for weight in effective(weights_of(module)).values()])

    def change(other: nn.Module) -> float:
        now = torch.cat([weight.flatten() for weight in effective(weights_of(other)).values()])
        return float((now - before).square().mean().sqrt() / before.square().mean().sqrt())

    return change


@pytest.fixture
def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(300, 200)


def test_noise_is_relative_and_grows_as_told(layer: nn.Linear) -> None:
    kept = copy.deepcopy(layer.state_dict())
    for scale in (1.0, 1e-3):
        with torch.no_grad():
            layer.weight.mul_(scale)
        found = to_noise(layer, moved(layer), amounts=(0.01, 0.1), draws=2)  # type: ignore[arg-type]
        assert found.changes == pytest.approx((0.01, 0.1), rel=0.02)
        assert found.changes[1] / found.changes[0] == pytest.approx(10.0, rel=1e-3), "the same noise, louder"
        assert all(largest >= mean for largest, mean in zip(found.largest, found.changes, strict=True))
    assert torch.equal(layer.bias, kept["bias"])
    once, again, other = (to_noise(layer, moved(layer), seed=seed) for seed in (1, 1, 2))  # type: ignore[arg-type]
    assert once == again != other


def test_the_dead_are_not_shaken_and_rounded_to_zero(layer: nn.Linear) -> None:
    masks = all_alive(weights_of(layer))
    masks["weight"][:, :150] = False
    with torch.no_grad():
        layer.weight[:, :150] = 0.0
    seen: list[float] = []

    def change(other: nn.Module) -> float:
        assert isinstance(other, nn.Linear)
        seen.append(float(other.weight[:, :150].abs().max()))
        return float((other.weight - layer.weight)[:, 150:].std() / layer.weight[:, 150:].std())

    found = to_noise(layer, change, amounts=(0.1,), draws=1, masks=masks)
    assert found.changes[0] == pytest.approx(0.1, rel=0.02), "relative to the living"
    to_bits(layer, change, bits=(8, 2))
    assert seen == [0.0] * 3


def test_each_bit_less_doubles_the_step(layer: nn.Linear) -> None:
    found = to_bits(layer, moved(layer))  # type: ignore[arg-type]
    assert found.amounts == BITS and found.octaves == tuple(float(-bits) for bits in BITS)
    # Uniform weights in (-1, 1) / sqrt(300), largest of a row about 1: errors are uniform over a step of 1 / levels.
    expected = [(1.0 / (2 ** (bits - 1) - 1)) / 12**0.5 * 3**0.5 for bits in BITS]
    assert found.changes[:5] == pytest.approx(expected[:5], rel=0.03)
    assert list(found.changes) == sorted(found.changes)


def test_an_area_is_a_mean_height() -> None:
    level = Curve((0.1, 0.2, 0.8), (0.0, 1.0, 3.0), (5.0, 5.0, 5.0), (5.0, 5.0, 5.0))
    ramp = Curve((0.1, 0.2, 0.8), (0.0, 1.0, 3.0), (0.0, 1.0, 3.0), (0.0, 1.0, 3.0))
    assert level.area_per_octave == 5.0 and ramp.area_per_octave == 1.5
    assert Curve((8,), (-8.0,), (2.0,), (2.0,)).area_per_octave == 2.0
    assert to_json(ramp)["changes"] == [0.0, 1.0, 3.0]


def excerpt_of(corpus: FolderCorpus, model: Model, frames: int = 60) -> Excerpt:
    return tensors_of(corpus.excerpt_batch(np.random.default_rng(0), 2, frames, model.heard_from))


def test_a_model_s_change_is_what_is_heard(corpus: FolderCorpus, model: Model) -> None:
    excerpt = excerpt_of(corpus, model)
    change = heard(model, excerpt)
    assert change(model) == 0.0
    other = copy.deepcopy(model)
    shaken = {path: weight + 0.05 * torch.randn(weight.shape) for path, weight in effective(weights_of(model)).items()}
    put(other, shaken)
    with torch.no_grad():
        sounds = [m.eval().resynthesised(excerpt).numpy() for m in (model, other)]
    expected = np.mean([log_spectral_db(*rows, 8000) for rows in zip(*sounds, strict=True)])
    assert change(other) == pytest.approx(expected) and expected > 0.1
    noise, bits = to_noise(model, change, amounts=NOISE[::2], draws=1), to_bits(model, change, bits=BITS[::2])
    assert noise.changes[0] < noise.changes[-1] and bits.changes[0] < bits.changes[-1]


def test_a_model_that_draws_its_samples_is_judged_by_its_loss(tmp_path_factory: pytest.TempPathFactory) -> None:
    torch.manual_seed(0)
    model: Model = Wavenet.sized("tiny").build()
    folder = tmp_path_factory.mktemp("drawn")
    notes = write_notes(folder / "notes", (57, 64), 0.3)
    corpus = FolderCorpus.prepare(notes, model.sample_rate_hz, model.hop_samples, cache_dir=folder / "cache")
    change = heard(model, excerpt_of(corpus, model, 20))
    assert change(model) == 0.0
    silent = copy.deepcopy(model)
    put(silent, {path: 100.0 * weight for path, weight in effective(weights_of(model)).items()})
    assert change(silent) > 0.0


def test_a_change_without_a_value_is_told(layer: nn.Linear) -> None:
    with pytest.raises(RunError, match="2 bits"):
        to_bits(layer, lambda m: float("inf"), bits=(2,))
    with pytest.raises(RunError, match=r"noise of 0\.1"):
        to_noise(layer, lambda m: float("nan"), amounts=(0.1,))
