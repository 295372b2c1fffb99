"""Noise from a counter."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pochette.layers.generator import hash32, uniform_noise


def lowbias32(n: int) -> int:
    """Wellons' function in plain integers."""
    n &= 0xFFFFFFFF
    n ^= n >> 16
    n = n * 0x7FEB352D & 0xFFFFFFFF
    n ^= n >> 15
    n = n * 0x846CA68B & 0xFFFFFFFF
    return n ^ n >> 16


def test_is_the_published_function() -> None:
    numbers = [0, 1, 2, 3, 12345, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40 + 7]
    assert hash32(torch.tensor(numbers)).tolist() == [lowbias32(n) for n in numbers]


def test_every_bit_flips_half_of_the_others() -> None:
    numbers = torch.randint(2**32, (20000,), generator=torch.Generator().manual_seed(0))
    whole = hash32(numbers)
    for bit in range(32):
        changed = (hash32(numbers ^ (1 << bit)) ^ whole).numpy()
        flips = np.array([(changed >> k & 1).mean() for k in range(32)])
        # 20000 draws of a fair coin lie within 5 standard deviations: 0.018.
        assert np.abs(flips - 0.5).max() < 0.018, bit


def test_is_a_bijection_on_a_range_and_uniform() -> None:
    noise = uniform_noise(torch.tensor([2**32 - 5000, 77]), 200_000).numpy()
    assert noise.dtype == np.float32 and noise.min() >= -1.0 and noise.max() < 1.0
    for row in noise.astype(np.float64):
        counts = np.histogram(row, 64, (-1, 1))[0]
        chi_square = ((counts - len(row) / 64) ** 2 / (len(row) / 64)).sum()
        assert 25 < chi_square < 120  # 63 degrees of freedom: six standard deviations
        assert abs(row.mean()) < 0.007 and row.var() == pytest.approx(1 / 3, rel=0.01)
        spectrum = np.abs(np.fft.rfft(row - row.mean())) ** 2 / len(row)
        assert np.allclose(spectrum[:100000].reshape(20, -1).mean(1), 1 / 3, rtol=0.08)
        lags = [np.mean(row[:-k] * row[k:]) for k in (1, 2, 3, 64, 128)]
        assert np.abs(lags).max() < 0.005
    assert len(set(hash32(torch.arange(100_000)).tolist())) == 100_000


def test_any_block_can_be_made_alone() -> None:
    whole = uniform_noise(torch.tensor([1000]), 500)
    for start, length in ((0, 500), (1, 1), (63, 64), (499, 1)):
        assert torch.equal(uniform_noise(torch.tensor([1000 + start]), length), whole[:, start : start + length])
