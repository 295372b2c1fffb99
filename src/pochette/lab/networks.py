"""One network of an experiment: built, trained for a counted number of steps, and judged on test sound."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save as pack
from torch import Tensor

import pochette
from pochette.lab.experiment import Dense, Experiment
from pochette.lab.judge import Parts, digest, inference_seconds, machine, mean_error
from pochette.lab.shrink import Kept
from pochette.lab.store import CHECKPOINT, Result
from pochette.measure import profile_model
from pochette.models.model import Model
from pochette.recipe import to_json
from pochette.reduce.sparse.held import Held
from pochette.reduce.sparse.weights import Masks, Weight
from pochette.train.checkpoint import load, save
from pochette.train.device import device_of
from pochette.train.loop import Budget, Progress, Trainer, Training
from pochette.train.session import rebuild

SAVE_SECONDS = 10.0
"""Wall time between checkpoints inside an experiment."""
SPENT, STORED, STATE = "CPU time of training, s", "weights stored, bytes", "state, bytes"
"""Figures of networks; the first is unknown where the work was done in several sittings."""


@dataclass(frozen=True)
class Task:
    """All that a worker needs for an experiment but the sounds."""

    experiment: Experiment
    results: Mapping[Experiment, Result] = field(default_factory=dict)
    """Of all ancestors."""
    weights: bytes = b""
    """What the parent left."""
    folder: str = ""
    """Where checkpoints may be kept; empty for nowhere."""
    device: str = "cpu"
    """What it trains on, of the machine that does it."""


@dataclass(frozen=True)
class Outcome:
    """What a worker gives back."""

    result: Result
    weights: bytes
    """What descendants start from."""


@dataclass
class Trained:
    """A model on its way to a result, and what its descendants will want."""

    model: Model
    steps: int
    seconds: float
    weights: int
    kept: Kept = field(default_factory=dict)
    early: dict[str, Tensor] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)


def fresh(dense: Dense, offset: int = 0) -> Model:
    """The model of an experiment with its first weights.

    Args:
        dense: names recipe and seed.
        offset: added to the seed, for other first weights.

    Returns:
        the model.
    """
    torch.manual_seed(dense.training.seed + offset)
    model: Model = dense.recipe.build()
    return model


def rebuilt(dense: Dense, weights: dict[str, Tensor]) -> Model:
    """The model with these weights and the shapes they have."""
    return rebuild({"name": dense.model, "recipe": to_json(dense.recipe)}, weights)


def train(
    task: Task,
    model: Model,
    parts: Parts,
    training: Training,
    steps: int,
    *,
    masked: Masks | None = None,
    early: float | None = None,
    again: bool = False,
) -> tuple[Progress, dict[str, Tensor]]:
    """Train for so many steps, going on from a checkpoint if one is there; the course is the same either way.

    Args:
        task: says where checkpoints may be kept.
        model: trained in place.
        parts: of the corpus.
        training: how.
        steps: how long.
        masked: what `shrink.masks` gave, to hold weights at zero.
        early: share of the steps after which the weights are kept apart.
        again: the model goes on from trained weights.

    Returns:
        where it ended, and the weights at the share `early` of the steps.
    """
    budget, device = Budget(steps=steps), device_of(task.device)
    trainer = Trainer(model, parts.training, parts.looks, training, budget, again=again, device=device)
    if masked is not None:
        named = dict(model.named_parameters())
        trainer.accompany(Held({path: Weight(named[path]) for path in masked}, masked))
    kept_early: dict[str, Tensor] = {}
    if early is not None:

        def snapshot(trainer: Trainer) -> None:
            if not kept_early and trainer.spent >= early:
                kept_early.update({path: tensor.detach().cpu().clone() for path, tensor in model.state_dict().items()})

        trainer.after_step.append(snapshot)
    checkpoint = Path(task.folder) / CHECKPOINT if task.folder else None
    if checkpoint is not None and begun(task):
        tensors, facts = load(checkpoint)
        kept_early.update(part(tensors, "early/"))
        progress = facts["progress"]
        trainer.restore(tensors, Progress(**{**progress, "history": [tuple(row) for row in progress["history"]]}))
    saved = time.monotonic()

    def keep(trainer: Trainer) -> None:
        nonlocal saved
        if checkpoint is not None and not trainer.progress.stopped and time.monotonic() - saved > SAVE_SECONDS:
            save(checkpoint, trainer.state() | under("early/", kept_early), {"progress": asdict(trainer.progress)})
            saved = time.monotonic()

    trainer.fit((keep,))
    model.eval()
    return trainer.progress, kept_early


def begun(task: Task) -> bool:
    """Whether an earlier sitting left a checkpoint of this experiment."""
    return bool(task.folder) and (Path(task.folder) / CHECKPOINT).is_file()


def judged(trained: Trained, parts: Parts, device: str = "cpu") -> Outcome:
    """What a trained network is found to be, and what its descendants start from.

    Args:
        trained: the network.
        parts: its test part is what it is judged by.
        device: that it was trained on.

    Returns:
        result and weights.

    Raises:
        RunError: the error is not finite.
    """
    model = trained.model.eval()
    counted = profile_model(model)
    weights = {path: tensor.detach() for path, tensor in model.state_dict().items()}
    result = Result(
        error=mean_error(model.loss, model, parts.test),
        weights=trained.weights,
        macs_per_second=float(counted.macs_per_second or 0.0),
        weight_bytes=counted.weight_bytes,
        steps=trained.steps,
        digest=digest(weights),
        training_seconds=trained.seconds,
        inference_seconds=inference_seconds(model),
        machine=machine(device),
        version=pochette.__version__,
        figures={STATE: float(counted.state_bytes), **trained.figures},
    )
    stored = under("model/", weights) | under("kept/", trained.kept) | under("early/", trained.early)
    return Outcome(result, pack({path: tensor.contiguous() for path, tensor in stored.items()}))


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Tensors whose names begin so, without that beginning."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors with a beginning put before their names."""
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}
