"""From a captured step graph to C99: each operator writes its own statements, memory is planned, weights are packed.

The generated engine holds everything in one struct of constant size that the caller owns: state, one frame of audio,
and a scratch arena in which every computed value has its place for as long as it is needed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pochette.engine import packing
from pochette.engine.convolve import Filter, convolve, spread
from pochette.engine.fusion import Cluster, clusters_of
from pochette.engine.histories import History, find_histories
from pochette.engine.layout import VIEWS, Absorbed, absorbed_sums, by_rows, view_of
from pochette.engine.loops import Step, write_loop
from pochette.engine.views import View, is_row_major, row_major
from pochette.errors import ExportError
from pochette.graph.graph import Graph, Node, Value
from pochette.graph.operator import Part, description_of

LANES = packing.ROWS
"""Buffers and weights begin at multiples of so many floats, a cache line."""
FloatArray = npt.NDArray[np.float32]


@dataclass
class Buffer:
    """A stretch of the scratch arena, alive from its first to its last statement."""

    size: int
    first: int
    last: int
    offset: int = 0


@dataclass
class Emitter:
    """Collects the statements, weights and memory of one engine while the operators of its graph write themselves.

    Operators call `ref` for a value's address, `line` to write a statement, `packed`, `padded` and `constant` for
    weights, `scratch` for working memory, and `need` for a kernel header.
    """

    graph: Graph
    names: dict[int, str] = field(default_factory=dict)
    """Id of an input to the C name of the array it comes in."""
    roomy: bool = False
    """Whether memory is plenty: histories then are moved more rarely."""
    lines: list[tuple[str, str]] = field(default_factory=list)
    """(group, statement); addresses in the arena are still symbols."""
    headers: list[str] = field(default_factory=list)
    weights: list[FloatArray] = field(default_factory=list)
    buffers: list[Buffer] = field(default_factory=list)
    integers: dict[str, int] = field(default_factory=dict)
    """Names and lengths of local unsigned integer arrays."""
    _places: dict[int, tuple[str, int]] = field(default_factory=dict)
    _shared: dict[Any, str] = field(default_factory=dict)
    _weight_count: int = 0
    _uses: Counter[int] = field(default_factory=Counter)
    _origin: dict[int, Value] = field(default_factory=dict)
    """Id of a view to the value whose memory it shares."""
    _last_read: dict[int, int] = field(default_factory=dict)
    """Id of a value to the number of the last node that reads it or a view of it."""
    _number: int = 0
    _node: Node | None = None
    _made_in: dict[int, str] = field(default_factory=dict)
    """Id of a value to the group of the node that made it."""
    group: str = ""
    histories: dict[int, History] = field(default_factory=dict)
    """Id of a concatenation's node to the line of memory in whose place it stands."""
    _views: dict[int, View] = field(default_factory=dict)
    """Id of a value to where it lies, if not row by row in a place of its own."""
    _clusters: dict[int, Cluster] = field(default_factory=dict)
    _absorbed: Absorbed = field(default_factory=Absorbed)
    _rows: frozenset[int] = frozenset()
    """Ids of values whose channels lie side by side."""
    functions: dict[str, str] = field(default_factory=dict)
    """Name of a kernel with all its sizes filled in to its text."""

    def __post_init__(self) -> None:
        for node in self.graph.nodes:
            self._uses.update(id(value) for value in node.inputs())
        self._uses.update(id(value) for value in [*self.graph.outputs, *self.graph.mutations.values()])

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
        absorbed = self._absorbed = absorbed_sums(rest, lambda node: not self._is_link(node))
        apart = absorbed.skipped | absorbed.overlaps.keys()
        self._clusters = clusters_of(
            rest, lambda node: id(node) not in apart and self._is_link(node), groups, absorbed.reads
        )
        self._rows = by_rows(rest)
        self.histories = find_histories(rest, state_name, lambda value: id(value) in self._rows, roomy=self.roomy)
        for join in self.histories.values():
            block = join.node.args[0][1]
            if block.kind == "computed" and id(block) not in self._views:
                self._views[id(block)] = join.block
        kept = {id(join.state) for join in self.histories.values()}
        for state in self.graph.of_kind("state"):
            if id(state) in self._rows and id(state) not in kept and len(state.shape) == 3:
                order = (0, 2, 1)
                self._views[id(state)] = View(f"s->{state_name(state)}", 0, _ordered(state.shape, order))
        self._follow_views(nodes)
        return nodes

    def _is_link(self, node: Node) -> bool:
        """Whether a node may stand in a loop with others."""
        return len(node.outputs) == 1 and description_of(node).chain(node, self) is not None

    def _follow_views(self, nodes: Sequence[Node]) -> None:
        """Note whose memory each view is, and which node reads that memory last."""
        for number, node in enumerate(nodes):
            inputs = list(node.inputs())
            if id(node) in self._absorbed.reads:
                inputs.append(self._absorbed.reads[id(node)])
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

    # -- what operators ask for ------------------------------------------------------------------------------------

    def ref(self, value: Value | None, offset: int = 0) -> str:
        """C expression of the address of a value's element.

        Args:
            value: any value of the graph.
            offset: flat index of the element.

        Returns:
            an expression of type `float *`, or `uint32_t *` for whole numbers.
        """
        assert value is not None
        base, start = self._place(value)
        start += offset
        return f"{base} + {start}" if start else base

    def ref_or_null(self, value: Value | None) -> str:
        """The same, or `0` where there is no value."""
        return "0" if value is None else self.ref(value)

    def alias(self, view: Value, source: Value, offset: int) -> None:
        """Let a value share another's memory."""
        base, start = self._place(source)
        self._places[id(view)] = (base, start + offset)

    def view(self, value: Value) -> View:
        """Where a value lies, whether row by row or not."""
        if id(value) in self._views:
            return self._views[id(value)]
        base, start = self._place(value)
        return View(base, start, row_major(value.shape))

    def as_laid(self, value: Value, numbers: FloatArray) -> FloatArray:
        """Numbers in the order in which a value without gaps has them in memory."""
        order = sorted(range(len(value.shape)), key=lambda axis: -self.view(value).strides[axis])
        return np.ascontiguousarray(numbers.transpose(order))

    def lay(self, value: Value, view: View) -> None:
        """Let a value lie in some memory."""
        self._views[id(value)] = view

    def made(self, value: Value, like: View | None = None) -> View:
        """Where a value goes that is computed now: where its reader wants it, or in memory of its own.

        Args:
            value: computed by this node.
            like: of the same shape; the order of whose axes is kept.

        Returns:
            its memory.
        """
        if id(value) in self._views or id(value) in self._places:
            return self.view(value)
        order = sorted(range(len(value.shape)), key=lambda axis: -like.strides[axis] if like else axis)
        if self.wants_rows(value) and len(value.shape) == 3:
            like, order = View("", 0, ()), [0, 2, 1]
        if like is None or is_row_major(View("", 0, _ordered(value.shape, order)), value.shape):
            return self.view(value)
        self._views[id(value)] = View(self.scratch(value.size), 0, _ordered(value.shape, order))
        return self._views[id(value)]

    def is_laid(self, value: Value) -> bool:
        """Whether it is decided already where a value lies, if not row by row."""
        return id(value) in self._views

    def unlay(self, value: Value) -> None:
        """Take back where a value was to lie."""
        del self._views[id(value)]

    def convolve(
        self, x: Value, out: Value, weight: Value, bias: Value | None, stride: int, padding: int, dilation: int,
        groups: int, *, transposed: bool,
    ) -> None:  # fmt: skip
        """Write a convolution over the last axis, or the transposed one; see `convolve.Filter` for the shapes."""
        (spread if transposed else convolve)(Filter(x, out, weight, bias, stride, padding, dilation, groups), self)

    def wants_rows(self, value: Value) -> bool:
        """Whether a value's channels are to lie side by side."""
        return id(value) in self._rows

    def added_to(self, value: Value) -> tuple[Value, Value | None]:
        """What a result is to become by one addition that its maker does by the way.

        Args:
            value: computed by this node.

        Returns:
            the sum and what is added; the value itself and None where there is no such addition.
        """
        return self._absorbed.sums.get(id(value), (value, None))

    def assign(self, target: View, source: View, shape: Sequence[int]) -> None:
        """Write a copy between memory of any strides."""
        if target != source:
            self.loop(shape, {"x0": source}, [], [(target, "x0")])

    def loop(
        self, shape: Sequence[int], reads: dict[str, View], steps: Sequence[Step], writes: Sequence[tuple[View, str]],
        *, scalar: bool = False,
    ) -> None:  # fmt: skip
        """Write one loop over all elements of a shape; see `loops.write_loop`."""
        self.need("pc_simd.h")
        size = prod(shape)
        if size:
            filled = all(self._filled(view, size) for view in [*reads.values(), *(view for view, _ in writes)])
            self.line(write_loop(shape, reads, steps, writes, filled=filled, scalar=scalar))

    def _filled(self, view: View, size: int) -> bool:
        """Whether memory of so many floats in a row may be read and written up to the next whole vector."""
        if view.base.startswith("@"):
            return view.start == 0 and self.buffers[int(view.base[1:-1])].size in (size, self.rounded(size))
        state = any(
            view.base == f"s->{state_name(state)}" and state.size == size for state in self.graph.of_kind("state")
        )
        return not any(view.strides) or (state and view.start == 0)

    def is_used(self, value: Value) -> bool:
        """Whether anything reads it."""
        return self._uses[id(value)] > 0

    def line(self, statement: str) -> None:
        """Write a statement; arena symbols in it are alive here."""
        for symbol in re.findall(r"@(\d+)@", statement):
            self.buffers[int(symbol)].last = len(self.lines)
        self.lines.append((self.group, statement))

    def copy(self, target: str, source: str, length: int) -> None:
        """Write a copy of floats."""
        if target != source and length:
            self.need("pc_simd.h")
            self.line(f"pc_move({target}, {source}, {length});")

    def copy_integers(self, target: Value, source: Value) -> None:
        """Write a copy of phases or counters."""
        for index in range(source.size):
            self.line(f"({self.ref(target)})[{index}] = ({self.ref(source)})[{index}];")

    def call(
        self, kernel: str, written: int, pointers: Sequence[str], sizes: Sequence[int | str], loose: Sequence[int] = ()
    ) -> None:
        """Write a call of a kernel with fixed sizes, as a function of its own that all calls of these sizes share.

        Args:
            kernel: name of an inline function that takes pointers and then sizes.
            written: how many of the pointers, the first ones, it writes through.
            pointers: addresses.
            sizes: numbers, or C constants.
            loose: numbers that may differ from call to call; the kernel takes them between the two.
        """
        name = "_".join([kernel.removeprefix("pc_"), *(re.sub(r"\W", "_", str(size)) for size in sizes)])
        if name not in self.functions:
            letters = [f"p{i}" for i in range(len(pointers))]
            kinds = ["float *" if i < written else "const float *" for i in range(len(pointers))]
            steps = [f"n{i}" for i in range(len(loose))]
            takes = ", ".join(
                [
                    *(kind + letter for kind, letter in zip(kinds, letters, strict=True)),
                    *(f"int {step}" for step in steps),
                ]
            )
            given = ", ".join([*letters, *steps, *map(str, sizes)])
            self.functions[name] = f"PC_KERNEL void {name}({takes})\n{{\n    {kernel}({given});\n}}"
        self.line(f"{name}({', '.join([*pointers, *map(str, loose)])});")

    def own(self, value: Value, extra: int = 0) -> None:
        """Give a value memory of its own with room behind it, unless it has a place already.

        Args:
            value: computed by this node.
            extra: floats behind its last element that a kernel may write.
        """
        if id(value) not in self._places:
            self._places[id(value)] = (self.scratch(value.size + extra), 0)

    def has_room(self, value: Value, offset: int, length: int) -> bool:
        """Whether so many floats from an element on may be read, though some belong to nobody."""
        base, start = self._place(value)
        if base.startswith("@"):
            size = self.rounded(self.buffers[int(base[1:-1])].size)
        elif base.startswith("s->"):
            size = next(
                self.rounded(state.size) for state in self.graph.of_kind("state") if f"s->{state_name(state)}" == base
            )
        else:
            return base.startswith("weights")
        return start + offset + length <= size

    def is_scratch(self, value: Value) -> bool:
        """Whether a value lies in the arena, where kernels may write up to the next multiple of 16 floats."""
        return self._place(value)[0].startswith("@")

    def replaces(self, value: Value, state: Value) -> bool:
        """Let a value be computed in the very memory of the state that it becomes, if nothing else reads that later.

        Args:
            value: computed by this node.
            state: read by this node.

        Returns:
            whether it could be done; the two then have the same address.
        """
        path = next((path for path, new in self.graph.mutations.items() if new is value), None)
        source = self._origin.get(id(state), state)
        if (
            id(source) in self._views
            or path is None
            or source is not self.graph.stored.get(path)
            or id(value) in self._places
        ):
            return False
        if self._last_read.get(id(source), -1) > self._number or self._place(state) != self._place(source):
            return False
        self._places[id(value)] = self._place(source)
        return True

    def vector(self, value: Value, offset: int, length: int) -> str:
        """Address of a stretch of a value that may be read up to the next multiple of 16 floats, copied if need be."""
        if self.has_room(value, offset, self.rounded(length)):
            return self.ref(value, offset)
        room = self.scratch(self.rounded(length))
        self.copy(room, self.ref(value, offset), length)
        return room

    def working(self, new: Value, old: Value, offset: int, length: int) -> str:
        """Address of a stretch of an old value, to be worked upon until it is the new one.

        Args:
            new: what it becomes; where it is the state itself, so is the address.
            old: what it is.
            offset: of the stretch in both.
            length: of the stretch; up to the next multiple of 16 floats more may be written.

        Returns:
            the address.
        """
        if length == new.size and self.replaces(new, old):
            return self.ref(new)
        room = self.scratch(self.rounded(length))
        self.copy(room, self.ref(old, offset), length)
        return room

    def scratch(self, floats: int) -> str:
        """Working memory for the statements about to be written; its address."""
        self.buffers.append(Buffer(floats, len(self.lines), len(self.lines)))
        return f"@{len(self.buffers) - 1}@"

    def need(self, header: str) -> None:
        """Include a kernel header."""
        if header not in self.headers:
            self.headers.append(header)

    def constant(self, array: npt.ArrayLike) -> str:
        """Store numbers among the weights; their address. Equal arrays are stored once."""
        data = np.ascontiguousarray(array, np.float32).ravel()
        key = ("constant", data.tobytes())
        if key not in self._shared:
            # Blocks start at multiples of 16 floats, a cache line.
            padded = np.pad(data, (0, -len(data) % LANES))
            self._shared[key] = f"weights + {self._weight_count}" if self._weight_count else "weights"
            self.weights.append(padded)
            self._weight_count += len(padded)
        return self._shared[key]

    def packed(self, weight: Value) -> str:
        """Store a matrix in blocks of `LANES` rows, column by column, the last block filled up with zeros."""
        return self.constant(packing.pack_rows(self.tensor(weight), LANES))

    def padded(self, vector: Value | None, length: int) -> str:
        """Store a vector filled up with zeros to whole blocks; zeros where there is none."""
        return self.padded_numbers(np.zeros(length, np.float32) if vector is None else self.tensor(vector))

    def padded_numbers(self, vector: FloatArray) -> str:
        """Store numbers filled up with zeros to whole blocks."""
        flat = vector.ravel()
        return self.constant(packing.filled(flat, self.rounded(len(flat))))

    def packed_whole(self, weight: Value) -> str:
        """Store a matrix in one block, column by column; its address."""
        matrix = self.tensor(weight)
        return self.constant(packing.pack_rows(matrix, self.rounded(len(matrix))))

    def packed_blocks(self, weight: Value) -> tuple[str, int]:
        """Store a matrix in blocks of as many rows as are best made at once.

        Args:
            weight: (row, column).

        Returns:
            its address and the rows of a block.
        """
        matrix = self.tensor(weight).reshape(-1, weight.shape[-1])
        block = packing.block_rows(len(matrix))
        return self.constant(packing.pack_rows(matrix, block)), block

    def packed_gates(self, w_input: Value, w_state: Value, biases: FloatArray, gates: int) -> str:
        """Store a recurrent layer as `packing.pack_gates` lays it out; its address."""
        return self.constant(packing.pack_gates(self.tensor(w_input), self.tensor(w_state), biases, gates))

    @staticmethod
    def rounded(length: int) -> int:
        """Length in whole blocks."""
        return packing.rounded(length)

    @staticmethod
    def number(value: float | int | None) -> str:
        """A C float literal."""
        return _literal(float(0 if value is None else value))

    def tensor(self, value: Value) -> FloatArray:
        """The numbers of a stored tensor."""
        data: FloatArray = self.graph.tensors[value.path].detach().cpu().numpy()
        return data

    def refuse(self, what: str) -> None:
        """Stop, because the C cannot do this.

        Args:
            what: it cannot do.

        Raises:
            ExportError: always.
        """
        node = self._node
        raise ExportError(
            f"The engine cannot do {what}.",
            where=f"{node.op} in {node.layer or 'the outermost module'}" if node else "",
            remedy="Write the model without it, or describe it in a file of pochette/graph/ops.",
        )

    # -- the walk --------------------------------------------------------------------------------------------------

    def run(self, groups: dict[int, str]) -> None:
        """Let every node write itself.

        Args:
            groups: id of a node to the name of the part it belongs to.
        """
        nodes = self._prepare(groups)
        for self._number, node in enumerate(nodes):
            self._node, self.group = node, groups.get(id(node), "")
            self._made_in.update((id(value), self.group) for value in node.outputs)
            cluster = self._clusters.get(id(node))
            if cluster is not None and cluster.anchor != self._number:
                continue
            self.line(_comment(node if cluster is None else cluster.nodes))
            written = len(self.lines)
            self._write(node, cluster)
            if len(self.lines) == written:
                self.lines.pop()

    def _write(self, node: Node, cluster: Cluster | None) -> None:
        """Write one node, or the loop that stands in its place."""
        if id(node) in self._absorbed.skipped:
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
            description_of(node).emit(node, self)

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

    def _append(self, history: History) -> None:
        """Let a concatenation stand in its history; the new block is copied there unless it was made there."""
        block = history.node.args[0][1]
        if self._views.get(id(block)) != history.block:
            self.assign(history.block, self.view(block), block.shape)
        self._views[id(history.node.output)] = history.whole

    def carry(self) -> None:
        """Write the new state over the old, after everything else that reads the old one."""
        self._node, graph = None, self.graph
        kept = {id(history.state) for history in self.histories.values()}
        changed = {path: value for path, value in graph.mutations.items() if id(graph.stored[path]) not in kept}
        states = {self.view(graph.stored[path]).base for path in changed if graph.stored[path].dtype.is_floating_point}
        sources = {}
        for path, value in changed.items():
            if not value.dtype.is_floating_point:
                continue
            state, view = graph.stored[path], self.view(value)
            if view.base in states and view != self.view(state):
                # A state that takes over another one's old value (a line of delays) must not find it overwritten.
                view = View(self.scratch(value.size), 0, row_major(value.shape))
                self.assign(view, self.view(value), value.shape)
            sources[path] = view
        for path, value in changed.items():
            state = graph.stored[path]
            # A part that is left out of a build must not hand on what it did not make.
            self.group = self._made_in.get(id(value), "")
            if value.dtype.is_floating_point:
                self.assign(self.view(state), sources[path], value.shape)
            else:
                self.copy_integers(state, value)
        self.group = ""
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
        value = node.output
        value.kind, value.path = "constant", f"folded.{value.name}"
        tensors[value.path] = result.detach()
        self.graph.stored[value.path] = value

    def _now(self, arg: Any) -> Any:
        if isinstance(arg, (list, tuple)):
            return [self._now(item) for item in arg]
        return self.graph.tensors[arg.path] if isinstance(arg, Value) else arg

    def _place(self, value: Value) -> tuple[str, int]:
        if id(value) not in self._places and id(value) in self._views:
            view = self._views[id(value)]
            if is_row_major(view, value.shape):
                return view.base, view.start
            # Somebody wants it row by row: a copy serves all who do.
            target = View(self.scratch(value.size), 0, row_major(value.shape))
            self._places[id(value)] = (target.base, 0)
            self.assign(target, view, value.shape)
        if id(value) not in self._places:
            self._places[id(value)] = (self._new_place(value), 0)
        return self._places[id(value)]

    def _new_place(self, value: Value) -> str:
        if value.kind == "state":
            return f"s->{state_name(value)}"
        if value.kind == "input":
            return self.names.get(id(value), value.name)
        if value.kind in ("parameter", "constant"):
            return self.constant(self.tensor(value))
        if value.dtype in (torch.int64, torch.int32):
            name = f"n{len(self.integers)}"
            self.integers[name] = value.size
            return name
        return self.scratch(value.size)

    # -- memory ----------------------------------------------------------------------------------------------------

    def plan(self) -> int:
        """Give every buffer an offset such that no two that are alive together overlap.

        Largest first, each at the lowest place that is free for its whole life: the usual greedy plan, whose peak is
        within a few per cent of the best on such graphs.

        Returns:
            size of the arena in floats.
        """
        placed: list[Buffer] = []
        for buffer in sorted(self.buffers, key=lambda b: -b.size):
            rivals = sorted(
                (b for b in placed if b.first <= buffer.last and buffer.first <= b.last), key=lambda b: b.offset
            )
            offset = 0
            for rival in rivals:
                if offset + buffer.size <= rival.offset:
                    break
                offset = max(offset, rival.offset + self.rounded(rival.size))
            buffer.offset = offset
            placed.append(buffer)
        return max((b.offset + self.rounded(b.size) for b in placed), default=0)

    def statements(self) -> list[tuple[str, str]]:
        """The statements with their addresses, as (group, line)."""

        def address(match: re.Match[str]) -> str:
            offset = self.buffers[int(match[1])].offset
            return f"s->arena + {offset}" if offset else "s->arena"

        return [(group, re.sub(r"@(\d+)@", address, line)) for group, line in self.lines]


def _ordered(shape: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
    """Strides of memory without gaps whose axes stand in an order, the slowest first."""
    strides, step = [0] * len(shape), 1
    for axis in reversed(order):
        strides[axis] = step
        step *= shape[axis]
    return tuple(strides)


def _comment(node: Node | list[Node]) -> str:
    """What a node does, or several in one loop, for the reader of the C."""
    if isinstance(node, list):
        names = ", ".join(each.op.split(".")[1] for each in node)
        return f"/* {node[-1].layer or 'step'}: {names} {list(node[-1].output.shape)} */"
    shapes = " ".join(str(list(value.shape)) for value in node.inputs() if value.kind in ("computed", "input", "state"))
    made = " ".join(str(list(value.shape)) for value in node.outputs)
    return f"/* {node.layer or 'step'}: {node.op.split('.')[1]} {shapes} -> {made} */"


def state_name(value: Value) -> str:
    """C identifier of a state buffer."""
    plain = re.sub(r"\W", "_", value.path)
    return plain if plain[:1].isalpha() and plain not in _TAKEN else f"of_{plain}"


_TAKEN = frozenset(
    re.findall(
        r"\w+",
        """arena audio position weights
        auto break case char const continue default do double else enum extern float for goto if inline int long
        register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while
        bool class delete new operator private protected public template this throw try using virtual""",
    )
)
"""The struct's other members, and words of C and C++."""


def _literal(number: float) -> str:
    if not np.isfinite(np.float32(number)):
        raise ExportError(
            f"The engine cannot hold the number {number}.", remedy="Use a large finite number, or retrain the model."
        )
    text = f"{np.float32(number):.9g}"
    return f"{text}f" if any(mark in text for mark in ".en") else f"{text}.0f"


def group_of_nodes(graph: Graph) -> dict[int, str]:
    """Part of the model each node belongs to: "network" for the learnt part and what prepares its inputs.

    A model keeps what is learnt and trimmed in a submodule called `network`; nodes that some node of it needs count
    with it, everything else is synthesis.

    Args:
        graph: of a `Step`.

    Returns:
        id of a node to "network" or "synthesis".
    """
    inside = {id(node) for node in graph.nodes if ".network" in f".{node.layer}"}
    needed: set[int] = set()
    groups: dict[int, str] = {}
    for node in reversed(graph.nodes):
        belongs = id(node) in inside or any(id(value) in needed for value in node.outputs)
        groups[id(node)] = "network" if belongs else "synthesis"
        if belongs:
            needed.update(id(value) for value in node.inputs())
    return groups
