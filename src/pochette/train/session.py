"""A training of several phases that survives anything: every phase is a file, finished ones are never repeated.

Phases follow each other (dense, round 1, round 2...). Each writes its checkpoint every few seconds and when it ends; a
session that is started again on the same folder skips the finished phases and goes on inside the unfinished one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor

import pochette
from pochette.corpus.folder import FolderCorpus
from pochette.errors import RecipeError, RunError
from pochette.families import models
from pochette.graph.trim import resize
from pochette.models.model import Excerpt, Model
from pochette.recipe import from_json, to_json
from pochette.train.checkpoint import load, save
from pochette.train.device import CPU, tensors_of
from pochette.train.loop import Budget, Companion, Progress, Trainer, Training

LOCK = ".training.lock"
SAVE_SECONDS = 10.0
"""Wall time between checkpoints: what a power cut may cost."""
MOMENTS = (0.25, 0.5, 0.75)
"""Shares of a phase that show how it went: see `Session.moments`."""
Report = Callable[[str, Trainer], None]


def describe(model: Model) -> dict[str, Any]:
    """A model's registered name and recipe, as plain data."""
    for name, recipe in models.items():
        if isinstance(model.recipe, recipe):
            return {"name": name, "recipe": to_json(model.recipe)}
    raise RunError(f"{type(model.recipe).__name__} is not a registered model.", remedy="Register its recipe.")


def rebuild(facts: dict[str, Any], weights: dict[str, Tensor]) -> Model:
    """The model that `describe` described, with these weights and the shapes they have.

    Args:
        facts: name and recipe.
        weights: state dictionary, trimmed or not.

    Returns:
        the model.

    Raises:
        UnknownNameError: no such model, or its recipe has another field.
        RunError: the weights are not this model's.
    """
    model: Model = from_json(models[facts["name"]], facts["recipe"]).build()
    resize(model, weights)
    return model.eval()


def load_model(path: Path) -> tuple[Model, dict[str, Any]]:
    """A model from a checkpoint.

    Args:
        path: of the checkpoint.

    Returns:
        the model and the checkpoint's facts.

    Raises:
        RunError: missing, damaged, or of a later version.
    """
    tensors, facts = load(path)
    return rebuild(facts["model"], _model_part(tensors)), facts


def _model_part(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name[6:]: tensor for name, tensor in tensors.items() if name.startswith("model/")}


def training_excerpt(
    corpus: FolderCorpus, model: Model, training: Training, sounds: int = 16, draw: int = 0
) -> Excerpt:
    """Sound as a training hears it; see `Session.training_excerpt`."""
    rate = model.sample_rate_hz / model.hop_samples
    frames = model.excerpt_frames or max(1, round(training.excerpt_seconds * rate))
    rng = np.random.default_rng([training.seed, 8765, draw])
    return tensors_of(corpus.excerpt_batch(rng, sounds, frames, model.heard_from))


def moment_path(folder: Path, phase: str, share: float) -> Path:
    """Where the weights of a phase after a share of its budget are kept; see `Session.moments`."""
    return folder / f"at-{round(100 * share):02d}-of-{phase}.safetensors"


def moments_of(folder: Path, phase: str) -> list[tuple[int, Path]]:
    """The moments that were kept of a phase.

    Args:
        folder: of the session.
        phase: its name.

    Returns:
        percent of its budget and file, in order.
    """
    found = [(path.stem.split("-")[1], path) for path in folder.glob(f"at-*-of-{phase}.safetensors")]
    return sorted((int(percent), path) for percent, path in found if percent.isdecimal())


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Train in a folder while nobody else does: two would write one checkpoint over the other's.

    Args:
        folder: made if missing.

    Yields:
        nothing; the folder is free again after, also if the process dies.

    Raises:
        RunError: another living process has it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        lock.acquire(timeout=0)
    except Timeout:
        raise RunError(
            "Another process is training in this folder.",
            where=str(folder),
            remedy="Wait until it ends or stop it, or choose another folder with --out.",
        ) from None
    except OSError as error:
        raise RunError(
            f"The folder cannot be written: {error.strerror or error}.",
            where=str(folder),
            remedy="Choose another folder with --out.",
        ) from error
    try:
        yield
    finally:
        lock.release()


@dataclass
class Session:
    """A folder in which phases of training leave their checkpoints.

    Args:
        folder: made if need be.
        corpus: training part.
        held_out: what only the looks see.
        training: how every phase trains.
        seconds: wall time of all phases together; infinite if steps bound them.
        steps: optimiser steps of all phases together; None if time bounds them.
        report: told the phase and the trainer at every look.
        device: where every phase computes.
    """

    folder: Path
    corpus: FolderCorpus
    held_out: FolderCorpus
    training: Training
    seconds: float
    steps: int | None = None
    report: Report | None = None
    device: torch.device = CPU
    resumed: list[str] = field(default_factory=list)
    """What was found finished or begun, for the person to know."""
    throughout: Callable[[Model], Companion] | None = None
    """Who goes along with every phase, of the model that is about to be trained: holds what was decided before."""
    moments: tuple[float, ...] = ()
    """Shares of every phase's budget after which its weights are kept apart too, for who asks how a network came about;
    without the optimisers' state, a third of a checkpoint each."""

    def __post_init__(self) -> None:
        if not self.seconds > 0 or (self.steps is not None and self.steps < 1):
            raise RecipeError(
                "There is no time to train in.", remedy="Give --minutes more than 0, or --steps 1 or more."
            )

    def path(self, phase: str) -> Path:
        """Checkpoint of a phase."""
        return self.folder / f"{phase}.safetensors"

    def phase(
        self,
        name: str,
        model: Model,
        share: float,
        *,
        snapshot_at: float | None = None,
        again: bool = False,
        companions: Sequence[Companion] = (),
    ) -> Progress:
        """Train a model for a share of the session's budget, or take over what an earlier session did of it.

        Args:
            name: of the phase, and of its files.
            model: trained in place.
            share: of the session's budget.
            snapshot_at: share of the phase after which the weights are also kept apart, for rewinding.
            again: the model goes on from trained weights.
            companions: go along; what they are is in the checkpoint too.

        Returns:
            where the phase ended.

        Raises:
            RunError: the checkpoint belongs to something else, another process trains here, the sounds were read for
                another rate or hop, the disk is full, or the loss is not finite.
        """
        self._check_sounds(model)
        with alone_in(self.folder):
            return self._phase(name, model, share, snapshot_at, again, companions)

    def _phase(
        self,
        name: str,
        model: Model,
        share: float,
        snapshot_at: float | None,
        again: bool,
        companions: Sequence[Companion],
    ) -> Progress:
        budget = Budget(self.seconds * share, None if self.steps is None else max(1, round(self.steps * share)))
        trainer = Trainer(model, self.corpus, self.held_out, self.training, budget, again=again, device=self.device)
        standing = () if self.throughout is None else (self.throughout(model),)
        # First, so that whoever remembers weights after a step remembers them as they are held.
        own = {companion.name for companion in companions}
        for companion in (*(item for item in standing if item.name not in own), *companions):
            trainer.accompany(companion)
        path = self.path(name)
        if path.exists():
            self._take_over(name, trainer)
        facts = {"model": describe(model), "training": asdict(self.training), "version": pochette.__version__}
        last_saved = time.monotonic()

        early = self.path(f"{name}-early")

        def snapshot(trainer: Trainer) -> None:
            if snapshot_at is not None and trainer.spent >= snapshot_at and not early.exists():
                save(early, {f"model/{k}": v for k, v in model.state_dict().items()}, facts)
            # Of steps that take longer than from one moment to the next, the last counts.
            for moment in [moment for moment in self.moments if trainer.used < moment <= trainer.spent < 1.0][-1:]:
                self._keep_moment(name, moment, trainer, facts)

        def keep(trainer: Trainer) -> None:
            nonlocal last_saved
            if trainer.progress.stopped or time.monotonic() - last_saved > SAVE_SECONDS:
                save(path, trainer.state(), {**facts, "progress": asdict(trainer.progress)})
                last_saved = time.monotonic()
            if self.report is not None:
                self.report(name, trainer)

        trainer.after_step.append(snapshot)
        try:
            trainer.fit((keep,))
        except KeyboardInterrupt:
            save(path, trainer.state(), {**facts, "progress": asdict(trainer.progress)})
            raise
        model.eval()
        return trainer.progress

    def _keep_moment(self, name: str, share: float, trainer: Trainer, facts: dict[str, Any]) -> None:
        """Keep the weights apart, and what they make of held-out sound; training goes on as if nobody had looked."""
        stands = trainer.progress
        look = (stands.steps, trainer.loss, trainer.held_out_loss())
        seen = {**asdict(stands), "history": [*stands.history, look]}
        weights = {f"model/{path}": tensor for path, tensor in trainer.model.state_dict().items()}
        save(moment_path(self.folder, name, share), weights, {**facts, "progress": seen})

    def watched_excerpt(self, model: Model, frames: int = 250, sounds: int = 8) -> Excerpt:
        """Held-out sound for whoever wants to see how a model behaves, the same at every call.

        Args:
            model: that is watched.
            frames: of each excerpt, where the model leaves it open.
            sounds: how many excerpts.

        Returns:
            a batch.
        """
        frames = model.excerpt_frames or frames
        return tensors_of(self.held_out.excerpt_batch(np.random.default_rng(4321), sounds, frames, model.heard_from))

    def training_excerpt(self, model: Model, sounds: int = 16, draw: int = 0) -> Excerpt:
        """Sound of the training part, for who decides by it what a model can do without.

        Args:
            model: that is watched.
            sounds: how many excerpts.
            draw: which, of as many as one likes.

        Returns:
            a batch of excerpts as long as those of training; the same for the same draw and seed.
        """
        return training_excerpt(self.corpus, model, self.training, sounds, draw)

    def fresh(self, model: Model, offset: int = 0) -> Model:
        """The model's recipe with first weights that the session's seed draws.

        Args:
            model: says the recipe.
            offset: added to the seed, for other first weights.

        Returns:
            another model.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.training.seed + offset)
            drawn: Model = model.recipe.build()
        return drawn

    def early_weights(self, phase: str) -> dict[str, Tensor]:
        """Weights kept by `snapshot_at`."""
        return _model_part(load(self.path(f"{phase}-early"))[0])

    def _check_sounds(self, model: Model) -> None:
        """Refuse sounds that were read for another rate or hop than the model's."""
        own, sounds = (model.sample_rate_hz, model.hop_samples), self.corpus
        if (sounds.sample_rate_hz, sounds.hop_samples) != own:
            raise RunError(
                f"The sounds were read for {sounds.sample_rate_hz} Hz and hops of {sounds.hop_samples} samples; "
                f"the model has {own[0]} Hz and {own[1]}.",
                where=str(sounds.folder),
                remedy="Prepare the corpus with the model's own sample_rate_hz and hop_samples.",
            )

    def _take_over(self, name: str, trainer: Trainer) -> None:
        tensors, facts = load(self.path(name))
        if facts.get("model") != describe(trainer.model):
            raise RunError(
                "The checkpoint belongs to another model.",
                where=str(self.path(name)),
                remedy="Choose another --out, or delete the folder.",
            )
        saved = facts["progress"]
        progress = Progress(**{**saved, "history": [tuple(row) for row in saved["history"]]})
        trainer.restore(tensors, progress)
        state = "finished" if progress.stopped else f"resumed at step {progress.steps}"
        self.resumed.append(f"{name}: {state}")
