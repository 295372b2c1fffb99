"""Inverse-autoregressive flows of sound: noise made into samples all at once, each by what came before it.

A flow scales and shifts every sample by what a causal network says of the samples before it, never of the sample
itself: x'_t = x_t s(x_<t) + m(x_<t) (van den Oord et al. 2018, eq. 5). So the change of volume is the product of all
scales, and a chain of flows turns independent noise into a normal (or logistic) law with known mean and scale.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pochette.layers.causal import dilated_taps
from pochette.layers.residual import Blocks
from pochette.layers.synthesis import white_noise

KERNEL = 3
ONE_BEFORE = 1
"""A flow hears samples one late: the one it changes is not among them."""
Gates = tuple[Tensor, Tensor] | None
"""What conditioning adds inside a layer's filter and gate, (batch, sample, channel) each."""


class FlowLayer(nn.Module):
    """A gated, dilated layer with a way past it; it has no skip (van den Oord et al. 2018).

    Args:
        channels: in and out.
        gate: of the filter, and as many of the gate.
        dilation: samples between taps.
        condition: channels of the conditioning; 0 for none.
    """

    def __init__(self, channels: int, gate: int, dilation: int, condition: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.filter, self.gate = (nn.Linear(KERNEL * channels, gate) for _ in range(2))
        self.residual = nn.Linear(gate, channels)
        self.filter_condition = nn.Linear(condition, gate, bias=False) if condition else None
        self.gate_condition = nn.Linear(condition, gate, bias=False) if condition else None

    @property
    def reach(self) -> int:
        """Past samples that it hears."""
        return (KERNEL - 1) * self.dilation

    def gates(self, condition: Tensor | None) -> Gates:
        """What conditioning (..., channel) adds inside; None without."""
        if condition is None or self.filter_condition is None or self.gate_condition is None:
            return None
        return self.filter_condition(condition), self.gate_condition(condition)

    def forward(self, x: Tensor, past: Tensor, gates: Gates) -> tuple[Tensor, Tensor]:
        """Some samples through the layer.

        Args:
            x: (batch, sample, channel).
            past: (batch, reach, channel).
            gates: see `gates`.

        Returns:
            (batch, sample, channel), and the past after it.
        """
        taps = dilated_taps(x, past, self.dilation)
        filtered, gate = self.filter(taps), self.gate(taps)
        if gates is not None:
            filtered, gate = filtered + gates[0], gate + gates[1]
        made = x + self.residual(torch.tanh(filtered) * torch.sigmoid(gate))
        return made, torch.cat([past, x], dim=1)[:, x.shape[1] :]


class Flow(nn.Module):
    """One flow: samples in, samples out, and the shift and the logarithm of the scale that made them.

    Args:
        channels: of its layers.
        gate: see `FlowLayer`.
        layers: their dilations are 1, 2, 4 and so on.
        condition: see `FlowLayer`.
        log_scale: that it begins with.
        carriers: signals that it hears beside the samples, the present one's among them.
    """

    def __init__(
        self, channels: int, gate: int, layers: int, condition: int, log_scale: float, carriers: int = 0
    ) -> None:
        super().__init__()
        self.first = nn.Linear(KERNEL + carriers, channels)
        # As published, dilations begin anew after ten layers.
        self.layers = nn.ModuleList(
            FlowLayer(channels, gate, 2 ** (number % 10), condition) for number in range(layers)
        )
        self.hidden, self.head = nn.Linear(channels, channels), nn.Linear(channels, 2)
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            self.head.bias.copy_(torch.tensor([0.0, log_scale]))

    def reach(self) -> int:
        """Past samples that a sample's shift and scale depend on."""
        return ONE_BEFORE + KERNEL - 1 + sum(layer.reach for layer in self._layers())

    def empty(self, batch: int) -> list[Tensor]:
        """Silence: the samples before the first, and what each layer remembers."""
        channels = self.first.weight.shape[0]
        pasts = [self.head.bias.new_zeros(batch, KERNEL, 1)]
        return pasts + [pasts[0].new_zeros(batch, layer.reach, channels) for layer in self._layers()]

    def forward(
        self, x: Tensor, condition: Tensor | None, pasts: list[Tensor], carriers: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """Change some samples.

        Args:
            x: (batch, sample).
            condition: (batch, frame, channel), held for sample / frame samples; or None.
            pasts: see `empty`.
            carriers: (batch, sample, carrier), or None where there are none.

        Returns:
            samples, shift and logarithm of the scale, (batch, sample) each, and the pasts after them.
        """
        whole = torch.cat([pasts[0], x[..., None]], dim=1)
        after = [whole[:, x.shape[1] :]]
        heard_now = [whole[:, tap : tap + x.shape[1]] for tap in range(KERNEL)]
        taps = torch.cat(heard_now if carriers is None else [*heard_now, carriers], dim=-1)
        heard: Tensor = self.first(taps)
        for layer, past in zip(self._layers(), pasts[1:], strict=True):
            heard, kept = layer(heard, past, _held(layer.gates(condition), x.shape[1]))
            after.append(kept)
        said = self.head(torch.relu(self.hidden(torch.relu(heard))))
        shift, log_scale = said[..., 0], said[..., 1]
        return x * torch.exp(log_scale) + shift, shift, log_scale, after

    def residual_blocks(self) -> Blocks:
        """Every layer; see `pochette.layers.residual`."""
        numbered = ((number, layer) for number, layer in enumerate(self.layers) if isinstance(layer, FlowLayer))
        return {f"layers.{number}": (layer.residual,) for number, layer in numbered}

    @property
    def carried(self) -> int:
        """How many pasts it has."""
        return 1 + len(self._layers())

    def _layers(self) -> list[FlowLayer]:
        return [layer for layer in self.layers if isinstance(layer, FlowLayer)]


def _held(gates: Gates, samples: int) -> Gates:
    """Gates of frames, each repeated for its samples."""
    if gates is None or gates[0].shape[1] == samples:
        return gates
    repeats = samples // gates[0].shape[1]
    return gates[0].repeat_interleave(repeats, dim=1), gates[1].repeat_interleave(repeats, dim=1)


def normal_noise(counter: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """Noise of a normal law, mean 0 and deviation 1, two numbers of a counter each (Box & Muller 1958).

    Args:
        counter: (batch,), int64.
        samples: how many.

    Returns:
        (batch, samples), and the counter after it.
    """
    uniform, after = white_noise(counter, 2 * samples)
    pairs = uniform.view(len(counter), samples, 2)
    return torch.sqrt(-2.0 * torch.log(_inside(pairs[..., 0]))) * torch.cos(math.pi * pairs[..., 1]), after


def logistic_noise(counter: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """Noise of a logistic law, mean 0 and scale 1, one number of a counter each; see `normal_noise`."""
    uniform, after = white_noise(counter, samples)
    inside = _inside(uniform)
    return torch.log(inside) - torch.log(1.0 - inside), after


def _inside(uniform: Tensor) -> Tensor:
    """-1 to 1 as 0 to 1, never quite either."""
    return uniform * (0.5 - 2.0**-24) + 0.5
