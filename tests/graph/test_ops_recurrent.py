"""Recurrent layers and cells: smaller equals masked with any state, and costs by the equations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pochette.errors import ShapeError
from pochette.graph.capture import capture
from pochette.graph.operator import Cost, description_of
from pochette.graph.run import run
from tests.graph.trimmed import Network, check, removable

KINDS: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
    "gru": (nn.GRU, {}),
    "lstm": (nn.LSTM, {}),
    "rnn_tanh": (nn.RNN, {}),
    "rnn_relu": (nn.RNN, {"nonlinearity": "relu"}),
}
# Rows of a unit, pointwise operations and transcendentals of a unit and step, biases apart.
EACH = {"gru": (3, 7, 3), "lstm": (4, 8, 5), "rnn_tanh": (1, 1, 1), "rnn_relu": (1, 2, 0)}
X = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(1))


def by_hand(kind: str, steps: int, inputs: int, units: int, bias: bool, projection: int = 0) -> Cost:
    """One layer and direction."""
    rows, pointwise, transcendental = EACH[kind]
    given = projection or units
    macs = rows * units * (inputs + given) + units * projection
    return Cost(macs, units * (pointwise + 2 * rows * bias), units * transcendental) * steps


def counted(graph: Any, op: str) -> Cost:
    (node,) = [node for node in graph.nodes if node.op == f"aten.{op}"]
    return description_of(node).cost(node)


def between(layer: nn.Module, width: int, **more: Any) -> Network:
    """A maker of 5 features, the layer, a reader of what it gives."""
    return Network(
        lambda m, x: m.reader(m.layer(torch.tanh(m.maker(x)))[0]),
        maker=nn.Linear(3, 5), layer=layer, reader=nn.Linear(width, 2), **more,
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("two_ways", [False, True])
@pytest.mark.parametrize(("batch_first", "bias"), [(True, True), (False, False)])
def test_stacks(kind: str, layers: int, two_ways: bool, batch_first: bool, bias: bool) -> None:
    make, options = KINDS[kind]
    layer = make(
        5, 4, num_layers=layers, bidirectional=two_ways, batch_first=batch_first, bias=bias, **options
    )  # fmt: skip
    ways = 1 + two_ways
    # The state holds all layers and directions side by side: their units stand and fall together.
    graph = check(between(layer, 4 * ways), X, expected={"maker": 5, "layer": 4})
    total = by_hand(kind, 12, 5, 4, bias) * ways
    if layers == 2:
        total += by_hand(kind, 12, 4 * ways, 4, bias) * ways
    assert counted(graph, f"{kind}.input") == total


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("two_ways", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_lstm_with_projections(layers: int, two_ways: bool, bias: bool) -> None:
    layer = nn.LSTM(5, 6, layers, proj_size=4, batch_first=True, bidirectional=two_ways, bias=bias)
    ways = 1 + two_ways
    # Cells, and what they are projected to, are two families.
    graph = check(between(layer, 4 * ways), X, expected={"maker": 5, "layer": 6, "layer#2": 4})
    total = by_hand("lstm", 12, 5, 6, bias, 4) * ways
    if layers == 2:
        total += by_hand("lstm", 12, 4 * ways, 6, bias, 4) * ways
    assert counted(graph, "lstm.input") == total


class Stateful(nn.Module):
    """State in buffers that every call writes."""

    def __init__(self, kind: str, *, learnt: bool = False) -> None:
        super().__init__()
        make, options = KINDS[kind]
        self.maker, self.layer, self.reader = nn.Linear(3, 5), make(5, 4, batch_first=True, **options), nn.Linear(4, 2)
        self.learnt = learnt
        for number in range(1 + (kind == "lstm")):
            zeros = torch.zeros(1, 2, 4)
            if learnt:
                setattr(self, f"state{number}", nn.Parameter(zeros))
            else:
                self.register_buffer(f"state{number}", zeros)

    def forward(self, x: Tensor) -> Tensor:
        lstm = isinstance(self.layer, nn.LSTM)
        state = (self.state0, self.state1) if lstm else self.state0
        out, new = self.layer(torch.tanh(self.maker(x)), state)
        if not self.learnt:
            for number, value in enumerate(new if lstm else [new]):
                self.get_buffer(f"state{number}").copy_(value)
        return self.reader(out)  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("learnt", [False, True])
def test_states_in_buffers_and_parameters(kind: str, learnt: bool) -> None:
    assert removable(Stateful(kind, learnt=learnt), X) == {"maker": 5, "layer": 4}


@pytest.mark.parametrize("kind", KINDS)
def test_last_states_read_instead_of_the_sequence(kind: str) -> None:
    make, options = KINDS[kind]

    def last(m: nn.Module, x: Tensor) -> Tensor:
        state = m.layer(x)[1]
        return m.reader(torch.cat(state, -1) if kind == "lstm" else state)  # type: ignore[no-any-return]

    width = 8 if kind == "lstm" else 4
    assert removable(Network(last, layer=make(3, 4, **options), reader=nn.Linear(width, 2)), X) == {"layer": 4}


def test_states_made_by_another_layer() -> None:
    """A first state computed from the input ties that layer's outputs to the units."""
    module = Network(
        lambda m, x: m.reader(m.layer(x, m.first(x.mean(1))[None])[0]),
        layer=nn.GRU(3, 4, batch_first=True), first=nn.Linear(3, 4), reader=nn.Linear(4, 2),
    )  # fmt: skip
    assert removable(module, X) == {"layer": 4}


def test_stacked_modules_are_families_of_their_own() -> None:
    module = Network(
        lambda m, x: m.reader(m.second(m.first(x)[0])[0]),
        first=nn.GRU(3, 7, batch_first=True), second=nn.LSTM(7, 4, batch_first=True), reader=nn.Linear(4, 2),
    )  # fmt: skip
    assert removable(module, X) == {"first": 7, "second": 4}


CELLS: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
    "gru": (nn.GRUCell, {}),
    "lstm": (nn.LSTMCell, {}),
    "rnn_tanh": (nn.RNNCell, {}),
    "rnn_relu": (nn.RNNCell, {"nonlinearity": "relu"}),
}


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("steps", [1, 3])
def test_cells(kind: str, bias: bool, steps: int) -> None:
    make, options = CELLS[kind]

    def unrolled(m: nn.Module, x: Tensor) -> Tensor:
        state = None
        for step in range(steps):
            state = m.cell(torch.tanh(m.maker(x[:, step])), state)
        return m.reader(state[0] if kind == "lstm" else state)  # type: ignore[no-any-return, index]

    module = Network(unrolled, maker=nn.Linear(3, 5), cell=make(5, 4, bias=bias, **options), reader=nn.Linear(4, 2))
    graph = check(module, X, expected={"maker": 5, "cell": 4})
    nodes = [node for node in graph.nodes if node.op == f"aten.{kind}_cell.default"]
    assert len(nodes) == steps
    assert description_of(nodes[0]).cost(nodes[0]) == by_hand(kind, 2, 5, 4, bias)


@pytest.mark.parametrize("kind", CELLS)
def test_cells_with_state_in_buffers(kind: str) -> None:
    make, options = CELLS[kind]

    class Step(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.reader = make(3, 4, **options), nn.Linear(4, 2)
            for number in range(1 + (kind == "lstm")):
                self.register_buffer(f"state{number}", torch.zeros(2, 4))

        def forward(self, x: Tensor) -> Tensor:
            state = self.cell(x, (self.state0, self.state1) if kind == "lstm" else self.state0)
            new = state if kind == "lstm" else [state]
            for number, value in enumerate(new):
                self.get_buffer(f"state{number}").copy_(value)
            return self.reader(new[0])  # type: ignore[no-any-return]

    assert removable(Step(), X[:, 0]) == {"cell": 4}


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("make", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_state_of_another_batch_than_the_input_is_refused(make: type[nn.RNNBase], batch_first: bool) -> None:
    """PyTorch's own operator reads and writes out of bounds there, and a start state is of one batch in a graph."""
    graph = capture(make(3, 16, batch_first=batch_first), (torch.zeros(2, 2, 3),))
    run(graph, [torch.zeros(2, 2, 3)])
    for batch in (1, 4, 64):
        with pytest.raises(ShapeError, match=f"batch of 2, its input of {batch}"):
            run(graph, [torch.zeros((batch, 2, 3) if batch_first else (2, batch, 3))])
