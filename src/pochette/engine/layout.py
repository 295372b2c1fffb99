"""Where values lie that need not lie row by row: parts of others, and signals whose channels stand side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pochette.engine.views import View
from pochette.graph.graph import Graph, Node, Value

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter

SHORT_SAMPLES = 16
"""Blocks shorter than this leave vectors over time unfilled: their channels are laid side by side instead."""
VIEWS = (
    "aten.slice.Tensor", "aten.select.int", "aten.split.Tensor", "aten.split_with_sizes.default", "aten.chunk.default",
    "aten.unsqueeze.default", "aten.permute.default", "aten.transpose.int", "aten.expand.default",
)  # fmt: skip
"""Operators whose outputs are parts of their input's memory, or the same with other strides."""
_RECTIFIERS = ("aten.relu.default", "aten.leaky_relu.default")
_CONVOLUTIONS = ("aten.conv1d.default", "aten.conv_transpose1d.default", "aten.convolution.default")


def view_of(node: Node, emitter: Emitter) -> bool:
    """Lay a node's outputs into its input's memory, if it only takes parts or re-arranges.

    Args:
        node: any.
        emitter: knows where values lie.

    Returns:
        whether it could be done.
    """
    if node.op not in VIEWS or not node.output.dtype.is_floating_point or not node.output.size:
        return False
    x = node.args[0]
    view, name = emitter.view(x), node.op.split(".")[1]
    rank = len(x.shape)
    if name in ("slice", "select"):
        axis = (node.args[1] or 0) % rank
        start = slice(node.args[2], None).indices(x.shape[axis])[0]  # a start before the first is the first
        step = node.args[4] if name == "slice" else 1
        strides = list(view.moved(axis, min(start, x.shape[axis])).strides)
        strides[axis] *= step
        if name == "select":
            del strides[axis]
        emitter.lay(node.output, View(view.base, view.start + start * view.strides[axis], tuple(strides)))
    elif name in ("split", "split_with_sizes", "chunk"):
        axis, start = node.args[2] % rank, 0
        for output in node.outputs:
            emitter.lay(output, view.moved(axis, start))
            start += output.shape[axis]
    elif name == "unsqueeze":
        axis = node.args[1] % (rank + 1)
        strides = list(view.strides)
        strides.insert(axis, strides[axis] * x.shape[axis] if axis < rank else 1)
        emitter.lay(node.output, View(view.base, view.start, tuple(strides)))
    elif name == "expand":
        emitter.lay(node.output, view.broadcast(x.shape, node.output.shape))
    else:
        order = list(range(rank))
        if name == "permute":
            order = [axis % rank for axis in node.args[1]]
        else:
            first, second = node.args[1] % rank, node.args[2] % rank
            order[first], order[second] = order[second], order[first]
        emitter.lay(node.output, View(view.base, view.start, tuple(view.strides[axis] for axis in order)))
    return True


@dataclass
class Absorbed:
    """Additions and rectifiers that cost next to nothing where they are written with the operator before them."""

    sums: dict[int, tuple[Value, Value]] = field(default_factory=dict)
    """Id of a convolution's result to the sum and what is added: the convolution begins with it."""
    rectified: dict[int, tuple[Value, float]] = field(default_factory=dict)
    """Id of a convolution's result or sum to what a rectifier makes of it, and the factor of what is below 0."""
    overlaps: dict[int, tuple[Value, Value, int]] = field(default_factory=dict)
    """Id of an addition to the signal, the shorter one that is added to a stretch of it, and where that begins."""
    skipped: set[int] = field(default_factory=set)
    """Ids of nodes for which nothing is written."""
    reads: dict[int, Value] = field(default_factory=dict)
    """Id of a node to what it reads besides its own arguments."""


def absorb(
    graph: Graph, separate: Callable[[Node], bool], windows: Callable[[Node], bool], parts: Mapping[int, Hashable]
) -> Absorbed:
    """What convolutions do by the way to results that nothing else reads, and sums of signals filled up with zeros.

    Args:
        graph: captured.
        separate: whether a node is written by itself, not in a loop with others.
        windows: whether a convolution is made window by window; those rectify nothing.
        parts: id of a node to what it belongs to, outside of which nothing is done for it.

    Returns:
        what is found.
    """
    found = Absorbed()
    number = {id(node): place for place, node in enumerate(graph.nodes)}
    producer = {id(value): node for node in graph.nodes for value in node.outputs}
    uses = Counter(id(value) for node in graph.nodes for value in node.inputs())
    uses.update(id(value) for value in (*graph.outputs, *graph.mutations.values()))
    convolved = {
        id(node.output): node for node in graph.nodes if _is_filter(node) and separate(node) and not windows(node)
    }
    for node in graph.nodes:
        bent = convolved.get(id(node.args[0])) if node.op in _RECTIFIERS else None
        if bent is not None and uses[id(node.args[0])] == 1 and parts.get(id(bent)) == parts.get(id(node)):
            found.rectified[id(node.args[0])] = (node.output, node.args[1] if len(node.args) > 1 else 0.0)
            found.skipped.add(id(node))
        if node.op != "aten.add.Tensor" or node.args[2] != 1:
            continue
        for result, other in (node.args[:2], node.args[1::-1]):
            maker = producer.get(id(result)) if isinstance(result, Value) and uses[id(result)] == 1 else None
            if maker is None or not isinstance(other, Value) or other.shape != result.shape or not separate(maker):
                continue
            if parts.get(id(maker)) != parts.get(id(node)):
                continue
            filler = producer.get(id(other))
            before = -1 if filler is None else number[id(filler)]
            if _is_filter(maker) and before < number[id(maker)]:
                if maker is convolved.get(id(result)):
                    convolved[id(node.output)] = maker
                found.sums[id(result)] = (node.output, other)
                found.reads[id(maker)] = other
                found.skipped.add(id(node))
            elif "conv_transpose1d" in maker.op and filler is not None and uses[id(other)] == 1 and _fills(filler):
                found.overlaps[id(node)] = (result, filler.args[0], filler.args[1][0])
                found.skipped.add(id(filler))
            else:
                continue
            break
    return found


def _is_filter(node: Node) -> bool:
    """Whether a node is a plain convolution over time whose weights are known."""
    if node.op != "aten.conv1d.default":
        return False
    return all(value is None or value.kind in ("parameter", "constant") for value in node.args[1:3])


def _fills(node: Node) -> bool:
    """Whether a node only sets zeros around a signal along its last axis."""
    if node.op == "aten.constant_pad_nd.default":
        zeros = node.args[2] == 0
    else:
        zeros = node.op == "aten.pad.default" and node.args[2] == "constant" and not node.args[3]
    return bool(zeros and len(node.args[1]) == 2 and min(node.args[1]) >= 0)


def by_rows(graph: Graph, windows: Callable[[Node], bool]) -> frozenset[int]:
    """Signals whose channels shall lie side by side: those in touch with a transposed, strided or short convolution.

    So are those in touch with one that is made window by window, because its weights have fewer bits.

    Signals are in touch through operators that keep time and channels where they are; all of them lie alike, so that
    nothing need be turned in between.

    Args:
        graph: captured.
        windows: whether a convolution is made window by window.

    Returns:
        ids of values.
    """
    leader: dict[int, int] = {}

    def find(key: int) -> int:
        while leader.setdefault(key, key) != key:
            key = leader[key]
        return key

    wanted = []
    for node in graph.nodes:
        signals = [
            value
            for value in (*node.inputs(), *node.outputs)
            if len(value.shape) == 3 and value.kind not in ("parameter", "constant")
        ]
        if not signals or node.op.split(".")[1] in ("transpose", "permute", "view", "reshape"):
            continue
        for value in signals[1:]:
            leader[find(id(value))] = find(id(signals[0]))
        if node.op in _CONVOLUTIONS:
            strides = node.args[3] if isinstance(node.args[3], (list, tuple)) else [node.args[3]]
            transposed = "transpose" in node.op or (node.op == "aten.convolution.default" and node.args[6])
            if transposed or strides[0] > 1 or node.output.shape[-1] < SHORT_SAMPLES or windows(node):
                wanted.append(id(signals[0]))
    roots = {find(key) for key in wanted}
    return frozenset(key for key in leader if find(key) in roots)
