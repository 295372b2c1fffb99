"""Models that tell classes apart, trained from a folder whose names tell them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pochette.corpus.folder import FolderCorpus
from pochette.errors import SoundError
from pochette.lab.judge import excerpts_of, hold_out
from pochette.models.model import Model
from pochette.models.wavegan import Wavegan
from pochette.models.wavenet import Wavenet
from pochette.sound.audio import write_wav
from pochette.train.loop import Budget, Trainer, Training

RATE = 8000
WAVENET = replace(Wavenet.sized("tiny"), conditioning="class", classes=2, sample_rate_hz=RATE)
WAVEGAN = replace(Wavegan.sized("tiny"), classes=2, sample_rate_hz=RATE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hisses and hums, six of each."""
    made = tmp_path_factory.mktemp("sounds")
    t = np.arange(RATE // 4) / RATE
    for take in range(6):
        rng = np.random.default_rng(take)
        write_wav(made / f"hiss_{take}.wav", rng.uniform(-0.5, 0.5, len(t)).astype(np.float32), RATE)
        write_wav(made / f"hum_{take}.wav", (0.5 * np.sin(2 * np.pi * (100 + take) * t)).astype(np.float32), RATE)
    return made


def prepared(folder: Path, model: Model, cache: Path) -> FolderCorpus:
    return FolderCorpus.prepare(folder, RATE, model.hop_samples, cache_dir=cache)


def test_wavenet_learns_two_classes_from_a_folder(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = WAVENET.build()
    parts = hold_out(prepared(folder, model, tmp_path), model, seed=0)
    training = Training(batch=4, excerpt_seconds=0.1, learning_rate=1e-2, evaluate_steps=40)
    Trainer(model, *parts, training, Budget(steps=80)).fit()
    excerpts = [excerpt for part in parts for excerpt in excerpts_of(part, model)]
    for excerpt in excerpts:
        other = {**excerpt, "class_number": 1.0 - excerpt["class_number"]}
        with torch.no_grad():
            assert model.loss(excerpt).item() < model.loss(other).item() - 0.3
    assert {float(n) for excerpt in excerpts for n in excerpt["class_number"].flatten()} == {0.0, 1.0}


def test_wavegan_takes_its_turns_over_classes(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = WAVEGAN.build()
    before = {name: value.clone() for name, value in model.named_parameters()}
    parts = hold_out(prepared(folder, model, tmp_path), model, seed=0)
    progress = Trainer(model, *parts, Training(batch=4, evaluate_steps=2), Budget(steps=4)).fit()
    assert np.isfinite(progress.history).all() and progress.steps == 4
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    # The offset of a critic that only compares never moves.
    assert moved >= before.keys() - {"critic.dense.bias"}


@pytest.mark.parametrize(
    "recipe", [replace(WAVENET, classes=3), replace(WAVEGAN, classes=3)], ids=["wavenet", "wavegan"]
)
def test_another_number_of_classes_is_refused_before_anything_is_trained(
    recipe: Wavenet | Wavegan, folder: Path, tmp_path: Path
) -> None:
    model = recipe.build()
    corpus = prepared(folder, model, tmp_path)
    for refuse in (
        lambda: hold_out(corpus, model, 0),
        lambda: Trainer(model, corpus, corpus, Training(), Budget(steps=1)),
    ):
        with pytest.raises(SoundError, match="tells 3 classes apart") as refused:
            refuse()
        assert refused.value.remedy == "Give --classes 2." and refused.value.where == str(folder)
