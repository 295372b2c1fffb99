"""Sound as log magnitude and instantaneous frequency, and back, frame by frame (Engel et al., ICLR 2019). Needs torch.

    sound -- zeros in front -- windows, three quarters of each shared with the next -- spectrum, bin 0 left out
    magnitude -- log -- to about -0.8 ... 0.8
    phase -- how much it turned since the window before, half turns, -1 ... 1 -- times 0.8

The first window says its phase itself. A phase is counted from the beginning of its window, so every bin that a tone
reaches turns by what the tone turns in a hop: neighbouring bins, and bands of them, agree.

Going back, turns are added to a phase that is carried and wrapped, so nothing is lost however long a sound is, and the
windows are added where they overlap. The zeros in front are six hops long: the first three windows hear nothing else,
and hop h of the sound is made of windows h + 3 to h + 6. There are no zeros behind, so the last three hops fade out.
Bin 0 does not come back: of a recording's offset a third does, what the window spreads to bin 1.

On the mel scale ("mel") there are as many bands as bins. A band is the mean of the bins below its triangle (of power
and of turns), a bin the mean of the bands that it is in: low tones get more room, and the way back is approximate.

What is not in the paper: a band is a mean where the published one is a sum, which makes phases as well as powers keep
their size. The published normalisation is of windows of 2048; at other sizes and on the linear scale, as there, silence
stands at -0.8 and the same level below a full-scale sine at 0.8.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from pochette.errors import RecipeError, ShapeError
from pochette.sound.spectra import mel_filterbank

Scale = Literal["linear", "mel"]

OVERLAP = 4
"""Windows that share a sample."""
FRONT_HOPS = 6
"""Hops of zeros before the sound."""
LOST_HOPS = FRONT_HOPS - (OVERLAP - 1)
"""Frames of a picture that are no hop of its sound."""
FLOOR = 1e-6
"""What is added to a magnitude (a power, on the mel scale) before its logarithm."""
PUBLISHED_FFT_SAMPLES = 2048
PUBLISHED_FACTOR, PUBLISHED_OFFSET = 0.0661371661726, 0.113718730221
"""Of the logarithm of a band's power, as published."""
SHRUNK = 0.8
"""Where the normalised range ends, and the factor on the turns."""


def half_turns_wrapped(turned: Tensor) -> Tensor:
    """Angles brought within half a turn of zero: half turns, any, to -1 to 1."""
    return turned - 2.0 * torch.round(0.5 * turned)


def normalisation(fft_samples: int, scale: Scale) -> tuple[float, float]:
    """Factor and offset that bring logarithms of magnitudes to about -0.8 to 0.8.

    Args:
        fft_samples: length of the window; a sine is as much louder in its bin as the window is longer.
        scale: on "mel" the logarithm is that of power, twice as large.

    Returns:
        factor and offset; the published ones for 2048 on the mel scale.
    """
    orders = 2 if scale == "mel" else 1
    top = (SHRUNK - PUBLISHED_OFFSET) / PUBLISHED_FACTOR / 2 + math.log(fft_samples / PUBLISHED_FFT_SAMPLES)
    floor = (-SHRUNK - PUBLISHED_OFFSET) / PUBLISHED_FACTOR
    factor = 2 * SHRUNK / (orders * top - floor)
    return factor, -SHRUNK - factor * floor


class InstantaneousFrequency(nn.Module):
    """Pictures of sounds, (batch, 2, frame, bin): log magnitude and turns, both about -1 to 1; and sounds of pictures.

    Args:
        fft_samples: length of a window, a multiple of 4; a quarter of it is a hop, half of it the number of bins.
        sample_rate_hz: of the sounds; only the mel scale asks.
        scale: of the bins.

    Raises:
        RecipeError: a window cannot be parted in four hops.
    """

    window: Tensor
    to_bands: Tensor
    to_bins: Tensor

    def __init__(self, fft_samples: int, sample_rate_hz: int, scale: Scale = "mel") -> None:
        super().__init__()
        if fft_samples < 2 * OVERLAP or fft_samples % OVERLAP:
            raise RecipeError(
                f"A window of {fft_samples} samples cannot be parted in {OVERLAP} hops.",
                remedy=f"Give a multiple of {OVERLAP}, at least {2 * OVERLAP}.",
            )
        self.fft_samples, self.scale = fft_samples, scale
        self.hop_samples, self.bins = fft_samples // OVERLAP, fft_samples // 2
        self.factor, self.offset = normalisation(fft_samples, scale)
        self.register_buffer("window", torch.hann_window(fft_samples, dtype=torch.float64).float(), persistent=False)
        if scale == "mel":
            bank = torch.from_numpy(mel_filterbank(sample_rate_hz, fft_samples, self.bins, low_hz=0.0)).double()[:, 1:]
            to_bands = bank / bank.sum(dim=1, keepdim=True).clamp(min=1e-12)
            to_bins = (bank / bank.sum(dim=0, keepdim=True).clamp(min=1e-12)).T
            self.register_buffer("to_bands", to_bands.float().contiguous(), persistent=False)
            self.register_buffer("to_bins", to_bins.float().contiguous(), persistent=False)

    def samples(self, frames: int) -> int:
        """Length of the sound that so many frames stand for."""
        return (frames - LOST_HOPS) * self.hop_samples

    def begun(self, audio: Tensor, frames: int) -> Tensor:
        """What so many frames show of sounds: their beginnings without offset, silence behind short ones.

        Args:
            audio: (batch, sample).
            frames: of the picture.

        Returns:
            (batch, `samples(frames)`).
        """
        begun = audio[:, : self.samples(frames)]
        begun = begun - begun.mean(dim=1, keepdim=True)
        return nn.functional.pad(begun, (0, self.samples(frames) - begun.shape[1]))

    def faded(self, audio: Tensor) -> Tensor:
        """Sounds (batch, sample) faded out as those that come of pictures: by the windows that would follow."""
        parts = self.window.square().view(OVERLAP, self.hop_samples) / 1.5
        left = parts.flip(0).cumsum(0).flip(0)[1:].flatten()
        return torch.cat([audio[:, : -len(left)], audio[:, -len(left) :] * left], dim=1)

    def picture(self, audio: Tensor) -> Tensor:
        """What a sound looks like.

        Args:
            audio: (batch, sample), a whole number of hops.

        Returns:
            (batch, 2, frame, bin), -1 to 1: logarithms of magnitudes, then turns; three frames more than hops.

        Raises:
            ShapeError: the sound is not a whole number of hops long.
        """
        if audio.shape[-1] % self.hop_samples:
            raise ShapeError(
                f"A sound of {audio.shape[-1]} samples is not whole hops of {self.hop_samples}.",
                remedy="Cut it, or put zeros behind it.",
            )
        padded = nn.functional.pad(audio, (FRONT_HOPS * self.hop_samples, 0))
        windows = padded.unfold(1, self.fft_samples, self.hop_samples) * self.window
        spectrum = torch.fft.rfft(windows)[..., 1:]
        phase = torch.angle(spectrum) / math.pi
        turned = half_turns_wrapped(torch.diff(phase, dim=1, prepend=torch.zeros_like(phase[:, :1])))
        magnitude = spectrum.abs()
        if self.scale == "mel":
            turned = turned @ self.to_bands.T
            magnitude = magnitude.square() @ self.to_bands.T
        level = self.factor * torch.log(magnitude + FLOOR) + self.offset
        return torch.stack([level, SHRUNK * turned], dim=1).clamp(-1.0, 1.0)

    def initial_state(self, batch: int) -> tuple[Tensor, Tensor]:
        """Before the first frame: phases (batch, bin), half turns, and the tail (batch, fft_samples - hop_samples)."""
        return self.window.new_zeros(batch, self.bins), self.window.new_zeros(
            batch, self.fft_samples - self.hop_samples
        )

    def advance(self, picture: Tensor, phase: Tensor, tail: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The next hops of sound: one a frame, that in which the frame's window begins.

        Args:
            picture: (batch, 2, frame, bin).
            phase: (batch, bin) of the frame before, half turns.
            tail: what earlier windows still have to say.

        Returns:
            audio (batch, frame * hop_samples), and phase and tail after it.
        """
        level, turned = picture[:, 0], picture[:, 1] / SHRUNK
        magnitude = torch.relu(torch.exp((level - self.offset) / self.factor) - FLOOR)
        if self.scale == "mel":
            turned, power = self._of_bins(turned), self._of_bins(magnitude)
            # A root whose slope at zero is finite.
            magnitude = power * torch.rsqrt(power + 1e-20)
        phases = []
        for turn in turned.unbind(1):
            phase = half_turns_wrapped(phase + turn)
            phases.append(phase)
        angle = math.pi * torch.stack(phases, dim=1)
        spectrum = torch.complex(magnitude * torch.cos(angle), magnitude * torch.sin(angle))
        made = torch.fft.irfft(nn.functional.pad(spectrum, (1, 0)), self.fft_samples)
        # Squared Hann windows, a quarter of their length apart, add up to 1.5.
        audio, tail = self._added(made * (self.window / 1.5), tail)
        return audio, phase, tail

    def _of_bins(self, bands: Tensor) -> Tensor:
        """Bands (batch, frame, band) to bins; each frame by a product of its own, the same however many there are."""
        return torch.stack([frame @ self.to_bins.T for frame in bands.unbind(1)], dim=1)

    def _added(self, windows: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
        """Windows (batch, frame, sample) where they overlap, on what earlier ones left; sound, and what is left now."""
        batch, frames, _ = windows.shape
        hops = windows.view(batch, frames, OVERLAP, self.hop_samples)
        sounding = nn.functional.pad(tail, (0, frames * self.hop_samples)).view(batch, -1, self.hop_samples)
        # Every sum in the order of time: the same to the bit, however many frames come at once.
        for place in reversed(range(OVERLAP)):
            sounding = sounding + nn.functional.pad(hops[:, :, place], (0, 0, place, OVERLAP - 1 - place))
        sounding = sounding.flatten(1)
        return sounding[:, : frames * self.hop_samples], sounding[:, frames * self.hop_samples :]

    def sound(self, picture: Tensor) -> Tensor:
        """The whole sound of a picture.

        Args:
            picture: (batch, 2, frame, bin), at least 6 frames.

        Returns:
            (batch, `samples(frame)`); the last three hops fade out.
        """
        audio, _, tail = self.advance(picture, *self.initial_state(len(picture)))
        return torch.cat([audio, tail], dim=1)[:, FRONT_HOPS * self.hop_samples :]
