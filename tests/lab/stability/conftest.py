"""A model small enough to be trained in a moment, and notes to train it on."""

from __future__ import annotations

import pytest

from pochette.corpus.folder import FolderCorpus
from pochette.models.ddsp import Ddsp
from pochette.models.model import Model
from pochette.train.loop import Training
from tests.corpora import write_notes

RECIPE = Ddsp.sized("tiny", sample_rate_hz=8000, partials=10, noise_bands=5)
TRAINING = Training(batch=2, excerpt_seconds=0.2)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> FolderCorpus:
    folder = tmp_path_factory.mktemp("corpus")
    hop = RECIPE.build().hop_samples
    return FolderCorpus.prepare(write_notes(folder / "notes"), 8000, hop, cache_dir=folder / "cache")


@pytest.fixture
def model() -> Model:
    import torch

    torch.manual_seed(0)
    built: Model = RECIPE.build()
    return built
