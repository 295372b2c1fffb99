"""Causal convolutions that carry their past: a whole sound in one call and the same sound in pieces agree.

Signals are (batch, channel, step). A layer is called with what came before (or, of a transposed convolution, with what
still sounds) and gives it back as it is afterwards. Before the first step there is nothing: zeros, in every layer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from pochette.layers.filter_bank import overlapped
from pochette.layers.residual import Blocks

SLOPE = 0.2
"""Of leaky rectifiers below zero."""


@runtime_checkable
class Streamed(Protocol):
    """A layer that carries something from call to call."""

    def empty(self, batch: int) -> list[Tensor]:
        """What it carries before the first call."""

    def __call__(self, x: Tensor, pasts: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The signal through the layer, and what it carries afterwards."""

    def reach(self) -> float:
        """Steps of its input, behind the one heard last, that a step of its output can depend on."""

    ratio: float
    """Steps that come out per step that goes in."""
    carried: int
    """How many tensors it carries."""


class Convolution(nn.Module):
    """A causal convolution, dilated or with a stride that divides the length of every call; weight-normed.

    Args:
        inputs: channels in.
        outputs: channels out.
        kernel: taps, at least the stride.
        stride: steps in per step out.
        dilation: steps between taps; 1 where there is a stride.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        conv = nn.Conv1d(inputs, outputs, kernel, stride=stride, dilation=dilation)
        # Wider than PyTorch draws: through so many layers what is heard would fade to nothing.
        nn.init.kaiming_normal_(conv.weight, nonlinearity="linear")
        self.conv: Any = weight_norm(conv)
        self.behind = (kernel - 1) * dilation + 1 - stride
        self.ratio, self.carried = 1.0 / stride, int(self.behind > 0)

    def empty(self, batch: int) -> list[Tensor]:
        """The inputs before the first, (batch, channel, step)."""
        return [next(self.parameters()).new_zeros(batch, self.conv.in_channels, self.behind)] * self.carried

    def forward(self, x: Tensor, pasts: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Filter some steps."""
        if not self.behind:
            return self.conv(x), []
        whole = torch.cat([pasts[0], x], dim=-1)
        return self.conv(whole), [whole[..., whole.shape[-1] - self.behind :]]

    def reach(self) -> float:
        """Inputs before the newest stride of them."""
        return self.behind


class Upsampling(nn.Module):
    """A transposed convolution: each step sounds for as long as the kernel, what outlasts its stride joins the next's.

    Args:
        inputs: channels in.
        outputs: channels out.
        stride: steps out per step in.
        kernel: taps, more than the stride; twice the stride if it is not told.
        normed: whether weights are kept as lengths and directions.
    """

    carried = 1

    def __init__(
        self, inputs: int, outputs: int, stride: int, kernel: int | None = None, *, normed: bool = True
    ) -> None:
        super().__init__()
        kernel = kernel or 2 * stride
        conv = nn.ConvTranspose1d(inputs, outputs, kernel, stride=stride, bias=False)
        # So many steps meet in every step that comes out.
        nn.init.normal_(conv.weight, std=1.0 / math.sqrt(kernel / stride * inputs))
        self.conv: Any = weight_norm(conv) if normed else conv
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.stride, self.ratio, self.outlasts = stride, float(stride), kernel - stride

    def empty(self, batch: int) -> list[Tensor]:
        """Nothing that still sounds."""
        return [self.bias.new_zeros(batch, len(self.bias), self.outlasts)]

    def forward(self, x: Tensor, pasts: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Raise the rate of some steps."""
        made, tail = overlapped(self.conv(x), pasts[0])
        return made + self.bias[:, None], [tail]

    def centred(self, x: Tensor) -> Tensor:
        """A whole signal, cropped on both sides, so that each step lies amid its taps; `forward` crops the right alone.

        Args:
            x: (batch, channel, step).

        Returns:
            (batch, channel, step * stride); but for the ends, what `forward` says half of what outlasts later.
        """
        left = (self.outlasts + 1) // 2
        made = nn.functional.pad(self.conv(x), (0, 1))
        return made[..., left : left + x.shape[-1] * self.stride] + self.bias[:, None]

    def reach(self) -> float:
        """Steps before, the oldest of them in part."""
        return self.outlasts / self.stride


class Residual(nn.Module):
    """What goes in, and beside it what two convolutions make of it: a dilated one and one that reads a step alone.

    Args:
        channels: width.
        kernel: taps of the first.
        dilation: of the first.
    """

    ratio = 1.0

    def __init__(self, channels: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.wide = Convolution(channels, channels, kernel, dilation=dilation)
        self.narrow = Convolution(channels, channels, 1)
        with torch.no_grad():
            # A unit begins as a small change of what goes in.
            self.narrow.conv.parametrizations.weight.original0.mul_(0.3)
        self.carried = self.wide.carried

    def empty(self, batch: int) -> list[Tensor]:
        """The dilated convolution's past."""
        return self.wide.empty(batch)

    def forward(self, x: Tensor, pasts: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Refine some steps."""
        made, after = self.wide(nn.functional.leaky_relu(x, SLOPE), pasts)
        return x + self.narrow(nn.functional.leaky_relu(made, SLOPE), [])[0], after

    def reach(self) -> float:
        """The dilated convolution's."""
        return self.wide.reach()


class Chain(nn.Module):
    """Layers one after the other, streamed ones and such as read each step alone.

    Args:
        layers: in order.
    """

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def empty(self, batch: int) -> list[Tensor]:
        """What all layers carry before the first call, in their order."""
        return [past for layer in self.layers if isinstance(layer, Streamed) for past in layer.empty(batch)]

    def forward(self, x: Tensor, pasts: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Some steps through all layers.

        Args:
            x: (batch, channel, step).
            pasts: as `empty`, after the steps before.

        Returns:
            (batch, channel, step * ratio), and what is carried afterwards.
        """
        left, after = list(pasts), list[Tensor]()
        for layer in self.layers:
            if not isinstance(layer, Streamed):
                x = layer(x)
                continue
            x, kept = layer(x, left[: layer.carried])
            left, after = left[layer.carried :], after + kept
        return x, after

    def residual_blocks(self) -> Blocks:
        """The residual layers among them; see `pochette.layers.residual`."""
        numbered = ((number, layer) for number, layer in enumerate(self.layers) if isinstance(layer, Residual))
        return {f"layers.{number}": (layer.narrow.conv,) for number, layer in numbered}

    def reach(self) -> float:
        """Steps of the input, behind the newest, that a step of the output can depend on."""
        total, rate = 0.0, 1.0
        for layer in self.layers:
            if isinstance(layer, Streamed):
                total += layer.reach() / rate
                rate *= layer.ratio
        return total

    @property
    def ratio(self) -> float:
        """Steps out per step in."""
        rate = 1.0
        for layer in self.layers:
            if isinstance(layer, Streamed):
                rate *= layer.ratio
        return rate
