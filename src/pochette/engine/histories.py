"""State that is a stretch of the past: kept in a longer buffer to which blocks are appended, moved back but rarely.

A causal layer reads `cat([state, x])` and keeps the last samples of it as its next state. Done as written, every call
copies the whole past twice. Here the past and the new block lie in one line of memory; the block after it is appended
where this one ends, and only when the line is full the past is moved to its beginning.

A past of very many blocks would make that one call far dearer than the others. There every block is written twice, once
where it belongs and once where it will be wanted when the line begins anew, and nothing is ever moved.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pochette.engine.packing import rounded
from pochette.engine.views import View
from pochette.graph.graph import Graph, Node, Value

FloatArray = npt.NDArray[np.float32]

_FEWEST_BLOCKS = 4
"""Blocks between two moves, where memory is plenty: moving costs at most a quarter of a block a call."""
_MOST_MOVED_BLOCKS = 32
"""Blocks that one call may move; a longer past is written twice instead."""


@dataclass(frozen=True)
class History:
    """One past and the block that follows it, in one line of memory for each index of the other axes."""

    name: str
    """C name of the memory; `NAME_at` is the number of floats before the present block in each line."""
    state: Value
    node: Node
    """The concatenation."""
    axis: int
    past: int
    """Samples of the past that are read."""
    new: int
    """Samples of a block."""
    blocks: int
    """Blocks between two moves."""
    channels_last: bool
    """Whether all lines are interleaved: the axis of time is the slowest."""
    twice: bool = False
    """Whether every block is written twice, so that the past need not be moved."""
    lead: int = 0
    """Blocks of the first round that are skipped, so that not all histories are moved in the same call."""

    @property
    def front(self) -> int:
        """Samples before the first block of a round; of what is written twice, from one place to the other."""
        return self.blocks * self.new if self.twice else self.past

    @property
    def start(self) -> int:
        """Floats before the first block."""
        return (self.front + self.lead * self.new) * self.strides[self.axis]

    @property
    def line_samples(self) -> int:
        """Samples a line has room for."""
        return self.front + self.blocks * self.new

    @property
    def strides(self) -> tuple[int, ...]:
        """Floats from one index of each axis of the concatenation to the next."""
        shape = list(self.node.output.shape)
        shape[self.axis] = self.line_samples
        order = list(range(len(shape)))
        if self.channels_last:
            order.insert(0, order.pop(self.axis))
        strides, step = [0] * len(shape), 1
        for axis in reversed(order):
            strides[axis] = step
            step *= shape[axis]
        return tuple(strides)

    @property
    def size(self) -> int:
        """Floats of the memory, filled up to whole vectors."""
        return rounded(self.node.output.size // (self.past + self.new) * self.line_samples + 1)

    @property
    def whole(self) -> View:
        """Past and present block."""
        return View(f"{self.name}_now", -self.past * self.strides[self.axis], self.strides)

    @property
    def block(self) -> View:
        """The present block."""
        return View(f"{self.name}_now", 0, self.strides)

    @property
    def double(self) -> View:
        """Where the present block is written too, if it is written twice; older than all that this call reads."""
        return View(f"{self.name}_now", -self.front * self.strides[self.axis], self.strides)

    def declaration(self) -> str:
        """The local name of the present block's beginning."""
        return f"float *const {self.name}_now = s->{self.name} + s->{self.name}_at;"

    def initial(self, state: FloatArray) -> FloatArray:
        """What the memory holds before the first block.

        Args:
            state: at capture.

        Returns:
            flat, as long as the memory.
        """
        memory = np.zeros(self.size, np.float32)
        places = np.zeros(state.shape, np.int64)
        for axis, stride in enumerate(self.strides):
            shape = [1] * state.ndim
            shape[axis] = state.shape[axis]
            places = places + (np.arange(state.shape[axis]) * stride).reshape(shape)
        memory[places.ravel() + self.start - self.past * self.strides[self.axis]] = state.ravel()
        return memory

    def advance(self) -> str:
        """Statements at the end of a call: the next block's place, and the move if none is left."""
        step, name = self.strides[self.axis], self.name
        if self.twice:
            return (
                f"s->{name}_at += {self.new * step};\n"
                f"    if (s->{name}_at > {(self.line_samples - self.new) * step}) s->{name}_at = {self.start};"
            )
        lines = 1 if self.channels_last else self.node.output.size // (self.past + self.new) // step
        line, past = f"s->{name} + i * {self.line_samples * step}", self.past * step
        move = f"pc_move({line}, {line} + s->{name}_at - {past}, {past});"
        return (
            f"s->{name}_at += {self.new * step};\n"
            f"    if (s->{name}_at > {(self.line_samples - self.new) * step}) {{\n"
            f"        for (int i = 0; i < {lines}; i++)\n            {move}\n"
            f"        s->{name}_at = {self.past * step};\n    }}"
        )


def find_histories(
    graph: Graph, name_of: Callable[[Value], str], by_rows: Callable[[Value], bool], kept: Collection[str] = (), *,
    roomy: bool,
) -> dict[int, History]:  # fmt: skip
    """The states of a graph that are the last samples of a concatenation with themselves.

    Args:
        graph: captured.
        name_of: C name of a state.
        by_rows: whether a concatenation shall lie with its channels side by side.
        kept: paths of states that some calls leave as they are; a line of memory moves on in every call.
        roomy: whether memory is plenty.

    Returns:
        id of a concatenation's node to its history.
    """
    producer = {id(value): node for node in graph.nodes for value in node.outputs}
    readers: dict[int, list[Node]] = {}
    for node in graph.nodes:
        for value in node.inputs():
            readers.setdefault(id(value), []).append(node)
    found = {}
    for path, value in graph.mutations.items():
        if path in kept:
            continue
        state, cut = graph.stored[path], producer.get(id(value))
        while cut is not None and cut.op in COPIES:
            cut = producer.get(id(cut.args[0]))
        if cut is None or cut.op != "aten.slice.Tensor" or state.kind != "state" or not state.dtype.is_floating_point:
            continue
        whole, axis, start, end, step = cut.args
        join = producer.get(id(whole))
        if join is None or join.op != "aten.cat.default" or len(join.args[0]) != 2 or step != 1:
            continue
        axis %= len(whole.shape)
        past, block = join.args[0]
        length = whole.shape[axis]
        first = (start or 0) + (length if (start or 0) < 0 else 0)
        fits = past is state and (join.args[1] or 0) % len(whole.shape) == axis and block is not state
        last = min(length if end is None else end, length) == length and first == length - past.shape[axis]
        alone = [id(node) for node in readers[id(state)]] == [id(join)] and all(
            state is not out for out in graph.outputs
        )
        if fits and last and alone and past.size and past.shape[axis] + block.shape[axis] == length and block.size:
            samples = past.shape[axis]
            blocks = -(-samples // block.shape[axis])
            twice = blocks > _MOST_MOVED_BLOCKS
            # Of what is written twice, the first place must lie before all that is read.
            blocks = blocks + 1 if twice else max(blocks, _FEWEST_BLOCKS if roomy else 1)
            found[id(join)] = History(
                name_of(state), state, join, axis, samples, block.shape[axis], blocks, by_rows(whole), twice
            )
    return _staggered(found)


def _staggered(found: dict[int, History]) -> dict[int, History]:
    """Let histories begin at different places of their lines.

    Pasts that double from layer to layer are moved after 1, 2, 4... calls: beginning half-way, no two of them meet.
    Those that are moved equally often are spread evenly over that time.
    """
    alike: dict[int, list[int]] = {}
    for number, history in found.items():
        if history.twice:
            continue
        alike.setdefault(history.blocks, []).append(number)
    leads = {
        number: (2 * place + 1) * blocks // (2 * len(numbers))
        for blocks, numbers in alike.items()
        for place, number in enumerate(numbers)
    }
    return {number: replace(history, lead=leads.get(number, 0)) for number, history in found.items()}


COPIES = ("aten.clone.default", "aten.alias.default", "aten.detach.default", "aten.contiguous.default")
