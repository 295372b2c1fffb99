"""A stack of gated, dilated layers with skips (van den Oord et al. 2016): the network of a WaveNet.

It runs over whole known signals (`forward`) and sample by sample with queues (`step`) on the same weights. Every width
is read from the weights: a trimmed network has fewer channels than it was built with.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pochette.layers.causal import DelayLine, SampleLine, dilated_taps
from pochette.layers.residual import Blocks
from pochette.layers.sampling import look_up

Gates = tuple[Tensor, ...] | None
"""What conditioning adds inside a layer's filter and gate; behind the layers', what it adds to the hidden layer."""


class GatedLayer(nn.Module):
    """One residual layer; works on single samples and on whole signals alike.

    Args:
        kernel: taps.
        dilation: samples between taps.
        residual: channels in, and onwards.
        gate: channels of the filter, and as many of the gate.
        skip: channels out.
        condition: channels of the conditioning; 0 for none.
        last: leaves the way onwards out.
    """

    def __init__(
        self, *, kernel: int, dilation: int, residual: int, gate: int, skip: int, condition: int, last: bool
    ) -> None:
        super().__init__()
        self.kernel, self.dilation = kernel, dilation
        self.filter, self.gate = nn.Linear(kernel * residual, gate), nn.Linear(kernel * residual, gate)
        self.residual = None if last else nn.Linear(gate, residual)
        self.skip = nn.Linear(gate, skip)
        self.filter_condition = nn.Linear(condition, gate, bias=False) if condition else None
        self.gate_condition = nn.Linear(condition, gate, bias=False) if condition else None

    @property
    def reach(self) -> int:
        """Past samples that the queue holds."""
        return (self.kernel - 1) * self.dilation

    def gates(self, condition: Tensor | None) -> Gates:
        """What conditioning adds inside.

        Args:
            condition: (..., channel), or None for a model without.

        Returns:
            two of (..., gate channel), or None.
        """
        if condition is None or self.filter_condition is None or self.gate_condition is None:
            return None
        return self.filter_condition(condition), self.gate_condition(condition)

    def forward(self, taps: Tensor, x: Tensor, gates: Gates) -> tuple[Tensor, Tensor]:
        """Onwards and out.

        Args:
            taps: (..., kernel * channel), oldest first.
            x: the newest of them, (..., channel).
            gates: two of (..., gate channel), or None.

        Returns:
            what goes on (..., channel), and the skip (..., skip channel).
        """
        filtered, gate = self.filter(taps), self.gate(taps)
        if gates is not None:
            filtered, gate = filtered + gates[0], gate + gates[1]
        z = torch.tanh(filtered) * torch.sigmoid(gate)
        return x if self.residual is None else x + self.residual(z), self.skip(z)


class DilatedNetwork(nn.Module):
    """The learnt part: previous samples and conditioning in, parameters of each sample's distribution out.

    Args:
        first: previous sample to channels: an embedding of codes, or a linear map of (..., 1).
        conditioner: conditioning to channels, an embedding of classes or a linear map, either followed by a tanh, or an
            identity, for conditioning that enters as it is; None for a network without.
        dilations: of each layer, first to last.
        kernel: taps of each layer.
        residual: channels from layer to layer.
        gate: channels of each filter, and as many of each gate.
        skip: channels of the sum of skips and of the hidden layer after it.
        condition: channels that the conditioner makes.
        outputs: parameters of a sample's distribution.
        wider: whether, as in NSynth, the first channels have a skip of their own and conditioning enters the hidden
            layer too.
    """

    def __init__(
        self,
        *,
        first: nn.Embedding | nn.Linear,
        conditioner: nn.Embedding | nn.Linear | nn.Identity | None,
        dilations: tuple[int, ...],
        kernel: int,
        residual: int,
        gate: int,
        skip: int,
        condition: int,
        outputs: int,
        wider: bool = False,
    ) -> None:
        super().__init__()
        self.first, self.conditioner = first, conditioner
        self.first_skip = nn.Linear(residual, skip) if wider else None
        self.hidden_condition = nn.Linear(condition, skip, bias=False) if wider else None
        self.layers = nn.ModuleList(
            GatedLayer(
                kernel=kernel,
                dilation=dilation,
                residual=residual,
                gate=gate,
                skip=skip,
                condition=0 if conditioner is None else condition,
                last=number == len(dilations) - 1,
            )
            for number, dilation in enumerate(dilations)
        )
        self.hidden, self.head = nn.Linear(skip, skip), nn.Linear(skip, outputs)

    def condition(self, conditioning: Tensor | None) -> list[Gates]:
        """What conditioning adds in every layer.

        Args:
            conditioning: scaled controls (..., 2), class numbers (...), a code (..., number), or None.

        Returns:
            for each layer two of (..., gate channel), or None; for the hidden layer one of (..., skip channel), or
            None.
        """
        known = self._known(conditioning)
        hidden = None if self.hidden_condition is None or known is None else (self.hidden_condition(known),)
        return [*(layer.gates(known) for layer in self._layers()), hidden]

    def _known(self, conditioning: Tensor | None) -> Tensor | None:
        if self.conditioner is None or conditioning is None:
            return None
        if isinstance(self.conditioner, nn.Identity):
            return conditioning
        by_class = isinstance(self.conditioner, nn.Embedding)
        entered = look_up(self.conditioner.weight, conditioning) if by_class else self.conditioner(conditioning)
        return torch.tanh(entered)

    def parted(self, added: Tensor | None) -> list[Gates]:
        """What conditioning adds, one behind the other, as `condition` gives it.

        Args:
            added: (batch, all gate channels, then those of the hidden layer), or None.

        Returns:
            for each layer two of (batch, gate channel), or None; for the hidden layer one, or None.
        """
        if added is None:
            return [None] * (len(self._layers()) + 1)
        found: list[Gates] = []
        start = 0
        for layer in self._layers():
            width = layer.filter.weight.shape[0]
            found.append((added[:, start : start + width], added[:, start + width : start + 2 * width]))
            start += 2 * width
        return [*found, None if self.hidden_condition is None else (added[:, start:],)]

    def forward(self, previous: Tensor, conditioning: Tensor | None = None) -> Tensor:
        """Every sample's distribution at once, from samples that are known (teacher forcing).

        Args:
            previous: the sample before each, (batch, sample): mu-law codes, int64, or samples; or the latest few before
                each, (batch, sample, tap), where the first layer takes several.
            conditioning: (batch, frame, 2), or (batch, frame) of class numbers, or (batch, frame, number) of codes, or
                None; held for sample / frame samples each.

        Returns:
            (batch, sample, parameter).
        """
        x = self._enter(previous)
        skips = None if self.first_skip is None else self.first_skip(x)
        *every, hidden = (
            None if added is None else tuple(_held(part, x.shape[1]) for part in added)
            for added in self.condition(conditioning)
        )
        for layer, gates in zip(self._layers(), every, strict=True):
            past = torch.zeros(x.shape[0], layer.reach, x.shape[2], dtype=x.dtype, device=x.device)
            x, skip = layer(dilated_taps(x, past, layer.dilation), x, gates)
            skips = skip if skips is None else skips + skip
        return self._leave(skips, hidden)

    def step(self, previous: Tensor, lines: Sequence[DelayLine | SampleLine], gates: list[Gates]) -> Tensor:
        """The next sample's distribution; the queues take in what they must remember.

        Args:
            previous: the sample before, (batch,): mu-law code, int64, or sample; or the latest few, (batch, tap).
            lines: a queue for each layer.
            gates: what `condition` gave for this frame.

        Returns:
            (batch, parameter).
        """
        x = self._enter(previous)
        skips = None if self.first_skip is None else self.first_skip(x)
        *every, hidden = gates
        for layer, line, added in zip(self._layers(), lines, every, strict=True):
            x, skip = layer(line.taps(x), x, added)
            skips = skip if skips is None else skips + skip
        return self._leave(skips, hidden)

    def empty_queues(self, batch: int) -> list[Tensor]:
        """What the layers remember before the first sample: nothing.

        Args:
            batch: number of voices.

        Returns:
            for each layer (batch, reach, channel).
        """
        weight = self.first.weight
        channels = weight.shape[1] if isinstance(self.first, nn.Embedding) else weight.shape[0]
        return [weight.new_zeros(batch, layer.reach, channels) for layer in self._layers()]

    def lines(self, queues: list[Tensor]) -> list[DelayLine]:
        """The layers' queues, ready for a stretch of samples."""
        return [DelayLine(queue, layer.dilation) for queue, layer in zip(queues, self._layers(), strict=True)]

    def sample_lines(self, queues: list[Tensor]) -> list[SampleLine]:
        """The layers' queues, ready for one sample."""
        return [SampleLine(queue, layer.dilation) for queue, layer in zip(queues, self._layers(), strict=True)]

    def residual_blocks(self) -> Blocks:
        """Every layer, which adds to what goes on and to the skips; see `pochette.layers.residual`."""
        numbered = ((number, layer) for number, layer in enumerate(self.layers) if isinstance(layer, GatedLayer))
        return {
            f"layers.{number}": (layer.skip,) if layer.residual is None else (layer.residual, layer.skip)
            for number, layer in numbered
        }

    def settle(self) -> None:
        """Behind the last layer nothing reads what would go on."""
        for layer in self._layers()[-1:]:
            layer.residual = None

    def _layers(self) -> list[GatedLayer]:
        return [layer for layer in self.layers if isinstance(layer, GatedLayer)]

    def _enter(self, previous: Tensor) -> Tensor:
        if isinstance(self.first, nn.Embedding):
            return look_up(self.first.weight, previous)
        several = self.first.weight.shape[1] > 1
        entered: Tensor = self.first(previous if several else previous.unsqueeze(-1))
        return entered

    def _leave(self, skips: Tensor | None, added: Gates) -> Tensor:
        assert skips is not None
        hidden = self.hidden(torch.relu(skips))
        if added is not None:
            hidden = hidden + added[0]
        out: Tensor = self.head(torch.relu(hidden))
        return out


def _held(frames: Tensor, samples: int) -> Tensor:
    """(batch, frame, channel), each frame repeated for its samples."""
    repeats = samples // frames.shape[1]
    return frames if repeats == 1 else frames.repeat_interleave(repeats, dim=1)
