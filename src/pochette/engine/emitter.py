"""From a captured step graph to C99: each operator writes its own statements, memory is planned, weights are packed.

The generated engine holds everything in one struct of constant size that the caller owns: state, one frame of audio,
and a scratch arena in which every computed value has its place for as long as it is needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from pochette.engine.convolve import Filter, convolve, in_fewer_bits, spread
from pochette.engine.fusion import Cluster, clusters_of
from pochette.engine.guards import Case, Guards
from pochette.engine.histories import History, find_histories
from pochette.engine.layout import VIEWS, absorb, by_rows, view_of
from pochette.engine.loops import Step
from pochette.engine.memory import Buffer, state_name
from pochette.engine.reduced import Reduced
from pochette.engine.views import View, row_major
from pochette.engine.weights import LANES
from pochette.engine.writer import Writer, ordered
from pochette.graph.graph import Graph, Node, Value
from pochette.graph.operator import Operator, Part, description_of

__all__ = ["LANES", "Buffer", "Emitter", "group_of_nodes", "state_name"]


@dataclass
class Emitter(Writer):
    """Collects the statements, weights and memory of one engine while the operators of its graph write themselves.

    Operators call `ref` or `view` for where a value lies, `line`, `call` and `loop` to write statements, `packed`,
    `padded` and `constant` for weights, `scratch` for working memory, and `need` for a kernel header.
    """

    roomy: bool = False
    """Whether memory is plenty: histories then are moved more rarely."""
    reduced: Reduced = field(default_factory=lambda: Reduced("float32"))
    """Stores matrices in fewer bits."""
    guards: Guards = field(default_factory=Guards)
    """What of the graph need not always be computed."""
    histories: dict[int, History] = field(default_factory=dict)
    """Id of a concatenation's node to the line of memory in whose place it stands."""
    sane: set[int] = field(default_factory=set)
    """Ids of values that are states' memory and take in nothing but what was cleaned."""
    _uses: Counter[int] = field(default_factory=Counter)
    _makers: dict[int, Node] = field(default_factory=dict)
    """Id of a value to the node that made it."""
    _made_in: dict[int, str] = field(default_factory=dict)
    """Id of a value to the group of the node that made it."""
    _clusters: dict[int, Cluster] = field(default_factory=dict)
    _doubled: set[str] = field(default_factory=set)
    """Where blocks that are written twice begin, of which the loop that made them has done so."""

    def __post_init__(self) -> None:
        for node in self.graph.nodes:
            self._uses.update(id(value) for value in (*node.inputs(), *self._read_beside(node)))
            self._makers.update((id(value), node) for value in node.outputs)
        self._uses.update(id(value) for value in [*self.graph.outputs, *self.graph.mutations.values()])

    def is_used(self, value: Value) -> bool:
        """Whether anything reads it."""
        return self._uses[id(value)] > 0

    def _prepare(self, groups: dict[int, str]) -> list[Node]:
        """Compute what is constant, and decide what is computed together and where it lies.

        Args:
            groups: id of a node to the name of the part it belongs to.

        Returns:
            nodes that remain.
        """
        nodes = []
        for node in self.graph.nodes:
            self._node = node
            if all(value.kind in ("parameter", "constant") for value in node.inputs()):
                self._fold(node)
            else:
                nodes.append(node)
        rest = replace(self.graph, nodes=nodes)
        parts = {id(node): (groups.get(id(node)), self.guards.cases(node)) for node in nodes}
        absorbed = self._absorbed = absorb(rest, lambda node: not self._is_link(node), self._in_windows, parts)
        apart = absorbed.skipped | absorbed.overlaps.keys()
        self._clusters = clusters_of(
            rest,
            lambda node: id(node) not in apart and self._is_link(node),
            parts,
            self._read_beside,
        )
        self._rows = by_rows(rest, self._in_windows)
        self.histories = find_histories(
            rest, state_name, lambda value: id(value) in self._rows, self.guards.kept, roomy=self.roomy
        )
        for join in self.histories.values():
            block = join.node.args[0][1]
            if block.kind == "computed" and id(block) not in self._views:
                self._views[id(block)] = join.block
        kept = {id(join.state) for join in self.histories.values()}
        for state in self.graph.of_kind("state"):
            if id(state) in self._rows and id(state) not in kept and len(state.shape) == 3:
                order = (0, 2, 1)
                self._views[id(state)] = View(f"s->{state_name(state)}", 0, ordered(state.shape, order))
        self._follow_views(nodes)
        return nodes

    def _in_windows(self, node: Node) -> bool:
        """Whether a convolution's weights are stored in fewer bits."""
        weight, groups = node.args[1], node.args[8 if node.op == "aten.convolution.default" else 6]
        known = weight.kind in ("parameter", "constant") and len(weight.shape) == 3
        return known and in_fewer_bits(weight, groups, self)

    def _is_link(self, node: Node) -> bool:
        """Whether a node may stand in a loop with others."""
        return len(node.outputs) == 1 and description_of(node).chain(node, self) is not None

    def _follow_views(self, nodes: Sequence[Node]) -> None:
        """Note whose memory each view is, and which node reads that memory last."""
        for number, node in enumerate(nodes):
            inputs = [*node.inputs(), *self._read_beside(node)]
            cluster = self._clusters.get(id(node))
            when = number if cluster is None else cluster.anchor
            for value in inputs:
                whose = id(self._origin.get(id(value), value))
                self._last_read[whose] = max(when, self._last_read.get(whose, -1))
            if (description_of(node).view or node.op in VIEWS) and inputs:
                for output in node.outputs:
                    self._origin[id(output)] = self._origin.get(id(inputs[0]), inputs[0])
        for value in (*self.graph.outputs, *self.graph.mutations.values()):
            self._last_read[id(self._origin.get(id(value), value))] = len(nodes)

    def run(self, groups: dict[int, str]) -> None:
        """Let every node write itself.

        Args:
            groups: id of a node to the name of the part it belongs to.
        """
        nodes = self._prepare(groups)
        for self._number, node in enumerate(nodes):
            self._node, self.group, self.guard = node, groups.get(id(node), ""), self._heads(self.guards.cases(node))
            self._made_in.update((id(value), self.group) for value in node.outputs)
            cluster = self._clusters.get(id(node))
            if cluster is not None and cluster.anchor != self._number:
                continue
            self.line(_comment(node if cluster is None else cluster.nodes))
            written = len(self.lines)
            try:
                self._write(node, cluster)
            except (ArithmeticError, ValueError, IndexError, RuntimeError):
                self._check_sizes(node)
                raise
            if len(self.lines) == written:
                self.lines.pop()
        self.guard = ()

    def _read_beside(self, node: Node) -> list[Value]:
        """What is read for a node besides its own arguments: what it adds by the way, and what is asked before it."""
        added = self._absorbed.reads.get(id(node))
        return [*([] if added is None else [added]), *(case.condition for case in self.guards.cases(node))]

    def _heads(self, cases: Sequence[Case]) -> tuple[str, ...]:
        """The `if`s in which something stands that is needed in some cases only."""
        heads = []
        for case in cases:
            made_by, address = self._makers[id(case.condition)], self.view(case.condition).at()
            test, holds = ("!=", "holds") if case.holds else ("==", "does not hold")
            said = f"only where {made_by.layer or 'step'}: {made_by.op.split('.')[1]} {holds} is what follows read"
            heads.append(f"if (*({address}) {test} 0.0f) {{ /* {said} */")
        return tuple(heads)

    def _check_sizes(self, node: Node) -> None:
        """Refuse a node that has something without elements among what it reads and makes."""
        for value in (*node.inputs(), *node.outputs):
            if not value.size:
                self.refuse(f"{node.op.split('.')[1]} with {value.path or value.name} of the shape {list(value.shape)}")

    def _write(self, node: Node, cluster: Cluster | None) -> None:
        """Write one node, or the loop that stands in its place."""
        if id(node) in self._absorbed.skipped or not any(value.size for value in node.outputs):
            return
        if cluster is not None:
            self._write_cluster(cluster)
        elif id(node) in self._absorbed.overlaps:
            signal, short, start = self._absorbed.overlaps[id(node)]
            self.lay(node.output, self.view(signal))
            stretch = self.view(signal).moved(-1, start)
            step = Step("t0", "x0 + x1")
            self.loop(short.shape, {"x0": self.view(short), "x1": stretch}, [step], [(stretch, "t0")])
        elif id(node) in self.histories:
            self._append(self.histories[id(node)])
        elif not view_of(node, self):
            self._write_by(description_of(node), node)

    def _write_by(self, operator: Operator, node: Node) -> None:
        """Write one node by its operator, unless that would take complex numbers for real ones."""
        if not operator.of_complex and any(value.dtype.is_complex for value in (*node.inputs(), *node.outputs)):
            self.refuse(f"{node.op.split('.')[1]} of complex numbers")
        operator.emit(node, self)

    def _write_cluster(self, cluster: Cluster) -> None:
        """Write a loop; what only the loop itself reads stays in registers."""
        inside = Counter(id(value) for node in cluster.nodes for value in node.inputs())
        made = {id(node.output): f"t{number}" for number, node in enumerate(cluster.nodes)}
        shape = cluster.nodes[-1].output.shape
        reads: dict[str, View] = {}
        steps, scalar = [], False
        for node in cluster.nodes:
            chain = description_of(node).chain(node, self)
            assert chain is not None
            names = [made.get(id(operand)) or self._operand(operand, shape, reads) for operand in chain.operands]
            steps.append(Step(made[id(node.output)], chain.expression(*names)))
            scalar |= chain.scalar
        results = [node.output for node in cluster.nodes if self._uses[id(node.output)] > inside[id(node.output)]]
        like = [view for view in reads.values() if 0 not in view.strides]
        writes = [(self.made(value, like[0] if like else None), made[id(value)]) for value in results]
        doubles = {history.block: history for history in self.histories.values() if history.twice}
        for view, name in tuple(writes):
            if view in doubles:
                writes.append((doubles[view].double, name))
                self._doubled.add(view.base)
        self.loop(shape, reads, steps, writes, scalar=scalar)

    def _operand(self, operand: Any, shape: tuple[int, ...], reads: dict[str, View]) -> str:
        """Name of an operand within a loop; what is read from memory is noted."""
        if isinstance(operand, str):
            return operand
        if isinstance(operand, Part):
            view = self.view(operand.value)
            if operand.strides is None:
                view = view.moved(-1, operand.start)
            else:
                view = view.restrided(operand.start, operand.strides)
        else:
            view = self.view(operand).broadcast(operand.shape, shape)
        for name, known in reads.items():
            if known == view:
                return name
        name = f"x{len(reads)}"
        reads[name] = view
        return name

    def convolve(
        self, x: Value, out: Value, weight: Value, bias: Value | None, stride: int, padding: int, dilation: int,
        groups: int, *, transposed: bool,
    ) -> None:  # fmt: skip
        """Write a convolution over the last axis, or the transposed one; see `convolve.Filter` for the shapes."""
        (spread if transposed else convolve)(Filter(x, out, weight, bias, stride, padding, dilation, groups), self)

    def _append(self, history: History) -> None:
        """Let a concatenation stand in its history; the new block is copied there unless it was made there."""
        block = history.node.args[0][1]
        if self._views.get(id(block)) != history.block:
            self.assign(history.block, self.view(block), block.shape)
        if history.twice and history.block.base not in self._doubled:
            self.assign(history.double, history.block, block.shape)
        self._views[id(history.node.output)] = history.whole

    def carry(self) -> None:
        """Write the new state over the old, after everything else that reads the old one."""
        self._node, graph = None, self.graph
        kept = {id(history.state) for history in self.histories.values()}
        changed = {path: value for path, value in graph.mutations.items() if id(graph.stored[path]) not in kept}
        states = {self.view(graph.stored[path]).base for path in changed if graph.stored[path].dtype.is_floating_point}
        # The state of a gated layer cannot run away, nor hold what is no number: its gates clamp what they are given.
        bounded = {id(value) for node in self.graph.nodes if node.op in _BOUNDED for value in node.outputs}
        kept_unless = {path: [case] if (case := self.guards.kept.get(path)) else [] for path in changed}
        sources = {}
        for path, value in changed.items():
            if not value.dtype.is_floating_point:
                continue
            self.guard = self._heads(kept_unless[path])
            state, view = graph.stored[path], self.view(value)
            if view.base in states and view != self.view(state):
                # A state that takes over another one's old value (a line of delays) must not find it overwritten.
                view = View(self.scratch(value.size), 0, row_major(value.shape))
                self.assign(view, self.view(value), value.shape)
            sources[path] = view
        for path, value in changed.items():
            state = graph.stored[path]
            # A part that is left out of a build must not hand on what it did not make.
            self.group, self.guard = self._made_in.get(id(value), ""), self._heads(kept_unless[path])
            if value.dtype.is_floating_point:
                self.assign(self.view(state), sources[path], value.shape)
                if id(value) not in bounded | self.sane:
                    place = f"s->{state_name(state)}"
                    self.line(f"pc_clean({place}, {place}, {value.size});")
            else:
                self.copy_integers(state, value)
        self.group, self.guard = "", ()
        for history in self.histories.values():
            self.need("pc_simd.h")
            self.line(history.advance())

    def _fold(self, node: Node) -> None:
        """Compute a node of constants now instead of at every frame."""
        packet, name, overload = node.op.split(".")
        function = getattr(getattr(getattr(torch.ops, packet), name), overload)
        tensors = self.graph.tensors
        if torch.Tag.nondeterministic_seeded in function.tags:
            self.refuse("random numbers of torch; `layers.generator.uniform_noise` is the same everywhere")
        args = [self._now(arg) for arg in node.args]
        names = [argument.name for argument in function._schema.arguments]
        positional = [a for a, s in zip(args, function._schema.arguments, strict=True) if not s.kwarg_only]
        keyword = {n: a for n, a, s in zip(names, args, function._schema.arguments, strict=True) if s.kwarg_only}
        result = function(*positional, **keyword)
        for value, made in zip(node.outputs, [result] if isinstance(result, torch.Tensor) else result, strict=True):
            value.kind, value.path = "constant", f"folded.{value.name}"
            tensors[value.path] = made.detach()
            self.graph.stored[value.path] = value

    def _now(self, arg: Any) -> Any:
        if isinstance(arg, (list, tuple)):
            return [self._now(item) for item in arg]
        return self.graph.tensors[arg.path] if isinstance(arg, Value) else arg


def _comment(node: Node | list[Node]) -> str:
    """What a node does, or several in one loop, for the reader of the C."""
    if isinstance(node, list):
        names = ", ".join(each.op.split(".")[1] for each in node)
        return f"/* {node[-1].layer or 'step'}: {names} {list(node[-1].output.shape)} */"
    shapes = " ".join(str(list(value.shape)) for value in node.inputs() if value.kind in ("computed", "input", "state"))
    made = " ".join(str(list(value.shape)) for value in node.outputs)
    return f"/* {node.layer or 'step'}: {node.op.split('.')[1]} {shapes} -> {made} */"


def group_of_nodes(graph: Graph, guards: Guards | None = None) -> dict[int, str]:
    """Part of the model each node belongs to: "network" for the learnt part and what prepares its inputs.

    A model keeps what is learnt and trimmed in a submodule called `network`; nodes that some node of it needs count
    with it, everything else is synthesis.

    Args:
        graph: of a `Step`.
        guards: what is asked before nodes are computed counts with the network, from call to call; None for nothing.

    Returns:
        id of a node to "network" or "synthesis".
    """
    inside = {id(node) for node in graph.nodes if ".network" in f".{node.layer}"}
    needed: set[int] = set() if guards is None else guards.clockwork(graph)
    groups: dict[int, str] = {}
    for node in reversed(graph.nodes):
        belongs = id(node) in inside or any(id(value) in needed for value in node.outputs)
        groups[id(node)] = "network" if belongs else "synthesis"
        if belongs:
            needed.update(id(value) for value in node.inputs())
    return groups


_BOUNDED = (
    "aten.gru.input",
    "aten.gru_cell.default",
    "aten.lstm.input",
    "aten.lstm_cell.default",
    "aten.rnn_tanh.input",
    "aten.rnn_tanh_cell.default",
)
"""Operators whose kernels keep every state finite, whatever they are given."""
