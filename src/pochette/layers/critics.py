"""Networks that only training hears: they tell real sound from made, at several resolutions, and are then dropped."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

SLOPE = 0.2
Heard = list[Tensor]
"""What each layer of a critic says, the last being its judgement."""


class WaveformCritic(nn.Module):
    """Strided, grouped convolutions over a waveform, one judgement every 64 samples (Kumar et al. 2019).

    Args:
        channels: after the first layer; each of three strides multiplies them by four, up to sixteen times as many.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[Any] = [nn.Conv1d(1, channels, 15, padding=7)]
        width = channels
        for _ in range(3):
            wider = min(4 * width, 16 * channels)
            layers.append(nn.Conv1d(width, wider, 41, stride=4, padding=20, groups=max(1, width // 4)))
            width = wider
        layers += [nn.Conv1d(width, width, 5, padding=2), nn.Conv1d(width, 1, 3, padding=1)]
        self.layers = nn.ModuleList(weight_norm(layer) for layer in layers)

    def forward(self, audio: Tensor) -> Heard:
        """Judge some sound.

        Args:
            audio: (batch, 1, sample).

        Returns:
            every layer's output, (batch, channel, step).
        """
        heard, x = [], audio
        for layer in self.layers[:-1]:
            x = nn.functional.leaky_relu(layer(x), SLOPE)
            heard.append(x)
        return [*heard, self.layers[-1](x)]


class Critics(nn.Module):
    """The same critic at full, half and quarter rate, each with weights of its own.

    Args:
        channels: see `WaveformCritic`.
        scales: how many rates.
    """

    def __init__(self, channels: int, scales: int = 3) -> None:
        super().__init__()
        self.critics = nn.ModuleList(WaveformCritic(channels) for _ in range(scales))

    def forward(self, audio: Tensor) -> list[Heard]:
        """Judge some sound at every rate, (batch, sample)."""
        x, heard = audio[:, None], []
        for number, critic in enumerate(self.critics):
            x = nn.functional.avg_pool1d(x, 2) if number else x
            heard.append(critic(x))
        return heard


def hinge_of_critics(real: list[Heard], made: list[Heard]) -> Tensor:
    """What critics minimise: judgements of real sound above 1, of made sound below -1."""
    terms = [torch.relu(1.0 - r[-1]).mean() + torch.relu(1.0 + m[-1]).mean() for r, m in zip(real, made, strict=True)]
    return torch.stack(terms).mean()


def hinge_of_maker(made: list[Heard]) -> Tensor:
    """What the maker of sound minimises: judgements as high as can be."""
    return torch.stack([-m[-1].mean() for m in made]).mean()


def feature_distance(real: list[Heard], made: list[Heard]) -> Tensor:
    """How differently critics hear two sounds, layer by layer, judgements left out: mean absolute difference."""
    terms = [
        (r - m).abs().mean()
        for heard_real, heard_made in zip(real, made, strict=True)
        for r, m in zip(heard_real[:-1], heard_made[:-1], strict=True)
    ]
    return torch.stack(terms).mean()
