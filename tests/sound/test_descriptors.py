"""Descriptors give their closed forms on sines and white noise."""

from __future__ import annotations

import numpy as np
import pytest

from pochette.sound import descriptors
from pochette.sound.audio import FloatArray
from pochette.sound.spectra import magnitudes

RATE = 48000


def spectrum(sound: FloatArray) -> FloatArray:
    return magnitudes(sound, 2048, 512)[4:-4]


@pytest.fixture(scope="module")
def noise() -> FloatArray:
    return np.asarray(np.random.default_rng(0).standard_normal(4 * RATE), np.float32)


@pytest.fixture(scope="module")
def sine() -> FloatArray:
    """128 periods in 2048 samples: on a bin, so nothing leaks beyond the window's three bins."""
    return np.asarray(0.5 * np.sin(2 * np.pi * 3000 * np.arange(RATE) / RATE), np.float32)


def test_sine(sine: FloatArray) -> None:
    lines = spectrum(sine)
    assert descriptors.centroid_hz(lines, RATE) == pytest.approx(3000, abs=1)
    # A Hann line has neighbours of half its height one bin away: their spread is bin / sqrt 2.
    assert descriptors.spread_hz(lines, RATE) == pytest.approx(RATE / 2048 / np.sqrt(2), rel=0.05)
    assert descriptors.flatness(lines).max() < 1e-5
    assert descriptors.rolloff_hz(lines, RATE) == pytest.approx(3000, abs=RATE / 2048)


def test_white_noise(noise: FloatArray) -> None:
    flat = spectrum(noise)
    assert descriptors.centroid_hz(flat, RATE).mean() == pytest.approx(RATE / 4, rel=0.01)
    assert descriptors.spread_hz(flat, RATE).mean() == pytest.approx(RATE / 4 / np.sqrt(3), rel=0.01)
    assert descriptors.flatness(flat).mean() == pytest.approx(np.exp(-np.euler_gamma), rel=0.02)
    assert descriptors.rolloff_hz(flat, RATE).mean() == pytest.approx(0.85 * RATE / 2, rel=0.01)
    assert descriptors.slope_db_per_octave(flat, RATE).mean() == pytest.approx(0, abs=0.2)


def test_slope_of_one_over_f() -> None:
    bins = np.linspace(0, RATE / 2, 1025)
    falling = np.asarray(1 / np.maximum(bins, 1), np.float32)[None]
    assert descriptors.slope_db_per_octave(falling, RATE) == pytest.approx(-20 * np.log10(2), abs=0.01)


def test_silence_is_finite() -> None:
    still = np.zeros((3, 513), np.float32)
    assert descriptors.centroid_hz(still, RATE).tolist() == [0, 0, 0]
    assert descriptors.spread_hz(still, RATE).tolist() == [0, 0, 0]
    assert descriptors.rolloff_hz(still, RATE).tolist() == [0, 0, 0]
    assert descriptors.flatness(still).tolist() == [1, 1, 1]
    assert descriptors.log_attack_time(np.zeros(1000, np.float32), RATE) == -3


@pytest.mark.parametrize("seconds", [0.05, 0.2, 1.0])
def test_attack_of_a_straight_rise(noise: FloatArray, seconds: float) -> None:
    """From 20 % to 90 % of a straight rise is 70 % of it."""
    rise = np.minimum(1, np.arange(2 * RATE) / (seconds * RATE))
    tone = np.sign(np.sin(2 * np.pi * 1000 * np.arange(2 * RATE) / RATE))
    found = descriptors.log_attack_time(np.asarray(rise * tone, np.float32), RATE)
    assert 10**found == pytest.approx(0.7 * seconds, rel=0.05)


@pytest.mark.parametrize("decibels", [0.0, 10.0, 20.0])
def test_harmonic_to_noise_is_the_ratio_of_powers(noise: FloatArray, decibels: float) -> None:
    t = np.arange(RATE) / RATE
    tone = np.sqrt(2) * np.sin(2 * np.pi * 220 * t)
    sound = np.asarray(tone + noise[:RATE] * 10 ** (-decibels / 20), np.float32)
    f0 = np.full(RATE // 480 + 1, 220, np.float32)
    found = descriptors.harmonic_to_noise_db(sound, RATE, 480, f0)
    assert np.median(found) == pytest.approx(decibels, abs=1.5)
