"""Operators that take an axis away by combining its elements: sums, means, extrema, norms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pochette.graph.coupling import Coupling
from pochette.graph.graph import Node
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


class Sum(Reduction):
    """Sum over some axes."""

    def __init__(self, dims: int | None, keep: int | None) -> None:
        super().__init__(dims, keep, additive=True)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """Sums over the last axis of contiguous rows."""
        x, axes = node.args[0], self.axes(node)
        if axes != list(range(len(x.shape) - len(axes), len(x.shape))):
            emitter.refuse(f"a sum over the axes {axes} of {x.shape}")
        width = int(np.prod([x.shape[axis] for axis in axes], dtype=int))
        emitter.need("pc_math.h")
        for row in range(x.size // width):
            emitter.line(f"({emitter.ref(node.output)})[{row}] = pc_sum({emitter.ref(x, row * width)}, {width});")


class Places(Reduction):
    """Where along an axis the largest or smallest stands: the axis is told by its numbers and stays whole."""

    def couple(self, node: Node, coupling: Coupling) -> None:
        """No index of the combined axes can be removed."""
        combined = self.axes(node)
        for axis in combined:
            coupling.freeze_labels(coupling.axes(node.args[0])[axis], f"{node.op} tells its indices apart")
        super().couple(node, coupling)


describe("aten.sum.dim_IntList", operator=Sum(1, 2))
describe("aten.sum.default", operator=Sum(None, None))
describe("aten.mean.dim", operator=Reduction(1, 2))
describe("aten.mean.default", "aten.prod.default", operator=Reduction(None, None))
describe("aten.amax.default", "aten.amin.default", "aten.logsumexp.default", operator=Reduction(1, 2))
describe("aten.max.default", "aten.min.default", "aten.any.default", "aten.all.default", operator=Reduction(None, None))
describe("aten.var.correction", "aten.std.correction", operator=Reduction(1, 3, each=3))
describe("aten.var.dim", "aten.std.dim", operator=Reduction(1, 3, each=3))
describe("aten.var.default", "aten.std.default", operator=Reduction(None, None, each=3))
describe("aten.var_mean.correction", "aten.std_mean.correction", operator=Reduction(1, 3, each=4))
describe("aten.prod.dim_int", "aten.any.dim", "aten.all.dim", operator=Reduction(1, 2))
describe("aten.linalg_vector_norm.default", "aten.norm.ScalarOpt_dim", operator=Reduction(2, 3, each=2))
describe("aten.norm.Scalar", operator=Reduction(None, None, each=2))
describe("aten.max.dim", "aten.min.dim", "aten.argmax.default", "aten.argmin.default", operator=Places(1, 2))
