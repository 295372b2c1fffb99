"""The figures of one model: the same again, nothing where nothing moves, and whatever form the model has."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import pytest
import torch

from pochette.corpus.folder import FolderCorpus
from pochette.errors import RecipeError
from pochette.lab.judge import Parts, divide
from pochette.lab.stability.summary import Effort, _curved, stability_of
from pochette.models.model import Model
from pochette.models.samplernn import SampleRnn
from pochette.models.wavenet import Wavenet
from pochette.reduce.sparse.held import Held
from pochette.reduce.sparse.weights import all_alive, weights_of
from pochette.reduce.trimming import structure_of, trim_model
from tests.corpora import write_notes
from tests.lab.stability.conftest import TRAINING

QUICK = Effort(excerpts=2, hessian_draws=2, noise=(0.02, 0.2), noise_draws=1, bits=(8, 3), points=3)
IN_DB = {"barrier_db_over_mean", "barrier_db_over_line"}


@pytest.fixture
def parts(corpus: FolderCorpus, model: Model) -> Parts:
    return divide(corpus, model)


def test_figures_are_the_same_again_and_the_model_stays(parts: Parts, model: Model) -> None:
    before = {path: tensor.clone() for path, tensor in model.state_dict().items()}
    found = stability_of(model, parts, TRAINING, 2, effort=QUICK).figures
    torch.manual_seed(77)
    again = stability_of(model, parts, TRAINING, 2, effort=QUICK).figures
    assert found.pop("cost_seconds") > 0.0 < again.pop("cost_seconds")
    assert found == again and all(isinstance(value, float) for value in found.values())
    assert all(torch.equal(model.state_dict()[path], tensor) for path, tensor in before.items())
    assert found.keys() >= IN_DB and found["cost_steps"] == 4.0 and found["cost_products"] > 2.0
    assert found["noise_area"] > 0.0 < found["bits_area"] and found["branches_distance"] > 0.0
    assert found["barrier_over_mean"] >= found["barrier_over_line"] >= 0.0
    assert found["barrier_over_mean"] >= found["ends_apart"] / 2.0 - 1e-6
    assert found["curvature_largest"] > 0.0


def test_curves_and_progress_are_told(parts: Parts, model: Model) -> None:
    heard: list[tuple[float, str]] = []
    found = stability_of(model, parts, TRAINING, 3, effort=QUICK, told=lambda *of: heard.append(of))
    shares = [share for share, _ in heard]
    assert shares == sorted(shares) and shares[0] > 0.0 and 0.9 < shares[-1] <= 1.0
    assert {what.split(":")[0] for _, what in heard} == {
        "curvature", "noise and bits", "branch 1 of 2", "branch 2 of 2", "the line between", "where the branches began"
    }  # fmt: skip
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert data["line"]["shares"] == data["line_db"]["shares"] == [0.0, 0.5, 1.0]
    assert data["noise"]["amounts"] == [0.02, 0.2] and data["bits"]["amounts"] == [8, 3]
    figures = found.figures
    assert data["figures"] == figures
    ends = data["line"]["errors"]
    assert figures["barrier_over_mean"] == pytest.approx(max(ends) - (ends[0] + ends[-1]) / 2)
    # Two points: the area per octave is the mean of the two heights.
    assert figures["bits_area"] == pytest.approx(sum(data["bits"]["changes"]) / 2)


def test_what_stands_still_has_no_barrier(parts: Parts, model: Model) -> None:
    moving = stability_of(model, parts, TRAINING, 2, effort=QUICK).figures
    still = stability_of(model, parts, replace(TRAINING, learning_rate=1e-8), 2, effort=QUICK).figures
    assert still["branches_distance"] < 1e-4 * moving["branches_distance"]
    assert still["barrier_over_mean"] < 1e-3 * moving["ends_error"] and still["barrier_db_over_mean"] < 1e-2
    for name in ("curvature_largest", "noise_area", "bits_area"):
        assert still[name] == moving[name], "those are of the model, not of its branches"


def test_masked_and_trimmed_models_have_figures(parts: Parts, model: Model) -> None:
    generator = torch.Generator().manual_seed(0)
    masks = {
        path: torch.rand(mask.shape, generator=generator) < 0.3 for path, mask in all_alive(weights_of(model)).items()
    }
    masked = copy.deepcopy(model)
    Held(weights_of(masked), masks)
    found = stability_of(masked, parts, TRAINING, 1, masks=masks, effort=QUICK).figures
    loose = stability_of(masked, parts, TRAINING, 1, effort=QUICK).figures
    # Without masks the branches move what is dead: what is compared then are other weights.
    assert found["branches_distance"] != loose["branches_distance"] and found["noise_area"] != loose["noise_area"]
    whole = structure_of(model)
    trimmed, _, _ = trim_model(model, macs=0.4 * whole.matrix_macs())
    assert stability_of(trimmed, parts, TRAINING, 1, effort=QUICK).figures.keys() == found.keys()


@pytest.mark.slow
def test_a_model_that_draws_its_samples_has_no_figures_in_db(tmp_path_factory: pytest.TempPathFactory) -> None:
    torch.manual_seed(0)
    drawing: Model = Wavenet.sized("tiny").build()
    folder = tmp_path_factory.mktemp("drawn")
    corpus = FolderCorpus.prepare(
        write_notes(folder / "notes"), drawing.sample_rate_hz, drawing.hop_samples, cache_dir=folder / "cache"
    )
    parts, short = divide(corpus, drawing), replace(TRAINING, excerpt_seconds=0.05)
    found = stability_of(drawing, parts, short, 1, again=False, effort=QUICK)
    assert found.line_db is None and not found.figures.keys() & IN_DB and found.figures["bits_area"] != 0.0
    assert found.unit == found.loss_unit == drawing.loss_unit


def test_where_training_cuts_windows_curvature_is_taken_on_two(tmp_path_factory: pytest.TempPathFactory) -> None:
    torch.manual_seed(0)
    drawing: Model = SampleRnn.sized("tiny", window_samples=256).build()
    folder = tmp_path_factory.mktemp("windows")
    corpus = FolderCorpus.prepare(
        write_notes(folder / "notes"), drawing.sample_rate_hz, drawing.hop_samples, cache_dir=folder / "cache"
    )
    parts = divide(corpus, drawing)
    lengths = {
        seconds: _curved(drawing, parts, replace(TRAINING, excerpt_seconds=seconds), QUICK)["audio"].shape[1]
        for seconds in (0.01, 0.02, 0.5)
    }
    assert lengths == {0.01: 160, 0.02: 320, 0.5: 512}


def test_an_effort_that_says_nothing_is_refused() -> None:
    with pytest.raises(RecipeError, match="hessian-draws"):
        Effort(hessian_draws=1)
