"""How long training will take here, measured by a few of its steps on made-up sound."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from pochette.families import boards, models
from pochette.lab.runs import sized
from pochette.models.model import Model
from pochette.sound.audio import FloatArray
from pochette.train.loop import Budget, Trainer, Training

USUAL_STEPS = 3000
"""Steps of all phases together after which little more was gained, on corpora of a few minutes."""
_STEPS = 3


def seconds_per_step(model: str, size: str, board: str) -> tuple[float, int]:
    """Wall time of one training step on this machine, now.

    Args:
        model: registered name.
        size: declared.
        board: decides the rate.

    Returns:
        seconds a step (the median of a few), and how many steps are usual.

    Raises:
        UnknownNameError: no such model, size or board.
    """
    built: Model = sized(models[model], size, sample_rate_hz=boards[board].sample_rate_hz).build()
    noise: Any = _Noise(built.hop_samples)
    trainer = Trainer(built, noise, noise, Training(), Budget(steps=USUAL_STEPS))
    edges = sorted({edge for turn in built.turns() for edge in turn.span})
    # A phase of other turns takes other time.
    took = [_of_a_step(trainer, (first + last) / 2) * (last - first) for first, last in pairwise(edges)]
    return sum(took) / (edges[-1] - edges[0]), USUAL_STEPS


def _of_a_step(trainer: Trainer, used: float) -> float:
    times = []
    for _ in range(_STEPS + 1):
        begun = time.perf_counter()
        trainer.step(used)
        times.append(time.perf_counter() - begun)
    # The first step warms caches up.
    return float(np.median(times[1:]))


@dataclass(frozen=True)
class _Noise:
    """In place of a corpus: made-up sound."""

    hop_samples: int

    def excerpt_batch(self, rng: np.random.Generator, batch: int, frames: int, _: str) -> dict[str, FloatArray]:
        """See `FolderCorpus.excerpt_batch`."""
        shape = (batch, frames)
        return {
            "audio": rng.uniform(-0.1, 0.1, (batch, frames * self.hop_samples)).astype(np.float32),
            "f0_hz": np.full(shape, 220.0, np.float32),
            "loudness_db": np.full(shape, -30.0, np.float32),
            "confidence": np.ones(shape, np.float32),
        }
