"""What is told of a training's steps against what its weights and excerpts say, and across an interruption."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from pochette.corpus.folder import FolderCorpus
from pochette.lab.stability.apart import as_vector
from pochette.lab.stability.telemetry import Moment, Telemetry
from pochette.models.model import Model
from pochette.recipe import to_json
from pochette.reduce.sparse.weights import all_alive, effective, weights_of
from pochette.train.device import tensors_of
from pochette.train.loop import Budget, Trainer
from tests.lab.stability.conftest import TRAINING


def trainer_of(model: Model, corpus: FolderCorpus, steps: int = 4) -> Trainer:
    return Trainer(model, *corpus.split(), TRAINING, Budget(steps=steps))


def told(model: Model, corpus: FolderCorpus) -> tuple[Moment, ...]:
    telemetry, trainer = Telemetry(model, (0, 1, 3)), trainer_of(model, corpus)
    trainer.accompany(telemetry)
    trainer.fit()
    return telemetry.moments()


def test_moments_say_what_the_weights_do(corpus: FolderCorpus, model: Model) -> None:
    snapshots = [as_vector(effective(weights_of(model)))]
    watched, trainer = copy.deepcopy(model), trainer_of(model, corpus)
    trainer.after_step.append(lambda t: snapshots.append(as_vector(effective(weights_of(t.model)))))
    trainer.fit()
    moments = told(watched, corpus)
    assert [moment.step for moment in moments] == [0, 1, 3]
    start, end = snapshots[0], snapshots[-1]
    for moment in moments:
        now = snapshots[moment.step]
        assert moment.from_start == pytest.approx(float((now - start).norm()), rel=1e-4)
        assert moment.to_end == pytest.approx(float((now - end).norm()), rel=1e-4)
        assert moment.signs_changed == pytest.approx(float(((now < 0) != (start < 0)).double().mean()), abs=1e-3)
        assert moment.cosine_to_start == pytest.approx(float(now @ start / now.norm() / start.norm()), abs=1e-5)
        assert moment.cosine_to_end == pytest.approx(float(now @ end / now.norm() / end.norm()), abs=1e-5)
    assert moments[0].from_start == 0.0 == moments[0].signs_changed and moments[2].signs_changed > 0.0


def test_loss_and_gradient_are_those_of_the_weights_that_are_told_of(corpus: FolderCorpus, model: Model) -> None:
    first = copy.deepcopy(model).train()
    trainer = trainer_of(model, corpus)
    rng = np.random.default_rng([TRAINING.seed, 0])
    excerpt = tensors_of(trainer.corpus.excerpt_batch(rng, TRAINING.batch, trainer.frames, model.heard_from))
    loss = first.loss(excerpt, torch.Generator().manual_seed(0))  # seed 0, step 0
    loss.backward()
    norm = torch.stack([p.grad.norm() for p in first.parameters() if p.grad is not None]).norm()
    moment = told(model, corpus)[0]
    assert moment.loss == pytest.approx(loss.item(), rel=1e-5)
    assert moment.gradient_norm == pytest.approx(norm.item(), rel=1e-4)
    assert norm > TRAINING.gradient_clip, "otherwise clipping could not be told from none"


def test_an_interruption_changes_nothing(corpus: FolderCorpus, model: Model) -> None:
    resumed = copy.deepcopy(model)
    whole = told(model, corpus)
    one, first = Telemetry(resumed, (0, 1, 3)), trainer_of(resumed, corpus)
    first.accompany(one)

    def stop(trainer: Trainer) -> None:
        trainer.progress.stopped = "power cut" if trainer.progress.steps == 2 else ""

    first.after_step.append(stop)
    first.fit()
    saved = {name: tensor.clone() for name, tensor in first.state().items()}
    other, second = Telemetry(resumed, (0, 1, 3)), trainer_of(resumed, corpus)
    second.accompany(other)
    first.progress.stopped = ""
    second.restore(saved, first.progress)
    second.fit()
    assert other.moments() == whole
    assert to_json(whole[1])["step"] == 1


def test_only_what_lives_is_watched(corpus: FolderCorpus, model: Model) -> None:
    masks = {path: torch.zeros_like(mask) for path, mask in all_alive(weights_of(model)).items()}
    path, mask = next(iter(masks.items()))
    mask.view(-1)[0] = True
    telemetry, trainer = Telemetry(model, (0,), masks), trainer_of(model, corpus)
    start = weights_of(model)[path].effective().flatten()[0].item()
    trainer.accompany(telemetry)
    trainer.fit()
    end = weights_of(model)[path].effective().flatten()[0].item()
    assert telemetry.moments()[0].to_end == pytest.approx(abs(end - start), rel=1e-5)
    assert Telemetry(model).moments() == ()
