"""Normalisations over trimmed units, set right: their gains and offsets fitted to what they gave before.

A layer that computes its mean and variance over its features computes others over fewer of them. The features that
are left then come out at another scale and place, though none of their weights changed. On some data, the gain and
offset of each feature are fitted anew so that it comes out as nearly as it did as a line allows, from the front on.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pochette.graph.graph import Node, Value
from pochette.graph.rewrite import Remains, cut_graph
from pochette.graph.run import run
from pochette.reduce.structure import Structure

FEATURE_AXIS = {"aten.layer_norm.default": -1, "aten.rms_norm.default": -1, "aten.group_norm.default": 1}
"""Normalisations that are recalibrated, and the axis of their features."""
RIDGE = 1e-3
"""Weight of the old gain against the data, in squares of a normalised feature, whose mean is 1."""


def recalibrated(
    structure: Structure, remains: Remains, tensors: dict[str, Tensor], inputs: Sequence[Tensor]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Fit what is left of normalisations to what they gave before.

    Args:
        structure: of the whole network, captured at the inputs' shapes.
        remains: of it.
        tensors: of what remains, by path.
        inputs: one for each of the graph's inputs.

    Returns:
        tensors with new gains and offsets, and the layers that were fitted.
    """
    graph = structure.graph
    nodes = [node for node in graph.nodes if _concerned(node, remains)]
    if not nodes:
        return tensors, ()
    smaller = cut_graph(graph, remains, tensors)
    whole = run(graph, inputs, watch=frozenset(node.output.name for node in nodes)).watched
    tensors = dict(tensors)
    for node in nodes:
        gain, offset = _learnt(node)
        # Layers in front of this one have been fitted by now.
        now = run(smaller, inputs, tensors, watch=frozenset((node.output.name,))).watched[node.output.name]
        aim = remains.cut(node.output, whole[node.output.name])
        axis = FEATURE_AXIS[node.op]
        x, y = (tensor.movedim(axis, -1).flatten(0, -2).double() for tensor in (now, aim))
        old = tensors[gain.path].double()
        shift = torch.zeros_like(old) if offset is None else tensors[offset.path].double()
        plain = torch.where(old == 0, 0.0, (x - shift) / old)
        slope, place = _fitted(plain, y, old, centred=offset is not None)
        tensors[gain.path] = torch.where(old == 0, old, slope).to(tensors[gain.path])
        if offset is not None:
            tensors[offset.path] = torch.where(old == 0, shift, place).to(tensors[offset.path])
    return tensors, tuple(dict.fromkeys(node.layer for node in nodes))


def _concerned(node: Node, remains: Remains) -> bool:
    """Whether a node normalises over features of which some went, and has a gain to correct that with."""
    if node.op not in FEATURE_AXIS or len(node.output.shape) < 2:
        return False
    gain, _ = _learnt(node)
    axis = FEATURE_AXIS[node.op] % len(node.output.shape)
    stored = isinstance(gain, Value) and bool(gain.path) and len(gain.shape) == 1
    return stored and len(remains.indices(node.output, axis)) < node.output.shape[axis]


def _learnt(node: Node) -> tuple[Value, Value | None]:
    gain = node.args[2]
    offset = node.args[3] if node.op != "aten.rms_norm.default" else None
    return gain, offset


def _fitted(x: Tensor, y: Tensor, slope: Tensor, *, centred: bool) -> tuple[Tensor, Tensor]:
    """Least squares of each column, drawn a little towards the slope it had.

    Args:
        x: (sample, feature).
        y: (sample, feature).
        slope: (feature,), before.
        centred: whether there is an offset.

    Returns:
        slopes and offsets.
    """
    mean_x, mean_y = (x.mean(0), y.mean(0)) if centred else (torch.zeros_like(slope), torch.zeros_like(slope))
    over = ((x - mean_x) * (y - mean_y)).mean(0) + RIDGE * slope
    found = over / ((x - mean_x).square().mean(0) + RIDGE)
    return found, mean_y - found * mean_x
