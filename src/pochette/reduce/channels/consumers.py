"""Who reads a family's units, as sums over units: what reconstruction looks at and what it changes.

A linear layer, a convolution and a transposed one, and the two products of a recurrent layer are all the same thing
here: rows of features of each unit (its value, or the window of it that a filter meets) times weights. The features of
a convolution come from the operator itself, called with filters that pick out one tap of one channel each, so stride,
dilation, padding and direction need no second description.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor

from pochette.errors import ReductionError
from pochette.graph.graph import Graph, Node, Value, call_of, function_of
from pochette.graph.run import run
from pochette.graph.units import Place, UnitFamily
from pochette.reduce.evidence import FloatArray
from pochette.reduce.structure import Structure, sources

_CONVOLUTIONS = ("aten.conv1d", "aten.conv2d", "aten.conv3d", "aten.conv_transpose")
_STACKS = ("aten.gru.input", "aten.lstm.input", "aten.rnn_tanh.input", "aten.rnn_relu.input")
_CELLS = ("aten.gru_cell.default", "aten.lstm_cell.default", "aten.rnn_tanh_cell.default", "aten.rnn_relu_cell.default")


@dataclass(frozen=True, eq=False)
class Use:
    """One operator that multiplies data with a weight."""

    node: Node
    data: Value


@dataclass(frozen=True, eq=False)
class Consumer:
    """A weight that reads a family's units, and where it does so."""

    place: Place
    """The weight, and the axis along which the units lie."""
    columns: np.ndarray
    """(unit, owned) indices on that axis."""
    uses: tuple[Use, ...]

    def weights(self, tensor: Tensor) -> FloatArray:
        """The part of a weight that reads the family.

        Args:
            tensor: the whole weight as it acts.

        Returns:
            (unit, feature, output): features are the indices that a unit owns, each with all its taps.
        """
        outputs = 1 - self.place.axis
        whole = tensor.detach().double().movedim((self.place.axis, outputs), (0, -1))
        parts = whole.reshape(len(whole), -1, whole.shape[-1]).numpy()[self.columns]
        found: FloatArray = parts.reshape(len(self.columns), -1, parts.shape[-1])
        return found

    def with_weights(self, tensor: Tensor, parts: FloatArray) -> Tensor:
        """A weight with another part that reads the family.

        Args:
            tensor: the whole weight as it acts.
            parts: as `weights` gives them.

        Returns:
            a new tensor.
        """
        outputs = 1 - self.place.axis
        whole = tensor.detach().clone().movedim((self.place.axis, outputs), (0, -1))
        new = torch.from_numpy(parts).to(tensor.dtype)
        whole[torch.from_numpy(self.columns.ravel())] = new.reshape(self.columns.size, *whole.shape[1:])
        return whole.movedim((0, -1), (self.place.axis, outputs)).contiguous()


def consumers_of(structure: Structure, family: UnitFamily) -> list[Consumer]:
    """All weights that read a family, of those whose product is a plain sum over units.

    Args:
        structure: of the network.
        family: of it.

    Returns:
        consumers; grouped convolutions, products of data with data and stacks of recurrent layers are none.

    Raises:
        ReductionError: there is none.
    """
    source = sources(structure.graph)
    uses: dict[tuple[str, int], list[Use]] = defaultdict(list)
    for node in structure.graph.nodes:
        for weight, axis, data in _products(node):
            if id(weight) in source and id(data) not in source:
                uses[source[id(weight)], axis].append(Use(node, data))
    found = [
        Consumer(place, indices, tuple(uses[place.path, place.axis]))
        for place, indices in family.indices.items()
        if place not in family.makers and (place.path, place.axis) in uses
    ]
    if not found:
        raise ReductionError(
            "What reads these units is no linear, convolutional or recurrent layer whose weights could make up for "
            "those that go.",
            where=family.name,
            remedy="Choose the method filters, or lottery, which change no weights of who reads.",
        )
    return found


def _products(node: Node) -> list[tuple[Value, int, Value]]:
    """Weight, its axis that is summed over, and the data it meets, of each product in a node."""
    if node.op == "aten.linear.default":
        return [(node.args[1], 1, node.args[0])] if len(node.args[1].shape) == 2 else []
    if node.op.startswith(_CONVOLUTIONS):
        transposed = node.op.startswith("aten.conv_transpose")
        groups = node.args[7] if transposed and len(node.args) > 8 else node.args[6]
        return [(node.args[1], 0 if transposed else 1, node.args[0])] if groups == 1 else []
    if node.op in _CELLS:
        state = node.args[1] if isinstance(node.args[1], Value) else node.args[1][0]
        return [(node.args[2], 1, node.args[0]), (node.args[3], 1, state)]
    if node.op in _STACKS:
        layers, bidirectional = node.args[4], node.args[7]
        w_ih, w_hh = node.args[2][:2]
        if layers == 1 and not bidirectional and w_hh.shape[1] == node.outputs[0].shape[-1]:
            # What is carried on at each step is what is given out there.
            return [(w_ih, 1, node.args[0]), (w_hh, 1, node.outputs[0])]
    return []


def seen(graph: Graph, values: Sequence[Value], calls: Sequence[Sequence[Tensor]]) -> list[dict[str, Tensor]]:
    """What some values are in each of some calls.

    Args:
        graph: captured at the calls' shapes, whole or cut.
        values: of the whole graph.
        calls: one tensor for each of the graph's inputs.

    Returns:
        name of a value to what it is, for each call.
    """
    names = frozenset(value.name for value in values)
    found = []
    with torch.no_grad():
        for call in calls:
            watched = dict(run(graph, call, watch=names).watched)
            watched.update((v.name, t) for v, t in zip(graph.inputs, call, strict=True) if v.name in names)
            found.append(watched)
    return found


def features(use: Use, x: Tensor, taps: Sequence[int]) -> Tensor:
    """What each place of the axis that a product sums over brings to it.

    Args:
        use: the product.
        x: its data.
        taps: lengths of the weight's axes beside outputs and inputs.

    Returns:
        (row, place, tap): of a convolution a row is a moment of its output.
    """
    if not use.node.op.startswith(_CONVOLUTIONS):
        return x.reshape(-1, x.shape[-1], 1)
    transposed = use.node.op.startswith("aten.conv_transpose")
    channel = x.dim() - len(taps) - 1
    places, each = x.shape[channel], prod(taps)
    picks = torch.eye(places * each, dtype=x.dtype).reshape(places * each, places, *taps)
    args = (x, picks.transpose(0, 1) if transposed else picks, None, *use.node.args[3:])
    positional, named = call_of(use.node.op, args)
    made: Tensor = function_of(use.node.op)(*positional, **named)
    return made.movedim(channel, -1).reshape(-1, places, each)


def rows_of(
    consumer: Consumer, data: Sequence[Mapping[str, Tensor]], taps: Sequence[int], most: int, seed: int
) -> FloatArray:  # fmt: skip
    """Features of a family's units in one consumer, at moments drawn from all that there are.

    Args:
        consumer: of the family.
        data: what `seen` gave.
        taps: lengths of the weight's axes beside outputs and inputs.
        most: how many moments.
        seed: draws them; the same moments for the same shapes.

    Returns:
        (row, unit, feature).
    """
    columns = torch.from_numpy(consumer.columns)
    each = -(-most // (len(data) * len(consumer.uses)))
    rng = np.random.default_rng([seed, 5150])
    parts = []
    for watched in data:
        for use in consumer.uses:
            made = features(use, watched[use.data.name], taps)
            at = np.sort(rng.permutation(len(made))[:each])
            parts.append(made[torch.from_numpy(at)][:, columns].flatten(2).double().numpy())
    return np.concatenate(parts)
