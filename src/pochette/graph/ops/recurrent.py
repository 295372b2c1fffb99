"""Recurrent layers, kept whole: one node a layer stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pochette.errors import ExportError
from pochette.graph.coupling import Coupling
from pochette.graph.graph import Node, Value
from pochette.graph.operator import Cost, Operator, describe

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter


class Gru(Operator):
    """Gated recurrent units, in PyTorch's gate order reset, update, new.

    r = sigmoid(W_r x + U_r h), z = sigmoid(W_z x + U_z h), n = tanh(W_n x + r (U_n h)), h' = n + z (h - n); biases in
    both products.
    """

    def cost(self, node: Node) -> Cost:
        """Both products at every step; 3 transcendentals, and 7 pointwise operations and 6 biases, a unit."""
        x, _, params, has_biases, *_ = node.args
        steps = x.shape[0] * x.shape[1]
        total = Cost()
        for w_ih, w_hh, *_ in _layers(params, has_biases):
            units = w_hh.shape[1]
            pointwise = (7 + 6 * has_biases) * units
            total += Cost(w_ih.size + w_hh.size, pointwise, 3 * units) * steps
        return total

    def couple(self, node: Node, coupling: Coupling) -> None:
        """A unit owns three rows of both matrices and biases, a column of U, and its place in the state."""
        x, h0, params, has_biases, _, _, _, bidirectional, _ = node.args
        inputs = coupling.axes(x)
        features = inputs[-1]
        state = coupling.axes(h0)
        directions = 2 if bidirectional else 1
        layers = _layers(params, has_biases)
        for first in range(0, len(layers), directions):
            made = []
            for w_ih, w_hh, *biases in layers[first : first + directions]:
                rows, columns = coupling.axes(w_ih)
                gate_rows, units = coupling.axes(w_hh)
                coupling.tie(features, columns)
                for gate in range(3):
                    span = slice(gate * len(units), (gate + 1) * len(units))
                    coupling.tie(rows[span], units)
                    coupling.tie(gate_rows[span], units)
                for bias in biases:
                    coupling.tie(coupling.axes(bias)[0], rows)
                # The state tensor holds all layers side by side: their units stand and fall together.
                coupling.tie(state[-1], units)
                made.append(units)
            features = np.concatenate(made)
        coupling.set(node.outputs[0], [*inputs[:-1], features])
        coupling.set(node.outputs[1], list(state))

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


def _layers(params: list[Value], has_biases: bool) -> list[list[Value]]:
    """Parameters of each layer and direction: W, U and, with biases, two of them."""
    each = 4 if has_biases else 2
    return [list(params[i : i + each]) for i in range(0, len(params), each)]


describe("aten.gru.input", operator=Gru())
