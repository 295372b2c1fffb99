"""The four distances of spectrogram inversion: what each hears, and what it does not."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pochette.sound.inversion import (
    WEIGHTS,
    Inversion,
    instantaneous_frequency,
    log_magnitude,
    magnitude,
    spectral_convergence,
    weighted_phase,
)

FOUR = Inversion(256, 256, 64)


def noise(seed: int = 0) -> Tensor:
    return torch.randn(2, 4000, generator=torch.Generator().manual_seed(seed))


def test_equal_sounds_are_nowhere_apart() -> None:
    assert all(float(term) < 1e-5 for term in FOUR.terms(noise(), noise()))
    assert all(float(term) > 0.1 for term in FOUR.terms(noise(), noise(1)))


def test_only_weighted_phase_hears_a_sound_turned_over() -> None:
    spectrum = FOUR.spectra(noise())
    turned = FOUR.spectra(-noise())
    for deaf in (spectral_convergence, log_magnitude, instantaneous_frequency):
        assert float(deaf(turned, spectrum)) < 1e-5
    whole = float(weighted_phase(turned, spectrum)) * spectrum.numel()
    assert whole == pytest.approx(2.0 * float(spectrum.abs().square().sum()), rel=1e-5)


def test_weighted_phase_is_one_less_the_cosine() -> None:
    left, right = FOUR.spectra(noise()), FOUR.spectra(noise(1))
    apart = 1.0 - torch.cos(left.angle() - right.angle())
    wanted = (left.abs() * right.abs() * apart).mean()
    assert float(weighted_phase(left, right)) == pytest.approx(float(wanted), rel=1e-5)


def test_magnitudes_have_the_distances_of_a_quieter_sound() -> None:
    made, wanted = FOUR.spectra(0.5 * noise()), FOUR.spectra(noise())
    assert float(spectral_convergence(made, wanted)) == pytest.approx(0.5, rel=1e-4)
    assert float(log_magnitude(made, wanted)) == pytest.approx(math.log(2.0), rel=2e-2)
    assert float(instantaneous_frequency(made, wanted)) < 1e-4
    assert float(spectral_convergence(0.0 * wanted, wanted)) == pytest.approx(1.0, rel=1e-4)


def test_turns_are_compared_the_short_way_round() -> None:
    def turning(radians: float) -> Tensor:
        return torch.polar(torch.ones(20), radians * torch.arange(20.0))[None, None]

    assert float(instantaneous_frequency(turning(3.0), turning(-3.0))) == pytest.approx(2 * math.pi - 6.0, rel=1e-4)
    assert float(instantaneous_frequency(turning(0.5), turning(-0.5))) == pytest.approx(1.0, rel=1e-4)


def test_silence_has_no_phase_and_finite_gradients() -> None:
    sound = torch.zeros(2, 4000, requires_grad=True)
    FOUR(sound, noise()).backward()
    assert sound.grad is not None and torch.isfinite(sound.grad).all()
    assert float(magnitude(torch.zeros(1, dtype=torch.complex64))) < 1e-5


def test_the_whole_is_the_weighted_sum() -> None:
    terms = FOUR.terms(noise(), noise(1))
    wanted = sum(weight * float(term) for weight, term in zip(WEIGHTS, terms, strict=True))
    assert all(weight > 0.0 for weight in WEIGHTS), "all four count"
    assert float(FOUR(noise(), noise(1))) == pytest.approx(wanted, rel=1e-5)
