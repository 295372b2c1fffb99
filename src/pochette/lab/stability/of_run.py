"""Stability of what a run trained: of its dense network and of the last reduced one, and how far weights came.

Two branches are trained, so the run's recordings are needed. What was found of a checkpoint is found again in the
analysis that was kept, so that who was stopped goes on with the next network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import pochette
from pochette.errors import PochetteError, RunError, SoundError
from pochette.families import models
from pochette.lab.heard import divided
from pochette.lab.judge import Parts
from pochette.lab.runs import Run, read_run
from pochette.lab.stability.apart import apart, as_vector
from pochette.lab.stability.interpolation import POINTS
from pochette.lab.stability.sensitivity import BITS, NOISE
from pochette.lab.stability.summary import Effort, stability_of
from pochette.models.model import Model
from pochette.recipe import from_json
from pochette.reduce.sparse.weights import Masks, effective, not_zero, weights_of
from pochette.reduce.technique import EARLY
from pochette.train.loop import Training
from pochette.train.session import load_model

BRANCH_STEPS = 100
"""Of each branch; see `Stabilities.steps`."""
READING = Effort(tolerance=0.05, noise=NOISE, bits=BITS, points=POINTS)
"""Curves to be looked at have more points than a study's figures need, at the cost of some passes; steepness to a
twentieth is told beside a trace whose error is larger."""

Told = Callable[[str, float, str], None]


@dataclass(frozen=True)
class Stabilities:
    """The stability of a run's networks, one after the other.

    Args:
        folder: of the run.
        rounds: names of the rounds that are asked about, the dense one first.
        steps: of each of the two branches that are trained of each network. More steps take branches further apart: a
            barrier is that of a training so long.
        effort: see `summary.Effort`.
    """

    folder: Path
    rounds: tuple[str, ...]
    steps: int = BRANCH_STEPS
    effort: Effort = READING

    def found(
        self, parts: Parts, known: dict[str, Any], told: Told | None = None
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """What is found of each round, as it is found.

        Args:
            parts: see `sounds_of`.
            known: what an earlier call found, by round; taken over where it is of the same checkpoint and asked alike.
            told: hears of the progress: what, the share done, and of what.

        Yields:
            the round, and `summary.Stability.to_json` with "moved", see `moved`, and "of", what it was found of; or
            "left_out": why nothing can be said.
        """
        run = read_run(self.folder)
        for number, name in enumerate(self.rounds):
            of = self._identity(name)
            if known.get(name, {}).get("of") != of:

                def tell(share: float, what: str, number: int = number, name: str = name) -> None:
                    if told is not None:
                        told("stability", (number + share) / len(self.rounds), f"{name}: {what}")

                tell(0.0, "begins")
                yield name, {"of": of, **self._found(run, name, parts, tell)}
            else:
                yield name, known[name]

    def _found(self, run: Run, name: str, parts: Parts, told: Callable[[float, str], None]) -> dict[str, Any]:
        model, training = self._model(name), Training(**run.training)
        masks = None if name == "dense" else masks_of(model)
        try:
            found = stability_of(model, parts, training, self.steps, masks=masks, effort=self.effort, told=told)
        except PochetteError as error:
            return {"left_out": f"{error.what} {error.remedy}"}
        return {**found.to_json(), "moved": moved(self.folder, run) if name == "dense" else []}

    def _identity(self, name: str) -> dict[str, Any]:
        """What a finding is of, and how it was asked."""
        checkpoint = hashlib.sha256((self.folder / f"{name}.safetensors").read_bytes()).hexdigest()
        effort = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self.effort).items()}
        return {"checkpoint": checkpoint, "steps": self.steps, "effort": effort, "version": pochette.__version__}

    def _model(self, name: str) -> Model:
        return load_model(self.folder / f"{name}.safetensors")[0]


def sounds_of(folder: Path, option: str, progress: Any = None) -> Parts:
    """A run's recordings as its training divided them; what it held out is what errors are measured on.

    Args:
        folder: of the run.
        option: that needs them, as a person writes it.
        progress: see `FolderCorpus.prepare`.

    Returns:
        the parts.

    Raises:
        SoundError: the folder is gone.
        RunError: the sounds are not the same any more.
    """
    run = read_run(folder)
    model: Model = from_json(models[run.model], run.recipe).build()
    try:
        training, held_out = divided(run, model, progress)
    except (SoundError, RunError) as error:
        raise type(error)(
            f"{option} trains on the run's recordings: {error.what}",
            where=error.where or run.corpus,
            remedy=f"{error.remedy} Without {option} no sound is needed.".strip(),
        ) from error
    return Parts(training, held_out, held_out)


def still_of(folder: Path, name: str, told: dict[str, Any]) -> bool:
    """Whether what was found is of a checkpoint that is still there, however it was asked.

    Args:
        folder: of the run.
        name: of the round.
        told: what `Stabilities.found` gave.

    Returns:
        whether it may be shown on.
    """
    path, of = folder / f"{name}.safetensors", told.get("of")
    if not path.is_file() or not isinstance(of, dict) or of.get("version") != pochette.__version__:
        return False
    return bool(of.get("checkpoint") == hashlib.sha256(path.read_bytes()).hexdigest())


def masks_of(model: Model) -> Masks | None:
    """Where the single weights of a reduced model live.

    Args:
        model: reduced.

    Returns:
        masks; None if no weight is zero.
    """
    alive = not_zero(weights_of(model))
    return None if all(mask.all() for mask in alive.values()) else alive


def moved(folder: Path, run: Run) -> list[dict[str, Any]]:
    """How far training moved the weights from the first ones, which the run's seed draws.

    A run keeps its dense network early in training, to rewind to, and at the end.

    Args:
        folder: of the run.
        run: its facts.

    Returns:
        a row for each that is kept: "when", a share of the training; "signs_changed", share of the matrices' weights
        whose sign is not the first one's; "distance", "angle_degrees" from the first ones, seen from zero; and
        "distance_to_end". Empty where the first weights cannot be drawn again.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        first = _acting(from_json(models[run.model], run.recipe).build())
    kept = {EARLY: folder / "dense-early.safetensors", 1.0: folder / "dense.safetensors"}
    weights = {when: _acting(load_model(path)[0]) for when, path in kept.items() if path.is_file()}
    if 1.0 not in weights or {k: v.shape for k, v in weights[1.0].items()} != {k: v.shape for k, v in first.items()}:
        return []
    start = as_vector(first).sign()
    return [
        {
            "when": when,
            "signs_changed": float((as_vector(now).sign() != start).double().mean()),
            **asdict(apart(first, now)),
            "distance_to_end": apart(now, weights[1.0]).distance,
        }
        for when, now in weights.items()
    ]


def _acting(model: Model) -> dict[str, Tensor]:
    return effective(weights_of(model))
