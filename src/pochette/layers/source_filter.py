"""What a neural source-filter model is made of: filter blocks, smoothed conditioning, and filters that open and close.

Signals are (batch, channel, sample). Everything is causal and carries its past, so that a whole sound in one call and
the same sound hop by hop give the same samples.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pochette.layers.residual import Blocks, Gone

KERNEL = 3
NARROW = 16
"""Channels between the last convolution and the sample that a block adds."""
BLOCK_SCALE = 0.1
"""Of the hidden channels before they become a sample; a constant of the published code, not learnt."""
FIR_TAPS = 31


class FilterBlock(nn.Module):
    """A residual filter of a waveform: dilated convolutions that a condition steers (Wang et al. 2019).

    As in the published code no layer has a bias, the dilations are 1, 2, 4, ..., and the result is added to what came
    in: a block whose last weights are zero hands its input on.

    Args:
        channels: hidden width.
        layers: convolutions.
    """

    def __init__(self, channels: int, layers: int) -> None:
        super().__init__()
        self.entrance = nn.Conv1d(1, channels, 1, bias=False)
        self.layers = nn.ModuleList(
            nn.Conv1d(channels, channels, KERNEL, dilation=2**layer, bias=False) for layer in range(layers)
        )
        self.narrow = nn.Conv1d(channels, NARROW, 1, bias=False)
        self.exit = nn.Conv1d(NARROW, 1, 1, bias=False)

    def empty_pasts(self, batch: int) -> list[Tensor]:
        """What the convolutions remember before the first sample: nothing, (batch, channel, 2 * dilation) each."""
        left = [layer for layer in self.layers if not isinstance(layer, Gone)]
        convolutions: list[nn.Conv1d] = left  # type: ignore[assignment]
        return [
            conv.weight.new_zeros(batch, conv.weight.shape[1], (KERNEL - 1) * conv.dilation[0]) for conv in convolutions
        ]

    def residual_blocks(self) -> Blocks:
        """Every convolution; see `pochette.layers.residual`."""
        numbered = ((number, layer) for number, layer in enumerate(self.layers) if not isinstance(layer, Gone))
        return {f"layers.{number}": (layer,) for number, layer in numbered}

    def forward(self, signal: Tensor, condition: Tensor, pasts: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Filter some samples.

        Args:
            signal: (batch, 1, sample).
            condition: (batch, channel, sample), added after every convolution.
            pasts: one a convolution that is there, see `empty_pasts`.

        Returns:
            (batch, 1, sample), and the pasts after it.
        """
        x, after, left = torch.tanh(self.entrance(signal)), list[Tensor](), iter(pasts)
        for conv in self.layers:
            if not isinstance(conv, Gone):
                past = next(left)
                whole = torch.cat([past, x], dim=-1)
                after.append(whole[..., whole.shape[-1] - past.shape[-1] :])
                x = x + torch.tanh(conv(whole))
            x = x + condition
        return signal + torch.tanh(self.exit(torch.tanh(self.narrow(BLOCK_SCALE * x)))), after


def smoothing(hop: int) -> Tensor:
    """Weights of the last three frames at each sample of a hop: held frames after two moving averages of a hop each.

    The published model smooths its condition by two centred averages; these look back only, so that the condition is
    half a hop later for each.

    Args:
        hop: samples per frame.

    Returns:
        (3, hop): of the frame before the last, the last, and the new one. They sum to 1.
    """
    n = torch.arange(1, hop + 1, dtype=torch.float64)
    newest = n * (n + 1) / 2
    oldest = (hop - n - 1) * (hop - n) / 2
    return (torch.stack([oldest, hop * hop - newest - oldest, newest]) / (hop * hop)).float()


def smoothed(frames: Tensor, before: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Frames as a smooth signal, two hops after a change wholly there.

    Args:
        frames: (batch, frame, channel).
        before: the two frames before the first, (batch, 2, channel).
        weights: what `smoothing` gave.

    Returns:
        (batch, channel, sample), and the last two frames.
    """
    batch, count, channels = frames.shape
    known = torch.cat([before, frames], dim=1)
    three = torch.stack([known[:, :-2], known[:, 1:-1], known[:, 2:]], dim=-1)
    signal = torch.matmul(three, weights).transpose(1, 2).reshape(batch, channels, count * weights.shape[1])
    return signal, known[:, count:]


class SincPair(nn.Module):
    """A low pass and a high pass that meet at one movable cut-off: 31 taps of Hamming-windowed sinc (Wang 2019).

    The low pass passes 0 Hz whole and the high pass half the sample rate, whatever the cut-off.
    """

    offsets: Tensor
    """Tap numbers around the middle times pi."""
    reciprocals: Tensor
    """One over the above, 0 in the middle."""
    middle: Tensor
    window: Tensor
    signs: Tensor

    def __init__(self) -> None:
        super().__init__()
        number = torch.arange(FIR_TAPS, dtype=torch.float64) - FIR_TAPS // 2
        middle = (number == 0).double()
        self.register_buffer("offsets", (math.pi * number).float(), persistent=False)
        self.register_buffer("reciprocals", ((1 - middle) / (math.pi * number + middle)).float(), persistent=False)
        self.register_buffer("middle", middle.float(), persistent=False)
        self.register_buffer("window", torch.hamming_window(FIR_TAPS, periodic=False), persistent=False)
        self.register_buffer("signs", (1.0 - 2.0 * (number.abs() % 2)).float(), persistent=False)

    def forward(self, cutoff: Tensor) -> Tensor:
        """Both filters.

        Args:
            cutoff: (batch, frame, 1), as a share of half the sample rate, between 0 and 1.

        Returns:
            (batch, frame, 2, tap): low pass, high pass.
        """
        sinc = torch.sin(cutoff * self.offsets) * self.reciprocals + cutoff * self.middle
        low = sinc * self.window
        high = (self.middle - sinc) * self.window
        low = low / low.sum(dim=-1, keepdim=True)
        high = high / (high * self.signs).sum(dim=-1, keepdim=True)
        return torch.stack([low, high], dim=2)


def moving_filter(
    signal: Tensor, taps: Tensor, past: Tensor, taps_before: Tensor, ramp: Tensor
) -> tuple[Tensor, Tensor]:
    """A signal through a filter that glides from frame to frame.

    Args:
        signal: (batch, sample).
        taps: (batch, frame, tap), at the end of each hop, the newest sample's last.
        past: (batch, tap - 1) samples before.
        taps_before: (batch, tap), before the first hop.
        ramp: (hop,), weight of the new filter at each sample.

    Returns:
        (batch, sample), and the past after it.
    """
    batch, frames, width = taps.shape
    hop = ramp.shape[0]
    whole = torch.cat([past, signal], dim=1)
    heard = torch.stack([whole[:, tap : tap + frames * hop] for tap in range(width)], dim=-1)
    earlier = torch.cat([taps_before[:, None], taps[:, :-1]], dim=1)
    made = torch.matmul(heard.view(batch, frames, hop, width), torch.stack([earlier, taps], dim=-1))
    mixed = made[..., 0] + ramp * (made[..., 1] - made[..., 0])
    return mixed.reshape(batch, frames * hop), whole[:, frames * hop :]
