"""Recurrent layers, cells, and the state they carry."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tests.graph.networks.case import BATCH, LENGTH, Case, Net, frames

N = BATCH * LENGTH
GATES = {nn.GRU: 3, nn.LSTM: 4, nn.RNN: 1}


def recurrent(kind: Any, **options: Any) -> Any:
    """Width to: a dense layer, a recurrent one, a head."""
    time_first = not options.setdefault("batch_first", True)
    directions = 1 + options.get("bidirectional", False)

    def build(h: int) -> nn.Module:
        def run(m: Any, x: Tensor) -> Tensor:
            y = torch.tanh(m.first(x))
            y = m.core(y.transpose(0, 1))[0].transpose(0, 1) if time_first else m.core(y)[0]
            return m.head(y)

        return Net(run, first=nn.Linear(3, h), core=kind(h, h, **options), head=nn.Linear(directions * h, 2))

    return build


def recurrent_macs(kind: Any, layers: int = 1, directions: int = 1) -> Any:
    def macs(h: int) -> int:
        core = directions * GATES[kind] * h * (h + h) + (layers - 1) * directions * GATES[kind] * h * (
            directions * h + h
        )
        return N * (3 * h + core + directions * h * 2)

    return macs


def stack(kind: Any, label: str, **options: Any) -> Case:
    macs = recurrent_macs(kind, options.get("num_layers", 1), 1 + options.get("bidirectional", False))
    return Case(label, recurrent(kind, **options), frames(3), macs)


def projected(h: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        return m.head(m.core(torch.tanh(m.first(x)))[0])

    core = nn.LSTM(h, h, proj_size=h // 2, batch_first=True)
    return Net(run, first=nn.Linear(3, h), core=core, head=nn.Linear(h // 2, 2))


def cell(kind: Any) -> Any:
    def build(h: int) -> nn.Module:
        def run(m: Any, x: Tensor) -> Tensor:
            x = torch.tanh(m.first(x))
            hidden = x.new_zeros(x.shape[0], m.cell.hidden_size)
            memory, made = hidden, []
            for frame in x.unbind(1):
                if kind is nn.LSTMCell:
                    hidden, memory = m.cell(frame, (hidden, memory))
                else:
                    hidden = m.cell(frame, hidden)
                made.append(hidden)
            return m.head(torch.stack(made, dim=1))

        return Net(run, first=nn.Linear(3, h), cell=kind(h, h), head=nn.Linear(h, 2))

    return build


def state_in_a_buffer(h: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        y, hidden = m.gru(torch.tanh(m.first(x)), m.state.clone())
        m.state.copy_(hidden.detach())
        return m.head(y)

    return Net(
        run, first=nn.Linear(3, h), gru=nn.GRU(h, h, batch_first=True), head=nn.Linear(h, 2),
        state=torch.zeros(1, 1, h),
    )  # fmt: skip


def causal_cache(h: int) -> nn.Module:
    """A streaming convolution: the last 4 samples of every channel wait in a buffer."""

    def run(m: Any, x: Tensor) -> Tensor:
        y = torch.cat([m.state_past, torch.tanh(m.one(x))], dim=-1)
        m.state_past.copy_(y[..., -4:])
        return m.head(torch.tanh(m.two(y)))

    return Net(
        run, one=nn.Conv1d(1, h, 1), two=nn.Conv1d(h, h, 3, dilation=2), head=nn.Conv1d(h, 1, 1),
        state_past=torch.zeros(1, h, 4),
    )  # fmt: skip


def learnt_start(h: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        y, _ = m.gru(torch.tanh(m.first(x)), m.h0.expand(-1, x.shape[0], -1).contiguous())
        return m.head(y)

    return Net(
        run, first=nn.Linear(3, h), gru=nn.GRU(h, h, batch_first=True), head=nn.Linear(h, 2),
        h0=nn.Parameter(torch.zeros(1, 1, h)),
    )  # fmt: skip


def words(h: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        return m.head(m.lstm(m.table(x))[0])

    return Net(run, table=nn.Embedding(30, h), lstm=nn.LSTM(h, h, batch_first=True), head=nn.Linear(h, 5))


def last_state(h: int) -> nn.Module:
    """Only what a two-layer, two-way layer remembers at its end is read."""

    def run(m: Any, x: Tensor) -> Tensor:
        _, hidden = m.gru(torch.tanh(m.first(x)))
        return m.head(torch.cat(hidden.unbind(0), dim=-1))

    gru = nn.GRU(h, h, num_layers=2, bidirectional=True, batch_first=True)
    return Net(run, first=nn.Linear(3, h), gru=gru, head=nn.Linear(4 * h, 2))


CASES = [
    *(
        case
        for kind, word in ((nn.GRU, "GRU"), (nn.LSTM, "LSTM"))
        for case in (
            stack(kind, f"{word}, 1 layer"),
            stack(kind, f"{word}, 2 layers", num_layers=2),
            stack(kind, f"{word}, bidirectional", bidirectional=True),
            stack(kind, f"{word}, 2 layers, bidirectional", num_layers=2, bidirectional=True),
            stack(kind, f"{word}, time first", batch_first=False),
        )
    ),
    stack(nn.GRU, "GRU without biases", bias=False),
    stack(nn.RNN, "RNN, tanh"),
    stack(nn.RNN, "RNN, relu, 2 layers", nonlinearity="relu", num_layers=2),
    Case("LSTM, projected", projected, frames(3),
         lambda h: N * (3 * h + 4 * h * (h + h // 2) + h * (h // 2) + h // 2 * 2)),
    Case("GRUCell in a loop", cell(nn.GRUCell), frames(3),
         lambda h: BATCH * 3 * (3 * h + 6 * h * h + 2 * h), length=3),
    Case("LSTMCell in a loop", cell(nn.LSTMCell), frames(3),
         lambda h: BATCH * 3 * (3 * h + 8 * h * h + 2 * h), length=3),
    Case("RNNCell in a loop", cell(nn.RNNCell), frames(3),
         lambda h: BATCH * 3 * (3 * h + 2 * h * h + 2 * h), length=3),
    Case("GRU, state in a buffer", state_in_a_buffer, frames(3, batch=1),
         lambda h: LENGTH * (3 * h + 6 * h * h + 2 * h)),
    Case("streaming convolution, cache in a buffer", causal_cache, lambda length: (torch.randn(1, 1, length),),
         lambda h: LENGTH * (h + 3 * h * h + h)),
    Case("GRU, learnt initial state", learnt_start, frames(3), lambda h: N * (3 * h + 6 * h * h + 2 * h)),
    Case("embedding, LSTM, linear", words, lambda length: (torch.randint(30, (BATCH, length)),),
         lambda h: N * (8 * h * h + 5 * h)),
    Case("last state of a GRU, 2 layers, bidirectional", last_state, frames(3),
         lambda h: N * (3 * h + 2 * 3 * h * 2 * h + 2 * 3 * h * 3 * h) + BATCH * 4 * h * 2),
]  # fmt: skip
