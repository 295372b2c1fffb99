"""The log-spectral distance, written a second time in numpy; what it hears and what it does not."""

from __future__ import annotations

import numpy as np
import torch

from pochette.sound.log_spectral import LogSpectral


def by_hand(audio: np.ndarray) -> np.ndarray:
    window = np.sin(np.pi * np.arange(1024) / 1024) ** 2
    starts = range(0, len(audio) - 1023, 256)
    return np.array([np.log(1 + np.abs(np.fft.rfft(window * audio[s : s + 1024])) ** 2) for s in starts])


def test_by_hand() -> None:
    rng = np.random.default_rng(0)
    a, b = 0.1 * rng.standard_normal((2, 5000))
    expected = np.abs(by_hand(a) - by_hand(b)).mean()
    made = LogSpectral()(torch.tensor(a[None]).float(), torch.tensor(b[None]).float())
    assert abs(float(made) / expected - 1) < 1e-4


def test_it_is_deaf_to_sign_and_nearly_to_a_shift_of_one_sample() -> None:
    torch.manual_seed(0)
    distance = LogSpectral()
    t = torch.arange(16001) / 16000
    x = 0.2 * torch.sin(2 * torch.pi * 440 * t) + 0.02 * torch.randn(16001)
    now, later, other = x[None, :-1], x[None, 1:], 0.2 * torch.randn(1, 16000)
    assert distance(now, -now) == 0.0
    shifted = float(distance(now, later))
    assert 0.0 < shifted < 0.1 * float(distance(now, other))


def test_silence_has_a_gradient_and_shorter_sounds_than_a_window_count() -> None:
    distance = LogSpectral()
    silence = torch.zeros(1, 300, requires_grad=True)
    value = distance(silence, torch.full((1, 300), 0.1))
    assert value > 0
    value.backward()
    assert silence.grad is not None and torch.isfinite(silence.grad).all()
