"""From a few numbers to a long signal in layers, over the whole of it or a stretch: the same numbers, where wanted.

A layer of 25 taps and stride s, padded as TensorFlow pads "SAME": of the 25 + s (L - 1) samples that L inputs reach,
(25 - s) // 2 are cut off in front, and what is left after s L behind. With PyTorch's own symmetric padding everything
would be off by one sample.

Sample s q + phase of the output sums inputs from q - reach to q + reach, those for which a tap is left. For each phase
that is an ordinary convolution with every s-th tap, so a stretch costs what its outputs cost: 25 products an s of them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

TAPS = 25
"""Of every filter."""


def front(stride: int) -> int:
    """Samples that "SAME" padding cuts off (or puts) in front, where strides divide the length."""
    return (TAPS - stride) // 2


class Upsampling(nn.Module):
    """A transposed convolution that makes `stride` times as many samples, drawn as TensorFlow draws.

    Args:
        inputs: channels in.
        outputs: channels out.
        stride: how many outputs an input becomes.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(inputs, outputs, TAPS)))
        self.bias = nn.Parameter(torch.zeros(outputs))

    @property
    def reach(self) -> int:
        """Inputs that a stretch of outputs needs on either side of its own."""
        return (TAPS // 2) // self.stride

    def forward(self, x: Tensor, *, stretch: bool = False) -> Tensor:
        """A whole signal, or a stretch of one.

        Args:
            x: (batch, input, time).
            stretch: whether the first and the last `reach` of the inputs only lie around those that are wanted; they
                are zero where the signal has ended or not begun.

        Returns:
            (batch, output, stride * time), of time without what lies around.
        """
        if stretch:
            return self._stretch(x)
        made = functional.conv_transpose1d(x, self.weight, self.bias, self.stride, front(self.stride))
        return made[..., : self.stride * x.shape[-1]]

    def _stretch(self, x: Tensor) -> Tensor:
        reach, phases = self.reach, []
        count = x.shape[-1] - 2 * reach
        for phase in range(self.stride):
            # Output `phase` of place q takes tap phase + front - stride * d of input q + d.
            ahead, least = divmod(phase + front(self.stride), self.stride)
            taps = self.weight[:, :, least :: self.stride].flip(-1).transpose(0, 1)
            heard = x[..., reach + ahead - taps.shape[-1] + 1 : reach + ahead + count]
            phases.append(functional.conv1d(heard, taps, self.bias))
        return torch.stack(phases, dim=-1).flatten(-2)


class Places(nn.Module):
    """A dense layer whose outputs are channels at so many places, drawn as TensorFlow draws.

    Rows of its matrix stand place by place.

    Args:
        inputs: numbers in.
        channels: at each place.
        places: how many.
    """

    def __init__(self, inputs: int, channels: int, places: int) -> None:
        super().__init__()
        self.places = places
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(places * channels, inputs)))
        self.bias = nn.Parameter(torch.zeros(places * channels))

    def forward(self, told: Tensor, first: Tensor | None = None, count: int = 0) -> Tensor:
        """All places, or some neighbouring ones.

        Args:
            told: (batch, input).
            first: (batch,), number of the first place that is wanted; None for all of them.
            count: how many are wanted; what stands for places behind the last one means nothing.

        Returns:
            (batch, channel, place).
        """
        if first is None:
            made = functional.linear(told, self.weight, self.bias)
            return made.view(len(told), self.places, -1).transpose(1, 2)
        weight, offset = self.weight.view(self.places, -1, told.shape[-1]), self.bias.view(self.places, -1)
        stretch = []
        for ahead in range(count):
            # One place at a time: what is looked up is copied, and the largest matrix need not be held twice.
            place = (first + ahead).clamp(max=self.places - 1).long()
            stretch.append((weight[place] @ told[:, :, None])[..., 0] + offset[place])
        return torch.stack(stretch, dim=-1)
