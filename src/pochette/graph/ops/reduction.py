"""Operators that take an axis away by combining its elements: sums, means, extrema, norms."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any

import torch

from pochette.graph.coupling import Coupling
from pochette.graph.graph import Node, Value
from pochette.graph.loops import Operand, broadcast_strides, contiguous, fill, lay, loop, parted, strides_of, whole
from pochette.graph.operator import Cost, Operator, describe

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter


class Reduction(Operator):
    """Some axes, or all, combined to one number each.

    Args:
        dims: place of the argument that lists the axes; None if all are combined.
        keep: place of the argument that keeps them with length 1; None if there is none.
        each: operations an element.
        additive: whether an element that is zero makes no difference, so that removing it equals masking it.
    """

    of_complex = True

    def __init__(self, dims: int | None, keep: int | None, *, each: int = 1, additive: bool = False) -> None:
        self.dims, self.keep, self.each, self.additive = dims, keep, each, additive

    def cost(self, node: Node) -> Cost:
        """So many operations an element."""
        return Cost(pointwise=self.each * node.args[0].size)

    def axes(self, node: Node) -> list[int]:
        """The axes that are combined.

        Args:
            node: one operator applied to values.

        Returns:
            their numbers, sorted.
        """
        rank = len(node.args[0].shape)
        asked: Any = None if self.dims is None else node.args[self.dims]
        if asked is None or (isinstance(asked, (list, tuple)) and not asked):
            return list(range(rank))
        return sorted(axis % rank for axis in ([asked] if isinstance(asked, int) else asked)) if rank else []

    def couple(self, node: Node, coupling: Coupling) -> None:
        """Combined axes end here; they may lose members, but the result depends on all: not exact, and says so."""
        x, combined = node.args[0], set(self.axes(node))
        keep = self.keep is not None and bool(node.args[self.keep])
        left = []
        for axis, labels in enumerate(coupling.axes(x)):
            if axis not in combined:
                left.append(labels)
                continue
            if len(labels) > 1:
                coupling.normalised(labels, node.layer)
                if self.additive:
                    coupling.reads(node, x, axis)
            if keep:
                left.append(coupling.fresh(1))
        for output in node.outputs:
            coupling.set(output, left)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """One kernel call, after a copy if the combined axes do not stand side by side."""
        x, out, name = node.args[0], node.output, node.op.split(".")[1]
        if name in ("var", "std", "var_mean", "std_mean"):
            self._spread(node, emitter)
            return
        if x.dtype.is_complex and name in ("sum", "mean"):
            self._pairs(node, emitter)
            return
        kernel = KERNELS.get(_order(node) if "norm" in name else name)
        if kernel is None or x.dtype.is_complex or (name in ("any", "all") and x.dtype != torch.bool):
            emitter.refuse(f"{name} of {x.dtype} with {node.args[1:]}")
        if whole(emitter, x):
            self._count(node, emitter)
            return
        source, outer, n, inner = along(emitter, x, self.axes(node))
        emitter.need("pc_reduce.h")
        counted = whole(emitter, out)
        target = emitter.scratch(out.size) if counted else emitter.ref(out)
        emitter.line(f"{kernel}({target}, {source}, {outer}, {n}, {inner});")
        if name == "mean":
            _each(emitter, out.size, lambda i: f"({target})[{i}] /= {emitter.number(n)};")
        if kernel == "pc_squares_of":
            _each(emitter, out.size, lambda i: f"({target})[{i}] = pc_root(({target})[{i}]);")
        if counted:
            made = emitter.ref(out)
            _each(emitter, out.size, lambda i: f"({made})[{i}] = (uint32_t)(int)({target})[{i}];")

    def _spread(self, node: Node, emitter: Emitter) -> None:
        """Variance or its root, and the mean where it is wanted too."""
        x, out, (_, name, kind) = node.args[0], node.output, node.op.split(".")
        if x.dtype.is_complex:
            emitter.refuse(f"the {name} of complex numbers")
        n = prod(x.shape[axis] for axis in self.axes(node))
        unbiased = node.args[2 if kind == "dim" else 1] if kind in ("dim", "default") else True
        correction = float(unbiased if kind != "correction" or node.args[2] is None else node.args[2])
        if n <= correction:
            emitter.refuse(f"the {name} of {n} numbers")
        source, outer, n, inner = along(emitter, x, self.axes(node))
        emitter.need("pc_reduce.h")
        mean = emitter.ref(node.outputs[1]) if len(node.outputs) > 1 else emitter.scratch(out.size)
        weight = emitter.number(1 / (n - correction))
        made = emitter.ref(out)
        emitter.line(f"pc_variance({made}, {mean}, {source}, {outer}, {n}, {inner}, {weight});")
        if name.startswith("std"):
            _each(emitter, out.size, lambda i: f"({made})[{i}] = pc_root(({made})[{i}]);")

    def _pairs(self, node: Node, emitter: Emitter) -> None:
        """Sums and means of complex numbers: those of their parts."""
        x, out, axes = node.args[0], node.output, self.axes(node)
        emitter.own(out, out.size)
        order = [*(axis for axis in range(len(x.shape)) if axis not in axes), *axes]
        lengths, own = [x.shape[axis] for axis in order], strides_of(x.shape)
        copied = emitter.scratch(2 * x.size)
        read = Operand(parted(emitter, x), (*(2 * own[axis] for axis in order), 1))
        lay(emitter, [*lengths, 2], Operand(copied, (*(2 * step for step in strides_of(lengths)), 1)), read)
        n, made = x.size // max(out.size, 1), emitter.ref(out)
        emitter.need("pc_reduce.h")
        emitter.line(f"pc_sum_of({made}, {copied}, {out.size}, {n}, 2);")
        if node.op.split(".")[1] == "mean":
            _each(emitter, 2 * out.size, lambda i: f"({made})[{i}] /= {emitter.number(n)};")

    def _count(self, node: Node, emitter: Emitter) -> None:
        """Sums of whole numbers, which wrap at 2^32."""
        x, out = node.args[0], node.output
        if not isinstance(self, Sum) or not whole(emitter, out):
            emitter.refuse(f"{node.op.split('.')[1]} of whole numbers")
        fill(emitter, out, 0)
        gone = set(self.axes(node))
        kept = [1 if axis in gone else size for axis, size in enumerate(x.shape)]
        read = Operand(emitter.ref(x), tuple(strides_of(x.shape)))
        add = Operand(emitter.ref(out), tuple(broadcast_strides(kept, x.shape)))
        loop(emitter, x.shape, [read, add], lambda i, o: f"({add.base})[{o}] += ({read.base})[{i}];")


KERNELS = {
    **dict.fromkeys(("sum", "mean"), "pc_sum_of"),
    **dict.fromkeys(("amax", "max", "any", "argmax"), "pc_largest_of"),
    **dict.fromkeys(("amin", "min", "all", "argmin"), "pc_smallest_of"),
    "prod": "pc_product_of",
    "logsumexp": "pc_log_sum_of",
    "norm 1": "pc_sizes_of",
    "norm 2": "pc_squares_of",
    "norm inf": "pc_largest_size_of",
}
"""Operator, or order of a norm, to the kernel that combines."""


def _order(node: Node) -> str:
    """Which norm it is."""
    asked = node.args[1]
    return f"norm {2 if asked is None else float(asked):g}"


def _each(emitter: Emitter, length: int, statement: Callable[[str], str]) -> None:
    loop(emitter, [length], [Operand("", (1,))], statement)


def along(emitter: Emitter, x: Value, axes: list[int]) -> tuple[str, int, int, int]:
    """Where a tensor lies as (outer, n, inner) with some axes in the middle: as it is, or else copied, behind all.

    Args:
        emitter: collects the statements.
        x: of floats.
        axes: those wanted in the middle.

    Returns:
        address, and the three lengths.
    """
    long = [axis for axis, size in enumerate(x.shape) if size > 1]
    middle = [axis for axis in long if axis in axes]
    n = prod(x.shape[axis] for axis in middle)
    if not middle:
        return emitter.ref(x), x.size, 1, 1
    if middle == [axis for axis in long if middle[0] <= axis <= middle[-1]]:
        return emitter.ref(x), prod(x.shape[: middle[0]]), n, prod(x.shape[middle[-1] + 1 :])
    kept = [axis for axis in long if axis not in axes]
    return contiguous(emitter, x, [*kept, *middle]), x.size // n, n, 1


class Sum(Reduction):
    """Sum over some axes."""

    def __init__(self, dims: int | None, keep: int | None) -> None:
        super().__init__(dims, keep, additive=True)


class Places(Reduction):
    """Where along an axis the largest or smallest stands: the axis is told by its numbers and stays whole."""

    of_complex = False

    def couple(self, node: Node, coupling: Coupling) -> None:
        """No index of the combined axes can be removed."""
        combined = self.axes(node)
        for axis in combined:
            coupling.freeze_labels(coupling.axes(node.args[0])[axis], f"{node.op} tells its indices apart")
        super().couple(node, coupling)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """One kernel call, which gives the values too."""
        x, name = node.args[0], node.op.split(".")[1]
        if whole(emitter, x):
            emitter.refuse(f"{name} of whole numbers")
        source, outer, n, inner = along(emitter, x, self.axes(node))
        emitter.need("pc_reduce.h")
        value = emitter.ref(node.output) if len(node.outputs) == 2 else emitter.scratch(node.output.size)
        sign = "-1.0f" if "min" in name else "1.0f"
        place = emitter.ref(node.outputs[-1])
        emitter.line(f"pc_find_largest({place}, {value}, {source}, {outer}, {n}, {inner}, {sign});")


describe("aten.sum.dim_IntList", operator=Sum(1, 2))
describe("aten.sum.default", operator=Sum(None, None))
describe("aten.mean.dim", operator=Reduction(1, 2))
describe("aten.mean.default", "aten.prod.default", operator=Reduction(None, None))
describe("aten.amax.default", "aten.amin.default", "aten.logsumexp.default", operator=Reduction(1, 2))
describe("aten.max.default", "aten.min.default", "aten.any.default", "aten.all.default", operator=Reduction(None, None))
describe("aten.var.correction", "aten.std.correction", operator=Reduction(1, 3, each=3))
describe("aten.var.dim", "aten.std.dim", operator=Reduction(1, 3, each=3))
describe("aten.var.default", "aten.std.default", operator=Reduction(None, None, each=3))
describe("aten.var_mean.correction", "aten.std_mean.correction", "aten.var_mean.dim", operator=Reduction(1, 3, each=4))
describe("aten.prod.dim_int", "aten.any.dim", "aten.all.dim", operator=Reduction(1, 2))
describe("aten.linalg_vector_norm.default", "aten.norm.ScalarOpt_dim", operator=Reduction(2, 3, each=2))
describe("aten.norm.Scalar", operator=Reduction(None, None, each=2))
describe("aten.max.dim", "aten.min.dim", "aten.argmax.default", "aten.argmin.default", operator=Places(1, 2))
