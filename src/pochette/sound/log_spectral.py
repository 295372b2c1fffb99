"""The distance that SING is trained with: logarithms of power spectra at one resolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FFT_SAMPLES = 1024
FFT_HOP_SAMPLES = 256
POWER_FLOOR = 1.0
"""Added to |STFT|^2 of the un-normalised transform, where a steady sine of amplitude a has the power (256 a)^2."""


def log_power(audio: Tensor, window: Tensor) -> Tensor:
    """log(1 + |STFT|^2), Hann-windowed, un-normalised, only windows that lie whole inside the sound.

    Args:
        audio: (batch, sample); one shorter than a window is followed by silence.
        window: (FFT_SAMPLES,).

    Returns:
        (batch, bin, frame), at least 0.
    """
    audio = nn.functional.pad(audio, (0, max(0, FFT_SAMPLES - audio.shape[-1])))
    spectrum = torch.stft(audio, FFT_SAMPLES, FFT_HOP_SAMPLES, window=window, center=False, return_complex=True)
    return torch.log(POWER_FLOOR + spectrum.real.square() + spectrum.imag.square())


class LogSpectral(nn.Module):
    """How far the logarithms of two sounds' power spectra are apart, phase left out.

    Defossez et al. 2018: mean |log(1 + |S|^2) - log(1 + |S'|^2)|. The floor of 1 has its meaning at this transform's
    scale: bins 48 dB or more below a sine of full scale hardly count.
    """

    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(FFT_SAMPLES), persistent=False)

    def forward(self, audio: Tensor, reference: Tensor) -> Tensor:
        """Distance averaged over a batch.

        Args:
            audio: (batch, sample).
            reference: (batch, sample).

        Returns:
            scalar, at least 0.
        """
        return (log_power(audio, self.window) - log_power(reference, self.window)).abs().mean()
