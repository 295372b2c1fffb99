"""How far apart two crowds of sounds are, where no sound of one belongs to a sound of the other. Needs torch.

A sound is described by the mean and the spread, over its length, of its power in mel bands in dB. The distance of two
sounds is the root mean square of the differences of these numbers, in dB. The distance of two crowds is the maximum
mean discrepancy of a Gaussian kernel (Gretton et al. 2012): near zero for two halves of one crowd, however small.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pochette.sound.spectra import mel_filterbank

BANDS = 32
FFT_SECONDS = 0.032
POWER_FLOOR = 1e-6
"""-60 dB below full scale: what is softer is silence."""
LONE_SPREAD_DB = 20.0
"""Bandwidth where a single sound says nothing of how far sounds are apart."""


class LogMelStatistics(nn.Module):
    """Sounds as points: the mean and the standard deviation over time of the power in each mel band, dB.

    Args:
        sample_rate_hz: of the sounds.
    """

    window: Tensor
    bank: Tensor

    def __init__(self, sample_rate_hz: int) -> None:
        super().__init__()
        self.fft_samples = 1 << round(FFT_SECONDS * sample_rate_hz - 1).bit_length()
        window = torch.hann_window(self.fft_samples)
        bank = torch.from_numpy(mel_filterbank(sample_rate_hz, self.fft_samples, BANDS))
        self.register_buffer("window", window / window.sum(), persistent=False)
        self.register_buffer("bank", bank, persistent=False)

    def picture(self, audio: Tensor) -> Tensor:
        """Power in mel bands over time.

        Args:
            audio: (batch, sample).

        Returns:
            (batch, BANDS, frame), dB, -60 at least.
        """
        spectrum = torch.stft(
            audio, self.fft_samples, self.fft_samples // 2, window=self.window, return_complex=True, pad_mode="constant"
        )
        power = self.bank @ (spectrum.real.square() + spectrum.imag.square())
        return 10.0 * torch.log10(power + POWER_FLOOR)

    def forward(self, audio: Tensor) -> Tensor:
        """One point a sound; can be differentiated.

        Args:
            audio: (batch, sample).

        Returns:
            (batch, 2 * BANDS), dB.
        """
        decibels = self.picture(audio)
        mean = decibels.mean(dim=-1)
        # The root has no slope at zero; the offset stands for a spread of a thousandth of a dB.
        spread = torch.sqrt((decibels - mean[..., None]).square().mean(dim=-1) + 1e-6)
        return torch.cat([mean, spread], dim=-1)


def distances(left: Tensor, right: Tensor) -> Tensor:
    """How far each point is from each other one, root mean square over the features.

    Args:
        left: (n, feature).
        right: (m, feature).

    Returns:
        (n, m).
    """
    return (left[:, None] - right[None]).square().mean(dim=-1).sqrt()


def bandwidth_of(points: Tensor) -> float:
    """The median distance between the points of a crowd: what counts as far there.

    Args:
        points: (n, feature), usually the recorded sounds, so that whatever is held against them is held to one measure.

    Returns:
        above zero; `LONE_SPREAD_DB` of a single point, or of points that are all the same.
    """
    upper = torch.triu_indices(len(points), len(points), 1, device=points.device)
    apart = distances(points, points)[upper[0], upper[1]]
    middle = float(apart.median()) if len(apart) else 0.0
    return middle if middle > 0.0 else LONE_SPREAD_DB


def discrepancy(left: Tensor, right: Tensor, bandwidth: float) -> Tensor:
    """The squared maximum mean discrepancy of two crowds, without bias.

    k(a, b) = exp(-|a - b|^2 / (2 bandwidth^2)); the mean of k within the left crowd, plus that within the right one,
    less twice that between them. A point is not held against itself, so the mean over draws of two crowds of one
    distribution is zero, and single values may lie below. A crowd of one is taken for all of it: k of it is 1.

    Args:
        left: (n, feature).
        right: (m, feature).
        bandwidth: of the kernel, above zero, see `bandwidth_of`.

    Returns:
        scalar, at most 2; can be differentiated.
    """

    def kernel(squares: Tensor) -> Tensor:
        return torch.exp(squares / (-2.0 * bandwidth**2))

    def within(points: Tensor) -> Tensor:
        count = len(points)
        if count == 1:
            return points.new_ones(())
        return (kernel(_squares(points, points)).sum() - count) / (count * (count - 1))

    return within(left) + within(right) - 2.0 * kernel(_squares(left, right)).mean()


def _squares(left: Tensor, right: Tensor) -> Tensor:
    """Squared distances; without a root, which has no slope where two points are one."""
    return (left[:, None] - right[None]).square().mean(dim=-1)
