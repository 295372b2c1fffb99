"""Recurrent layers are captured as PyTorch itself would, without a step for every moment."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pochette.graph import program, recurrence
from pochette.graph.capture import capture
from pochette.graph.run import run


class Heard(nn.Module):
    """A recurrent layer whose outputs are read in ways that depend on how they lie in memory."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        made, state = self.layer(x)
        states = state if isinstance(state, tuple) else (state,)
        return made.reshape(-1, 2), made.transpose(0, 1).flatten(), *(part.flatten(1) for part in states)


LAYERS: dict[str, nn.RNNBase] = {
    "GRU": nn.GRU(3, 4, batch_first=True),
    "GRU, time first, both ways": nn.GRU(3, 4, 2, bidirectional=True),
    "LSTM, projected": nn.LSTM(3, 4, batch_first=True, proj_size=2),
    "LSTM, both ways": nn.LSTM(3, 4, bidirectional=True, batch_first=True),
    "RNN": nn.RNN(3, 4, batch_first=True),
    "RNN of relu, time first": nn.RNN(3, 4, nonlinearity="relu"),
}


def written(module: nn.Module, x: Tensor) -> list[Any]:
    nodes = capture(module, (x,)).nodes
    return [(repr(node), [(value.dtype, value.shape) for value in node.outputs]) for node in nodes]


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
@pytest.mark.parametrize("name", LAYERS)
def test_the_graph_is_the_one_of_a_whole_trace(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, x = Heard(LAYERS[name]).eval(), torch.randn(2, 5, 3)
    made = written(module, x)
    with torch.no_grad():
        assert all(map(torch.equal, run(capture(module, (x,)), (x,)).outputs, module(x)))
    monkeypatch.setattr(program, "one_moment", nullcontext)
    assert made == written(module, x)


def test_a_trace_takes_one_moment_and_leaves_pytorch_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    operator: Any = torch.ops.aten.gru.input
    before, moments = dict(operator.py_kernels), []
    real = recurrence._first_moment

    def counted(kernel: Any) -> Any:
        return real(lambda x, *others: (moments.append(x.shape[1]), kernel(x, *others))[1])

    monkeypatch.setattr(recurrence, "_first_moment", counted)
    capture(Heard(LAYERS["GRU"]), (torch.zeros(1, 1000, 3),))
    assert moments and set(moments) == {1}
    assert operator.py_kernels == before
