"""Which elementwise operators share a loop."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from pochette.graph.graph import Graph, Node, Value


@dataclass
class Cluster:
    """Elementwise operators of one shape that are computed in one loop, where the last of them stands."""

    anchor: int
    """Number of the node in whose place the loop is written."""
    nodes: list[Node] = field(default_factory=list)
    sealed: bool = False
    """Whether something outside reads a result, so that the loop cannot be written later than it is."""


def clusters_of(
    graph: Graph, fusible: Callable[[Node], bool], groups: Mapping[int, Hashable],
    reads: Callable[[Node], Sequence[Value]],
) -> dict[int, Cluster]:  # fmt: skip
    """Group elementwise operators so that what one makes and the next reads never goes through memory.

    An operator joins the loop that makes one of its operands, if all its other operands are there by the time that
    loop is written; a loop is put off until something else needs a result of it.

    Args:
        graph: in an order in which it can be executed.
        fusible: whether a node may stand in such a loop.
        groups: id of a node to its part; loops do not reach over parts.
        reads: what a node reads besides its own arguments.

    Returns:
        id of a node to its cluster.
    """
    found: dict[int, Cluster] = {}
    producer = {id(value): node for node in graph.nodes for value in node.outputs}
    number = {id(node): place for place, node in enumerate(graph.nodes)}

    def ready(value: Value) -> int:
        """When a value is there."""
        node = producer.get(id(value))
        return -1 if node is None else found[id(node)].anchor if id(node) in found else number[id(node)]

    for place, node in enumerate(graph.nodes):
        read = [*node.inputs(), *reads(node)]
        sources = [producer[id(value)] for value in read if id(value) in producer]
        makers = [found[id(source)] for source in sources if id(source) in found]
        if not fusible(node):
            for cluster in makers:
                cluster.sealed = True
            continue
        joined = None
        for cluster in sorted(makers, key=lambda c: -c.anchor):
            inside = {id(value) for member in cluster.nodes for value in member.outputs}
            others = [ready(value) for value in node.inputs() if id(value) not in inside]
            shape = cluster.nodes[0].output.shape
            late = cluster.sealed and any(when >= cluster.anchor for when in others)
            same = groups.get(id(cluster.nodes[0])) == groups.get(id(node)) and shape == node.output.shape
            if same and not late and joined is None:
                joined = cluster
        for cluster in makers:
            if cluster is not joined:
                cluster.sealed = True
        if joined is None:
            joined = Cluster(place)
        joined.nodes.append(node)
        if not joined.sealed:
            joined.anchor = place
        found[id(node)] = joined
    return found
