"""Spectra keep amplitudes and power; the mel bank shares them out without loss."""

from __future__ import annotations

import numpy as np
import pytest

from pochette.sound.spectra import hann, hz_from_mel, log_mel, magnitudes, mel_filterbank, mel_from_hz


@pytest.mark.parametrize(("size", "rate"), [(512, 16000), (1024, 44100), (2048, 48000)])
def test_a_sine_shows_half_its_amplitude(size: int, rate: int) -> None:
    f0 = 16 * rate / size
    sound = np.asarray(0.6 * np.sin(2 * np.pi * f0 * np.arange(rate // 2) / rate), np.float32)
    spectrum = magnitudes(sound, size, size // 4)
    assert spectrum[8, 16] == pytest.approx(0.3, rel=1e-4)
    assert spectrum[8].argmax() == 16


def test_power_is_kept() -> None:
    """Parseval: over all bins, power of a frame is the windowed sound's, here white noise's variance."""
    rng = np.random.default_rng(0)
    sound = np.asarray(rng.standard_normal(200_000), np.float32)
    spectrum = magnitudes(sound, 1024, 256)[4:-4].astype(np.float64)
    window = hann(1024)
    both_sides = np.full(513, 2.0)
    both_sides[[0, -1]] = 1.0
    power = (spectrum**2 @ both_sides).mean() * window.sum() ** 2 / (1024 * np.sum(window**2))
    assert power == pytest.approx(1.0, rel=0.01)


def test_hann_copies_add_up_to_one() -> None:
    assert hann(64)[:32] + hann(64)[32:] == pytest.approx(np.ones(32))


def test_mel_scale_inverts() -> None:
    frequencies = np.array([0.0, 20.0, 1000.0, 20000.0])
    assert hz_from_mel(mel_from_hz(frequencies)) == pytest.approx(frequencies)
    assert mel_from_hz(1000.0) == pytest.approx(1000.0, abs=0.1)


def test_mel_bands_share_every_bin_out() -> None:
    """Between the first and last centre the triangles are a partition of unity."""
    bank = mel_filterbank(48000, 4096, 40)
    bins = np.fft.rfftfreq(4096, 1 / 48000)
    centres = hz_from_mel(np.linspace(mel_from_hz(20.0), mel_from_hz(24000.0), 42))
    inside = (bins >= centres[1]) & (bins <= centres[-2])
    assert bank[:, inside].sum(axis=0) == pytest.approx(np.ones(inside.sum()), abs=1e-5)


def test_no_mel_band_is_empty() -> None:
    assert (mel_filterbank(48000, 512, 128).sum(axis=1) > 0).all()


def test_log_mel_of_silence_and_level() -> None:
    assert (log_mel(np.zeros(4800, np.float32), 16000, 256) == -100).all()
    sound = np.asarray(0.1 * np.random.default_rng(0).standard_normal(16000), np.float32)
    assert log_mel(sound, 16000, 256) - log_mel(sound / 10, 16000, 256) == pytest.approx(20.0, abs=1e-2)
