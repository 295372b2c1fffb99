"""The figures of one model: the same again, nothing where nothing moves, and whatever form the model has."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from pochette.corpus.folder import FolderCorpus
from pochette.errors import RecipeError
from pochette.lab.judge import divide
from pochette.lab.stability.summary import Effort, stability_of
from pochette.models.model import Model
from pochette.models.wavenet import Wavenet
from pochette.reduce.sparse.held import Held
from pochette.reduce.sparse.weights import all_alive, weights_of
from pochette.reduce.trimming import structure_of, trim_model
from tests.corpora import write_notes
from tests.lab.stability.conftest import TRAINING

QUICK = Effort(excerpts=2, hessian_draws=2, noise=(0.02, 0.2), noise_draws=1, bits=(8, 3), points=3)
IN_DB = {"barrier_db_over_mean", "barrier_db_over_line"}


def test_figures_are_the_same_again_and_the_model_stays(corpus: FolderCorpus, model: Model) -> None:
    before = {path: tensor.clone() for path, tensor in model.state_dict().items()}
    found = stability_of(model, corpus, TRAINING, 2, effort=QUICK)
    torch.manual_seed(77)
    again = stability_of(model, corpus, TRAINING, 2, effort=QUICK)
    assert found.pop("cost_seconds") > 0.0 < again.pop("cost_seconds")
    assert found == again and all(isinstance(value, float) for value in found.values())
    assert all(torch.equal(model.state_dict()[path], tensor) for path, tensor in before.items())
    assert found.keys() >= IN_DB and found["cost_steps"] == 4.0 and found["cost_products"] > 2.0
    assert found["noise_area"] > 0.0 < found["bits_area"] and found["branches_distance"] > 0.0
    assert found["barrier_over_mean"] >= found["barrier_over_line"] >= 0.0
    assert found["barrier_over_mean"] >= found["ends_apart"] / 2.0 - 1e-6
    assert found["curvature_largest"] > 0.0


def test_what_stands_still_has_no_barrier(corpus: FolderCorpus, model: Model) -> None:
    moving = stability_of(model, corpus, TRAINING, 2, effort=QUICK)
    still = stability_of(model, corpus, replace(TRAINING, learning_rate=1e-8), 2, effort=QUICK)
    assert still["branches_distance"] < 1e-4 * moving["branches_distance"]
    assert still["barrier_over_mean"] < 1e-3 * moving["ends_error"] and still["barrier_db_over_mean"] < 1e-2
    for name in ("curvature_largest", "noise_area", "bits_area"):
        assert still[name] == moving[name], "those are of the model, not of its branches"


def test_masked_and_trimmed_models_have_figures(corpus: FolderCorpus, model: Model) -> None:
    generator = torch.Generator().manual_seed(0)
    masks = {
        path: torch.rand(mask.shape, generator=generator) < 0.3 for path, mask in all_alive(weights_of(model)).items()
    }
    masked = copy.deepcopy(model)
    Held(weights_of(masked), masks)
    found = stability_of(masked, corpus, TRAINING, 1, masks=masks, effort=QUICK)
    loose = stability_of(masked, corpus, TRAINING, 1, effort=QUICK)
    # Without masks the branches move what is dead: what is compared then are other weights.
    assert found["branches_distance"] != loose["branches_distance"] and found["noise_area"] != loose["noise_area"]
    whole = structure_of(model)
    trimmed, _, _ = trim_model(model, macs=0.4 * whole.matrix_macs())
    assert stability_of(trimmed, corpus, TRAINING, 1, effort=QUICK).keys() == found.keys()


@pytest.mark.slow
def test_a_model_that_draws_its_samples_has_no_figures_in_db(tmp_path_factory: pytest.TempPathFactory) -> None:
    torch.manual_seed(0)
    drawing: Model = Wavenet.sized("tiny").build()
    folder = tmp_path_factory.mktemp("drawn")
    corpus = FolderCorpus.prepare(
        write_notes(folder / "notes"), drawing.sample_rate_hz, drawing.hop_samples, cache_dir=folder / "cache"
    )
    found = stability_of(drawing, corpus, replace(TRAINING, excerpt_seconds=0.05), 1, again=False, effort=QUICK)
    assert not found.keys() & IN_DB and found["bits_area"] != 0.0 and divide(corpus, drawing).test.sounds


def test_an_effort_that_says_nothing_is_refused() -> None:
    with pytest.raises(RecipeError, match="hessian-draws"):
        Effort(hessian_draws=1)
