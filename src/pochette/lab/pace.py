"""How long training will take here, measured by a few of its steps on made-up sound."""

from __future__ import annotations

import time

import numpy as np

from pochette.families import boards, models
from pochette.lab.runs import sized
from pochette.models.model import Model
from pochette.train.loop import Training, tensors_of

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
    import torch

    training = Training()
    built: Model = sized(models[model], size, sample_rate_hz=boards[board].sample_rate_hz).build()
    frames = round(training.excerpt_seconds * built.sample_rate_hz / built.hop_samples)
    rng = np.random.default_rng(0)
    shape = (training.batch, frames)
    excerpt = tensors_of(
        {
            "audio": rng.uniform(-0.1, 0.1, (training.batch, frames * built.hop_samples)).astype(np.float32),
            "f0_hz": np.full(shape, 220.0, np.float32),
            "loudness_db": np.full(shape, -30.0, np.float32),
            "confidence": np.ones(shape, np.float32),
        }
    )
    optimiser = torch.optim.Adam(built.parameters())
    times = []
    for step in range(_STEPS + 1):
        begun = time.perf_counter()
        loss = built.train().loss(excerpt, torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        times.append(time.perf_counter() - begun)
    # The first step warms caches up.
    return float(np.median(times[1:])), USUAL_STEPS
