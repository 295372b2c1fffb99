"""From a captured step graph to C99: each operator writes its own statements, memory is planned, weights are packed.

The generated engine holds everything in one struct of constant size that the caller owns: state, one frame of audio,
and a scratch arena in which every computed value has its place for as long as it is needed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pochette.engine import packing
from pochette.errors import ExportError
from pochette.graph.graph import Graph, Node, Value
from pochette.graph.operator import description_of

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
    functions: dict[str, str] = field(default_factory=dict)
    """Name of a kernel with all its sizes filled in to its text."""

    def __post_init__(self) -> None:
        for node in self.graph.nodes:
            self._uses.update(id(value) for value in node.inputs())
        self._follow_views()
        self._uses.update(id(value) for value in [*self.graph.outputs, *self.graph.mutations.values()])

    def _follow_views(self) -> None:
        """Note whose memory each view is, and which node reads that memory last."""
        for number, node in enumerate(self.graph.nodes):
            inputs = list(node.inputs())
            for value in inputs:
                self._last_read[id(self._origin.get(id(value), value))] = number
            if description_of(node).view and inputs:
                self._origin[id(node.output)] = self._origin.get(id(inputs[0]), inputs[0])
        for value in (*self.graph.outputs, *self.graph.mutations.values()):
            self._last_read[id(self._origin.get(id(value), value))] = len(self.graph.nodes)

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

    def call(self, kernel: str, written: int, pointers: Sequence[str], sizes: Sequence[int | str]) -> None:
        """Write a call of a kernel with fixed sizes, as a function of its own that all calls of these sizes share.

        Args:
            kernel: name of an inline function that takes pointers and then sizes.
            written: how many of the pointers, the first ones, it writes through.
            pointers: addresses.
            sizes: numbers, or C constants.
        """
        name = "_".join([kernel.removeprefix("pc_"), *(re.sub(r"\W", "_", str(size)) for size in sizes)])
        if name not in self.functions:
            letters = [f"p{i}" for i in range(len(pointers))]
            kinds = ["float *" if i < written else "const float *" for i in range(len(pointers))]
            takes = ", ".join(kind + letter for kind, letter in zip(kinds, letters, strict=True))
            given = ", ".join([*letters, *map(str, sizes)])
            self.functions[name] = f"PC_KERNEL void {name}({takes})\n{{\n    {kernel}({given});\n}}"
        self.line(f"{name}({', '.join(pointers)});")

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
        if path is None or source is not self.graph.stored.get(path) or id(value) in self._places:
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
        graph = self.graph
        for self._number, node in enumerate(graph.nodes):
            self._node, self.group = node, groups.get(id(node), "")
            self._made_in.update((id(value), self.group) for value in node.outputs)
            if all(value.kind in ("parameter", "constant") for value in node.inputs()):
                self._fold(node)
            else:
                self.line(_comment(node))
                written = len(self.lines)
                description_of(node).emit(node, self)
                if len(self.lines) == written:
                    self.lines.pop()

    def carry(self) -> None:
        """Write the new state over the old, after everything else that reads the old one."""
        self._node, graph = None, self.graph
        states = {self.ref(graph.stored[path]) for path in graph.mutations}
        sources = {}
        for path, value in graph.mutations.items():
            source = self.ref(value)
            base = self._place(value)[0]
            if base in states and source != self.ref(graph.stored[path]) and value.dtype.is_floating_point:
                # A state that takes over another one's old value (a line of delays) must not find it overwritten.
                source = self.scratch(value.size)
                self.copy(source, self.ref(value), value.size)
            sources[path] = source
        for path, value in graph.mutations.items():
            state = graph.stored[path]
            # A part that is left out of a build must not hand on what it did not make.
            self.group = self._made_in.get(id(value), "")
            if value.dtype.is_floating_point:
                self.copy(self.ref(state), sources[path], value.size)
            else:
                self.copy_integers(state, value)

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


def _comment(node: Node) -> str:
    """What a node does, for the reader of the C."""
    shapes = " ".join(str(list(value.shape)) for value in node.inputs() if value.kind in ("computed", "input", "state"))
    made = " ".join(str(list(value.shape)) for value in node.outputs)
    return f"/* {node.layer or 'step'}: {node.op.split('.')[1]} {shapes} -> {made} */"


def state_name(value: Value) -> str:
    """C identifier of a state buffer."""
    return re.sub(r"\W", "_", value.path)


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
