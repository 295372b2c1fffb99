"""Recurrent layers, kept whole: one node a layer stack, or one step of one layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pochette.errors import ShapeError
from pochette.graph.coupling import Coupling
from pochette.graph.gates import Gates, Layer
from pochette.graph.graph import Node, Value
from pochette.graph.operator import Coarse, Cost, Operator, describe

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter
    from pochette.engine.reduced import ReducedLayer


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

    def check(self, node: Node, given: tuple[Any, ...]) -> None:
        """State and input are of one batch: PyTorch's LSTM writes behind the end of a state of fewer rows."""
        batch = given[0].shape[0 if node.args[-1] else 1]
        for state in [given[1]] if isinstance(given[1], Tensor) else given[1]:
            if state.shape[1] != batch:
                raise ShapeError(
                    f"A recurrent layer's state is of a batch of {state.shape[1]}, its input of {batch}.",
                    where=node.layer or "the outermost module",
                    remedy="Give inputs of the batch that the state was made for.",
                )

    def perform(self, node: Node, given: tuple[Any, ...], coarse: Coarse) -> tuple[Tensor, ...]:
        """Layer by layer, direction by direction, step by step."""
        known = {id(value): tensor for value, tensor in zip(node.args[2], given[2], strict=True)}
        batch_first, directions = node.args[-1], 2 if node.args[-2] else 1
        olds = [given[1]] if isinstance(given[1], Tensor) else list(given[1])
        source = given[0].transpose(0, 1) if batch_first else given[0]
        made: list[Tensor] = []
        finals: list[tuple[Tensor, ...]] = []
        for number, layer in enumerate(self.layers(node)):
            backwards = number % directions == 1
            if number and not backwards:
                source, made = torch.cat(made, -1), []
            states, steps = tuple(old[number] for old in olds), []
            for x in source.flip(0) if backwards else source:
                states = self.gates.perform(layer, known, x, states, coarse)
                steps.append(states[0])
            made.append(torch.stack(steps[::-1] if backwards else steps))
            finals.append(states)
        sequence = torch.cat(made, -1)
        after = (torch.stack(states) for states in zip(*finals, strict=True))
        return (sequence.transpose(0, 1) if batch_first else sequence), *after

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

    def perform(self, node: Node, given: tuple[Any, ...], coarse: Coarse) -> tuple[Tensor, ...]:
        """One step for every row of the batch."""
        weights = zip(node.args[2:], given[2:], strict=True)
        known = {id(value): tensor for value, tensor in weights if value is not None}
        states = [given[1]] if isinstance(given[1], Tensor) else list(given[1])
        return self.gates.perform(self._layer(node), known, given[0], states, coarse)

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
