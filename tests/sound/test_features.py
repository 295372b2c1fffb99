"""Loudness is A-weighted power in dB, whatever the rate."""

from __future__ import annotations

import numpy as np
import pytest

from pochette.sound.audio import FloatArray
from pochette.sound.features import a_weighting_power, centres, frame_count, frames_at, loudness_db


def sine(f0_hz: float, rate: int = 48000, seconds: float = 0.5) -> FloatArray:
    return np.asarray(np.sin(2 * np.pi * f0_hz * np.arange(round(seconds * rate)) / rate), np.float32)


def steady(audio: FloatArray, rate: int = 48000) -> float:
    return float(np.median(loudness_db(audio, rate, rate // 100)))


def test_full_scale_kilohertz_is_zero() -> None:
    assert steady(sine(1000)) == pytest.approx(0.0, abs=0.02)
    assert steady(0.1 * sine(1000)) == pytest.approx(-20.0, abs=0.02)


def test_a_curve_matches_the_standard() -> None:
    """IEC 61672-1, table 3: 31.62 Hz -39.4, 100 Hz -19.1, 1 kHz 0, 2.5 kHz +1.3, 10 kHz -2.5 dB."""
    table = {31.62: -39.4, 50.12: -30.2, 100.0: -19.1, 1000.0: 0.0, 2500.0: 1.3, 10000.0: -2.5}
    for frequency, decibels in table.items():
        assert 10 * np.log10(a_weighting_power(np.array(frequency))) == pytest.approx(decibels, abs=0.1)


def test_bass_is_softer() -> None:
    assert steady(sine(1000)) - steady(sine(50)) == pytest.approx(27.8, abs=0.1)


def test_silence_is_the_floor() -> None:
    assert (loudness_db(np.zeros(4800, np.float32), 48000, 480) == -80).all()
    assert loudness_db(np.zeros(0, np.float32), 48000, 480).tolist() == [-80]


@pytest.mark.parametrize("rate", [16000, 22050, 32000, 44100, 96000])
def test_rate_does_not_matter(rate: int) -> None:
    for f0 in (220.0, 1000.0, 5000.0):
        assert steady(0.2 * sine(f0, rate), rate) == pytest.approx(steady(0.2 * sine(f0)), abs=0.1)


def test_frames_are_centred() -> None:
    """A click on frame 7's centre makes frame 7 the loudest, and its neighbours equal."""
    click = np.zeros(4800, np.float32)
    click[7 * 240] = 1
    level = loudness_db(click, 48000, 240)
    assert len(level) == frame_count(4800, 240) == 21
    assert level.argmax() == 7
    assert level[6] == pytest.approx(level[8], abs=1e-3)


def test_frames_reach_into_zeros() -> None:
    (chunk, frames), *rest = frames_at(np.arange(1, 6.0), centres(5, 2), 4)
    assert not rest
    assert chunk == slice(0, 3)
    assert frames.tolist() == [[0, 0, 1, 2], [1, 2, 3, 4], [3, 4, 5, 0]]
