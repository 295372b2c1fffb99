"""Differentiable distances between sounds, for training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FFT_SIZES_16_KHZ = (2048, 1024, 512, 256, 128, 64)
"""Window lengths of Engel et al. 2020 at 16 kHz: 128 ms down to 4 ms."""
LOG_FLOOR = 1e-5


class MultiScaleSpectral(nn.Module):
    """How far two sounds are apart in short-time spectra at several resolutions, phase left out.

    Engel et al. 2020, eq. (5): at every window length, mean |S - S'| + mean |log S - log S'|, summed. Logarithms are
    taken of S + 1e-5 (the paper-era form), which keeps near-silent bins from dominating. Windows keep their length
    in milliseconds at other sample rates, and spectra are divided by the same factor, so that figures compare.

    Args:
        sample_rate_hz: of both sounds.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        super().__init__()
        # Multiples of 64 at every usual rate: fast transforms, and hops that divide the window.
        self.scale = max(1, round(sample_rate_hz / 16000))
        self.fft_sizes = tuple(size * self.scale for size in FFT_SIZES_16_KHZ)
        for size in self.fft_sizes:
            self.register_buffer(f"window_{size}", torch.hann_window(size), persistent=False)

    def spectra(self, audio: Tensor) -> list[Tensor]:
        """Magnitude spectra at every resolution.

        Args:
            audio: (batch, sample).

        Returns:
            one (batch, bin, frame) tensor a window length.
        """
        out = []
        for size in self.fft_sizes:
            window = self.get_buffer(f"window_{size}")
            transform = torch.stft(audio, size, size // 4, window=window, return_complex=True, pad_mode="constant")
            # |.| has no gradient at zero; the tiny offset is 60 dB under the floor of the logarithm.
            power = transform.real.square() + transform.imag.square()
            out.append(torch.sqrt(power + 1e-16) / self.scale)
        return out

    def forward(self, audio: Tensor, reference: Tensor | list[Tensor]) -> Tensor:
        """Distance of each sound of a batch, averaged.

        Args:
            audio: (batch, sample).
            reference: (batch, sample), or its `spectra` where they are reused.

        Returns:
            scalar, at least 0.
        """
        wanted = self.spectra(reference) if isinstance(reference, Tensor) else reference
        total = audio.new_zeros(())
        for made, target in zip(self.spectra(audio), wanted, strict=True):
            total = total + (made - target).abs().mean()
            total = total + (torch.log(made + LOG_FLOOR) - torch.log(target + LOG_FLOOR)).abs().mean()
        return total


POWER_FLOOR = 1e-5
RESOLUTIONS_16_KHZ = ((512, 320, 80), (128, 80, 40), (2048, 1920, 640))
"""Transform, window and hop in samples at 16 kHz, of Wang et al. 2019."""


class LogPowerSpectral(nn.Module):
    """How far the logarithms of two sounds' power spectra are apart, squared, at three resolutions.

    Wang et al. 2019: at every resolution, mean (log(|S|^2 + 1e-5) - log(|S'|^2 + 1e-5))^2 of the un-normalised
    Hann-windowed transform, summed. All three weigh alike. Windows keep their
    length in milliseconds at other sample rates.

    Args:
        sample_rate_hz: of both sounds.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        super().__init__()
        scale = sample_rate_hz / 16000
        self.resolutions = []
        for _, window, hop in RESOLUTIONS_16_KHZ:
            samples = max(2, round(window * scale))
            transform = 1 << (samples - 1).bit_length()
            self.resolutions.append((transform, samples, max(1, round(hop * scale))))
            self.register_buffer(f"window_{len(self.resolutions)}", torch.hann_window(samples), persistent=False)

    def forward(self, audio: Tensor, reference: Tensor) -> Tensor:
        """Distance averaged over a batch.

        Args:
            audio: (batch, sample).
            reference: (batch, sample).

        Returns:
            scalar, at least 0.
        """
        total = audio.new_zeros(())
        for own, wanted in zip(self.spectra(audio), self.spectra(reference), strict=True):
            total = total + (own - wanted).square().mean()
        return total

    def spectra(self, sound: Tensor) -> list[Tensor]:
        """Logarithms of power of a sound (batch, sample), (batch, bin, frame) at every resolution."""
        found = []
        for number, (transform, window, hop) in enumerate(self.resolutions, 1):
            shape = self.get_buffer(f"window_{number}")
            spectrum = torch.stft(sound, transform, hop, window, shape, return_complex=True, pad_mode="constant")
            found.append(torch.log(spectrum.real.square() + spectrum.imag.square() + POWER_FLOOR))
        return found


RELATIVE_SIZES = (2048, 1024, 512, 256, 128)
"""Window lengths of Caillon & Esling 2021, in samples at 44.1 or 48 kHz."""
RELATIVE_FLOOR = 1e-7
LOUDEST_QUIET = 1e-8
"""Added to a reference's power, so that silence can be divided by."""


class RelativeSpectral(nn.Module):
    """How far two signals' spectra are apart relative to the reference, and their logarithms, at several resolutions.

    Caillon & Esling 2021: at every window length |S - S'| / |S'| (Frobenius norms over the whole batch) plus
    mean |log(S + 1e-7) - log(S' + 1e-7)|, summed over the lengths, three quarters of a window overlapping.

    Args:
        sizes: window lengths in samples; those longer than a signal are left out.
    """

    def __init__(self, sizes: tuple[int, ...] = RELATIVE_SIZES) -> None:
        super().__init__()
        self.sizes = sizes
        for size in sizes:
            self.register_buffer(f"window_{size}", torch.hann_window(size), persistent=False)

    def forward(self, signal: Tensor, reference: Tensor) -> Tensor:
        """Distance over a batch.

        Args:
            signal: (batch, sample).
            reference: (batch, sample).

        Returns:
            scalar, at least 0.
        """
        total = signal.new_zeros(())
        for size in self.sizes:
            if size > signal.shape[-1]:
                continue
            made, wanted = (self._magnitude(each, size) for each in (signal, reference))
            gap = (made - wanted).square().sum() + LOUDEST_QUIET**2
            total = total + torch.sqrt(gap / (wanted.square().sum() + LOUDEST_QUIET))
            total = total + (torch.log(made + RELATIVE_FLOOR) - torch.log(wanted + RELATIVE_FLOOR)).abs().mean()
        return total

    def _magnitude(self, signal: Tensor, size: int) -> Tensor:
        window = self.get_buffer(f"window_{size}")
        spectrum = torch.stft(signal, size, size // 4, window=window, return_complex=True, pad_mode="constant")
        # As loud whatever the window, as in the published code; |.| has no gradient at zero.
        power = (spectrum.real.square() + spectrum.imag.square()) / window.square().sum()
        return torch.sqrt(power + 1e-16)
