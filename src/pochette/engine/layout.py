"""Where values lie that need not lie row by row: parts of others, and signals whose channels stand side by side."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pochette.engine.fusion import Cluster
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
        start = node.args[2] or 0
        start += x.shape[axis] if start < 0 else 0
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
    """Additions that a convolution does by the way, since its sums may as well begin with what is added."""

    _sums: dict[int, tuple[Value, Value]] = field(default_factory=dict)
    """Id of a convolution's result to the sum and what is added."""
    _clusters: set[int] = field(default_factory=set)

    def add(self, result: Value, total: Value, other: Value, cluster: Cluster) -> None:
        """Note one."""
        self._sums[id(result)] = (total, other)
        self._clusters.add(id(cluster))

    def of(self, value: Value) -> tuple[Value, Value | None]:
        """What a result becomes, and what is added for it."""
        return self._sums.get(id(value), (value, None))

    def sums(self, cluster: Cluster) -> bool:
        """Whether a loop consists of such an addition."""
        return id(cluster) in self._clusters


def absorbed_sums(graph: Graph, clusters: dict[int, Cluster]) -> Absorbed:
    """Additions to convolutions' results that nothing else reads.

    Args:
        graph: captured.
        clusters: id of a node to the loop it stands in.

    Returns:
        what is found.
    """
    found = Absorbed()
    number = {id(node): place for place, node in enumerate(graph.nodes)}
    producer = {id(value): node for node in graph.nodes for value in node.outputs}
    uses: dict[int, int] = {}
    for value in (*(v for node in graph.nodes for v in node.inputs()), *graph.outputs, *graph.mutations.values()):
        uses[id(value)] = uses.get(id(value), 0) + 1

    def ready(value: Value) -> int:
        node = producer.get(id(value))
        return -1 if node is None else clusters[id(node)].anchor if id(node) in clusters else number[id(node)]

    for cluster in {id(cluster): cluster for cluster in clusters.values()}.values():
        node = cluster.nodes[0]
        if len(cluster.nodes) > 1 or node.op != "aten.add.Tensor" or node.args[2] != 1:
            continue
        for result, other in (node.args[:2], node.args[1::-1]):
            if not isinstance(result, Value) or not isinstance(other, Value) or result is other:
                continue
            maker = producer.get(id(result))
            plain = maker is not None and maker.op == "aten.conv1d.default" and id(maker) not in clusters
            if plain and uses[id(result)] == 1 and result.shape == other.shape and ready(other) < number[id(maker)]:
                found.add(result, node.output, other, cluster)
                break
    return found


def by_rows(graph: Graph) -> frozenset[int]:
    """Signals whose channels shall lie side by side: those in touch with a transposed, strided or short convolution.

    Signals are in touch through operators that keep time and channels where they are; all of them lie alike, so that
    nothing need be turned in between.

    Args:
        graph: captured.

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
            if transposed or strides[0] > 1 or node.output.shape[-1] < SHORT_SAMPLES:
                wanted.append(id(signals[0]))
    roots = {find(key) for key in wanted}
    return frozenset(key for key in leader if find(key) in roots)
