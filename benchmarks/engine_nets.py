"""The seven networks of the engine benchmark: ordinary modules with random weights, one call a sample, block or frame.

They are the kinds that people run on pedals, plug-ins and boards: small recurrent ones called for every sample, the
decoder of DDSP, a WaveNet of an amplifier model in two sizes, and a decoder like RAVE's. Each keeps what it must
remember in registered buffers that `forward` writes; `step` is the same call with the state handed in and out, for
peers that know no state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

FloatArray = npt.NDArray[np.float32]
OCTAVES = [2**i for i in range(10)]


class Streaming(nn.Module, ABC):
    """A network that remembers.

    Args:
        shapes: of its states, all zero at first.
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]] = ()) -> None:
        super().__init__()
        self.remember(shapes)

    def remember(self, shapes: Sequence[tuple[int, ...]]) -> None:
        """Register a buffer for each state."""
        self.state_names = [f"state{number}" for number in range(len(shapes))]
        for name, shape in zip(self.state_names, shapes, strict=True):
            self.register_buffer(name, torch.zeros(shape))

    def states(self) -> list[Tensor]:
        """The buffers, in order."""
        return [self.get_buffer(name) for name in self.state_names]

    def reset(self) -> None:
        """Forget everything."""
        for state in self.states():
            state.zero_()

    @abstractmethod
    def step(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """One call: input and states before it; output and states after it."""

    def forward(self, x: Tensor) -> Tensor:
        """One call that remembers."""
        y, *after = self.step(x, *self.states())
        for state, value in zip(self.states(), after, strict=True):
            state.copy_(value)
        return y


class Explicit(nn.Module):
    """A network whose states are arguments and results."""

    def __init__(self, network: Streaming) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """One call."""
        return self.network.step(x, *states)


class Recurrent(Streaming):
    """GRU or LSTM, hidden layers and an output: (1, 1, inputs) to (1, 1, outputs)."""

    def __init__(self, kind: str, inputs: int, units: int, hidden: int = 0, outputs: int = 1) -> None:
        super().__init__([(1, 1, units)] * (2 if kind == "lstm" else 1))
        self.rnn = nn.LSTM(inputs, units) if kind == "lstm" else nn.GRU(inputs, units)
        layers: list[nn.Module] = []
        for _ in range(hidden):
            layers += [nn.Linear(units, units), nn.ReLU()]
        self.head = nn.Sequential(*layers, nn.Linear(units, outputs))

    def step(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """One sample or frame."""
        if isinstance(self.rnn, nn.LSTM):
            y, (h, c) = self.rnn(x, (states[0], states[1]))
            return self.head(y), h, c
        y, h = self.rnn(x, states[0])
        return self.head(y), h


class Residual(nn.Module):
    """A layer of WaveNet: dilated convolution, the input mixed in, tanh, and a way round."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, 3, dilation=dilation)
        self.mix = nn.Conv1d(1, channels, 1, bias=False)
        self.out = nn.Conv1d(channels, channels, 1)
        self.shape = (1, channels, 2 * dilation)


class Stack(nn.Module):
    """Layers of one width, an entrance and a head."""

    def __init__(self, inputs: int, channels: int, head: int, head_bias: bool, dilations: Sequence[int]) -> None:
        super().__init__()
        self.entrance = nn.Conv1d(inputs, channels, 1, bias=False)
        self.layers = nn.ModuleList(Residual(channels, dilation) for dilation in dilations)
        self.head = nn.Conv1d(channels, head, 1, bias=head_bias)


class WaveNet(Streaming):
    """Two stacks as in Neural Amp Modeler's first architecture: (1, 1, block) to the same."""

    scale = 0.02

    def __init__(self, channels: Sequence[int], dilations: Sequence[Sequence[int]]) -> None:
        super().__init__()
        wide, narrow = channels
        self.stacks = nn.ModuleList(
            [Stack(1, wide, narrow, False, dilations[0]), Stack(wide, narrow, 1, True, dilations[1])]
        )
        self.remember([layer.shape for layer in self.modules() if isinstance(layer, Residual)])

    def step(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """One block."""
        signal, heard, after, before = x, torch.zeros(()), [], iter(states)
        stack: Any
        for place, stack in enumerate(self.stacks):
            x = stack.entrance(x)
            for number, layer in enumerate(stack.layers):
                whole = torch.cat([next(before), x], -1)
                after.append(whole[..., -layer.shape[-1] :])
                z = torch.tanh(layer.conv(whole) + layer.mix(signal))
                heard = heard + z if place or number else z
                x = x + layer.out(z)
            heard = stack.head(heard)
        return (self.scale * heard, *after)


class Causal(nn.Module):
    """Convolution that remembers the inputs it looks back to."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, dilation=dilation)
        self.shape = (1, inputs, (kernel - 1) * dilation)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Output and the new past."""
        whole = torch.cat([past, x], -1)
        return self.conv(whole), whole[..., -self.shape[-1] :]


class Raise(nn.Module):
    """Transposed convolution that remembers what hangs over the end, to be added to the next call's beginning."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, bias: bool = True) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose1d(inputs, outputs, kernel, stride=stride, bias=False)
        self.bias = nn.Parameter(torch.randn(outputs, 1) * 0.01) if bias else None
        self.shape = (1, outputs, kernel - stride)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Output and what hangs over."""
        y = self.conv(x)
        made = y.shape[-1] - self.shape[-1]
        y = y + functional.pad(past, (0, made))
        out = y[..., :made]
        return (out if self.bias is None else out + self.bias), y[..., made:]


class Around(nn.Module):
    """Residual unit: a dilated and a pointwise convolution, leaky rectifiers before them, and a way round."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.dilated = Causal(channels, channels, 3, dilation)
        self.mix = nn.Conv1d(channels, channels, 1)
        self.shape = self.dilated.shape

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Output and the new past."""
        y, after = self.dilated(functional.leaky_relu(x, 0.2), past)
        return x + self.mix(functional.leaky_relu(y, 0.2)), after


class Decoder(Streaming):
    """Latent frame to 2048 samples, as RAVE's: (1, 16, 1) to (1, 1, 2048)."""

    def __init__(self) -> None:
        super().__init__()
        widths, strides = [128, 64, 32, 16, 16], [4, 4, 4, 2]
        parts: list[nn.Module] = [Causal(16, widths[0], 3)]
        for (wide, narrow), stride in zip(pairwise(widths), strides, strict=True):
            parts += [Raise(wide, narrow, 2 * stride, stride), Around(narrow, 1), Around(narrow, 3)]
        self.parts = nn.ModuleList(parts)
        self.last = Causal(16, 16, 7)
        self.bands = Raise(16, 1, 128, 16, bias=False)
        self.remember([part.shape for part in (*self.parts, self.last, self.bands)])

    def step(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """One frame."""
        after, before = [], iter(states)
        for part in self.parts:
            x, new = part(functional.leaky_relu(x, 0.2) if isinstance(part, Raise) else x, next(before))
            after.append(new)
        x, new = self.last(functional.leaky_relu(x, 0.2), next(before))
        after.append(new)
        y, new = self.bands(torch.tanh(x), next(before))
        return (y, *after, new)


@dataclass(frozen=True)
class Net:
    """One row of the benchmark."""

    name: str
    title: str
    make: Callable[[], Streaming]
    shape: tuple[int, ...]
    """Of the input of one call."""
    call: str
    """What a call makes."""
    steps: int
    """Calls of the test signal that every peer's output is compared on."""
    ratio: float
    """Goal: so many times as fast as ONNX Runtime."""
    share: float
    """Goal: this share of what the core could do at best."""
    block: int = 1
    """Samples that a call takes."""
    ratio_int8: float | None = None
    """Goal: so many times as fast as ONNX Runtime is with floats, with weights of 8 bits."""

    def build(self) -> Streaming:
        """The network, the same weights every time."""
        torch.manual_seed(0)
        return self.make().eval()

    def signal(self) -> FloatArray:
        """The test signal, (steps, floats of a call): tones and noise, so that no state settles."""
        floats = int(np.prod(self.shape))
        time, place = np.arange(self.steps * self.block)[:, None], np.arange(floats // self.block)[None]
        noise = np.random.default_rng(0).standard_normal((time.size, place.size))
        tones = 0.5 * np.sin(0.05 * time * (1 + 0.3 * place) + place) + 0.3 * np.sin(0.31 * time + 2 * place)
        return np.ascontiguousarray((tones + 0.1 * noise).reshape(self.steps, floats), np.float32)


def _wavenet(channels: Sequence[int], dilations: Sequence[Sequence[int]]) -> Callable[[], Streaming]:
    return lambda: WaveNet(channels, dilations)


NETS = [
    Net("gru32", "GRU 32", lambda: Recurrent("gru", 1, 32), (1, 1, 1), "a sample", 4096, 50, 0.60),
    Net("gru64", "GRU 64", lambda: Recurrent("gru", 1, 64), (1, 1, 1), "a sample", 4096, 12, 0.85),
    Net("lstm40", "LSTM 40", lambda: Recurrent("lstm", 1, 40), (1, 1, 1), "a sample", 4096, 28, 0.60),
    Net("ddsp", "DDSP decoder", lambda: Recurrent("gru", 3, 512, 3, 128), (1, 1, 3), "a frame", 500, 1.4, 0.85,
        ratio_int8=3.5),
    Net("wavenet", "WaveNet", _wavenet([16, 8], [OCTAVES, OCTAVES]), (1, 1, 64), "64 samples", 256, 6.5, 0.60, 64),
    Net("wavenet-small", "small WaveNet", _wavenet([4, 2], [OCTAVES[:7], [*OCTAVES[7:], *OCTAVES]]),
        (1, 1, 64), "64 samples", 256, 40, 0.35, 64),
    Net("decoder", "RAVE-like decoder", Decoder, (1, 16, 1), "2048 samples", 64, 4.5, 0.85),
]  # fmt: skip
"""The rows, in the order of the page."""
