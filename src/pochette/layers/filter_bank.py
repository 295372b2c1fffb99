"""A bank of filters that divides sound into bands of equal width at a fraction of its rate, and puts it together again.

Pseudo-quadrature mirror filters: one low pass, designed once and modulated to every band, such that what neighbouring
bands alias cancels between analysis and synthesis. What is left is a small error that the length of the filters decides
(about 30 dB below the sound at 40 dB of stop band, 60 dB at 100) and a delay: `FilterBank.delay_samples`.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

Doubles = npt.NDArray[np.float64]


@cache
def prototype(bands: int, attenuation_db: float) -> Doubles:
    """The low pass that all bands are modulated from.

    A Kaiser-windowed sinc whose cut-off is the one at which its autocorrelation, at multiples of twice the number of
    bands, comes nearest to zero: then shifted copies of it add up to a flat response.

    Args:
        bands: how many.
        attenuation_db: of the stop band.

    Returns:
        an odd number of taps, filled up with zeros to a multiple of `bands`.
    """
    from scipy.optimize import minimize_scalar
    from scipy.signal import kaiserord

    count, beta = kaiserord(attenuation_db, 1.0 / bands)
    count = 2 * (count // 2) + 1
    place = np.arange(count) - count // 2
    window = np.kaiser(count, beta)

    def taps(cutoff: float) -> Doubles:
        low = cutoff * np.sinc(cutoff * place) * window
        whole: Doubles = low / low.sum()
        return whole

    def unevenness(cutoff: float) -> float:
        low = taps(cutoff)
        own = np.convolve(low, low[::-1])
        return float(np.abs(own[count - 1 :: 2 * bands][1:]).max())

    best = minimize_scalar(unevenness, bounds=(0.4 / bands, 1.2 / bands), method="bounded", options={"xatol": 1e-9})
    low = taps(float(best.x))
    # So that sound comes through as loud as it was.
    low /= math.sqrt(2 * bands * float(np.sum(low**2)))
    whole: Doubles = np.concatenate([low, np.zeros(-count % bands)])
    return whole


class FilterBank(nn.Module):
    """Analysis into bands and synthesis from them, both with a carried past.

    Args:
        bands: how many.
        attenuation_db: of the stop band.
    """

    analysis: Tensor
    """(band, 1, tap)."""
    synthesis: Tensor
    """(band, 1, tap)."""

    def __init__(self, bands: int, attenuation_db: float) -> None:
        super().__init__()
        low = prototype(bands, attenuation_db)
        taps = len(low)
        used = int(np.flatnonzero(low)[-1]) + 1
        band, place = np.arange(bands)[:, None], np.arange(taps) - (used - 1) / 2
        turn = (2 * band + 1) * math.pi / (2 * bands) * place
        quarter = np.where(band % 2, -math.pi / 4, math.pi / 4)
        # A gain of the number of bands, shared evenly, makes up for the samples that are left out between frames.
        gain = 2.0 * math.sqrt(bands)
        heard, made = (gain * low * np.cos(turn + sign * quarter) for sign in (1.0, -1.0))
        # PyTorch's convolution is a correlation: its kernel is the response reversed.
        self.register_buffer("analysis", _kernel(heard[:, ::-1]), persistent=False)
        self.register_buffer("synthesis", _kernel(made), persistent=False)
        self.bands, self.taps, self.used = bands, taps, used

    @property
    def delay_samples(self) -> int:
        """How much later than a sound its bands put together again come, beside the wait for a whole frame."""
        return self.used - self.bands

    def empty_past(self, batch: int) -> Tensor:
        """Silence before the first sample that is divided."""
        return self.analysis.new_zeros(batch, 1, self.taps - self.bands)

    def empty_tail(self, batch: int) -> Tensor:
        """Nothing that still sounds before the first frame that is put together."""
        return self.analysis.new_zeros(batch, 1, self.taps - self.bands)

    def divide(self, audio: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Sound to bands.

        Args:
            audio: (batch, 1, frame * bands).
            past: what came before it.

        Returns:
            (batch, band, frame), and the past after it.
        """
        whole = torch.cat([past, audio], dim=-1)
        return nn.functional.conv1d(whole, self.analysis, stride=self.bands), whole[..., audio.shape[-1] :]

    def unite(self, frames: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
        """Bands to sound.

        Args:
            frames: (batch, band, frame).
            tail: what still sounds of the frames before.

        Returns:
            (batch, 1, frame * bands), and the tail after it.
        """
        return overlapped(nn.functional.conv_transpose1d(frames, self.synthesis, stride=self.bands), tail)


def overlapped(made: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
    """Add what still sounds to what was made, and keep what sounds on.

    Args:
        made: (batch, channel, sample + tail), everything that a block starts.
        tail: (batch, channel, tail), of the blocks before.

    Returns:
        (batch, channel, sample), and the tail after it.
    """
    length, kept = made.shape[-1], tail.shape[-1]
    samples = length - kept
    if kept <= samples:
        begun = torch.cat([made[..., :kept] + tail, made[..., kept:samples]], dim=-1)
        return begun, made[..., samples:]
    summed = made + nn.functional.pad(tail, (0, length - kept))
    return summed[..., :samples], summed[..., samples:]


def _kernel(rows: Doubles) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(rows, np.float32))[:, None]
