"""Techniques as experiments: the same to the bit as applied by hand, and judged by what they leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load as unpack

from pochette.corpus.folder import FolderCorpus
from pochette.errors import PochetteError, RecipeError, ReductionError
from pochette.families import methods
from pochette.lab.execute import describe
from pochette.lab.experiment import Dense, Engine, Reduced, dense_steps, from_data, name_of, steps_of, to_data
from pochette.lab.judge import divide
from pochette.lab.networks import SPENT, STATE, STORED, Outcome, Task, fresh, part
from pochette.lab.reducing import COUNTED, TIMED
from pochette.lab.walk import perform
from pochette.models.ddsp import Ddsp
from pochette.train.loop import Training
from pochette.train.session import Session
from tests.corpora import write_notes

RECIPE = Ddsp(sample_rate_hz=8000, hidden=24, stack_width=20, stack_layers=1, partials=12, noise_bands=9)
TRAINING = Training(batch=2, excerpt_seconds=0.1, evaluate_steps=2)
STEPS = 20


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> FolderCorpus:
    folder = tmp_path_factory.mktemp("notes")
    return FolderCorpus.prepare(write_notes(folder), 8000, RECIPE.build().hop_samples, cache_dir=folder / "cache")


@pytest.fixture(scope="module")
def dense(corpus: FolderCorpus) -> tuple[Dense, Outcome]:
    experiment = Dense(corpus.fingerprint, "ddsp", RECIPE, dense_steps(STEPS), TRAINING)
    return experiment, perform(Task(experiment), corpus)


def asked(dense: Dense, method: str, keep: float = 0.25) -> Reduced:
    return Reduced(dense, method, methods[method].keeping(keep), STEPS)


def done(experiment: Reduced, outcome: Outcome, corpus: FolderCorpus, folder: Path | None = None) -> Outcome:
    known = {experiment.parent: outcome.result}
    return perform(Task(experiment, known, outcome.weights, str(folder) if folder else ""), corpus)


@pytest.mark.parametrize("method", ["magnitude", "ticket", "quantise", "lottery"])
def test_the_shared_dense_phase_changes_no_bit(
    method: str, corpus: FolderCorpus, dense: tuple[Dense, Outcome], tmp_path: Path
) -> None:
    experiment = asked(dense[0], method)
    found = done(experiment, dense[1], corpus)
    parts = divide(corpus, RECIPE.build())
    session = Session(tmp_path, parts.training, parts.looks, TRAINING, float("inf"), STEPS)
    by_hand = experiment.options.apply(fresh(dense[0]), session)[-1]
    stored = unpack(found.weights)
    for path, tensor in by_hand.model.state_dict().items():
        assert torch.equal(part(stored, "model/")[path], tensor), path
    for path, mask in by_hand.masks.items():
        assert torch.equal(part(stored, "mask/")[path], mask)
    assert found.result.steps == STEPS - dense_steps(STEPS)
    figures = found.result.figures
    assert figures[STORED] == by_hand.weight_bytes and figures[STATE] > 0 and figures[SPENT] > 0


def test_who_begins_small_trains_as_long_as_all_others(corpus: FolderCorpus, dense: tuple[Dense, Outcome]) -> None:
    for method in ("static", "snip", "scratch"):
        assert done(asked(dense[0], method), dense[1], corpus).result.steps == STEPS


def test_masked_weights_are_not_counted(corpus: FolderCorpus, dense: tuple[Dense, Outcome]) -> None:
    found = done(asked(dense[0], "magnitude"), dense[1], corpus)
    dead = sum(int((~mask).sum()) for mask in part(unpack(found.weights), "mask/").values())
    whole = dense[1].result
    assert 0 < dead == whole.weights - found.result.weights
    assert found.result.macs_per_second == whole.macs_per_second  # nothing is saved but memory


def test_a_stopped_one_goes_on(
    corpus: FolderCorpus, dense: tuple[Dense, Outcome], tmp_path: Path, monkeypatch: Any
) -> None:
    experiment = asked(dense[0], "magnitude")
    whole = done(experiment, dense[1], corpus)
    steps, original = [], Session.phase

    def stop(self: Session, name: str, *rest: Any, **named: Any) -> Any:
        if name == "round-2":
            raise KeyboardInterrupt
        return original(self, name, *rest, **named)

    monkeypatch.setattr(Session, "phase", stop)
    with pytest.raises(KeyboardInterrupt):
        done(experiment, dense[1], corpus, tmp_path)
    monkeypatch.setattr(
        Session, "phase", lambda self, name, *a, **k: steps.append(name) or original(self, name, *a, **k)
    )
    again = done(experiment, dense[1], corpus, tmp_path)
    assert again.result.exact == whole.result.exact and SPENT not in again.result.figures


def test_one_that_does_not_suit_says_so(corpus: FolderCorpus, dense: tuple[Dense, Outcome]) -> None:
    with pytest.raises(PochetteError) as refused:
        done(asked(dense[0], "magnitude", keep=1e-5), dense[1], corpus)
    assert isinstance(refused.value, ReductionError) and refused.value.remedy


def test_written_and_read_again(dense: tuple[Dense, Outcome]) -> None:
    for experiment in (asked(dense[0], "rigl"), Engine(asked(dense[0], "cluster"))):
        assert from_data(to_data(experiment)) == experiment and len(name_of(experiment)) == 12
    assert steps_of(asked(dense[0], "rigl")) == STEPS - dense_steps(STEPS)
    assert "rigl to 0.25" in describe(asked(dense[0], "rigl"))
    assert name_of(asked(dense[0], "rigl")) != name_of(asked(dense[0], "set"))
    with pytest.raises(RecipeError, match="dense training"):
        Reduced(dense[0], "rigl", methods["rigl"](), 5 * STEPS)


@pytest.mark.slow
def test_engines_are_measured(corpus: FolderCorpus, dense: tuple[Dense, Outcome]) -> None:
    small = asked(dense[0], "lottery")
    cut = done(small, dense[1], corpus)
    known = {dense[0]: dense[1].result, small: cut.result}
    of_dense, of_cut = (
        perform(Task(Engine(parent), known, outcome.weights), corpus).result
        for parent, outcome in ((dense[0], dense[1]), (small, cut))
    )
    assert of_dense.error == dense[1].result.error and of_cut.figures[COUNTED] < of_dense.figures[COUNTED]
    assert of_dense.figures[TIMED] > 0
