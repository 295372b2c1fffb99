"""The memory of an engine: where each value lies, and an arena with room for what is computed while it is needed."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch

from pochette.engine.views import View, is_row_major, row_major
from pochette.engine.weights import FloatArray, Weights
from pochette.graph.graph import Value


@dataclass
class Buffer:
    """A stretch of the scratch arena, alive from its first to its last statement."""

    size: int
    first: int
    last: int
    offset: int = 0


class Line(NamedTuple):
    """A statement, and what it belongs to."""

    group: str
    """Part of the model."""
    guard: tuple[str, ...]
    """Heads of the `if`s inside which it stands, the outermost first."""
    text: str


@dataclass
class Memory(Weights, ABC):
    """Gives values their places, and keeps the statements that name them."""

    names: dict[int, str] = field(default_factory=dict, kw_only=True)
    """Id of an input to the C name of the array it comes in."""
    lines: list[Line] = field(default_factory=list, kw_only=True)
    """Addresses in the arena are still symbols."""
    group: str = field(default="", kw_only=True)
    """Part of the model that is being written."""
    guard: tuple[str, ...] = field(default=(), kw_only=True)
    """What must hold for that to be executed."""
    buffers: list[Buffer] = field(default_factory=list, kw_only=True)
    integers: dict[str, int] = field(default_factory=dict, kw_only=True)
    """Names and lengths of local unsigned integer arrays."""
    _places: dict[int, tuple[str, int]] = field(default_factory=dict, kw_only=True)
    _copied_in: dict[int, frozenset[str]] = field(default_factory=dict, kw_only=True)
    """Id of a value that lies elsewhere to what must hold for the copy in its place to be there."""
    _views: dict[int, View] = field(default_factory=dict, kw_only=True)
    """Id of a value to where it lies, if not row by row in a place of its own."""

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
        self._views.pop(id(view), None)
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

    def is_laid(self, value: Value) -> bool:
        """Whether it is decided already where a value lies, if not row by row."""
        return id(value) in self._views

    def unlay(self, value: Value) -> None:
        """Take back where a value was to lie."""
        del self._views[id(value)]

    def own(self, value: Value, extra: int = 0) -> None:
        """Give a value memory of its own with room behind it, unless it has a place already.

        Args:
            value: computed by this node.
            extra: floats behind its last element that a kernel may write.
        """
        if self._is_made_now(value):
            self._views.pop(id(value), None)
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

    def _filled(self, view: View, size: int) -> bool:
        """Whether memory of so many floats in a row may be read and written up to the next whole vector."""
        if view.base.startswith("@"):
            return view.start == 0 and self.buffers[int(view.base[1:-1])].size in (size, self.rounded(size))
        state = any(
            view.base == f"s->{state_name(state)}" and state.size == size for state in self.graph.of_kind("state")
        )
        return not any(view.strides) or (state and view.start == 0)

    def scratch(self, floats: int) -> str:
        """Working memory for the statements about to be written; its address."""
        self.buffers.append(Buffer(floats, len(self.lines), len(self.lines)))
        return f"@{len(self.buffers) - 1}@"

    def line(self, statement: str) -> None:
        """Write a statement; arena symbols in it are alive here."""
        for symbol in re.findall(r"@(\d+)@", "".join([*self.guard, statement])):
            self.buffers[int(symbol)].last = len(self.lines)
        self.lines.append(Line(self.group, self.guard, statement))

    @abstractmethod
    def assign(self, target: View, source: View, shape: Sequence[int]) -> None:
        """Write a copy between memory of any strides."""

    def _place(self, value: Value) -> tuple[str, int]:
        if not self._copied_in.get(id(value), _ALWAYS) <= frozenset(self.guard):
            # The copy was made for those who need it in some cases only; this reader needs it in others.
            del self._places[id(value)], self._copied_in[id(value)]
        if id(value) not in self._places and id(value) in self._views:
            view = self._views[id(value)]
            if is_row_major(view, value.shape):
                return view.base, view.start
            if self._is_made_now(value):
                # Its operator writes row by row: whoever wanted it elsewhere copies it from here.
                del self._views[id(value)]
                return self._place(value)
            # Somebody wants it row by row: a copy serves all who do.
            target = View(self.scratch(value.size), 0, row_major(value.shape))
            self._places[id(value)] = (target.base, 0)
            self._copied_in[id(value)] = frozenset(self.guard)
            self.assign(target, view, value.shape)
        if id(value) not in self._places:
            self._places[id(value)] = (self._new_place(value), 0)
        return self._places[id(value)]

    def _is_made_now(self, value: Value) -> bool:
        """Whether the node that is being written makes a value, so that there is nothing yet to be read of it."""
        return self._node is not None and any(output is value for output in self._node.outputs)

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

    def statements(self) -> list[Line]:
        """The statements with their addresses."""

        def address(match: re.Match[str]) -> str:
            offset = self.buffers[int(match[1])].offset
            return f"s->arena + {offset}" if offset else "s->arena"

        def addressed(text: str) -> str:
            return re.sub(r"@(\d+)@", address, text)

        return [Line(line.group, tuple(map(addressed, line.guard)), addressed(line.text)) for line in self.lines]


def state_name(value: Value) -> str:
    """C identifier of a state buffer."""
    plain = re.sub(r"\W", "_", value.path)
    return plain if plain[:1].isalpha() and plain not in _TAKEN else f"of_{plain}"


_ALWAYS: frozenset[str] = frozenset()
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
