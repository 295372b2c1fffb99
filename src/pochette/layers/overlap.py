"""Sound in overlapping windows: frames that networks read and write, a hop apart, with carried state.

SING (Defossez et al. 2018) reads and writes sound by convolutions whose kernels are multiplied by a squared Hann
window. With three quarters of overlap these windows add up to exactly 1.5, so a constant sound needs no correction.

Every learnt layer here is a matrix. A convolution over frames is one matrix a frame, laid side by side when it is used;
a strided convolution of samples is a product with a window of samples; a transposed one is a product whose results are
added where they overlap. It is the same arithmetic as that of the convolutions, it plays frame by frame, and whoever
reads the graph (costs, trimming, C) meets nothing but matrices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

WINDOW_SAMPLES = 1024
"""Samples that one frame reads or writes."""
HOP_SAMPLES = 256
"""Samples from frame to frame."""
OVERLAP = WINDOW_SAMPLES // HOP_SAMPLES
"""Windows that share a sample."""


def squared_hann() -> Tensor:
    """The square of the periodic Hann window, (WINDOW_SAMPLES,): copies a hop apart add up to 1.5."""
    return (torch.hann_window(WINDOW_SAMPLES, dtype=torch.float64) ** 2).float()


def overlap_add(columns: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
    """Add windows of sound where they overlap.

    Args:
        columns: (batch, frame, WINDOW_SAMPLES); each begins a hop after the one before.
        tail: (batch, WINDOW_SAMPLES - HOP_SAMPLES), what earlier windows still have to say.

    Returns:
        audio (batch, frame * HOP_SAMPLES), and the tail after it.
    """
    batch, frames, _ = columns.shape
    if frames == 1:
        sounding = columns[:, 0, :-HOP_SAMPLES] + tail
        after = torch.cat([sounding[:, HOP_SAMPLES:], columns[:, 0, -HOP_SAMPLES:]], dim=1)
        return sounding[:, :HOP_SAMPLES], after
    # Block b of a window sounds b hops after the window begins.
    blocks = columns.view(batch, frames, OVERLAP, HOP_SAMPLES)
    total = nn.functional.pad(tail.reshape(batch, OVERLAP - 1, HOP_SAMPLES), (0, 0, 0, frames))
    for late in range(OVERLAP):
        total = total + nn.functional.pad(blocks[:, :, late], (0, 0, late, OVERLAP - 1 - late))
    audio = total.reshape(batch, -1)
    return audio[:, : frames * HOP_SAMPLES], audio[:, frames * HOP_SAMPLES :]


class FrameConvolution(nn.Module):
    """A convolution over frames: every output frame is read from `context` neighbouring input frames.

    Args:
        inputs: features in.
        outputs: features out.
        context: frames that are read.
    """

    def __init__(self, inputs: int, outputs: int, context: int) -> None:
        super().__init__()
        # The weights are drawn as those of PyTorch's convolution, uniformly within one over the root of what is read.
        bound = 1 / math.sqrt(inputs * context)
        self.taps = nn.ModuleList(nn.Linear(inputs, outputs, bias=number == 0) for number in range(context))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, frames: Tensor) -> Tensor:
        """Only where the whole context is there.

        Args:
            frames: (batch, frame + context - 1, input).

        Returns:
            (batch, frame, output).
        """
        context = len(self.taps)
        count = frames.shape[1] - context + 1
        neighbours = torch.cat([frames[:, tap : tap + count] for tap in range(context)], dim=-1)
        weight = torch.cat([tap.get_parameter("weight") for tap in self.taps], dim=1)
        return nn.functional.linear(neighbours, weight, self.taps[0].get_parameter("bias"))


def rewrites(widths: Sequence[int]) -> nn.Sequential:
    """Layers that rewrite each frame by itself (convolutions of width 1), each followed by a rectifier.

    Args:
        widths: of the input and of every layer.

    Returns:
        the stack; the identity for a single width.
    """
    parts: list[nn.Module] = []
    for before, after in pairwise(widths):
        parts += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*parts)


class FrameEncoder(nn.Module):
    """Sound to codes: a windowed convolution of stride HOP_SAMPLES, rewrites, and one matrix to the code.

    Args:
        channels: width.
        layers: rewrites.
        code: numbers a frame.
    """

    window: Tensor

    def __init__(self, channels: int, layers: int, code: int) -> None:
        super().__init__()
        self.register_buffer("window", squared_hann(), persistent=False)
        self.input = nn.Linear(WINDOW_SAMPLES, channels)
        self.rewrites = rewrites([channels] * (layers + 1))
        self.head = nn.Linear(channels, code)

    def forward(self, audio: Tensor) -> Tensor:
        """One code for every whole window.

        Args:
            audio: (batch, sample), at least a window.

        Returns:
            (batch, 1 + (sample - WINDOW_SAMPLES) // HOP_SAMPLES, code).
        """
        frames = audio.unfold(1, WINDOW_SAMPLES, HOP_SAMPLES)
        # The kernel is what is windowed; a product with a windowed sound is the same product.
        made: Tensor = self.head(self.rewrites(torch.relu(self.input(frames * self.window))))
        return made


class FrameDecoder(nn.Module):
    """Codes to sound: a convolution over frames, rewrites, and a windowed transposed convolution of one hop a frame.

    Args:
        code: numbers a frame.
        channels: width.
        context: codes that one window of sound is made from.
        layers: rewrites.
    """

    window: Tensor

    def __init__(self, code: int, channels: int, context: int, layers: int) -> None:
        super().__init__()
        self.register_buffer("window", squared_hann(), persistent=False)
        self.input = FrameConvolution(code, channels, context)
        self.rewrites = rewrites([channels] * (layers + 1))
        self.output = nn.Linear(channels, WINDOW_SAMPLES, bias=False)
        self.offset = nn.Parameter(torch.zeros(1))
        # PyTorch's transposed convolution of one output draws its weights, and its offset, within 1 / sqrt(window).
        for parameter in (self.output.weight, self.offset):
            nn.init.uniform_(parameter, -1 / math.sqrt(WINDOW_SAMPLES), 1 / math.sqrt(WINDOW_SAMPLES))

    @property
    def context(self) -> int:
        """Codes that one window of sound is made from."""
        return len(self.input.taps)

    @property
    def ahead(self) -> int:
        """Codes after the middle one of a context."""
        return (self.context - 1) // 2

    @property
    def behind(self) -> int:
        """Codes before the middle one of a context."""
        return self.context - 1 - self.ahead

    def initial_tail(self, batch: int) -> Tensor:
        """Silence: nothing left to say, (batch, WINDOW_SAMPLES - HOP_SAMPLES)."""
        return self.window.new_zeros(batch, WINDOW_SAMPLES - HOP_SAMPLES)

    def columns(self, codes: Tensor) -> Tensor:
        """Windows of sound before they are added.

        Args:
            codes: (batch, frame + context - 1, code).

        Returns:
            (batch, frame, WINDOW_SAMPLES).
        """
        made: Tensor = self.output(self.rewrites(torch.relu(self.input(codes))))
        return made * self.window

    def forward(self, codes: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
        """The next hops of sound.

        Args:
            codes: (batch, frame + context - 1, code): the last context - 1 before, and the new ones.
            tail: see `overlap_add`.

        Returns:
            audio (batch, frame * HOP_SAMPLES), and the tail after it.
        """
        audio, after = overlap_add(self.columns(codes), tail)
        return audio + self.offset, after

    def whole(self, codes: Tensor) -> Tensor:
        """Sound of a sequence of codes, only where all windows overlap that ever will.

        Args:
            codes: (batch, frame, code), at least context + OVERLAP - 1 frames.

        Returns:
            (batch, (frame - context - OVERLAP + 2) * HOP_SAMPLES).
        """
        audio, _ = self.forward(codes, self.initial_tail(len(codes)))
        return audio[:, (OVERLAP - 1) * HOP_SAMPLES :]
