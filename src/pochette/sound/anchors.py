"""Trivial sounds that every comparison needs beside the models: a number means nothing until these are beaten."""

from __future__ import annotations

import numpy as np

from pochette.sound.audio import FloatArray


def silence(reference: FloatArray) -> FloatArray:
    """Nothing, as long as the reference.

    Args:
        reference: (samples,).

    Returns:
        (samples,), zeros.
    """
    return np.zeros_like(reference, dtype=np.float32)


def white_noise(reference: FloatArray, seed: int) -> FloatArray:
    """Gaussian white noise as long and as strong as the reference, with nothing else in common.

    Args:
        reference: (samples,).
        seed: which noise.

    Returns:
        (samples,), with the reference's root mean square.
    """
    noise = np.random.default_rng(seed).standard_normal(len(reference))
    power = np.mean(np.asarray(reference, np.float64) ** 2) if len(reference) else 0.0
    own = np.mean(noise**2) if len(noise) else 1.0
    return np.asarray(noise * np.sqrt(power / own), np.float32)
