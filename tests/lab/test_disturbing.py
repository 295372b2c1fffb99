"""Disturbing stored networks: what is heard, what stays dead, what is kept, and what follows where it cannot be."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load as unpack

from pochette.corpus.folder import FolderCorpus
from pochette.errors import RunError
from pochette.lab import disturbing
from pochette.lab.disturbing import PREFIX, WORDS, disturbed
from pochette.lab.execute import describe, run
from pochette.lab.experiment import Cut, Dense, Disturbed, Experiment, ancestors_of, path
from pochette.lab.judge import Parts, divide
from pochette.lab.networks import Task, part, rebuilt
from pochette.lab.stability.sensitivity import heard, to_noise
from pochette.lab.stability.summary import Effort, _some, excerpts_of
from pochette.lab.store import Store
from pochette.lab.walk import perform
from pochette.lab.workers import ThisProcess
from pochette.models.ddsp import Ddsp
from pochette.train.loop import Training
from tests.corpora import write_notes

RECIPE = Ddsp.sized("tiny", sample_rate_hz=8000, partials=10, noise_bands=5)
QUICK = Effort(excerpts=2, hessian_draws=2, tolerance=0.3, noise=(0.02, 0.2), noise_draws=1, bits=(8, 3), points=3)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disturbing, "EFFORT", QUICK)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> FolderCorpus:
    folder = tmp_path_factory.mktemp("corpus")
    hop = RECIPE.build().hop_samples
    return FolderCorpus.prepare(write_notes(folder / "notes"), 8000, hop, cache_dir=folder / "cache")


@pytest.fixture(scope="module")
def store(corpus: FolderCorpus, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A dense network, a trimmed and a masked one."""
    found = Store(tmp_path_factory.mktemp("store"))
    assert not run([trimmed(corpus), masked(corpus)], found, lambda _: corpus, ThisProcess()).failed
    return found


def whole(corpus: FolderCorpus) -> Dense:
    return Dense(corpus.fingerprint, "ddsp", RECIPE, 4, Training(batch=2, excerpt_seconds=0.2, evaluate_steps=2))


def trimmed(corpus: FolderCorpus) -> Cut:
    return path(whole(corpus), (0.5,), 2)[0]


def masked(corpus: FolderCorpus) -> Cut:
    return path(whole(corpus), (0.5,), 2, removal="mask")[0]


def task_of(experiment: Disturbed, store: Store) -> Task:
    known: dict[Experiment, Any] = {item: store.result(item) for item in ancestors_of(experiment)}
    return Task(experiment, known, store.weights(experiment.parent))


def test_a_network_keeps_its_result_and_has_its_stability_beside(corpus: FolderCorpus, store: Store) -> None:
    experiment = Disturbed(masked(corpus), 2)
    found = perform(task_of(experiment, store), corpus)
    own = store.result(masked(corpus))
    assert replace(found.result, steps=own.steps).exact == own.exact and found.weights == b""
    assert (found.result.steps, found.result.training_seconds) == (0, 0.0), "its branches are no training of its own"
    assert {f"{PREFIX}{name}" for name in WORDS} <= set(found.result.figures)
    assert found.result.figures["stability: cost_steps"] == 4.0
    assert all(math.isfinite(value) for value in found.result.figures.values())


def test_what_a_network_is_told_from_is_not_what_its_error_was_measured_on(corpus: FolderCorpus, store: Store) -> None:
    parts = divide(corpus, RECIPE.build())
    experiment = Disturbed(trimmed(corpus), 2)
    without_test = Parts(parts.training, parts.looks, None)  # type: ignore[arg-type]  # who asks for it fails
    found = disturbed(task_of(experiment, store), experiment, without_test).result.figures
    model = rebuilt(whole(corpus), part(unpack(store.weights(trimmed(corpus))), "model/")).eval()
    change = heard(model, _some(excerpts_of(parts.looks, model), 1))
    curve = to_noise(model, change, amounts=QUICK.noise, draws=1, seed=whole(corpus).training.seed)
    assert found["stability: noise_area"] == curve.area_per_octave > 0.0


def test_what_is_dead_stays_dead(corpus: FolderCorpus, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[Experiment, Any] = {}

    def spied(*_: Any, masks: Any, **__: Any) -> Any:
        asked[now] = masks
        return SimpleNamespace(figures={})

    monkeypatch.setattr(disturbing, "stability_of", spied)
    for now in (whole(corpus), trimmed(corpus), masked(corpus)):
        perform(task_of(Disturbed(now, 1), store), corpus)
    assert asked[whole(corpus)] is None and asked[trimmed(corpus)] is None
    weights = part(unpack(store.weights(masked(corpus))), "model/")
    lives = asked[masked(corpus)]
    assert all(torch.equal(mask, weights[name] != 0) for name, mask in lives.items() if name in weights)
    assert sum(int((~mask).sum()) for mask in lives.values()) > 100


def test_figures_that_are_not_finite_are_left_out(
    corpus: FolderCorpus, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {"noise_area": 1.5, "curvature_trace": math.inf, "bits_area": math.nan}
    monkeypatch.setattr(disturbing, "stability_of", lambda *_, **__: SimpleNamespace(figures=made))
    experiment = Disturbed(trimmed(corpus), 2)
    assert perform(task_of(experiment, store), corpus).result.figures == {"stability: noise_area": 1.5}


def test_one_that_cannot_be_disturbed_does_not_end_the_others(
    corpus: FolderCorpus, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails_when_trimmed(*_: Any, masks: Any, **__: Any) -> Any:
        if masks is None:
            raise RunError("The change by 2 bits is nan.", remedy="Ask for less disturbance.")
        return SimpleNamespace(figures={"noise_area": 1.0})

    monkeypatch.setattr(disturbing, "stability_of", fails_when_trimmed)
    bad, good = Disturbed(trimmed(corpus), 3), Disturbed(masked(corpus), 3)
    lines: list[str] = []
    ran = run([bad, good], store, lambda _: corpus, ThisProcess(), report=lambda _, line: lines.append(line))
    assert ran.done == [good] and ran.failed == {bad: "The change by 2 bits is nan. Ask for less disturbance."}
    assert any("disturbed, 3 steps a branch" in line and "failed" in line for line in lines)
    assert store.has(good) and not store.has(bad) and "disturbed" in describe(good)
    assert run([good], store, lambda _: corpus, ThisProcess(), perform=None).reused == [good]  # type: ignore[arg-type]
