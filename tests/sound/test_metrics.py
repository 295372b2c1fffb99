"""Metrics: zero for equals, closed forms where there are any, worse for worse sounds."""

from __future__ import annotations

import numpy as np
import pytest

from pochette.errors import ShapeError
from pochette.families import metrics
from pochette.sound.anchors import silence, white_noise
from pochette.sound.audio import FloatArray

RATE = 16000
HIGHER_IS_BETTER = {"pitch_accuracy"}
BY_PITCH = {"pitch_accuracy", "pitch_cents"}


def tone(f0_hz: float = 220.0, seconds: float = 1.0, rate: int = RATE) -> FloatArray:
    t = np.arange(round(seconds * rate)) / rate
    return np.asarray(0.2 * sum(np.sin(2 * np.pi * f0_hz * k * t) / k for k in range(1, 20)), np.float32)


@pytest.mark.parametrize("name", metrics.names())
def test_equal_sounds_are_perfect(name: str) -> None:
    assert metrics[name](tone(), tone(), RATE) == (1.0 if name in HIGHER_IS_BETTER else 0.0)


@pytest.mark.parametrize("name", sorted(set(metrics.names()) - BY_PITCH))
def test_more_noise_is_worse(name: str) -> None:
    sound = tone()
    scores = [metrics[name](sound, sound + level * white_noise(sound, 0), RATE) for level in (0.001, 0.01, 0.1, 1)]
    assert scores == sorted(scores)
    assert scores[-1] > scores[0]


@pytest.mark.parametrize("name", sorted(set(metrics.names()) - BY_PITCH))
def test_anchors_are_finite_and_bad(name: str) -> None:
    sound = tone()
    near = metrics[name](sound, sound + 0.01 * white_noise(sound, 0), RATE)
    assert metrics[name](sound, white_noise(sound, 0), RATE) > near
    assert np.isfinite(metrics[name](sound, silence(sound), RATE))


@pytest.mark.parametrize("gain", [0.5, 0.9, 2.0])
def test_gain_has_closed_forms(gain: float) -> None:
    decibels = abs(20 * np.log10(gain))
    sound = tone() * np.float32(0.4)
    louder = sound * np.float32(gain)
    assert metrics["loudness_db"](sound, louder, RATE) == pytest.approx(decibels, abs=0.01)
    assert metrics["spectral_convergence"](sound, louder, RATE) == pytest.approx(abs(gain - 1), rel=1e-4)
    assert metrics["pitch_cents"](sound, louder, RATE) == pytest.approx(0, abs=0.1)
    loud_noise = white_noise(sound, 1)
    assert metrics["log_spectral_db"](loud_noise, loud_noise * gain, RATE) == pytest.approx(decibels, rel=0.02)
    assert metrics["mel_cepstral"](loud_noise, loud_noise * gain, RATE) == pytest.approx(0, abs=0.01)


def test_multiscale_of_gain() -> None:
    """Far above the 1e-5, the log term is |ln g| a scale and the linear term in proportion to |g - 1|."""
    sound = white_noise(np.full(RATE, 0.3, np.float32), 2)
    half, quarter = (metrics["multiscale_spectral"](sound, sound * np.float32(g), RATE) for g in (0.5, 0.25))
    linear_half = half - 6 * np.log(2)
    linear_quarter = quarter - 6 * np.log(4)
    assert linear_quarter == pytest.approx(1.5 * linear_half, rel=1e-3)


@pytest.mark.parametrize("cents", [10, 30, 100])
def test_detuning_is_measured(cents: int) -> None:
    off = tone(220 * 2 ** (cents / 1200))
    assert metrics["pitch_cents"](tone(), off, RATE) == pytest.approx(cents, abs=1)
    assert metrics["pitch_accuracy"](tone(), off, RATE) == pytest.approx(1.0 if cents < 50 else 0.0, abs=0.03)


def test_without_pitch_there_is_no_number() -> None:
    sound = tone()
    assert np.isnan(metrics["pitch_cents"](sound, white_noise(sound, 0), RATE))
    assert np.isnan(metrics["pitch_accuracy"](silence(sound), sound, RATE))
    assert metrics["pitch_accuracy"](sound, silence(sound), RATE) == 0


@pytest.mark.parametrize("name", metrics.names())
@pytest.mark.parametrize(
    "estimate",
    [np.zeros((2, RATE), np.float32), np.zeros(0, np.float32), np.zeros(3 * RATE), np.full(RATE, np.nan)],
    ids=["stereo", "empty", "longer", "nan"],
)
def test_what_cannot_be_compared_is_refused(name: str, estimate: FloatArray) -> None:
    with pytest.raises(ShapeError) as caught:
        metrics[name](tone(), estimate, RATE)
    assert caught.value.remedy


@pytest.mark.parametrize("name", metrics.names())
def test_a_last_hop_may_differ(name: str) -> None:
    sound = tone()
    assert metrics[name](sound, sound[:-200], RATE) == (1.0 if name in HIGHER_IS_BETTER else 0.0)


def test_anchors_keep_what_they_promise() -> None:
    sound = tone()
    noise = white_noise(sound, 3)
    assert np.sqrt(np.mean(noise**2)) == pytest.approx(np.sqrt(np.mean(sound**2)), rel=1e-4)
    assert (white_noise(sound, 3) == noise).all()
    assert (white_noise(sound, 4) != noise).any()
    assert not silence(sound).any()
