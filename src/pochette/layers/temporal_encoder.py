"""The temporal encoder of NSynth (Engel et al. 2017): residual dilated convolutions over a sound, averaged into codes.

    sound -- conv 3 --+-- ReLU -- conv 3, dilated -- ReLU -- 1x1 --+-- ... -- 1x1 -- mean of each hop -- code
                      +--------------------------------------------+

As published every convolution looks as far ahead as behind. The causal form looks behind only, twice as far; its code
is known when its hop has been heard, which playing live asks for.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pochette.layers.residual import Blocks

KERNEL = 3


class ResidualLayer(nn.Module):
    """One dilated convolution and the 1x1 after it, beside a way past both.

    Args:
        channels: in, between and out.
        dilation: samples between taps.
        causal: whether it looks behind only.
    """

    def __init__(self, channels: int, dilation: int, *, causal: bool) -> None:
        super().__init__()
        self.dilation, self.causal = dilation, causal
        self.dilated = nn.Conv1d(channels, channels, KERNEL, dilation=dilation)
        self.mix = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, sample) to the same."""
        inside = self.dilated(padded(torch.relu(x), self.dilation, causal=self.causal))
        out: Tensor = x + self.mix(torch.relu(inside))
        return out


class TemporalEncoder(nn.Module):
    """Sound to codes, one a hop.

    Args:
        channels: width of the residual layers.
        dilations: of each layer, first to last.
        code: numbers of a code.
        hop_samples: samples that a code is averaged over.
        causal: whether it looks behind only.
    """

    def __init__(self, *, channels: int, dilations: tuple[int, ...], code: int, hop_samples: int, causal: bool) -> None:
        super().__init__()
        self.hop_samples, self.causal = hop_samples, causal
        self.first = nn.Conv1d(1, channels, KERNEL)
        self.layers = nn.ModuleList(ResidualLayer(channels, dilation, causal=causal) for dilation in dilations)
        self.head = nn.Conv1d(channels, code, 1)
        self._one_side = 1 + sum(dilations)

    def residual_blocks(self) -> Blocks:
        """Every layer; see `pochette.layers.residual`."""
        numbered = ((number, layer) for number, layer in enumerate(self.layers) if isinstance(layer, ResidualLayer))
        return {f"layers.{number}": (layer.mix,) for number, layer in numbered}

    @property
    def behind_samples(self) -> int:
        """How far before its hop a code is heard."""
        return 2 * self._one_side if self.causal else self._one_side

    @property
    def ahead_samples(self) -> int:
        """How far behind its hop's end a code is heard."""
        return 0 if self.causal else self._one_side

    def forward(self, sound: Tensor) -> Tensor:
        """Codes of a whole sound; before and after it every layer hears zeros.

        Args:
            sound: (batch, hop * hop_samples).

        Returns:
            (batch, hop, code).
        """
        x = self.first(padded(sound[:, None], 1, causal=self.causal))
        for layer in self.layers:
            x = layer(x)
        made: Tensor = functional.avg_pool1d(self.head(x), self.hop_samples)
        return made.transpose(1, 2)


def padded(x: Tensor, dilation: int, *, causal: bool) -> Tensor:
    """Zeros around a signal so that a convolution of 3 taps leaves its length: all before it, or on either side."""
    return functional.pad(x, (2 * dilation, 0) if causal else (dilation, dilation))
