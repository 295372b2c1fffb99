"""Every metric: nothing between a sound and itself, something between a sound and noise."""

from __future__ import annotations

import numpy as np
import pytest

from pochette.families import metrics
from pochette.sound.anchors import white_noise

RATE = 16000


def note(f0_hz: float = 220.0) -> np.ndarray:
    t = np.arange(RATE) / RATE
    return np.asarray(sum(0.3 / k * np.sin(2 * np.pi * k * f0_hz * t) for k in range(1, 6)), np.float32)


@pytest.mark.parametrize("name", metrics.names())
def test_contract_of_every_metric(name: str) -> None:
    sound = note()
    perfect = metrics[name](sound, sound, RATE)
    assert perfect == pytest.approx(1.0 if name == "pitch_accuracy" else 0.0, abs=1e-6)
    other = metrics[name](sound, note(233.1), RATE)
    if name == "loudness_db":
        other = metrics[name](sound, 0.5 * sound, RATE)
    assert np.isfinite(other)
    assert abs(other - perfect) > 1e-3
    noisy = metrics[name](sound, white_noise(sound, seed=0), RATE)
    assert np.isnan(noisy) or abs(noisy - perfect) > 1e-3
