"""Operators that only re-arrange (reshapes, transpositions, repetition) and fresh tensors; see also `ranges`."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pochette.graph.coupling import Coupling
from pochette.graph.graph import Node, Value
from pochette.graph.grids import Labels
from pochette.graph.loops import Operand, broadcast_strides, fill, lay, loop, move, parted, strides_of, whole
from pochette.graph.operator import Operator, Survivors, describe
from pochette.graph.whole_numbers import as_float

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter


def sized(node: Node, survivors: Survivors, place: int) -> tuple[str, tuple[Any, ...]]:
    """The same call with the output's new lengths at one of its arguments; -1 stays.

    Args:
        node: whose argument at `place` lists the output's lengths.
        survivors: lengths after the removal.
        place: of the argument.

    Returns:
        operator and arguments; the given ones where no length changes, so that they hold for other lengths too.
    """
    shape = survivors.shape(node.output)
    if shape == node.output.shape:
        return node.op, node.args
    asked = [size if old != -1 else -1 for size, old in zip(shape, node.args[place], strict=True)]
    # A kernel may lay its output out differently at another size, and `view` then refuses what `reshape` does.
    op = "aten.reshape.default" if node.op in ("aten.view.default", "aten._unsafe_view.default") else node.op
    return op, (*node.args[:place], asked, *node.args[place + 1 :])


class Unsqueeze(Operator):
    """A new axis of length 1."""

    of_complex = True
    view = True

    def couple(self, node: Node, coupling: Coupling) -> None:
        """Nothing else changes."""
        axis = node.args[1] % len(node.output.shape)
        axes = coupling.axes(node.args[0])
        axes.insert(axis, coupling.fresh(1))
        coupling.set(node.output, axes)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """The same memory."""
        emitter.alias(node.output, node.args[0], 0)


class Reshape(Operator):
    """The same elements under another shape.

    Args:
        place: of the argument that lists the new lengths; None if the operator finds them itself.
    """

    of_complex = True
    view = True

    def __init__(self, place: int | None = None) -> None:
        self.place = place

    def couple(self, node: Node, coupling: Coupling) -> None:
        """Axes that stay as they are keep their labels; those merged or parted are tied as a rectangle asks for."""
        x, out = node.args[0], node.output
        if x.size == 0:
            coupling.freeze(x, "empty")
            coupling.freeze(out, "empty")
            return
        new: list[Labels] = [coupling.fresh(1)] * len(out.shape)
        old = coupling.axes(x)
        for before, after in _segments(x.shape, out.shape):
            if not before or not after:
                continue
            if len(before) == len(after) == 1:
                new[after[0]] = old[before[0]]
                continue
            flat = old[before[0]]
            for axis in before[1:]:
                flat = coupling.merge(flat, old[axis])
            for number, axis in enumerate(after[:-1]):
                inner = prod(out.shape[later] for later in after[number + 1 :])
                new[axis], flat = coupling.split(flat, out.shape[axis], inner)
            new[after[-1]] = flat
        coupling.set(
            out, [coupling.fresh(1) if size == 1 else labels for labels, size in zip(new, out.shape, strict=True)]
        )

    def refit(self, node: Node, survivors: Survivors) -> tuple[str, tuple[Any, ...]]:
        """The new lengths; flattening and squeezing find them themselves."""
        return (node.op, node.args) if self.place is None else sized(node, survivors, self.place)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """The same memory."""
        emitter.alias(node.output, node.args[0], 0)


def _segments(before: tuple[int, ...], after: tuple[int, ...]) -> list[tuple[list[int], list[int]]]:
    """Shortest runs of axes on both sides that hold the same elements; axes of length 1 belong to none."""
    left = [axis for axis, size in enumerate(before) if size != 1]
    right = [axis for axis, size in enumerate(after) if size != 1]
    segments = []
    while left and right:
        mine, theirs = [left.pop(0)], [right.pop(0)]
        while (have := prod(before[axis] for axis in mine)) != (want := prod(after[axis] for axis in theirs)):
            if have < want:
                mine.append(left.pop(0))
            else:
                theirs.append(right.pop(0))
        segments.append((mine, theirs))
    return segments


class Unflatten(Reshape):
    """One axis parted in several: the new lengths are listed for that axis alone."""

    def refit(self, node: Node, survivors: Survivors) -> tuple[str, tuple[Any, ...]]:
        """The new lengths of the new axes."""
        x, axis, sizes = node.args[:3]
        axis %= len(x.shape)
        return node.op, (x, axis, list(survivors.shape(node.output)[axis : axis + len(sizes)]))


class Same(Operator):
    """The same elements in the same shape: copies, other number formats, detachment."""

    of_complex = True
    view = True

    def couple(self, node: Node, coupling: Coupling) -> None:
        """All labels go on."""
        coupling.set(node.output, coupling.axes(node.args[0]))

    def emit(self, node: Node, emitter: Emitter) -> None:
        """The same memory, unless it holds another kind of number."""
        x, out = node.args[0], node.output
        if out.dtype.is_complex and not x.dtype.is_complex:
            self._to_complex(node, emitter)
        elif _kind(x.dtype) == _kind(out.dtype):
            emitter.alias(out, x, 0)
        else:
            _convert(out, x, emitter)

    def _to_complex(self, node: Node, emitter: Emitter) -> None:
        fill(emitter, node.output, 0.0)
        write = Operand(parted(emitter, node.output), (2,))
        lay(emitter, [node.output.size], write, Operand(emitter.ref(node.args[0]), (1,)))


def _kind(dtype: torch.dtype) -> str:
    if dtype == torch.bool:
        return "flag"
    if dtype.is_complex:
        return "complex"
    return "real" if dtype.is_floating_point else "whole"


def _convert(out: Value, x: Value, emitter: Emitter) -> None:
    """Other numbers of the same value: towards zero to whole ones, 0 and 1 from and to flags."""
    if x.dtype.is_complex:
        emitter.refuse("a complex number taken for a real one")
    mine, theirs = emitter.ref(out), emitter.ref(x)
    kinds = _kind(x.dtype), _kind(out.dtype)
    reading = f"({theirs})[{{0}}]"
    if kinds[1] == "flag":
        reading = f"({theirs})[{{0}}] != 0 ? 1.0f : 0.0f"
    elif kinds[1] == "whole":
        reading = f"(uint32_t)(int)({theirs})[{{0}}]"
    elif kinds[0] == "whole" and whole(emitter, x):
        reading = as_float(emitter, x, f"({theirs})[{{0}}]")
    loop(
        emitter,
        [out.size],
        [Operand(mine, (1,)), Operand(theirs, (1,))],
        lambda i, j: f"({mine})[{i}] = {reading.format(j)};",
    )


class Permute(Operator):
    """Axes in another order."""

    of_complex = True

    def couple(self, node: Node, coupling: Coupling) -> None:
        """Labels move with their axes."""
        axes = coupling.axes(node.args[0])
        coupling.set(node.output, [axes[axis] for axis in _order(node)])

    def emit(self, node: Node, emitter: Emitter) -> None:
        """The same memory, where only axes of length 1 change places; else a copy in the new order."""
        x, order = node.args[0], _order(node)
        long = [axis for axis in order if x.shape[axis] > 1]
        if long == sorted(long):
            emitter.alias(node.output, x, 0)
            return
        own = strides_of(x.shape)
        move(emitter, node.output, x, node.output.shape, strides_of(node.output.shape), [own[axis] for axis in order])


def _order(node: Node) -> list[int]:
    """For each axis of the output, that of the input."""
    x, *rest = node.args
    rank = len(x.shape)
    name = node.op.split(".")[1]
    if name == "permute":
        return [axis % rank for axis in rest[0]]
    order = list(range(rank))
    if name in ("movedim", "moveaxis"):
        source, target = ([item] if isinstance(item, int) else list(item) for item in rest)
        taken = {to % rank: source[number] % rank for number, to in enumerate(target)}
        left = iter(axis for axis in order if axis not in taken.values())
        return [taken[axis] if axis in taken else next(left) for axis in order]
    if rank > 1:
        first, second = (rest[0], rest[1]) if len(rest) == 2 else (rank - 2, rank - 1)
        order[first], order[second] = order[second], order[first]
    return order


class Expand(Operator):
    """Axes of length 1 repeated without being copied."""

    of_complex = True

    def couple(self, node: Node, coupling: Coupling) -> None:
        """Repeated axes are new; the others keep their labels."""
        x, out = node.args[0], node.output
        axes = [coupling.fresh(size) for size in out.shape]
        for back, labels in enumerate(reversed(coupling.axes(x)), start=1):
            if len(labels) == out.shape[-back]:
                axes[-back] = labels
            else:
                coupling.meets_all(labels)
        if isinstance(node.args[1], Value):
            for mine, theirs in zip(axes, coupling.axes(node.args[1]), strict=True):
                coupling.tie(mine, theirs)
        coupling.set(out, axes)

    def refit(self, node: Node, survivors: Survivors) -> tuple[str, tuple[Any, ...]]:
        """The new lengths."""
        return (node.op, node.args) if isinstance(node.args[1], Value) else sized(node, survivors, 1)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """Copies side by side; the same memory where nothing is repeated."""
        x, out = node.args[0], node.output
        if x.size == out.size:
            emitter.alias(out, x, 0)
        else:
            move(emitter, out, x, out.shape, strides_of(out.shape), broadcast_strides(x.shape, out.shape))


class Repeat(Operator):
    """Whole axes laid side by side several times."""

    of_complex = True

    def couple(self, node: Node, coupling: Coupling) -> None:
        """Every copy carries the labels of the original."""
        x, times = node.args
        labels = coupling.axes(x)
        new = len(node.output.shape) - len(labels)
        times = [1] * (len(node.output.shape) - len(times)) + list(times)
        axes = [coupling.fresh(size) for size in node.output.shape[:new]]
        axes += [np.tile(axis, count) for axis, count in zip(labels, times[new:], strict=True)]
        coupling.set(node.output, axes)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """Each axis twice: over its copies, and within one."""
        x, out = node.args[0], node.output
        old = (1,) * (len(out.shape) - len(x.shape)) + x.shape
        steps, own = strides_of(out.shape), broadcast_strides(x.shape, out.shape)
        times = [size // once if once else 0 for size, once in zip(out.shape, old, strict=True)]
        between = [step * once for step, once in zip(steps, old, strict=True)]
        move(emitter, out, x, [*times, *old], [*between, *steps], [0] * len(times) + own)


class Fresh(Operator):
    """A tensor that is the same everywhere (zeros, ones, noise): it can be made at any size.

    Args:
        place: of the argument that lists the lengths.
    """

    of_complex = True

    def __init__(self, place: int) -> None:
        self.place = place

    def emit(self, node: Node, emitter: Emitter) -> None:
        """The one number everywhere."""
        name = node.op.split(".")[1]
        if name.startswith("rand"):
            emitter.refuse("random numbers of torch; `layers.generator.uniform_noise` is the same everywhere")
        given = node.args[2 if name == "new_full" else 1] if "full" in name or name == "fill" else "ones" in name
        if isinstance(given, Value):
            none = [0] * len(node.output.shape)
            move(emitter, node.output, given, node.output.shape, strides_of(node.output.shape), none)
        else:
            fill(emitter, node.output, float(given))

    def couple(self, node: Node, coupling: Coupling) -> None:
        """New labels; whatever it meets decides over them."""
        coupling.set(node.output, [coupling.fresh(size) for size in node.output.shape])

    def refit(self, node: Node, survivors: Survivors) -> tuple[str, tuple[Any, ...]]:
        """The new lengths."""
        return sized(node, survivors, self.place)


class Like(Fresh):
    """A tensor of the shape of another that is the same everywhere."""

    def __init__(self) -> None:
        super().__init__(0)

    def couple(self, node: Node, coupling: Coupling) -> None:
        """The labels of the other."""
        coupling.set(node.output, coupling.axes(node.args[0]))

    def refit(self, node: Node, survivors: Survivors) -> tuple[str, tuple[Any, ...]]:
        """Nothing to change: the other's shape is asked."""
        return node.op, node.args


class Numbered(Operator):
    """A tensor whose elements depend on their places (a count, a window): it stays whole."""

    def couple(self, node: Node, coupling: Coupling) -> None:
        """No index can be removed."""
        coupling.freeze(node.output, "its numbers depend on their places")


def _names(*short: str) -> tuple[str, ...]:
    return tuple(f"aten.{name}" for name in short)


describe("aten.unsqueeze.default", operator=Unsqueeze())
describe(*_names("view.default", "_unsafe_view.default", "reshape.default"), operator=Reshape(1))
describe(*_names("squeeze.dim", "squeeze.dims", "squeeze.default", "flatten.using_ints"), operator=Reshape())
describe("aten.unflatten.int", operator=Unflatten())
describe(
    *_names("clone.default", "contiguous.default", "detach.default", "detach_.default", "alias.default"),
    *_names("lift_fresh_copy.default", "_to_copy.default", "to.dtype", "to.device", "to.other", "to.dtype_layout"),
    *_names("type_as.default", "dropout.default", "native_dropout.default", "feature_dropout.default"),
    *_names("resolve_conj.default", "resolve_neg.default"),
    operator=Same(),
)
describe(
    *_names("permute.default", "transpose.int", "t.default", "mT.default", "swapaxes.default", "swapdims.default"),
    *_names("movedim.int", "movedim.intlist", "moveaxis.int", "numpy_T.default", "adjoint.default"),
    operator=Permute(),
)
describe(*_names("expand.default", "expand_as.default", "broadcast_to.default"), operator=Expand())
describe(*_names("repeat.default", "tile.default"), operator=Repeat())
describe(
    *_names("zeros.default", "ones.default", "full.default", "empty.memory_format", "rand.default", "randn.default"),
    operator=Fresh(0),
)
describe(*_names("new_zeros.default", "new_ones.default", "new_full.default", "new_empty.default"), operator=Fresh(1))
describe(
    *_names("zeros_like.default", "ones_like.default", "full_like.default", "empty_like.default"),
    *_names("rand_like.default", "randn_like.default", "fill.Scalar", "fill.Tensor"),
    operator=Like(),
)
describe(
    *_names("arange.default", "arange.start", "arange.start_step", "linspace.default", "logspace.default"),
    *_names("eye.default", "scalar_tensor.default", "hann_window.default", "hamming_window.default", "randint.default"),
    *_names("hann_window.periodic", "randperm.default", "tril_indices.default", "triu_indices.default"),
    operator=Numbered(),
)
