"""The one training loop."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pochette.control import Control
from pochette.corpus.folder import FolderCorpus
from pochette.errors import RunError
from pochette.models.ddsp import Ddsp
from pochette.models.model import Excerpt, Model, State
from pochette.sound.audio import write_wav
from pochette.train import loop
from pochette.train.checkpoint import load, save
from pochette.train.loop import Budget, Progress, Trainer, Training, annealed
from pochette.train.session import Session

RATE, HOP = 16000, 64


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> tuple[FolderCorpus, FolderCorpus]:
    """Three half-second notes, one of them held out."""
    folder = tmp_path_factory.mktemp("sounds")
    t = np.arange(RATE // 2) / RATE
    for note in (57, 60, 64):
        f0 = 440 * 2 ** ((note - 69) / 12)
        tone = sum(np.sin(2 * np.pi * k * f0 * t) / k for k in range(1, 6)) * np.exp(-4 * t)
        write_wav(folder / f"note_{note}.wav", (0.2 * tone).astype(np.float32), RATE)
    whole = FolderCorpus.prepare(folder, RATE, HOP, cache_dir=tmp_path_factory.mktemp("cache"))
    assert len(whole) == 3 and not whole.problems
    return whole.split(0.3, seed=0, by="sound")


Corpora = tuple[FolderCorpus, FolderCorpus]
SIX_STEPS = Budget(steps=6)
QUICK = Training(batch=2, excerpt_seconds=0.1, evaluate_steps=3)


def ddsp_trainer(corpora: Corpora, training: Training = QUICK, budget: Budget = SIX_STEPS) -> Trainer:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Ddsp.sized("tiny", hidden=8, stack_width=8, partials=8, noise_bands=9).build()
    return Trainer(model, *corpora, training, budget)


class Slope(Model):
    """A loss that a test decides: `weight` plus whatever is asked for."""

    sample_rate_hz, hop_samples, latency_samples = RATE, HOP, HOP
    controls = (Control("level", "", 0.0, 1.0, 0.5),)

    def __init__(self, losses: list[float] | None = None, *, gradient: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))
        self.losses, self.gradient = losses or [], gradient
        self.seen: list[Excerpt] = []
        self.drawn: list[float] = []

    def initial_state(self, batch: int, generator: torch.Generator | None = None) -> State:
        return {}

    def advance(self, controls: Tensor, state: State) -> tuple[Tensor, State]:
        raise AssertionError("it is trained and never played")

    def loss(self, excerpt: Excerpt, generator: torch.Generator | None = None) -> Tensor:
        if not self.training:
            return torch.tensor(self.losses.pop(0) if self.losses else 1.0)
        self.seen.append(excerpt)
        self.drawn.append(torch.rand(1, generator=generator).item())
        return self.weight * self.gradient + 0.0


def slope_trainer(corpora: Corpora, model: Model, budget: Budget, **changes: Any) -> Trainer:
    return Trainer(model, *corpora, replace(QUICK, **changes), budget)


def test_learns(corpora: Corpora) -> None:
    trainer = ddsp_trainer(corpora, replace(QUICK, learning_rate=1e-2, evaluate_steps=20), Budget(steps=60))
    before = trainer.held_out_loss()
    progress = trainer.fit()
    assert progress.steps == 60 and progress.stopped == "budget spent"
    assert [step for step, _, _ in progress.history] == [20, 40, 60]
    assert progress.best < 0.7 * before


def test_resumed_is_uninterrupted_bit_for_bit(corpora: Corpora, tmp_path: Path) -> None:
    whole = ddsp_trainer(corpora)
    whole.fit()

    class StopError(Exception):
        pass

    def save_and_crash(trainer: Trainer) -> None:
        facts = {"steps": trainer.progress.steps, "best": trainer.progress.best, "history": trainer.progress.history}
        save(tmp_path / "state", trainer.state(), facts)
        raise StopError

    with pytest.raises(StopError):
        ddsp_trainer(corpora).fit((save_and_crash,))
    tensors, facts = load(tmp_path / "state")
    assert facts.pop("format_version") and facts["steps"] == 3
    torch.manual_seed(99)  # whatever the new process drew first must not matter
    resumed = ddsp_trainer(corpora)
    for parameter in resumed.model.parameters():
        nn.init.normal_(parameter)
    facts["history"] = [tuple(row) for row in facts["history"]]
    resumed.restore(tensors, Progress(**facts))
    resumed.fit()
    for name, value in whole.state().items():
        assert torch.equal(resumed.state()[name], value), name
    assert resumed.progress.history == whole.progress.history and len(whole.progress.history) == 2


def test_the_same_seed_is_the_same_training_and_another_is_not(corpora: Corpora) -> None:
    first, again = (ddsp_trainer(corpora).fit().history for _ in range(2))
    other = ddsp_trainer(corpora, replace(QUICK, seed=1)).fit().history
    assert first == again != other


def test_every_step_draws_anew(corpora: Corpora) -> None:
    model = Slope()
    slope_trainer(corpora, model, Budget(steps=4)).fit()
    assert len(set(model.drawn)) == 4
    assert len({excerpt["audio"].numpy().tobytes() for excerpt in model.seen}) == 4
    assert model.seen[0]["audio"].shape == (2, 25 * HOP) and model.seen[0]["f0_hz"].shape == (2, 25)


@pytest.mark.parametrize("start", [0.0, 0.3, 0.9])
def test_annealing(start: float) -> None:
    assert annealed(0.0, start) == annealed(start, start) == 1.0
    assert annealed(start + 1e-9, start) == pytest.approx(1.0)  # no jump
    assert annealed(1.0, start) == pytest.approx(1 / 50)
    assert annealed((1 + start) / 2, start) == pytest.approx((1 + 1 / 50) / 2)
    falling = [annealed(x, start) for x in np.linspace(start, 1, 50)]
    assert all(a > b for a, b in pairwise(falling))


def test_the_learning_rate_follows(corpora: Corpora) -> None:
    rates: list[float] = []
    trainer = slope_trainer(corpora, Slope(), Budget(steps=11), evaluate_steps=1, anneal_from=0.5, learning_rate=2.0)
    trainer.fit((lambda t: rates.append(t.drivers[0].optimiser.param_groups[0]["lr"]),))
    assert rates == pytest.approx([2.0 * annealed(step / 11, 0.5) for step in range(11)])


def test_budgets() -> None:
    assert Budget(seconds=10).used(4, 10**9) == 0.4
    assert Budget(steps=10).used(10**9, 4) == 0.4
    assert Budget(seconds=10, steps=10).used(2, 5) == 0.5 and Budget(seconds=10, steps=10).used(7, 5) == 0.7
    assert Budget(seconds=10, steps=10).used(99, 5) == 1.0
    assert Budget().used(1e9, 10**9) == 0.0
    assert Budget(steps=0).used(0, 0) == 1.0 == Budget(seconds=0).used(0, 0)


def test_an_empty_budget_ends(corpora: Corpora) -> None:
    assert slope_trainer(corpora, Slope(), Budget(steps=0)).fit().steps <= 1


def test_seconds_end_a_training(corpora: Corpora, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(loop.time, "monotonic", lambda: float(next(clock)))
    progress = slope_trainer(corpora, Slope(), Budget(seconds=7)).fit()
    assert (progress.steps, progress.seconds, progress.stopped) == (7, 7.0, "budget spent")
    # A resumed training counts the seconds of the session before.
    trainer = slope_trainer(corpora, Slope(), Budget(seconds=10))
    trainer.progress = Progress(steps=7, seconds=7.0)
    assert trainer.fit().steps == 10


def test_settles_when_nothing_gets_better(corpora: Corpora) -> None:
    # A gain of less than a thousandth is none; a real one begins the count anew.
    losses = [1.0, 0.9999, 0.9995, 0.5, 0.4999, 0.6, 0.7, 0.1]
    trainer = slope_trainer(corpora, Slope(losses), Budget(steps=1000), patience=3, evaluate_steps=2)
    looks: list[int] = []
    progress = trainer.fit((lambda t: looks.append(t.progress.looks_without_gain),))
    assert progress.stopped == "settled" and progress.best == 0.5
    assert looks == [0, 1, 2, 0, 1, 2, 3] and progress.steps == 14


def test_callbacks_see_every_look_and_the_end(corpora: Corpora) -> None:
    seen: list[tuple[int, str]] = []
    slope_trainer(corpora, Slope(), Budget(steps=8)).fit(
        (lambda t: seen.append((t.progress.steps, t.progress.stopped)),)
    )
    assert seen == [(3, ""), (6, ""), (8, "budget spent")]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops(corpora: Corpora, bad: float) -> None:
    with pytest.raises(RunError, match=r"loss is .* at step 0") as caught:
        slope_trainer(corpora, Slope(gradient=bad), Budget(steps=5)).fit()
    assert "--learning-rate" in caught.value.remedy


def test_a_gradient_that_is_not_finite_never_reaches_the_weights(corpora: Corpora) -> None:
    class Cliff(Slope):
        def loss(self, excerpt: Excerpt, generator: torch.Generator | None = None) -> Tensor:
            # 0 at 0, with an infinite slope.
            return torch.sqrt((self.weight - 1.0).abs() + 0.0)

    model = Cliff()
    with pytest.raises(RunError, match="gradient"):
        slope_trainer(corpora, model, Budget(steps=5)).fit()
    assert model.weight.item() == 1.0


def test_the_gradient_is_clipped(corpora: Corpora) -> None:
    model = Slope(gradient=1e6)
    trainer = slope_trainer(corpora, model, Budget(steps=1), gradient_clip=0.5)
    trainer.fit()
    assert model.weight.grad is not None and model.weight.grad.item() == pytest.approx(0.5)


def test_looking_does_not_change_the_training(corpora: Corpora) -> None:
    few, many = (ddsp_trainer(corpora, replace(QUICK, evaluate_steps=n), Budget(steps=4)) for n in (4, 1))
    few.fit()
    many.fit()
    assert all(torch.equal(value, many.state()[name]) for name, value in few.state().items())
    assert few.held_out_loss() == few.held_out_loss() == many.held_out_loss()


def test_a_corpus_of_another_hop_is_refused(corpora: Corpora, tmp_path: Path) -> None:
    model = Ddsp.sized("tiny", frame_rate_hz=125).build()
    with pytest.raises(RunError, match="hops of 64 samples") as refused:
        Session(tmp_path, *corpora, QUICK, math.inf, 6).phase("dense", model, 1.0)
    assert "hop_samples" in refused.value.remedy
