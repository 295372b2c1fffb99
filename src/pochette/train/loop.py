"""The one training loop: draw excerpts, step, anneal, look at held-out sound, stop when it is time.

A model brings its turns (`models.turn`): what is minimised, by which optimiser, when. Everything that happens beside
the steps (checkpoints, progress, telemetry) is a callback.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch

from pochette.corpus.folder import FolderCorpus
from pochette.corpus.labels import check_classes
from pochette.corpus.vary import varied_batch
from pochette.errors import RunError
from pochette.models.model import Excerpt, Model
from pochette.models.turn import Turn, still
from pochette.recipe import check_ranges
from pochette.train.checkpoint import pack_optimiser, unpack_optimiser
from pochette.train.device import CPU, away, moved, tensors_of


@dataclass(frozen=True)
class Training:
    """How a model is trained."""

    batch: int = 8
    """Excerpts a step."""
    excerpt_seconds: float = 0.5
    """Length of an excerpt."""
    learning_rate: float = 2e-3
    """Of Adam, before it is annealed."""
    gradient_clip: float = 3.0
    """Largest norm of the gradient (Engel et al. 2020)."""
    anneal_from: float = 0.3
    """Share of the budget after which the learning rate falls, along a cosine, to a fiftieth."""
    evaluate_steps: int = 50
    """Steps between looks at held-out sound."""
    patience: int = 40
    """Looks without improvement by a thousandth after which training has settled."""
    shift_semitones: float = 0.0
    """Every training excerpt is transposed by up to so much, either way: few notes are soon learnt by heart."""
    gain_db: float = 0.0
    """And made so much louder or softer, at most."""
    seed: int = 0
    """Draws the weights, the excerpts, and each excerpt's phase and noise."""

    def __post_init__(self) -> None:
        check_ranges(
            self,
            batch=(1, 4096),
            excerpt_seconds=(0.01, 600.0),
            learning_rate=(1e-8, 100.0),
            gradient_clip=(1e-6, 1e6),
            anneal_from=(0.0, 1.0),
            evaluate_steps=(1, 10**6),
            patience=(1, 10**6),
            shift_semitones=(0.0, 24.0),
            gain_db=(0.0, 60.0),
            seed=(0, 2**31 - 1),
        )


@dataclass(frozen=True)
class Budget:
    """How long training may go on: until either bound is met."""

    seconds: float = math.inf
    """Wall time."""
    steps: int | None = None
    """Optimiser steps."""

    def used(self, seconds: float, steps: int) -> float:
        """Share of the budget that is spent, 0 to 1."""
        by_steps = 0.0 if self.steps is None else _share(steps, self.steps)
        return min(1.0, max(_share(seconds, self.seconds), by_steps))


def _share(used: float, whole: float) -> float:
    return used / whole if whole > 0 else 1.0


@dataclass
class Progress:
    """Where a training stands; everything but the weights that a resumed one needs."""

    steps: int = 0
    seconds: float = 0.0
    """Wall time spent, over all sessions."""
    history: list[tuple[int, float, float]] = field(default_factory=list)
    """(step, mean training loss since the last look, held-out loss)."""
    best: float = math.inf
    looks_without_gain: int = 0
    stopped: str = ""
    """Why it ended: "settled", "budget spent", or what a companion says; empty while it runs."""
    devices: list[str] = field(default_factory=list)
    """Where it was trained, each device once."""


Callback = Callable[["Trainer"], None]


class Companion(Protocol):
    """What goes along with a training and must survive its interruption: masks, averages, multipliers."""

    @property
    def name(self) -> str:
        """Of what it leaves in checkpoints; no two alike."""

    def join(self, trainer: Trainer) -> None:
        """Hang on to the trainer's steps and optimisers; the model is as it was given."""

    def state(self) -> dict[str, torch.Tensor]:
        """What it must find again."""

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on from what `state` gave, once the model has its weights back."""


class Trainer:
    """One model being trained on one corpus.

    Args:
        model: changed in place.
        corpus: training part.
        held_out: the part that only the looks see.
        training: how.
        budget: how long.
        again: the model was trained before, and trimmed since.
        device: where `fit` computes; before and after, all is on the CPU.

    Raises:
        SoundError: the model tells classes apart that the corpus does not name.
    """

    def __init__(
        self,
        model: Model,
        corpus: FolderCorpus,
        held_out: FolderCorpus,
        training: Training,
        budget: Budget,
        *,
        again: bool = False,
        device: torch.device = CPU,
    ) -> None:
        self.model, self.corpus, self.training, self.budget, self.device = model, corpus, training, budget, device
        if model.classes:
            check_classes(corpus.labels(), model.classes, str(corpus.folder))
        self.progress = Progress()
        self.used = 0.0
        """Share of the budget that was used when the step began that is or was taken last."""
        self.loss = math.nan
        """Of the step that was taken last, at the weights before it."""
        self.before_step: list[Callback] = []
        """Called before every step."""
        self.after_step: list[Callback] = []
        """Called after every step."""
        self.companions: list[Companion] = []
        self.drivers = [_Driver(turn, model, training) for turn in model.turns(again)]
        self.frames = model.excerpt_frames or max(
            1, round(training.excerpt_seconds * model.sample_rate_hz / model.hop_samples)
        )
        rng = np.random.default_rng(1234)
        held = held_out.excerpt_batch(rng, 2 * training.batch, self.frames, model.heard_from)
        self._held = tensors_of(held)

    def optimisers_of(self, parameters: Iterable[torch.nn.Parameter]) -> list[torch.optim.Optimizer]:
        """Those that move any of some parameters: what a companion of these holds on to."""
        asked = {id(parameter) for parameter in parameters}
        return [d.optimiser for d in self.drivers if asked & {id(parameter) for parameter in d.turn.parameters}]

    def gradient_norm(self) -> float:
        """Norm of the gradient of the step that was taken last, before it was clipped, over all turns together."""
        return math.hypot(*(driver.norm for driver in self.drivers))

    def accompany(self, companion: Companion) -> None:
        """Take a companion along, before training begins or is restored."""
        self.companions.append(companion)
        companion.join(self)

    @property
    def spent(self) -> float:
        """Share of the budget that is used up."""
        return self.budget.used(self.progress.seconds, self.progress.steps)

    def fit(self, callbacks: tuple[Callback, ...] = ()) -> Progress:
        """Train until the budget is spent or the held-out loss has settled.

        Args:
            callbacks: called after every look at held-out sound, and once at the end.

        Returns:
            where it stands.

        Raises:
            RunError: the loss is no longer finite.
        """
        progress, training = self.progress, self.training
        if progress.stopped:
            return progress
        recent: list[float] = []
        progress.devices = [*dict.fromkeys((*progress.devices, str(self.device)))]
        began = time.monotonic() - progress.seconds
        with away(self):
            while not progress.stopped:
                self.used = used = self.spent
                for callback in self.before_step:
                    callback(self)
                self.loss = self.step(used)
                recent.append(self.loss)
                progress.steps += 1
                progress.seconds = time.monotonic() - began
                for callback in self.after_step:
                    callback(self)
                spent = self.spent >= 1.0
                last = spent or bool(progress.stopped)  # a companion may have found what it trained for
                if last or progress.steps % training.evaluate_steps == 0:
                    self._look(float(np.mean(recent)))
                    recent.clear()
                    if last:
                        progress.stopped = progress.stopped or "budget spent"
                    elif progress.looks_without_gain >= training.patience and not self._turns_to_come(used):
                        progress.stopped = "settled"
                    for callback in callbacks:
                        callback(self)
        return progress

    def step(self, used: float) -> float:
        """Take every turn that is on.

        Args:
            used: share of the budget that is used.

        Returns:
            the loss of the last turn.

        Raises:
            RunError: a loss or a gradient is no longer finite.
        """
        self.model.train()
        self.model.begin_step(used)
        loss = math.nan
        for number, driver in enumerate(self.drivers):
            for repeat in range(driver.turn.repeats if driver.turn.is_on(used) else 0):
                # Each draws from its own number, so a resumed training sees the excerpts it would have seen.
                again = [number, repeat] if number or repeat else []
                draw = [self.training.seed, self.progress.steps, *again]
                excerpt = tensors_of(self._excerpts(np.random.default_rng(draw)), self.model.device)
                seed = self.training.seed * 1_000_003 + self.progress.steps + 7_368_787 * (97 * number + repeat)
                generator = torch.Generator().manual_seed(seed)
                loss = driver.take(excerpt, generator, used, self.progress.steps)
        return loss

    def _excerpts(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        how = self.training
        return varied_batch(
            self.corpus,
            rng,
            how.batch,
            self.frames,
            shift_semitones=how.shift_semitones,
            gain_db=how.gain_db,
            whole_semitones=self.model.knows_notes_only,
            start=self.model.heard_from,
        )

    def _look(self, training_loss: float) -> None:
        held_out = self.held_out_loss()
        progress = self.progress
        progress.history.append((progress.steps, training_loss, held_out))
        if held_out < progress.best * 0.999:
            progress.best, progress.looks_without_gain = held_out, 0
        else:
            progress.looks_without_gain += 1

    def _turns_to_come(self, used: float) -> bool:
        """Whether some turn has not begun: what it will train cannot have settled."""
        return any(driver.turn.span[0] > used for driver in self.drivers)

    @torch.no_grad()
    def held_out_loss(self) -> float:
        """Loss on a fixed batch of held-out excerpts, always with the same phases and noise."""
        self.model.eval()
        held = moved(self._held, self.model.device)
        return self.model.loss(held, torch.Generator().manual_seed(0)).item()

    def state(self) -> dict[str, torch.Tensor]:
        """Weights and the optimisers' state, by name, on the CPU."""
        tensors = {f"model/{k}": v for k, v in self.model.state_dict().items()}
        for driver in self.drivers:
            packed = pack_optimiser(driver.optimiser, driver.names)
            tensors |= {f"optimiser/{driver.turn.name}/{k}": v for k, v in packed.items()}
        for companion in self.companions:
            tensors |= {f"companion/{companion.name}/{k}": v for k, v in companion.state().items()}
        return moved(tensors, CPU)

    def restore(self, tensors: dict[str, torch.Tensor], progress: Progress) -> None:
        """Go on where another session stopped.

        Args:
            tensors: what `state` gave.
            progress: where it stood.

        Raises:
            RunError: the tensors were written by another form of training, or are of another network.
        """
        prefixes = tuple(f"optimiser/{driver.turn.name}/" for driver in self.drivers)
        foreign = [k for k in tensors if k.startswith("optimiser/") and not k.startswith(prefixes)]
        if foreign:
            raise RunError(
                f"The checkpoint holds moments of a training of another form ({foreign[0]}).",
                remedy="Delete the checkpoint; training starts again from there.",
            )
        try:
            self.model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model/")})
        except RuntimeError as error:
            remedy = "Delete the checkpoint; training starts again from there."
            raise RunError("The checkpoint is of another network.", remedy=remedy) from error
        for driver, prefix in zip(self.drivers, prefixes, strict=True):
            own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            unpack_optimiser(driver.optimiser, driver.names, own)
        for companion in self.companions:
            prefix = f"companion/{companion.name}/"
            companion.restore({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        self.progress = progress


class _Driver:
    """A turn with its optimiser.

    Args:
        turn: of the model.
        model: whose parameters it moves some of.
        training: learning rate, annealing and clipping.
    """

    def __init__(self, turn: Turn, model: Model, training: Training) -> None:
        self.turn, self.training = turn, training
        paths = {id(parameter): path for path, parameter in model.named_parameters()}
        self.names = [paths[id(parameter)] for parameter in turn.parameters]
        rate = training.learning_rate * turn.rate
        self.optimiser = torch.optim.Adam(turn.parameters, lr=rate, betas=turn.betas)
        moved = {id(parameter) for parameter in turn.parameters}
        self.others = [parameter for parameter in model.parameters() if id(parameter) not in moved]
        self.norm = 0.0
        """Of the gradient that it went down last, before it was clipped."""

    def take(self, excerpt: Excerpt, generator: torch.Generator, used: float, step: int) -> float:
        """Step down every loss of the turn; the mean of them before their steps."""
        for group in self.optimiser.param_groups:
            falls = annealed(self.turn.within(used), self.training.anneal_from)
            group["lr"] = self.training.learning_rate * self.turn.rate * falls
        with still(self.others):
            given = self.turn.losses(excerpt, generator)
            losses = [given] if isinstance(given, torch.Tensor) else given
            return float(np.mean([self._descend(loss, step) for loss in losses]))

    def _descend(self, loss: torch.Tensor, step: int) -> float:
        if not torch.isfinite(loss):
            raise self._astray("loss", loss, step)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        limit = self.turn.gradient_clip or self.training.gradient_clip
        norm = torch.nn.utils.clip_grad_norm_(self.turn.parameters, limit)
        if not torch.isfinite(norm):
            # Before the step: the weights, and what the next callback saves of them, stay good.
            raise self._astray("gradient", norm, step)
        self.norm = norm.item()
        self.optimiser.step()
        return loss.item()

    def _astray(self, what: str, value: torch.Tensor, step: int) -> RunError:
        whose = "" if self.turn.name == "model" else f" of the {self.turn.name}"
        return RunError(
            f"The {what}{whose} is {value.item()} at step {step}.",
            remedy="Lower --learning-rate; the last checkpoint is whole.",
        )


def annealed(used: float, start: float) -> float:
    """Factor on the learning rate: 1 up to `start`, then half a cosine down to 1/50 at the end of the budget."""
    if used <= start:
        return 1.0
    return 0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * (used - start) / (1.0 - start)))
