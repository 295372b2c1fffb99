"""WaveGAN's two networks (Donahue et al. 2019): from latents to a sound in strides, and from a sound to a score.

Every width is read from the weights: a trimmed generator has fewer channels than it was built with.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from pochette.layers.adversary import shuffled
from pochette.layers.upsampling import TAPS, Places, Upsampling, front

PLACES = 16
"""Samples, or hops, of the coarsest layer."""
SHUFFLED_LAYERS = 4
"""First layers of the critic that phase shuffle follows, the last one never."""


class GeneratorNetwork(nn.Module):
    """The generator: latents, and of which class, to whole sounds.

    Args:
        inputs: latents and classes.
        widths: channels between the layers, from the latent on, without the sound's one.
        strides: of the layers, in the same order.
    """

    def __init__(self, inputs: int, widths: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        widths = (*widths, 1)
        self.dense = Places(inputs, widths[0], PLACES)
        self.layers = nn.ModuleList(
            Upsampling(*sides, stride) for sides, stride in zip(pairwise(widths), strides, strict=True)
        )

    def forward(self, told: Tensor) -> Tensor:
        """Whole sounds at once.

        Args:
            told: (batch, latent + class).

        Returns:
            (batch, slice_samples), -1 to 1.
        """
        x: Tensor = torch.relu(self.dense(told))
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return torch.tanh(self.layers[-1](x))[:, 0]

    def upsamplings(self) -> list[Upsampling]:
        """The layers behind the dense one."""
        return [layer for layer in self.layers if isinstance(layer, Upsampling)]


class Critic(nn.Module):
    """Tells recorded sounds from made ones, as phase-blind as shuffling makes it.

    Args:
        classes: that it is told of; 0 for none.
        widths: the generator's, which it mirrors.
        strides: of its layers, from the sound on.
    """

    def __init__(self, classes: int, widths: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        self.strides = tuple(strides)
        self.shuffled_layers = min(SHUFFLED_LAYERS, len(strides) - 1)
        widths = (1, *reversed(widths))
        self.layers = nn.ModuleList(
            _drawn_as_published(nn.Conv1d(*sides, TAPS, stride))
            for sides, stride in zip(pairwise(widths), strides, strict=True)
        )
        self.dense = _drawn_as_published(nn.Linear(PLACES * widths[-1], 1))
        self.of_class = nn.Linear(PLACES * widths[-1], classes, bias=False) if classes else None
        if self.of_class is not None:
            _drawn_as_published(self.of_class)

    def forward(self, audio: Tensor, chosen: Tensor | None, shifts: Tensor) -> Tensor:
        """Scores of sounds; higher for recorded ones.

        Args:
            audio: (batch, slice_samples).
            chosen: (batch, class), 1 at each one's class; None for a critic without classes.
            shifts: (shuffled layer, 1 or batch), see `layers.adversary.shuffled`.

        Returns:
            (batch,).
        """
        x = audio[:, None]
        for number, (layer, stride) in enumerate(zip(self.layers, self.strides, strict=True)):
            before = front(stride)
            x = functional.leaky_relu(layer(functional.pad(x, (before, TAPS - stride - before))), 0.2)
            if number < self.shuffled_layers:
                x = shuffled(x, shifts[number])
        x = x.transpose(1, 2).flatten(1)
        score: Tensor = self.dense(x)[:, 0]
        if self.of_class is not None and chosen is not None:
            score = score + (self.of_class(x) * chosen).sum(dim=1)
        return score


def _drawn_as_published(layer: nn.Linear | nn.Conv1d) -> nn.Linear | nn.Conv1d:
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
