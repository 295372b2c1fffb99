"""What nobody hears is not computed: values that only one side of a choice reads.

`torch.where(condition, x, y)` with a condition of one element uses x or y, never both. What leads only into x is needed
where the condition holds; C writes it inside an `if`, and a call in which it does not hold skips it. A state that
becomes `where(condition, new, old)` is left alone where the condition does not hold, so nothing of it is copied either.

Needs are found from the end of the graph. What is returned and what is carried on is always needed; an operator is
needed where any of those that read its results are; a side of a choice is needed where the choice is, and in the one
case. A value read in several places is spared in those cases only that all of them share.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from pochette.engine.histories import COPIES
from pochette.engine.layout import VIEWS
from pochette.graph.graph import Graph, Node, Value
from pochette.graph.operator import description_of

WORTH_OPERATIONS = 1000
"""Additions and products that a condition must spare; for less, a test and a way around make C no faster."""
TRANSCENDENTAL_OPERATIONS = 16
"""Additions and products in whose time an exponential or a sine is made, roughly."""


@dataclass(frozen=True)
class Case:
    """A condition that holds, or does not."""

    condition: Value
    """A flag of one element that a node computes."""
    holds: bool


Cases = frozenset[Case]
_ALWAYS: Cases = frozenset()


@dataclass(frozen=True)
class Guards:
    """What of a graph is computed only where some conditions hold."""

    of: dict[int, tuple[Case, ...]] = field(default_factory=dict)
    """Id of a node to what must all hold, in an order in which it can be asked; nodes always needed are left out."""
    kept: dict[str, Case] = field(default_factory=dict)
    """Path of a state that is kept, unless this holds, to just that."""

    def cases(self, node: Node) -> tuple[Case, ...]:
        """What must hold for a node to be needed."""
        return self.of.get(id(node), ())

    def clockwork(self, graph: Graph) -> set[int]:
        """What decides, in this call and in later ones.

        Args:
            graph: as `find_guards` returned it.

        Returns:
            ids of conditions, of what they are made of, and of what the states among that become.
        """
        found = {id(case.condition) for cases in self.of.values() for case in cases}
        before = -1
        while len(found) > before:
            before = len(found)
            for node in reversed(graph.nodes):
                if any(id(value) in found for value in node.outputs):
                    found.update(id(value) for value in node.inputs())
            found.update(id(new) for path, new in graph.mutations.items() if id(graph.stored[path]) in found)
        return found


def find_guards(graph: Graph) -> tuple[Graph, Guards]:
    """Find what a graph need not always compute.

    A condition never waits for itself, nor for what waits for it: whatever it is made of is read by its own choice as
    the condition, which every call needs that needs the choice. Nor does noise fall out of step: engines draw by
    hashing a counter, and the counter is a state, which goes on unless the model itself keeps it.

    Args:
        graph: captured; left as it is.

    Returns:
        the graph in an order in which conditions come before what waits for them, and what waits for the same is
        together; and what is found. The graph itself if nothing is worth it.
    """
    search = _Search(graph)
    needs, _ = search.needs()
    spared: Counter[Case] = Counter()
    for node in graph.nodes:
        if needs[id(node)] and id(node.output) in search.changing:
            spared.update(dict.fromkeys(needs[id(node)], _operations(node)))
    search.asked = frozenset(case for case, operations in spared.items() if operations >= WORTH_OPERATIONS)
    if not search.asked:
        return graph, Guards()
    needs, kept = search.needs()
    nodes = []
    for node in graph.nodes:
        case = kept.get(id(node))
        nodes.append(node if case is None else _decided(node, case))
        needs[id(nodes[-1])] = needs[id(node)]
    nodes = _in_order(nodes, needs)
    computed = {id(value): number for number, node in enumerate(nodes) for value in node.outputs}

    def told(cases: Cases) -> tuple[Case, ...]:
        return tuple(sorted(cases, key=lambda case: computed[id(case.condition)]))

    of = {id(node): told(needs[id(node)]) for node in nodes if needs[id(node)]}
    states = {path: case for path, case in search.states.items() if case in search.asked}
    return replace(graph, nodes=nodes), Guards(of, states)


class _Search:
    """What leads where in a graph.

    Args:
        graph: captured.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.asked: Cases | None = None
        """Cases that are worth asking for; all of them if None."""
        self.producer = {id(value): node for node in graph.nodes for value in node.outputs}
        uses = Counter(id(value) for node in graph.nodes for value in node.inputs())
        uses.update(id(value) for value in (*graph.outputs, *graph.mutations.values()))
        self.changing = {id(value) for value in (*graph.inputs, *graph.of_kind("state"))}
        """Ids of values that are not the same in every call."""
        for node in graph.nodes:
            if any(id(value) in self.changing for value in node.inputs()):
                self.changing.update(id(value) for value in node.outputs)
        self.choices: dict[int, Value] = {}
        """Id of a choice's node to its condition."""
        for node in graph.nodes:
            condition = self._condition(node.args[0]) if node.op in _CHOICES else None
            if condition is not None and id(condition) in self.changing:
                self.choices[id(node)] = condition
        self.states: dict[str, Case] = {}
        """Path of a state to the case in which it changes."""
        self.deciding: dict[str, Node] = {}
        """Path of such a state to the choice between its new value and its old one."""
        for path, value in graph.mutations.items():
            choice = self.producer.get(id(value))
            while choice is not None and choice.op in COPIES and uses[id(choice.output)] == 1:
                choice = self.producer.get(id(choice.args[0]))
            if choice is None or id(choice) not in self.choices or uses[id(choice.output)] != 1:
                continue
            sides, state = choice.args[1:3], graph.stored[path]
            for new, old, holds in ((*sides, True), (*sides[::-1], False)):
                if old is state and isinstance(new, Value) and (new.shape, new.dtype) == (state.shape, state.dtype):
                    self.states[path], self.deciding[path] = Case(self.choices[id(choice)], holds), choice

    def _condition(self, value: Value) -> Value | None:
        """The one flag that a condition is, whatever axes it was given since; None if it is not one to ask for."""
        node = self.producer.get(id(value))
        while node is not None and node.op in _SAME_ELEMENT and node.args[0].size == 1:
            value = node.args[0]
            node = self.producer.get(id(value))
        if node is None or value.dtype != torch.bool or value.size != 1:
            return None
        # A flag that is computed is a float in C; one that is a part of a state is not.
        return None if description_of(node).view or node.op in VIEWS else value

    def needs(self) -> tuple[dict[int, Cases], dict[int, Case]]:
        """What must hold for each node to be needed, by its id; and the choices that only their states read."""
        used: dict[int, Cases] = {}

        def use(value: Any, cases: Cases) -> None:
            if isinstance(value, Value):
                used[id(value)] = used.get(id(value), cases) & cases

        for value in self.graph.outputs:
            use(value, _ALWAYS)
        kept: dict[int, Case] = {}
        for path, value in self.graph.mutations.items():
            cases = self._worth(self.states.get(path))
            use(value, cases)
            if cases:
                kept[id(self.deciding[path])] = self.states[path]
        needs: dict[int, Cases] = {}
        for node in reversed(self.graph.nodes):
            read = [used[id(value)] for value in node.outputs if id(value) in used]
            cases = frozenset.intersection(*read) if read else _ALWAYS
            needs[id(node)] = cases
            condition = self.choices.get(id(node))
            if condition is None:
                for value in node.inputs():
                    use(value, cases)
                continue
            yes, no = (self._worth(Case(condition, holds)) for holds in (True, False))
            use(node.args[0], cases - yes - no)
            use(node.args[1], cases | yes)
            use(node.args[2], cases | no)
        return needs, kept

    def _worth(self, case: Case | None) -> Cases:
        """A case alone, if there is one and it is asked for."""
        return _ALWAYS if case is None or (self.asked is not None and case not in self.asked) else frozenset([case])


def _decided(choice: Node, case: Case) -> Node:
    """A choice where it is known what it comes to: the copy of a side."""
    return replace(choice, op="aten.clone.default", args=(choice.args[1 if case.holds else 2], None))


def _operations(node: Node) -> int:
    """Arithmetic of a node, in additions and products."""
    cost = description_of(node).cost(node)
    return cost.macs + cost.pointwise + cost.fft + TRANSCENDENTAL_OPERATIONS * cost.transcendental


def _in_order(nodes: list[Node], needs: dict[int, Cases]) -> list[Node]:
    """Nodes such that conditions come before what waits for them; what waits for the same follows one another.

    Args:
        nodes: in an order in which they could be executed if nothing waited for conditions.
        needs: id of a node to what must hold.

    Returns:
        the same nodes; those that wait for nothing stay in the order they had, as far as that can be.
    """
    number = {id(value): place for place, node in enumerate(nodes) for value in node.outputs}
    sources = [
        {number[id(value)] for value in (*node.inputs(), *(case.condition for case in needs[id(node)]))
         if id(value) in number}
        for node in nodes
    ]  # fmt: skip
    readers: list[list[int]] = [[] for _ in nodes]
    for place, read in enumerate(sources):
        for source in read:
            readers[source].append(place)
    waiting = [len(read) for read in sources]
    ready: dict[Cases, list[int]] = {}
    last = _ALWAYS

    def free(places: Iterable[int]) -> None:
        for place in places:
            if not waiting[place]:
                heapq.heappush(ready.setdefault(needs[id(nodes[place])], []), place)

    free(range(len(nodes)))
    found: list[Node] = []
    while any(ready.values()):
        if not (last and ready.get(last)):
            last = min((queue[0], cases) for cases, queue in ready.items() if queue)[1]
        place = heapq.heappop(ready[last])
        found.append(nodes[place])
        for reader in readers[place]:
            waiting[reader] -= 1
        free(readers[place])
    return found


_CHOICES = ("aten.where.self", "aten.where.ScalarOther", "aten.where.ScalarSelf")
_SAME_ELEMENT = (
    *COPIES, "aten.unsqueeze.default", "aten.view.default", "aten.reshape.default", "aten.expand.default",
    "aten.select.int", "aten.squeeze.default", "aten.squeeze.dim", "aten.slice.Tensor", "aten.transpose.int",
    "aten.permute.default",
)  # fmt: skip
"""Operators that give a single element other axes, or repeat it."""
