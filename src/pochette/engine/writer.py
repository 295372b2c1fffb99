"""What operators write with: copies, calls of kernels, loops over elements, and a place for each result."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import prod

from pochette.engine.layout import Absorbed
from pochette.engine.loops import Step, write_loop
from pochette.engine.memory import Memory
from pochette.engine.views import View, is_row_major
from pochette.graph.graph import Value

_MANY_LOOPS = 8


@dataclass
class Writer(Memory):
    """Writes statements, and knows who wants results to lie where."""

    headers: list[str] = field(default_factory=list, kw_only=True)
    functions: dict[str, str] = field(default_factory=dict, kw_only=True)
    """Name of a kernel with all its sizes filled in to its text."""
    _origin: dict[int, Value] = field(default_factory=dict, kw_only=True)
    """Id of a view to the value whose memory it shares."""
    _last_read: dict[int, int] = field(default_factory=dict, kw_only=True)
    """Id of a value to the number of the last node that reads it or a view of it."""
    _loops: dict[tuple[tuple[str, ...], str], list[tuple[int, list[str]]]] = field(default_factory=dict, kw_only=True)
    """Kinds of the pointers and text of a loop to the lines in which it stands, with their addresses."""
    _number: int = field(default=0, kw_only=True)
    """Of the node that is being written."""
    _absorbed: Absorbed = field(default_factory=Absorbed, kw_only=True)
    _rows: frozenset[int] = field(default=frozenset(), kw_only=True)
    """Ids of values whose channels lie side by side."""

    def need(self, header: str) -> None:
        """Include a kernel header."""
        if header not in self.headers:
            self.headers.append(header)

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

    @contextmanager
    def each(self, count: int, *walks: tuple[str, int]) -> Iterator[list[str]]:
        """Write what follows once for every row, as a loop where there are several.

        A compiler that is given row by row takes minutes over what it has seen before.

        Args:
            count: of rows.
            *walks: address of the first row, and floats from row to row.

        Yields:
            the addresses of the row that is at hand.
        """
        if count == 1:
            yield [address for address, _ in walks]
            return
        self.line(f"for (int row = 0; row < {count}; row++) {{")
        yield [f"{address} + row * {step}" if step != 1 else f"{address} + row" for address, step in walks]
        self.line("}")

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
            names = iter(range(len(reads) + len(writes)))
            sources = {name: replace(view, base=f"p{next(names)}", start=0) for name, view in reads.items()}
            targets = [(replace(view, base=f"p{next(names)}", start=0), name) for view, name in writes]
            text = write_loop(shape, sources, steps, targets, filled=filled, scalar=scalar)
            kinds = (*["const float *"] * len(reads), *["float *"] * len(writes))
            addresses = [view.at() for view in [*reads.values(), *(view for view, _ in writes)]]
            self.repeats(kinds, text, addresses)

    def repeats(self, kinds: tuple[str, ...], text: str, addresses: list[str]) -> None:
        """Note that the statement written last is another one at these addresses, so that it may be shared.

        Args:
            kinds: of the pointers p0, p1...
            text: the statement in terms of them.
            addresses: that they stand for.
        """
        self._loops.setdefault((kinds, text), []).append((len(self.lines) - 1, addresses))

    def share_loops(self) -> None:
        """Make one function of loops that are the same but for their addresses, where there are many of them.

        A step that takes its samples one after the other repeats its layers for each; a compiler then takes minutes
        over what it has seen before. Where few are alike each stays where it is, and the compiler knows what it is
        given.
        """
        for (kinds, text), places in self._loops.items():
            if len(places) < _MANY_LOOPS:
                continue
            name = f"loop_{len(self.functions)}"
            takes = ", ".join(f"{kind}p{number}" for number, kind in enumerate(kinds))
            self.functions[name] = f"PC_SHARED void {name}({takes})\n{{\n    {text}\n}}"
            for line, addresses in places:
                self.lines[line] = self.lines[line]._replace(text=f"{name}({', '.join(addresses)});")

    def wants_rows(self, value: Value) -> bool:
        """Whether a value's channels are to lie side by side."""
        return id(value) in self._rows

    def becomes(self, value: Value) -> tuple[Value, Value | None, float]:
        """What a result is to become by an addition and a rectifier that its maker does by the way.

        Args:
            value: computed by this node.

        Returns:
            what it becomes in the end, what is added (None for nothing), and the factor of what then is below 0.
        """
        total, added = self._absorbed.sums.get(id(value), (value, None))
        last, slope = self._absorbed.rectified.get(id(total), (total, 1.0))
        return last, added, slope

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
        if like is None or is_row_major(View("", 0, ordered(value.shape, order)), value.shape):
            return self.view(value)
        self._views[id(value)] = View(self.scratch(value.size), 0, ordered(value.shape, order))
        return self._views[id(value)]

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


def ordered(shape: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
    """Strides of memory without gaps.

    Args:
        shape: of a value.
        order: its axes, the slowest first.

    Returns:
        floats from one index of each axis to the next.
    """
    strides, step = [0] * len(shape), 1
    for axis in reversed(order):
        strides[axis] = step
        step *= shape[axis]
    return tuple(strides)
