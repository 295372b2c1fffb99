"""Several optimisers in the one loop: an adversary, a teacher, a loss that steps on its way through a sound."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pochette.control import Control
from pochette.corpus.folder import FolderCorpus
from pochette.errors import RunError
from pochette.lab.judge import excerpts_of
from pochette.lab.shrink import weights_of
from pochette.models.model import Excerpt, Model, State
from pochette.models.turn import Turn
from pochette.reduce.trimming import trim_model
from pochette.sound.audio import write_wav
from pochette.train.loop import Budget, Progress, Trainer, Training

RATE, HOP, FRAMES = 8000, 64, 4
TRAINING = Training(batch=2, evaluate_steps=2)


class Duel(Model):
    """A generator of 64 samples a frame and a critic of 64 samples, in the order critic, critic, generator."""

    mode = "one_shot"
    heard_from = "beginning"
    aids = ("critic", "teacher")
    sample_rate_hz, hop_samples, latency_samples = RATE, HOP, 0
    controls = (Control("level", "", 0.0, 1.0, 0.5),)
    excerpt_frames = FRAMES

    def __init__(self, spans: tuple[tuple[float, float], ...] = ((0.0, 1.0), (0.0, 1.0))) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(1, 8), nn.Linear(8, HOP)
        self.critic = nn.Linear(HOP, 1)
        self.teacher = nn.Linear(3, 3)
        self.spans = spans
        self.seen: list[tuple[str, Tensor, float]] = []
        self.used: list[float] = []
        self.still: list[bool] = []

    def initial_state(self, batch: int, generator: torch.Generator | None = None) -> State:
        return {}

    def advance(self, controls: Tensor, state: State) -> tuple[Tensor, State]:
        return self.outer(torch.tanh(self.inner(controls))).flatten(1), {}

    def begin_step(self, used: float) -> None:
        self.used.append(used)

    def turns(self, again: bool = False) -> tuple[Turn, ...]:
        generator = [*self.inner.parameters(), *self.outer.parameters()]
        return (
            Turn("critic", list(self.critic.parameters()), self.criticise, 0.5, (0.5, 0.9), 2, self.spans[0]),
            Turn("generator", generator, self.deceive, span=self.spans[1]),
        )

    def judged(self, excerpt: Excerpt, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        level = torch.rand(len(excerpt["audio"]), FRAMES, 1, generator=generator)
        made = self(level).view(-1, HOP)
        return self.critic(made).mean(), self.critic(excerpt["audio"].reshape(-1, HOP)).mean()

    def note(self, who: str, excerpt: Excerpt, generator: torch.Generator | None) -> None:
        drawn = torch.rand(1, generator=generator).item()
        self.seen.append((who, excerpt["audio"].clone(), drawn))
        moved = {"critic": self.critic, "generator": self.inner}[who]
        other = {"critic": self.inner, "generator": self.critic}[who]
        self.still.append(not other.weight.requires_grad and moved.weight.requires_grad)  # type: ignore[union-attr]

    def criticise(self, excerpt: Excerpt, generator: torch.Generator) -> Tensor:
        self.note("critic", excerpt, generator)
        made, real = self.judged(excerpt, generator)
        return made - real + self.critic.weight.square().sum()

    def deceive(self, excerpt: Excerpt, generator: torch.Generator) -> Tensor:
        self.note("generator", excerpt, generator)
        return -self.judged(excerpt, generator)[0]

    def loss(self, excerpt: Excerpt, generator: torch.Generator | None = None) -> Tensor:
        made, real = self.judged(excerpt, generator)
        return (made - real).abs()


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> tuple[FolderCorpus, FolderCorpus]:
    folder = tmp_path_factory.mktemp("sounds")
    for number in range(6):
        rng = np.random.default_rng(number)
        # Every sound begins with its own number, and is noise from there on.
        sound = rng.uniform(-0.5, 0.5, RATE // 4)
        sound[:4] = (number + 1) / 10
        write_wav(folder / f"hit_{number}.wav", sound.astype(np.float32), RATE)
    whole = FolderCorpus.prepare(folder, RATE, HOP, cache_dir=tmp_path_factory.mktemp("cache"))
    return whole.split(0.3, seed=0, by="sound")


def trainer_of(model: Model, corpora: tuple[FolderCorpus, FolderCorpus], steps: int = 4) -> Trainer:
    return Trainer(model, *corpora, TRAINING, Budget(steps=steps))


def fresh(spans: tuple[tuple[float, float], ...] = ((0.0, 1.0), (0.0, 1.0))) -> Duel:
    torch.manual_seed(0)
    return Duel(spans)


Corpora = tuple[FolderCorpus, FolderCorpus]


def test_turns_are_taken_in_order_on_fresh_sound(corpora: Corpora) -> None:
    model = fresh()
    trainer_of(model, corpora).fit()
    assert [who for who, _, _ in model.seen] == ["critic", "critic", "generator"] * 4
    draws = [drawn for _, _, drawn in model.seen]
    assert len(set(draws)) == len(draws) and all(model.still)
    assert model.used == [0.0, 0.25, 0.5, 0.75]
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_turn_moves_what_it_says_and_nothing_else(corpora: Corpora) -> None:
    model = fresh()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer_of(model, corpora).drivers[0].take(
        excerpts_of(corpora[0], model)[0], torch.Generator().manual_seed(0), 0.0, 0
    )
    moved = {name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"critic"}


def test_a_first_step_is_as_large_as_the_turn_says(corpora: Corpora) -> None:
    # Adam's first step moves every weight by its rate, whatever the gradient.
    model = fresh()
    before = model.critic.weight.detach().clone()
    driver = trainer_of(model, corpora).drivers[0]
    driver.take(excerpts_of(corpora[0], model)[0], torch.Generator().manual_seed(0), 0.0, 0)
    step = (model.critic.weight.detach() - before).abs()
    assert torch.allclose(step, torch.full_like(step, 0.5 * TRAINING.learning_rate), rtol=1e-3)
    assert driver.optimiser.param_groups[0]["betas"] == (0.5, 0.9)


def test_spans_follow_each_other_and_anneal_within(corpora: Corpora) -> None:
    model = fresh(((0.0, 0.5), (0.5, 1.0)))
    trainer = trainer_of(model, corpora, steps=8)
    rates: list[tuple[float, ...]] = []
    trainer.after_step.append(
        lambda t: rates.append(tuple(driver.optimiser.param_groups[0]["lr"] for driver in t.drivers))
    )
    trainer.fit()
    assert [who for who, _, _ in model.seen] == ["critic", "critic"] * 4 + ["generator"] * 4
    critic, generator = zip(*rates, strict=True)
    assert critic[0] == 0.5 * TRAINING.learning_rate and critic[3] < critic[2] < critic[1]
    assert generator[4] == TRAINING.learning_rate and generator[7] < generator[6] < generator[5]


def test_nothing_settles_before_the_last_turn_has_begun(corpora: Corpora) -> None:
    model = fresh(((0.0, 0.5), (0.5, 1.0)))
    training = Training(batch=2, evaluate_steps=1, patience=1, learning_rate=1e-8)
    progress = Trainer(model, *corpora, training, Budget(steps=12)).fit()
    assert progress.stopped == "settled" and progress.steps == 7


def test_a_resumed_duel_ends_as_one_that_was_not_interrupted(corpora: Corpora) -> None:
    straight = fresh()
    trainer_of(straight, corpora, 6).fit()
    first = trainer_of(fresh(), corpora, 6)
    kept: list[tuple[dict[str, Tensor], Progress]] = []

    def stop(trainer: Trainer) -> None:
        if trainer.progress.steps == 4:
            tensors = {name: value.clone() for name, value in trainer.state().items()}
            kept.append((tensors, Progress(**vars(trainer.progress))))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.fit((stop,))
    torch.manual_seed(9)
    resumed = Duel()
    second = trainer_of(resumed, corpora, 6)
    second.restore(*kept[0])
    second.fit()
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_checkpoint_of_another_form_of_training_is_refused(corpora: Corpora) -> None:
    tensors = trainer_of(fresh(), corpora).state() | {"optimiser/student/inner.weight|step": torch.tensor(1.0)}
    with pytest.raises(RunError, match="another form") as refused:
        trainer_of(fresh(), corpora).restore(tensors, Progress())
    assert "Delete the checkpoint" in refused.value.remedy


class Pieces(Duel):
    """A loss in three pieces, each computed with the weights that the one before left."""

    def turns(self, again: bool = False) -> tuple[Turn, ...]:
        return (Turn("model", [self.outer.bias], self.pieces),)

    def pieces(self, excerpt: Excerpt, generator: torch.Generator) -> Iterator[Tensor]:
        for _ in range(3):
            self.used.append(self.outer.bias.detach()[0].item())
            yield self.outer.bias.sum()


def test_each_loss_of_several_is_stepped_before_the_next(corpora: Corpora) -> None:
    model = Pieces()
    trainer_of(model, corpora, 1).step(0.0)
    first, *others = model.used[1:]
    assert np.allclose(np.diff([first, *others]), -TRAINING.learning_rate, rtol=1e-3) and len(others) == 2


def test_an_error_names_the_turn(corpora: Corpora) -> None:
    model = fresh()
    with torch.no_grad():
        model.critic.weight.fill_(float("inf"))
    with pytest.raises(RunError, match="of the critic is"):
        trainer_of(model, corpora).fit()


def test_whole_sounds_are_heard_from_their_beginnings(corpora: Corpora) -> None:
    model = fresh()
    trainer_of(model, corpora).fit()
    known = {f"0.{number}" for number in range(1, 7)}
    for _, audio, _ in model.seen:
        assert audio.shape == (2, FRAMES * HOP)
        assert {f"{row[0].item():.1f}" for row in audio} <= known and torch.equal(audio[:, 0], audio[:, 3])
    (batch,) = excerpts_of(corpora[0], model)
    assert batch["audio"].shape == (len(corpora[0]), FRAMES * HOP)
    assert len({f"{row[0].item():.1f}" for row in batch["audio"]}) == len(corpora[0])


def test_aids_are_neither_counted_nor_trimmed() -> None:
    model = fresh()
    assert weights_of(model) == 8 + 8 + 8 * HOP + HOP
    small, _, report = trim_model(model, keep=0.5)
    assert weights_of(small) == 4 + 4 + 4 * HOP + HOP and report.parameters_after == weights_of(small)
    assert small.critic.weight.shape == (1, HOP) and small.teacher.weight.shape == (3, 3)  # type: ignore[union-attr]
