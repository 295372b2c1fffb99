"""GANSynth's two networks (Engel et al. 2019; Karras et al. 2018): from latents to a picture that doubles, and back.

    told -- norm -- dense -- 3x3 -- norm     x2 -- 3x3 -- norm -- 3x3 -- norm   ...            generator
    picture -- 1x1 -- 3x3 -- 3x3 -- /2 ...   3x3 (and how alike the batch is) -- dense -- score, pitches    critic

Pictures are (batch, channel, frame, bin). Every resolution has layers of its own to and from pictures. Training may
begin at the coarsest one and fade the finer ones in: pictures of all resolutions are added in `shares` whose sum is 1.
A grown generator makes some frames alone (`stretch`): a sound can begin before the whole picture is there.

Weights are drawn with variance 1 and scaled when they are used (equalised learning rate): Adam's steps are then equally
large for every layer. Every width is read from the weights: a trimmed generator has fewer channels than it was built
with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.2
"""Of the leaky rectifier below zero."""
NORM_FLOOR = 1e-8


def widths_of(base: int, most: int, resolutions: int) -> tuple[int, ...]:
    """Channels at each resolution, coarsest first: min(base / 2^resolution, most), resolutions counted from 1."""
    return tuple(min(base >> resolution, most) for resolution in range(1, resolutions + 1))


def position_of(used: float, resolutions: int) -> float:
    """Where growing stands: a whole number where one resolution is trained, between two where one fades into another.

    Each resolution is trained alone for as long as it takes the next one to fade in.

    Args:
        used: share of the training's budget, 0 to 1.
        resolutions: how many.

    Returns:
        0 to resolutions - 1.
    """
    whole, part = divmod(min(max(used, 0.0), 1.0) * (2 * resolutions - 1), 2.0)
    return min(whole + max(part - 1.0, 0.0), resolutions - 1.0)


def shares(position: float, resolutions: int) -> tuple[float, ...]:
    """How much of the picture is made at each resolution, coarsest first; their sum is 1.

    Args:
        position: see `position_of`.
        resolutions: how many.

    Returns:
        numbers from 0 to 1, at most two of them not 0.
    """
    return tuple(max(0.0, 1.0 - abs(position - resolution)) for resolution in range(resolutions))


def pixel_norm(x: Tensor) -> Tensor:
    """Every place's channels brought to a root mean square of 1: (batch, channel, ...)."""
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + NORM_FLOOR)


def enlarged(x: Tensor, times: int = 2) -> Tensor:
    """Every place so many times in both directions: (batch, channel, frame, bin)."""
    return x.repeat_interleave(times, dim=2).repeat_interleave(times, dim=3) if times > 1 else x


def with_likeness(x: Tensor) -> Tensor:
    """A channel more: how far, on the whole, the batch's members stand apart, the same number everywhere."""
    apart = torch.sqrt(x.var(dim=0, unbiased=False) + NORM_FLOOR).mean()
    return torch.cat([x, apart.expand(len(x), 1, *x.shape[2:])], dim=1)


@dataclass(frozen=True)
class Stretch:
    """Numbers of the frames of one resolution that some frames of the finest one need."""

    heard: range
    """Of what the block is given, enlarged; the coarsest block is given no picture."""
    between: range
    """Of what its first layer makes; the dense one, of the coarsest block."""
    made: range
    """Of what its second layer makes."""


class Scaled(nn.Module):
    """A convolution (or product) whose weights have variance 1 and are scaled by He's constant when used.

    Args:
        inputs: channels in.
        outputs: channels out.
        places: height and width of the filter.
        slope: below zero, of the rectifier that follows; 1 for none.
    """

    def __init__(self, inputs: int, outputs: int, places: tuple[int, int] = (1, 1), slope: float = SLOPE) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, *places))
        self.bias = nn.Parameter(torch.zeros(outputs))
        # A number, not read from the weights: a layer that was trimmed goes on as it was trained.
        self.scale = math.sqrt(2.0 / (1.0 + slope**2) / (inputs * places[0] * places[1]))

    def forward(self, x: Tensor, *, padded: bool = True) -> Tensor:
        """The convolution.

        Args:
            x: (batch, input, frame, bin).
            padded: whether zeros around it keep its size; a filter as large as the picture leaves one place otherwise.

        Returns:
            (batch, output, frame, bin).
        """
        around = tuple(size // 2 for size in self.weight.shape[2:]) if padded else 0
        return functional.conv2d(x, self.weight * self.scale, self.bias, padding=around)

    def along(self, x: Tensor, has: range, wanted: range) -> Tensor:
        """Some frames of the convolution, from no more than they need.

        Args:
            x: (batch, input, frame, bin), the frames `has`.
            has: those around what is wanted; beyond them the picture ends, and is zero.
            wanted: numbers of the frames to be made.

        Returns:
            (batch, output, frame, bin), the frames `wanted`.
        """
        reach, bins = (size // 2 for size in self.weight.shape[2:])
        around = (has.start - (wanted.start - reach), wanted.stop + reach - has.stop)
        return functional.conv2d(
            functional.pad(x, (0, 0, *around)), self.weight * self.scale, self.bias, padding=(0, bins)
        )

    def spread(self, told: Tensor, wanted: range | None = None) -> Tensor:
        """A picture as large as the filter, from numbers without a place: what the filter, padded, makes of one place.

        Args:
            told: (batch, input).
            wanted: numbers of the frames to be made; None for all.

        Returns:
            (batch, output, height, width), of `wanted` only.
        """
        weight = self.weight if wanted is None else self.weight[:, :, wanted.start : wanted.stop]
        outputs, _, height, width = weight.shape
        made = functional.linear(told, (weight * self.scale).permute(0, 2, 3, 1).flatten(0, 2))
        return made.view(-1, outputs, height, width) + self.bias[:, None, None]


class Doubling(nn.Module):
    """A block of the generator: a picture enlarged twice, and two layers.

    Args:
        before: channels in.
        after: channels out.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.into, self.again = Scaled(before, after, (3, 3)), Scaled(after, after, (3, 3))

    def forward(self, x: Tensor, coarse: Stretch | None = None, fine: Stretch | None = None) -> Tensor:
        """The whole, or some frames.

        Args:
            x: (batch, before, frame, bin); of some frames, those that `coarse` made.
            coarse: what of its input is there; None for all.
            fine: what is wanted; None for all.

        Returns:
            (batch, after, frame, bin), twice as fine.
        """
        if coarse is None or fine is None:
            return lively(self.again(lively(self.into(enlarged(x)))))
        heard = enlarged(x)[:, :, fine.heard.start - 2 * coarse.made.start :][:, :, : len(fine.heard)]
        between = lively(self.into.along(heard, fine.heard, fine.between))
        return lively(self.again.along(between, fine.between, fine.made))


class ProgressiveGenerator(nn.Module):
    """Latents and pitch to pictures.

    Args:
        inputs: latents and pitches.
        widths: channels at each resolution, coarsest first.
        start: frames and bins of the coarsest picture.
        channels: of a picture.
        grows: whether coarser resolutions make pictures too; without, only the finest one has a layer for it.
    """

    def __init__(
        self, inputs: int, widths: Sequence[int], start: tuple[int, int], channels: int = 2, grows: bool = True
    ) -> None:
        super().__init__()
        self.start = start
        self.dense = Scaled(inputs, widths[0], start)
        self.first = Scaled(widths[0], widths[0], (3, 3))
        self.blocks = nn.ModuleList(Doubling(before, after) for before, after in pairwise(widths))
        self.to_pictures = nn.ModuleList(
            Scaled(width, channels, slope=1.0) for width in (widths if grows else widths[-1:])
        )

    @property
    def resolutions(self) -> int:
        """How many sizes of picture it makes."""
        return len(self.blocks) + 1

    def forward(self, told: Tensor, position: float | None = None) -> Tensor:
        """Pictures of the finest resolution.

        Args:
            told: (batch, latent + pitch).
            position: how far growing has come, see `position_of`; None for all the way, of one that does not grow too.

        Returns:
            (batch, channel, frame, bin), -1 to 1.
        """
        if position is None:
            return torch.tanh(self.to_pictures[-1](self.begun(told, self.resolutions)))
        finest = self.resolutions - 1
        by_share = shares(position, self.resolutions)
        x = self.begun(told, 1)
        pictures = []
        for number, (share, to_picture) in enumerate(zip(by_share, self.to_pictures, strict=True)):
            if number and any(by_share[number:]):
                x = self.blocks[number - 1](x)
            if share:
                pictures.append(share * enlarged(torch.tanh(to_picture(x)), 1 << (finest - number)))
        return torch.stack(pictures).sum(dim=0) if len(pictures) > 1 else pictures[0]

    def begun(self, told: Tensor, resolutions: int) -> Tensor:
        """What the coarsest resolutions make, whole, before it becomes a picture.

        Args:
            told: (batch, latent + pitch).
            resolutions: how many of them.

        Returns:
            (batch, width, frame, bin), of the finest of these.
        """
        x = lively(self.first(lively(self.dense.spread(pixel_norm(told)))))
        for block in list(self.blocks)[: resolutions - 1]:
            x = block(x)
        return x

    def stretch(self, told: Tensor, wanted: range) -> Tensor:
        """Some frames of the finest pictures, the same numbers as in the whole, for the work that they need.

        Args:
            told: (batch, latent + pitch).
            wanted: numbers of the frames, in a row.

        Returns:
            (batch, channel, frame, bin), of `wanted` only.
        """
        coarse, *finer = self.stretches(wanted)
        x = lively(self.dense.spread(pixel_norm(told), coarse.between))
        x = lively(self.first.along(x, coarse.between, coarse.made))
        for block, fine in zip(self.blocks, finer, strict=True):
            x = block(x, coarse, fine)
            coarse = fine
        return torch.tanh(self.to_pictures[-1](x))

    def stretches(self, wanted: range) -> list[Stretch]:
        """What every resolution makes for some frames of the finest, coarsest first.

        Args:
            wanted: numbers of the frames, in a row.

        Returns:
            as many as there are resolutions.
        """
        found = []
        for resolution in reversed(range(self.resolutions)):
            frames = self.start[0] << resolution
            between = _widened(wanted, frames)
            heard = _widened(between, frames)
            found.append(Stretch(heard, between, wanted))
            wanted = range(heard.start // 2, -(-heard.stop // 2))
        return found[::-1]


def _widened(frames: range, most: int) -> range:
    """The frames that a filter of three hears for some: one more on either side, where the picture has one."""
    return range(max(frames.start - 1, 0), min(frames.stop + 1, most))


def lively(x: Tensor) -> Tensor:
    """What follows every layer of the generator: the leaky rectifier, then the norm."""
    return pixel_norm(functional.leaky_relu(x, SLOPE))


class ProgressiveCritic(nn.Module):
    """Pictures to a score, higher for recorded sounds, and to how likely each pitch is.

    Args:
        pitches: how many.
        widths: the generator's, which it mirrors.
        start: frames and bins of the coarsest picture.
        channels: of a picture.
        grows: whether coarser resolutions see pictures too; without, only the finest one has a layer for it.
    """

    def __init__(
        self, pitches: int, widths: Sequence[int], start: tuple[int, int], channels: int = 2, grows: bool = True
    ) -> None:
        super().__init__()
        self.from_pictures = nn.ModuleList(Scaled(channels, width) for width in (widths if grows else widths[-1:]))
        self.blocks = nn.ModuleList(
            nn.ModuleList([Scaled(fine, fine, (3, 3)), Scaled(fine, coarse, (3, 3))])
            for coarse, fine in pairwise(widths)
        )
        self.last = Scaled(widths[0] + 1, widths[0], (3, 3))
        self.dense = Scaled(widths[0], widths[0], start)
        self.score = Scaled(widths[0], 1, slope=1.0)
        self.pitch = Scaled(widths[0], pitches, slope=1.0)

    def forward(self, picture: Tensor, position: float | None = None) -> tuple[Tensor, Tensor]:
        """What it thinks of pictures.

        Args:
            picture: (batch, channel, frame, bin).
            position: how far growing has come; None for all the way.

        Returns:
            scores (batch,), and logits of the pitches (batch, pitch).
        """
        finest = len(self.blocks)
        position = float(finest) if position is None else position
        sizes = [picture]
        for _ in range(finest if position < finest else 0):
            sizes.append(functional.avg_pool2d(sizes[-1], 2))
        begun = min(finest, math.ceil(position))
        x = self._seen(sizes[finest - begun], begun)
        for resolution in range(begun - 1, -1, -1):
            for layer in self.blocks[resolution].children():
                x = functional.leaky_relu(layer(x), SLOPE)
            x = functional.avg_pool2d(x, 2)
            # The share of what the finer resolution says; the rest is seen here for the first time.
            known = min(1.0, position - resolution)
            if known < 1.0:
                x = known * x + (1.0 - known) * self._seen(sizes[finest - resolution], resolution)
        x = functional.leaky_relu(self.last(with_likeness(x)), SLOPE)
        x = functional.leaky_relu(self.dense(x, padded=False), SLOPE)
        return self.score(x)[:, 0, 0, 0], self.pitch(x)[:, :, 0, 0]

    def _seen(self, picture: Tensor, resolution: int) -> Tensor:
        """A picture of a resolution's size, as the layer of that resolution sees it."""
        number = resolution - len(self.blocks) - 1
        return functional.leaky_relu(self.from_pictures[number](picture), SLOPE)
