"""The one training loop: draw excerpts, step, anneal, look at held-out sound, stop when it is time.

A model brings its loss; everything that happens beside the steps (checkpoints, progress, telemetry) is a callback.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from pochette.corpus.folder import FolderCorpus
from pochette.corpus.vary import varied_batch
from pochette.errors import RunError
from pochette.models.model import Excerpt, Model
from pochette.recipe import check_ranges
from pochette.train.checkpoint import pack_optimiser, unpack_optimiser


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
    """Why it ended: "settled" or "budget spent"; empty while it runs."""


Callback = Callable[["Trainer"], None]


class Trainer:
    """One model being trained on one corpus.

    Args:
        model: changed in place.
        corpus: training part.
        held_out: the part that only the looks see.
        training: how.
        budget: how long.
    """

    def __init__(
        self, model: Model, corpus: FolderCorpus, held_out: FolderCorpus, training: Training, budget: Budget
    ) -> None:
        self.model, self.corpus, self.training, self.budget = model, corpus, training, budget
        self.progress = Progress()
        self.names = [name for name, _ in model.named_parameters()]
        self.optimiser = torch.optim.Adam(model.parameters(), lr=training.learning_rate)
        self.frames = max(1, round(training.excerpt_seconds * model.sample_rate_hz / model.hop_samples))
        self._held = tensors_of(held_out.excerpt_batch(np.random.default_rng(1234), 2 * training.batch, self.frames))

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
        recent: list[float] = []
        began = time.monotonic() - progress.seconds
        while not progress.stopped:
            used = self.budget.used(progress.seconds, progress.steps)
            recent.append(self._step(used))
            progress.steps += 1
            progress.seconds = time.monotonic() - began
            last = self.budget.used(progress.seconds, progress.steps) >= 1.0
            if last or progress.steps % training.evaluate_steps == 0:
                self._look(float(np.mean(recent)))
                recent.clear()
                if last:
                    progress.stopped = "budget spent"
                elif progress.looks_without_gain >= training.patience:
                    progress.stopped = "settled"
                for callback in callbacks:
                    callback(self)
        return progress

    def _step(self, used: float) -> float:
        # Each step draws from its own number, so a resumed training sees the excerpts it would have seen.
        draw = [self.training.seed, self.progress.steps]
        excerpt = tensors_of(self._excerpts(np.random.default_rng(draw)))
        generator = torch.Generator().manual_seed(self.training.seed * 1_000_003 + self.progress.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = self.training.learning_rate * annealed(used, self.training.anneal_from)
        self.model.train()
        loss = self.model.loss(excerpt, generator)
        if not torch.isfinite(loss):
            raise RunError(
                f"The loss is {loss.item()} at step {self.progress.steps}.",
                remedy="Lower --learning-rate; the last checkpoint is whole.",
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.training.gradient_clip)
        if not torch.isfinite(norm):
            # Before the step: the weights, and what the next callback saves of them, stay good.
            raise RunError(
                f"The gradient is {norm.item()} at step {self.progress.steps}.",
                remedy="Lower --learning-rate; the last checkpoint is whole.",
            )
        self.optimiser.step()
        return loss.item()

    def _excerpts(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        how = self.training
        return varied_batch(
            self.corpus, rng, how.batch, self.frames, shift_semitones=how.shift_semitones, gain_db=how.gain_db
        )

    def _look(self, training_loss: float) -> None:
        held_out = self.held_out_loss()
        progress = self.progress
        progress.history.append((progress.steps, training_loss, held_out))
        if held_out < progress.best * 0.999:
            progress.best, progress.looks_without_gain = held_out, 0
        else:
            progress.looks_without_gain += 1

    @torch.no_grad()
    def held_out_loss(self) -> float:
        """Loss on a fixed batch of held-out excerpts, always with the same phases and noise."""
        self.model.eval()
        return self.model.loss(self._held, torch.Generator().manual_seed(0)).item()

    def state(self) -> dict[str, torch.Tensor]:
        """Weights and the optimiser's state, by name."""
        weights = {f"model/{k}": v for k, v in self.model.state_dict().items()}
        moments = {f"optimiser/{k}": v for k, v in pack_optimiser(self.optimiser, self.names).items()}
        return weights | moments

    def restore(self, tensors: dict[str, torch.Tensor], progress: Progress) -> None:
        """Go on where another session stopped.

        Args:
            tensors: what `state` gave.
            progress: where it stood.
        """
        self.model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model/")})
        unpack_optimiser(
            self.optimiser, self.names, {k[10:]: v for k, v in tensors.items() if k.startswith("optimiser/")}
        )
        self.progress = progress


def annealed(used: float, start: float) -> float:
    """Factor on the learning rate: 1 up to `start`, then half a cosine down to 1/50 at the end of the budget."""
    if used <= start:
        return 1.0
    return 0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * (used - start) / (1.0 - start)))


def tensors_of(arrays: dict[str, np.ndarray]) -> Excerpt:
    """Arrays as tensors, without copying."""
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
