"""Recurrent layers, kept whole: one node a layer stack, or one step of one layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pochette.errors import ExportError
from pochette.graph.coupling import Coupling, Labels
from pochette.graph.graph import Node, Value
from pochette.graph.operator import Cost, Operator, describe

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter


@dataclass(frozen=True)
class Gates:
    """What a recurrent layer computes of its two products, W x + b and U h + b'.

    GRU: r = sigmoid(W_r x + U_r h), z = sigmoid(W_z x + U_z h), n = tanh(W_n x + r (U_n h)), h' = n + z (h - n).
    LSTM: i, f, o = sigmoid(W x + U h), g = tanh(W x + U h), c' = f c + i g, h' = o tanh(c'), or P (o tanh(c')).
    Plain: h' = tanh(W x + U h), or relu.
    """

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


@dataclass(frozen=True)
class Layer:
    """Weights of one layer and direction."""

    w_ih: Value
    w_hh: Value
    biases: tuple[Value, ...] = ()
    w_hr: Value | None = None
    """An LSTM's projection."""


class Recurrent(Operator):
    """A stack of recurrent layers, in one direction or two, over a whole sequence.

    Args:
        gates: what each layer computes.
    """

    def __init__(self, gates: Gates) -> None:
        self.gates = gates

    def cost(self, node: Node) -> Cost:
        """Every layer and direction at every step."""
        x = node.args[0]
        steps = x.shape[0] * x.shape[1]
        return sum((self.gates.cost(layer, steps) for layer in self.layers(node)), Cost())

    def couple(self, node: Node, coupling: Coupling) -> None:
        """Layers read each other; the state tensor holds all of them side by side, so they stay equally wide.

        What is carried through time cannot lose steps.
        """
        x, bidirectional, batch_first = node.args[0], node.args[-2], node.args[-1]
        time, batch = (1, 0) if batch_first else (0, 1)
        inputs = coupling.axes(x)
        coupling.freeze_labels(inputs[time], "carried through time")
        states = [coupling.axes(state) for state in self.states(node)]
        for stack, batches, _ in states:
            coupling.freeze_labels(stack, "one state a layer and direction")
            if len(batches) == len(inputs[batch]):
                coupling.tie(batches, inputs[batch])
        features = inputs[2]
        directions = 2 if bidirectional else 1
        layers = self.layers(node)
        for first in range(0, len(layers), directions):
            made = [
                self.gates.couple(node, layer, features, [axes[2] for axes in states], coupling)
                for layer in layers[first : first + directions]
            ]
            features = np.concatenate(made)
        coupling.set(node.outputs[0], [*inputs[:2], features])
        for output, axes in zip(node.outputs[1:], states, strict=True):
            coupling.set(output, axes)

    def states(self, node: Node) -> list[Value]:
        """The state tensors that are given.

        Args:
            node: one operator applied to values.

        Returns:
            (layers x directions, batch, unit) each.
        """
        given = node.args[1]
        return [given] if isinstance(given, Value) else list(given)

    def layers(self, node: Node) -> list[Layer]:
        """Weights of each layer and direction, from the first layer to the last, forwards before backwards.

        Args:
            node: one operator applied to values.

        Returns:
            weights.
        """
        params, has_biases, n_layers, bidirectional = node.args[2], node.args[3], node.args[4], node.args[7]
        each = len(params) // (n_layers * (2 if bidirectional else 1))
        found = []
        for first in range(0, len(params), each):
            w_ih, w_hh, *rest = params[first : first + each]
            found.append(Layer(w_ih, w_hh, tuple(rest[: 2 * has_biases]), (*rest[2 * has_biases :], None)[0]))
        return found


class Gru(Recurrent):
    """Gated recurrent units, in PyTorch's gate order reset, update, new."""

    def emit(self, node: Node, emitter: Emitter) -> None:
        """One packed product each for input and state, then the gates, step by step.

        Args:
            node: one operator applied to values.
            emitter: collects the statements.

        Raises:
            ExportError: more than one layer or direction.
        """
        x, h0, params, has_biases, n_layers, _, _, bidirectional, batch_first = node.args
        batch, steps = x.shape[:2] if batch_first else x.shape[1::-1]
        if n_layers > 1 or bidirectional or batch != 1:
            raise ExportError(
                "The engine plays recurrent layers of one layer, one direction and one voice.",
                where=node.layer,
                remedy="Stack single-layer modules instead.",
            )
        w_ih, w_hh, *biases = params
        units, inputs = w_hh.shape[1], w_ih.shape[1]
        b_ih, b_hh = biases if has_biases else (None, None)
        emitter.need("pc_gru.h")
        sequence, last = node.outputs
        previous = emitter.ref(h0)
        gates = emitter.scratch(2 * emitter.rounded(3 * units))
        weights = (emitter.packed(w_ih), emitter.padded(b_ih, 3 * units), emitter.packed(w_hh))
        for step in range(steps):
            emitter.line(
                f"pc_gru({emitter.ref(sequence, step * units)}, {previous}, {emitter.ref(x, step * inputs)}, "
                f"{', '.join(weights)}, {emitter.padded(b_hh, 3 * units)}, {inputs}, {units}, {gates});"
            )
            previous = emitter.ref(sequence, step * units)
        if emitter.is_used(last):
            emitter.copy(emitter.ref(last), previous, units)


class Cell(Operator):
    """One step of one recurrent layer.

    Args:
        gates: what it computes.
    """

    def __init__(self, gates: Gates) -> None:
        self.gates = gates

    def cost(self, node: Node) -> Cost:
        """One step for every row of the batch."""
        return self.gates.cost(self._layer(node), node.args[0].shape[0])

    def couple(self, node: Node, coupling: Coupling) -> None:
        """As in a stack; the state has no axis of layers."""
        batch, features = coupling.axes(node.args[0])
        given = node.args[1] if isinstance(node.args[1], (list, tuple)) else [node.args[1]]
        states = [coupling.axes(state) for state in given]
        for batches, _ in states:
            coupling.tie(batches, batch)
        self.gates.couple(node, self._layer(node), features, [axes[1] for axes in states], coupling)
        for output, axes in zip(node.outputs, states, strict=True):
            coupling.set(output, [batch, axes[1]])

    def _layer(self, node: Node) -> Layer:
        w_ih, w_hh, *biases = node.args[2:]
        return Layer(w_ih, w_hh, tuple(bias for bias in biases if bias is not None))


_GRU = Gates(rows=3, pointwise=7, transcendental=3)
_LSTM = Gates(rows=4, pointwise=8, transcendental=5)
_TANH, _RELU = Gates(rows=1, pointwise=1, transcendental=1), Gates(rows=1, pointwise=2, transcendental=0)
describe("aten.gru.input", operator=Gru(_GRU))
describe("aten.lstm.input", operator=Recurrent(_LSTM))
describe("aten.rnn_tanh.input", operator=Recurrent(_TANH))
describe("aten.rnn_relu.input", operator=Recurrent(_RELU))
describe("aten.gru_cell.default", operator=Cell(_GRU))
describe("aten.lstm_cell.default", operator=Cell(_LSTM))
describe("aten.rnn_tanh_cell.default", operator=Cell(_TANH))
describe("aten.rnn_relu_cell.default", operator=Cell(_RELU))
