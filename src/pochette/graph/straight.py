"""Operators made straight: what readings share that ask where signals can go, not what becomes of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pochette.graph.graph import Node

NORMS = ("native_layer_norm", "native_group_norm", "native_batch_norm", "_native_batch_norm_legit_no_training",
         "layer_norm", "group_norm", "batch_norm", "instance_norm", "rms_norm")  # fmt: skip
"""Operators that scale signals by their own statistics: each hands on what it is given."""
RECURRENT = ("gru", "lstm", "rnn_tanh", "rnn_relu", "gru_cell", "lstm_cell", "rnn_tanh_cell", "rnn_relu_cell")
PRODUCTS = ("mul", "addcmul")


def recurrent(node: Node, given: tuple[Any, ...]) -> Any:
    """A recurrent layer, a stack of them or one step, whose gates add up.

    Args:
        node: of an operator of `RECURRENT`.
        given: its arguments, the weights among them; offsets are left out.

    Returns:
        what the operator gives: one tensor, or several.
    """
    return _cell(node, given) if node.op.split(".")[1].endswith("_cell") else _stack(node, given)


def _cell(node: Node, given: tuple[Any, ...]) -> Any:
    """One step."""
    x, state, from_input, from_hidden = given[:4]
    hidden = state if isinstance(state, Tensor) else state[0]
    made = _step(x, hidden, from_input, from_hidden)
    return made if len(node.outputs) == 1 else (made, made)


def _step(x: Tensor, hidden: Tensor, from_input: Tensor, from_hidden: Tensor) -> Tensor:
    met = x @ from_input.T + hidden @ from_hidden.T
    gates: Tensor = met.reshape(*met.shape[:-1], -1, hidden.shape[-1]).sum(-2)
    return gates


def _stack(node: Node, given: tuple[Any, ...]) -> tuple[Tensor, ...]:
    """A stack of layers."""
    x, state, weights, biased, layers, _, _, both_ways, batch_first = given[:9]
    hidden = state if isinstance(state, Tensor) else state[0]
    each, directions, last = 4 if biased else 2, 2 if both_ways else 1, []
    x = x.transpose(0, 1) if batch_first else x
    for layer in range(layers):
        ways = []
        for way in range(directions):
            place = layer * directions + way
            now, made = hidden[place], []
            for step in x.flip(0) if way else x:
                now = _step(step, now, *weights[each * place : each * place + 2])
                made.append(now)
            ways.append(torch.stack(made[::-1] if way else made))
            last.append(now)
        x = torch.cat(ways, dim=-1)
    ended = torch.stack(last)
    return (x.transpose(0, 1) if batch_first else x, *([ended] * (len(node.outputs) - 1)))
