"""What recurrent layers compute of one step: their gates, read in every way that operators are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pochette.graph.coupling import Coupling
from pochette.graph.graph import Node, Value
from pochette.graph.grids import Labels
from pochette.graph.operator import Coarse, Cost

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter
    from pochette.engine.reduced import ReducedLayer


@dataclass(frozen=True)
class Gates:
    """What a recurrent layer computes of its two products, W x + b and U h + b'.

    GRU: r = sigmoid(W_r x + U_r h), z = sigmoid(W_z x + U_z h), n = tanh(W_n x + r (U_n h)), h' = n + z (h - n).
    LSTM: i, f, o = sigmoid(W x + U h), g = tanh(W x + U h), c' = f c + i g, h' = o tanh(c'), or P (o tanh(c')).
    Plain: h' = tanh(W x + U h), or relu.
    """

    kernel: str
    """"gru", "lstm", or what a plain layer is shaped by: "tanh" or "relu"."""
    rows: int
    """Rows of both matrices that one unit owns."""
    pointwise: int
    """Operations a unit and step, biases apart."""
    transcendental: int
    """Exponentials and the like a unit and step."""

    def cost(self, layer: Layer, steps: int) -> Cost:
        """Both products, the projection if there is one, two biases a row, and the gates, at every step.

        Args:
            layer: its weights.
            steps: how often.

        Returns:
            the sum.
        """
        units = layer.w_hh.shape[0] // self.rows
        macs = sum(weight.size for weight in (layer.w_ih, layer.w_hh, layer.w_hr) if weight is not None)
        pointwise = self.pointwise * units + sum(bias.size for bias in layer.biases)
        return Cost(macs, pointwise, self.transcendental * units) * steps

    def couple(
        self, node: Node, layer: Layer, features: Labels, states: Sequence[Labels], coupling: Coupling
    ) -> Labels:
        """A unit owns a row of each gate in both matrices and biases, a column of U, and its place in the state.

        Where an LSTM projects, its cells own the rows and a column of the projection; the projection's rows own
        the columns of U.

        Args:
            node: with this layer inside.
            layer: its weights.
            features: labels of what it is given.
            states: labels of what it carries on, one for each of its state tensors.
            coupling: of the graph.

        Returns:
            labels of what it gives.
        """
        (rows, columns), (gate_rows, given) = coupling.axes(layer.w_ih), coupling.axes(layer.w_hh)
        coupling.tie(features, columns)
        coupling.reads(node, layer.w_ih, 1)
        coupling.reads(node, layer.w_hh, 1)
        if layer.w_hr is None:
            units = given
        else:
            made, units = coupling.axes(layer.w_hr)
            coupling.tie(made, given)
            coupling.makes(node, layer.w_hr, made)
            coupling.reads(node, layer.w_hr, 1, within=True)
        gates = np.tile(units, self.rows)
        for owned in (rows, gate_rows, *(coupling.axes(bias)[0] for bias in layer.biases)):
            coupling.tie(owned, gates)
        coupling.makes(node, layer.w_ih, rows)
        coupling.makes(node, layer.w_hh, gate_rows)
        for labels, owned in zip(states, (given, units), strict=False):
            coupling.tie(labels, owned)
        return given

    def perform(
        self, layer: Layer, known: Mapping[int, Tensor], x: Tensor, states: Sequence[Tensor], coarse: Coarse
    ) -> tuple[Tensor, ...]:
        """One step in torch, with both products' vectors rounded.

        Args:
            layer: its weights.
            known: id of a weight's or bias's value to its tensor.
            x: what is fed, (batch, input).
            states: the old output and, of an LSTM, the old cells; (batch, unit) each.
            coarse: rounds what meets a matrix.

        Returns:
            the new states.
        """

        def product(weight: Value, vector: Tensor, *bias: Value) -> Tensor:
            offset = known[id(bias[0])] if bias else None
            return functional.linear(coarse(weight, vector), known[id(weight)], offset)

        h = states[0]
        of_input, of_state = product(layer.w_ih, x, *layer.biases[:1]), product(layer.w_hh, h, *layer.biases[1:])
        if self.kernel == "gru":
            (r, z, n), (of_r, of_z, of_n) = of_input.chunk(3, -1), of_state.chunk(3, -1)
            new = torch.tanh(n + torch.sigmoid(r + of_r) * of_n)
            return (new + torch.sigmoid(z + of_z) * (h - new),)
        if self.kernel != "lstm":
            return ((torch.relu if self.kernel == "relu" else torch.tanh)(of_input + of_state),)
        i, f, g, o = (of_input + of_state).chunk(4, -1)
        cell = torch.sigmoid(f) * states[1] + torch.sigmoid(i) * torch.tanh(g)
        out = torch.sigmoid(o) * torch.tanh(cell)
        return (out if layer.w_hr is None else product(layer.w_hr, out)), cell

    def pack(self, layer: Layer, emitter: Emitter) -> list[str] | ReducedLayer:
        """Store a layer's weights as its kernel reads them.

        Args:
            layer: its weights.
            emitter: that stores them.

        Returns:
            addresses, in the kernel's order; where matrices are stored in fewer bits, what makes their products.
        """
        units = layer.w_ih.shape[0] // self.rows
        given = [emitter.tensor(bias).reshape(self.rows, units) for bias in layer.biases]
        of_input, of_state = given or [np.zeros((self.rows, units), np.float32)] * 2
        reduced = emitter.reduced.layer(self, layer, of_input, of_state, emitter)
        if reduced is not None:
            return reduced
        if self.rows == 1:
            return [
                *map(emitter.packed_whole, (layer.w_ih, layer.w_hh)),
                emitter.padded_numbers((of_input + of_state)[0]),
            ]
        both = of_input + of_state
        if self.kernel == "gru":
            # The new gate's two biases stay apart: one of them is within the product with the reset gate.
            both = np.concatenate([both[:2], of_input[2:], of_state[2:]])
        return [emitter.packed_gates(layer.w_ih, layer.w_hh, both, self.rows)]

    def step(
        self, layer: Layer, weights: list[str] | ReducedLayer, out: str, cell: str, h: str, x: str, emitter: Emitter
    ) -> None:
        """Write one step of a layer.

        Args:
            layer: its weights.
            weights: as they were stored.
            out: where the new output goes; room for a multiple of 16 floats, not that of `h`.
            cell: an LSTM's cells, which are replaced.
            h: the old output.
            x: what is fed.
            emitter: that writes.
        """
        if not isinstance(weights, list):
            weights.step(self, out, cell, h, x, emitter)
            return
        emitter.need("pc_rnn.h")
        units, state, inputs = layer.w_ih.shape[0] // self.rows, layer.w_hh.shape[1], layer.w_ih.shape[1]
        if self.kernel == "gru":
            emitter.call("pc_gru", 1, (out, h, x, *weights), (inputs, units))
        elif self.kernel != "lstm":
            emitter.call("pc_rnn", 1, (out, h, x, *weights), (inputs, units, int(self.kernel == "relu")))
        elif layer.w_hr is None:
            emitter.call("pc_lstm", 2, (out, cell, h, x, *weights), (inputs, units, state))
        else:
            wide = emitter.scratch(emitter.rounded(units))
            emitter.call("pc_lstm", 2, (wide, cell, h, x, *weights), (inputs, units, state))
            packed, block = emitter.packed_blocks(layer.w_hr)
            zeros = emitter.padded(None, state)
            emitter.call("pc_product", 1, (out, packed, zeros, wide), (units, state, block, int(state <= 64)))


@dataclass(frozen=True)
class Layer:
    """Weights of one layer and direction."""

    w_ih: Value
    w_hh: Value
    biases: tuple[Value, ...] = ()
    w_hr: Value | None = None
    """An LSTM's projection."""
