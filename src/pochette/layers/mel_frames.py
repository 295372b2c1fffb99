"""Power in mel bands, hop by hop, and how it is read back: as amplitudes of partials and as magnitudes of noise."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from pochette.sound.spectra import hz_from_mel, mel_filterbank, mel_from_hz

POWER_FLOOR = 1e-9
"""Added to a band's power before its logarithm: 90 dB below a sine of full scale."""
MAIN_LOBE = 1.5
"""Power in all bins of a sine of amplitude 1 under a Hann window, where that in its own bin is 1."""
LOW_HZ = 20.0
"""Lower edge of the first band."""
NOISE_POWER = 1.0 / 3.0
"""Of a sample of white noise from -1 to 1."""


class MelFrames(nn.Module):
    """Logarithms of the power in mel bands, each window ending with its hop.

    Power is told per window, such that a sine's is 1.5 times the square of its amplitude in all bands together.

    Args:
        bands: how many, from 20 Hz to half the rate.
        sample_rate_hz: of the sound.
        window_samples: under the window.
        hop_samples: from window to window; divides the window.
    """

    window: Tensor
    bank: Tensor

    def __init__(self, bands: int, sample_rate_hz: int, window_samples: int, hop_samples: int) -> None:
        super().__init__()
        self.hop_samples, self.window_samples = hop_samples, window_samples
        window = torch.hann_window(window_samples, dtype=torch.float64)
        self.register_buffer("window", (window / (window.sum() / 2.0)).float(), persistent=False)
        bank = torch.from_numpy(mel_filterbank(sample_rate_hz, window_samples, bands, low_hz=LOW_HZ))
        self.register_buffer("bank", bank.float(), persistent=False)

    def empty(self, batch: int) -> Tensor:
        """Silence before the first hop, (batch, window - hop)."""
        return self.window.new_zeros(batch, self.window_samples - self.hop_samples)

    def forward(self, audio: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Bands of some hops.

        Args:
            audio: (batch, frame * hop).
            past: what was heard before, as `empty` gives it.

        Returns:
            natural logarithms of power (batch, frame, band), and what was heard after.
        """
        whole = torch.cat([past, audio], dim=1)
        spectra = torch.fft.rfft(whole.unfold(1, self.window_samples, self.hop_samples) * self.window)
        power = spectra.real.square() + spectra.imag.square()
        return torch.log(nn.functional.linear(power, self.bank) + POWER_FLOOR), whole[:, audio.shape[1] :]


class MelReading(nn.Module):
    """Bands' power as amplitudes of partials, and as magnitudes of evenly spaced bands of noise.

    Between the middles of bands the logarithm runs straight. Where partials lie so close that a band holds several,
    each has its share of the power.

    Args:
        bands: as of `MelFrames`.
        partials: that are read.
        noise_bands: that are read, from 0 Hz to half the rate.
        sample_rate_hz: of the sound.
        window_samples: as of `MelFrames`.
    """

    numbers: Tensor
    places: Tensor
    noise_matrix: Tensor
    noise_offset: Tensor
    log_widths: Tensor

    def __init__(self, bands: int, partials: int, noise_bands: int, sample_rate_hz: int, window_samples: int) -> None:
        super().__init__()
        low, high = float(mel_from_hz(LOW_HZ)), float(mel_from_hz(sample_rate_hz / 2))
        self.step = (high - low) / (bands + 1)
        self.first, self.last = low + self.step, bands - 1
        edges = np.asarray(hz_from_mel(np.linspace(low, high, bands + 2)))
        widths = (edges[2:] - edges[:-2]) / 2.0
        self.register_buffer("numbers", torch.arange(1, partials + 1, dtype=torch.float32), persistent=False)
        self.register_buffer("places", torch.arange(bands, dtype=torch.float32), persistent=False)
        self.register_buffer("log_widths", torch.from_numpy(np.log(widths)).float(), persistent=False)
        window = torch.hann_window(window_samples, dtype=torch.float64)
        # What a bin has of white noise, and how many bins a band has.
        each = NOISE_POWER * float(window.square().sum()) / float(window.sum() / 2.0) ** 2
        bins = mel_filterbank(sample_rate_hz, window_samples, bands, low_hz=LOW_HZ).sum(axis=1)
        offset = torch.from_numpy(np.log(each * bins)).float()
        self.register_buffer("noise_offset", offset, persistent=False)
        hertz = torch.linspace(0.0, sample_rate_hz / 2, noise_bands)
        self.register_buffer("noise_matrix", self._weights(hertz), persistent=False)

    def _weights(self, hertz: Tensor) -> Tensor:
        """How much each band counts at a frequency: two neighbours share it; (..., band)."""
        height = (2595.0 / math.log(10.0)) * torch.log(1.0 + hertz / 700.0)
        place = ((height - self.first) / self.step).clamp(0.0, self.last)
        return torch.relu(1.0 - (place[..., None] - self.places).abs())

    def amplitudes(self, log_power: Tensor, f0_hz: Tensor) -> Tensor:
        """Amplitudes of the partials of a pitch.

        Args:
            log_power: (batch, frame, band).
            f0_hz: (batch, frame).

        Returns:
            (batch, frame, partial); also of partials that lie above half the rate.
        """
        weights = self._weights(self.numbers * f0_hz[..., None])
        read = (weights * log_power[..., None, :]).sum(dim=-1)
        widths = (weights * self.log_widths).sum(dim=-1)
        shared = torch.relu(widths - torch.log(f0_hz)[..., None])
        return torch.exp(0.5 * (read - shared - math.log(MAIN_LOBE)))

    def magnitudes(self, log_power: Tensor) -> Tensor:
        """Magnitudes of a filter that makes white noise from -1 to 1 as loud as the bands.

        Args:
            log_power: (batch, frame, band).

        Returns:
            (batch, frame, noise band).
        """
        return torch.exp(0.5 * nn.functional.linear(log_power - self.noise_offset, self.noise_matrix))
