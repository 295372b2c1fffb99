"""The anchors of the log-spectral distance, where their answers are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pochette.corpus.folder import FolderCorpus
from pochette.lab.spectral_anchors import (
    distance_of,
    distance_through,
    mean_answer,
    median_spectrum,
    nearest_frame,
    principal_components,
    spectra_of,
    squares_from,
    training_spectra,
)
from pochette.sound.log_spectral import LogSpectral
from pochette.sound.losses import LogPowerSpectral
from pochette.train.device import tensors_of
from tests.corpora import RATE, write_notes

HOP = 256


def corpus(tmp_path: Path) -> FolderCorpus:
    return FolderCorpus.prepare(write_notes(tmp_path / "notes"), RATE, HOP, cache_dir=tmp_path / "cache")


def test_the_scale_is_that_of_the_loss(tmp_path: Path) -> None:
    excerpt = tensors_of(corpus(tmp_path).excerpt_batch(np.random.default_rng(0), 3, 20))
    silence = float(LogSpectral()(torch.zeros_like(excerpt["audio"]), excerpt["audio"]))
    assert abs(distance_of(lambda f0, loudness: torch.zeros(len(f0), 513), excerpt, HOP) - silence) < 1e-6


def test_no_constant_is_nearer_than_the_median(tmp_path: Path) -> None:
    sounds = corpus(tmp_path)
    spectra = training_spectra(sounds)[0]
    nothing = torch.zeros(1)
    median = median_spectrum(sounds)(nothing, nothing)
    best = (spectra - median).abs().mean()
    for other in (spectra.mean(dim=0), median * 0.95, median * 1.05, torch.zeros(513)):
        assert best <= (spectra - other).abs().mean()


def test_a_frame_of_the_training_sounds_finds_itself(tmp_path: Path) -> None:
    sounds = corpus(tmp_path)
    one = tensors_of(sounds.whole(sounds.sounds[2]))
    spectra, f0, loudness = spectra_of(one, HOP)
    found = nearest_frame(sounds)(f0, loudness)
    # Two frames alike in pitch and loudness are alike in sound here: the note's spectrum has one shape.
    assert (found - spectra).abs().mean() < 0.2 * (median_spectrum(sounds)(f0, loudness) - spectra).abs().mean()


def test_features_are_those_of_the_middle_of_the_window() -> None:
    frames = 12
    ramp = torch.arange(1.0, frames + 1)[None]  # features at the ends of hops
    excerpt = {"audio": torch.zeros(1, frames * HOP), "f0_hz": ramp * HOP, "loudness_db": -ramp}
    _, f0, _ = spectra_of(excerpt, HOP)
    assert torch.equal(f0, torch.arange(len(f0)) * 256.0 + 512)


def test_components_are_those_of_the_singular_value_decomposition(tmp_path: Path) -> None:
    sounds = corpus(tmp_path)
    spectra = training_spectra(sounds)[0].double()
    middle = spectra.mean(dim=0)
    _, sizes, rows = torch.linalg.svd(spectra - middle, full_matrices=False)
    through = principal_components(sounds, 3)
    wanted = (spectra - middle) @ rows[:3].T @ rows[:3] + middle
    assert torch.allclose((wanted - spectra).square().sum(), sizes[3:].square().sum(), rtol=1e-6)
    # What no logarithm of one and a power can be is not left to be counted against the components.
    assert wanted.min() < 0.0 and torch.allclose(through(spectra), wanted.clamp(min=0.0), atol=1e-6)
    one = tensors_of(sounds.whole(sounds.sounds[0]))
    distances = [distance_through(principal_components(sounds, count), one, HOP) for count in (1, 4, 16, 513)]
    assert distances == sorted(distances, reverse=True) and distances[-1] < 1e-4


def test_no_constant_is_nearer_in_squares_than_the_mean_answer(tmp_path: Path) -> None:
    """NSF's loss at its three resolutions, and the scale of silence in the loss itself."""
    sounds, loss = corpus(tmp_path), LogPowerSpectral(RATE)

    def hear(audio: torch.Tensor) -> list[torch.Tensor]:
        return [spectrum.transpose(1, 2) for spectrum in loss.spectra(audio)]

    one = replace(sounds, sounds=sounds.sounds[:1])
    audio = tensors_of(one.whole(one.sounds[0]))["audio"]
    mean = mean_answer(one, hear)
    best = squares_from(mean, audio, hear)
    for shift in (-0.1, 0.1):
        assert squares_from([part + shift for part in mean], audio, hear) == pytest.approx(
            float(best) + 3 * 0.01, rel=1e-4
        )
    silence = [spectrum[0, 0] for spectrum in hear(torch.zeros_like(audio))]
    assert squares_from(silence, audio, hear) == pytest.approx(float(loss(torch.zeros_like(audio), audio)), rel=1e-5)
