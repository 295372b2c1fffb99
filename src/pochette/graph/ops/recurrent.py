"""Recurrent layers, kept whole: one node a layer stack, or one step of one layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pochette.graph.coupling import Coupling, Labels
from pochette.graph.graph import Node, Value
from pochette.graph.operator import Cost, Operator, describe

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

    def emit(self, node: Node, emitter: Emitter) -> None:
        """Layer by layer, direction by direction, voice by voice, step by step."""
        x, batch_first, directions = node.args[0], node.args[-1], 2 if node.args[-2] else 1
        batch, steps = x.shape[:2] if batch_first else x.shape[1::-1]
        layers = self.layers(node)
        sequence = node.outputs[0]
        emitter.own(sequence, emitter.rounded(1))
        source, width = emitter.ref(x), x.shape[2]
        made, feature = "", 0
        for number, layer in enumerate(layers):
            wide, direction = layer.w_hh.shape[1], number % directions
            if direction == 0:
                source, width = (made, feature) if number else (source, width)
                last = number + directions == len(layers)
                made = emitter.ref(sequence) if last else emitter.scratch(batch * steps * directions * wide + 16)
                feature = directions * wide
            weights = self.gates.pack(layer, emitter)
            for voice in range(batch):
                order = range(steps - 1, -1, -1) if direction else range(steps)
                places = [voice * steps + t if batch_first else t * batch + voice for t in order]
                run = [(f"{source} + {at * width}", f"{made} + {at * feature + direction * wide}") for at in places]
                # Whole vectors may be written where what lies behind is written later.
                exact = (directions > 1 or batch > 1) and wide % 16 > 0
                self._run(node, layer, weights, number * batch + voice, run, exact, emitter)

    def _run(
        self, node: Node, layer: Layer, weights: list[str] | ReducedLayer, index: int, run: list[tuple[str, str]],
        exact: bool, emitter: Emitter,
    ) -> None:  # fmt: skip
        """The steps of one layer, direction and voice.

        Args:
            node: the operator.
            layer: its weights.
            weights: as they were stored.
            index: of the state, among those of all layers, directions and voices.
            run: for each step in order where what is fed lies and where the output goes.
            exact: whether nothing may be written behind an output.
            emitter: that writes.
        """
        olds, finals = self.states(node), node.outputs[1:]
        wide, alone, cell = layer.w_hh.shape[1], olds[0].size == layer.w_hh.shape[1], ""
        h = emitter.vector(olds[0], index * wide, wide)
        if len(finals) > 1:
            units = layer.w_ih.shape[0] // self.gates.rows
            cell = emitter.working(finals[1], olds[1], index * units, units)
        for x, out in run:
            target = emitter.scratch(emitter.rounded(wide)) if exact else out
            self.gates.step(layer, weights, target, cell, h, x, emitter)
            emitter.copy(out, target, wide)
            h = target
        if alone and not exact:
            emitter.alias(finals[0], node.outputs[0], node.outputs[0].size - wide)
        elif emitter.is_used(finals[0]):
            emitter.copy(emitter.ref(finals[0], index * wide), h, wide)
        if cell and emitter.is_used(finals[1]):
            emitter.copy(emitter.ref(finals[1], index * units), cell, units)


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

    def emit(self, node: Node, emitter: Emitter) -> None:
        """One step for every row of the batch."""
        x, layer = node.args[0], self._layer(node)
        given = node.args[1] if isinstance(node.args[1], (list, tuple)) else [node.args[1]]
        wide, weights = layer.w_hh.shape[1], self.gates.pack(layer, emitter)
        batch = x.size // x.shape[-1]
        emitter.own(node.output, emitter.rounded(1))
        for row in range(batch):
            h, cell = emitter.vector(given[0], row * wide, wide), ""
            if len(given) > 1:
                cell = emitter.working(node.outputs[1], given[1], row * wide, wide)
            out = emitter.ref(node.output, row * wide)
            self.gates.step(layer, weights, out, cell, h, emitter.ref(x, row * x.shape[-1]), emitter)
            if cell and emitter.is_used(node.outputs[1]):
                emitter.copy(emitter.ref(node.outputs[1], row * wide), cell, wide)

    def _layer(self, node: Node) -> Layer:
        w_ih, w_hh, *biases = node.args[2:]
        return Layer(w_ih, w_hh, tuple(bias for bias in biases if bias is not None))


_GRU = Gates("gru", rows=3, pointwise=7, transcendental=3)
_LSTM = Gates("lstm", rows=4, pointwise=8, transcendental=5)
_TANH, _RELU = Gates("tanh", 1, pointwise=1, transcendental=1), Gates("relu", 1, pointwise=2, transcendental=0)
describe("aten.gru.input", operator=Recurrent(_GRU))
describe("aten.lstm.input", operator=Recurrent(_LSTM))
describe("aten.rnn_tanh.input", operator=Recurrent(_TANH))
describe("aten.rnn_relu.input", operator=Recurrent(_RELU))
describe("aten.gru_cell.default", operator=Cell(_GRU))
describe("aten.lstm_cell.default", operator=Cell(_LSTM))
describe("aten.rnn_tanh_cell.default", operator=Cell(_TANH))
describe("aten.rnn_relu_cell.default", operator=Cell(_RELU))
