"""Distances of crowds, against brute force and a case that is known in closed form."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pochette.sound.spectra import log_mel
from pochette.sound.unpaired import (
    BANDS,
    LONE_SPREAD_DB,
    LogMelStatistics,
    bandwidth_of,
    discrepancy,
    distances,
)

RATE = 16000


def drawn(count: int, seed: int, shift: float = 0.0) -> Tensor:
    return shift + torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))


def test_discrepancy_is_what_summing_pair_by_pair_gives() -> None:
    left, right, width = drawn(5, 0), drawn(3, 1, 0.5), 1.3

    def kernel(a: Tensor, b: Tensor) -> float:
        return math.exp(-float((a - b).square().mean()) / (2 * width**2))

    within = [np.mean([kernel(a, b) for a, b in itertools.permutations(crowd, 2)]) for crowd in (left, right)]
    between = np.mean([kernel(a, b) for a in left for b in right])
    assert discrepancy(left, right, width).item() == pytest.approx(within[0] + within[1] - 2 * between, abs=1e-6)


def test_discrepancy_of_two_normal_crowds_is_the_closed_form() -> None:
    # Of N(0, s^2) and N(d, s^2) under a Gaussian kernel of width w: 2 w / v (1 - exp(-d^2 / 2 v^2)), v^2 = w^2 + 2 s^2.
    spread, apart, width = 0.7, 0.9, 1.1
    made = []
    for seed in range(20):
        noise = torch.randn(2, 500, 1, generator=torch.Generator().manual_seed(seed))
        made.append(discrepancy(spread * noise[0], spread * noise[1] + apart, width).item())
    whole = math.sqrt(width**2 + 2 * spread**2)
    wanted = 2 * width / whole * (1 - math.exp(-(apart**2) / (2 * whole**2)))
    error = np.std(made, ddof=1) / math.sqrt(len(made))
    assert error < 0.01 and np.mean(made) == pytest.approx(wanted, abs=4 * error)


def test_two_draws_of_one_crowd_are_nothing_apart_on_average() -> None:
    made = [discrepancy(drawn(8, 2 * seed), drawn(8, 2 * seed + 1), 1.4).item() for seed in range(400)]
    assert abs(np.mean(made)) < 4 * np.std(made) / 20 and min(made) < 0.0


def test_one_sound_is_all_of_its_crowd() -> None:
    left, right = drawn(1, 0), drawn(1, 1)
    apart = distances(left, right).item()
    assert discrepancy(left, right, 1.0).item() == pytest.approx(2 - 2 * math.exp(-(apart**2) / 2), rel=1e-5)
    assert discrepancy(left, left, 1.0).item() == pytest.approx(0.0, abs=1e-6)


def test_bandwidth_is_the_median_distance() -> None:
    points = torch.tensor([[0.0], [1.0], [3.0]])
    assert bandwidth_of(points) == 2.0
    assert bandwidth_of(points[:1]) == bandwidth_of(points[[0, 0]]) == LONE_SPREAD_DB


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_statistics_are_those_of_the_mel_picture(rate: int) -> None:
    t = np.arange(rate) / rate
    sound = (0.5 * np.sin(2 * np.pi * 700 * t) * np.exp(-2 * t)).astype(np.float32)
    statistics = LogMelStatistics(rate)
    picture = log_mel(sound, rate, statistics.fft_samples // 2, bands=BANDS, fft_samples=statistics.fft_samples)
    floored = 10 * np.log10(10 ** (picture / 10) + 1e-6)
    found = statistics(torch.from_numpy(sound)[None])[0].numpy()
    assert np.abs(found[:BANDS] - floored.mean(axis=0)).max() < 0.02
    assert np.abs(found[BANDS:] - floored.std(axis=0)).max() < 0.02
    assert found[:BANDS].argmax() == floored.mean(axis=0).argmax()


def test_silence_has_a_gradient_and_lies_at_the_floor() -> None:
    audio = torch.zeros(2, RATE, requires_grad=True)
    found = LogMelStatistics(RATE)(audio)
    assert torch.allclose(found[:, :BANDS], torch.tensor(-60.0)) and (found[:, BANDS:] < 2e-3).all()
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert audio.grad is not None and torch.isfinite(audio.grad).all()
