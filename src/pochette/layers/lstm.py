"""Long short-term memory, every gate a matrix of its own, so that frame by frame it is nothing but matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

GATES = ("input", "forget", "cell", "output")
"""In PyTorch's order."""


class LstmLayer(nn.Module):
    """One recurrent layer with PyTorch's equations, biases and initial distribution.

    i, f, o = sigmoid(W x + b + U h + b'), g = tanh(W x + b + U h + b'), c' = f c + i g, h' = o tanh(c').

    Args:
        inputs: features in.
        units: features out.
    """

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.from_input = nn.ModuleDict({gate: nn.Linear(inputs, units) for gate in GATES})
        self.from_hidden = nn.ModuleDict({gate: nn.Linear(units, units) for gate in GATES})
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -1 / math.sqrt(units), 1 / math.sqrt(units))

    @property
    def units(self) -> int:
        """Features out, as many as the matrices have rows."""
        return len(self.from_hidden["input"].get_parameter("weight"))

    def forward(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Some frames.

        Args:
            x: (batch, frame, input).
            hidden: (batch, unit).
            cell: (batch, unit).

        Returns:
            (batch, frame, unit), and both states after.
        """
        if x.shape[1] == 1:
            hidden, cell = self._step(x[:, 0], hidden, cell)
            return hidden[:, None], hidden, cell
        # PyTorch's own kernel, for speed: the gates' matrices one below the other are its weights.
        packed = [
            torch.cat([part[gate].get_parameter(name) for gate in GATES])
            for name in ("weight", "bias")
            for part in (self.from_input, self.from_hidden)
        ]
        made, hidden, cell = torch.lstm(x, (hidden[None], cell[None]), packed, True, 1, 0.0, self.training, False, True)
        return made, hidden[0], cell[0]

    def _step(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        return gated([self.from_input[gate](x) + self.from_hidden[gate](hidden) for gate in GATES], cell)


class JointLstmLayer(nn.Module):
    """The same layer, all gates of a matrix jointly one map: of low rank, it is made narrow once for all of them.

    Args:
        from_input: (..., input) to (..., 4 unit), in the order of `GATES`.
        from_hidden: the same of the state.
    """

    def __init__(self, from_input: nn.Module, from_hidden: nn.Module) -> None:
        super().__init__()
        self.from_input, self.from_hidden = from_input, from_hidden

    @property
    def units(self) -> int:
        """Features out."""
        last: Any = getattr(self.from_hidden, "wide", self.from_hidden)
        return len(last.weight) // len(GATES)

    def forward(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Some frames; see `LstmLayer.forward`."""
        made = []
        for of_input in self.from_input(x).unbind(1):
            sums = of_input + self.from_hidden(hidden)
            hidden, cell = gated(sums.chunk(len(GATES), -1), cell)
            made.append(hidden)
        return torch.stack(made, 1), hidden, cell


def gated(sums: Sequence[Tensor], cell: Tensor) -> tuple[Tensor, Tensor]:
    """One step: what goes into each gate, in the order of `GATES`, and the cell, to the new state and cell."""
    into, forget, new, out = sums
    cell = torch.sigmoid(forget) * cell + torch.sigmoid(into) * torch.tanh(new)
    return torch.sigmoid(out) * torch.tanh(cell), cell


class Lstm(nn.Module):
    """Recurrent layers, each reading the one below.

    Args:
        inputs: features in.
        units: of every layer.
        layers: how many.
    """

    def __init__(self, inputs: int, units: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(LstmLayer(units if layer else inputs, units) for layer in range(layers))

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        """Zeros: `hidden_0`, `cell_0`, `hidden_1`... each (batch, unit)."""
        return {
            f"{part}_{number}": next(layer.parameters()).new_zeros(batch, layer.units)
            for number, layer in enumerate(self._layers())
            for part in ("hidden", "cell")
        }

    def forward(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Some frames.

        Args:
            x: (batch, frame, input).
            state: with the names of `initial_state`, among others.

        Returns:
            (batch, frame, unit), and the state after.
        """
        after = {}
        for number, layer in enumerate(self._layers()):
            hidden, cell = f"hidden_{number}", f"cell_{number}"
            x, after[hidden], after[cell] = layer(x, state[hidden], state[cell])
        return x, after

    def _layers(self) -> list[LstmLayer | JointLstmLayer]:
        return [layer for layer in self.layers if isinstance(layer, LstmLayer | JointLstmLayer)]
