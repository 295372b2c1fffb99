"""Other lengths of the axes behind the channels: pooling, interpolation, padding; and windows, shifts and shuffles."""

from __future__ import annotations

from math import prod

from pochette.graph.coupling import Coupling, Labels
from pochette.graph.graph import Node
from pochette.graph.operator import Cost, Operator, describe


def fixed(coupling: Coupling, length: int, reason: str) -> Labels:
    """Labels of an axis that an operator always makes in full.

    Args:
        coupling: of the graph.
        length: of the axis.
        reason: why.

    Returns:
        fresh labels that cannot be removed.
    """
    labels = coupling.fresh(length)
    coupling.freeze_labels(labels, reason)
    return labels


class Spatial(Operator):
    """Another length for the last axes; channels and batch pass.

    Args:
        spatial: how many axes.
        reason: what happens along them.
        each: operations an element that comes out.
    """

    def __init__(self, spatial: int, reason: str, each: int = 0) -> None:
        self.spatial, self.reason, self.each = spatial, reason, each

    def cost(self, node: Node) -> Cost:
        """So many operations an element that comes out."""
        return Cost(pointwise=self.each * node.output.size)

    def couple(self, node: Node, coupling: Coupling) -> None:
        """All pass but the last axes, which stay whole."""
        axes = coupling.axes(node.args[0])
        for axis in range(len(axes) - self.spatial, len(axes)):
            coupling.freeze_labels(axes[axis], self.reason)
            axes[axis] = fixed(coupling, node.output.shape[axis], self.reason)
        for output in node.outputs:
            coupling.set(output, axes)


class Pool(Spatial):
    """Largest value, or mean, of windows."""

    def __init__(self, spatial: int, *, mean: bool) -> None:
        super().__init__(spatial, "pooled over")
        self.mean = mean

    def cost(self, node: Node) -> Cost:
        """Mean: one addition less than a window has elements, and a product. Maximum: as many comparisons."""
        listed = node.args[1]
        window = prod(listed) if len(listed) == self.spatial else listed[0] ** self.spatial
        return Cost(pointwise=(window - 1 + self.mean) * node.output.size)


class AdaptivePool(Pool):
    """Windows as long as the wanted output needs them; neighbours may share elements."""

    def cost(self, node: Node) -> Cost:
        """As for other pools, with the length of every single window."""
        x, out = node.args[0].shape, node.output.shape
        axes = range(len(x) - self.spatial, len(x))
        elements = prod(sum(_window(index, x[axis], out[axis]) for index in range(out[axis])) for axis in axes)
        rows = prod(x[: len(x) - self.spatial])
        return Cost(pointwise=rows * elements - (0 if self.mean else node.output.size))


def _window(index: int, length: int, wanted: int) -> int:
    """Elements of one window: from floor(i L / n) to ceil((i + 1) L / n)."""
    return -(-(index + 1) * length // wanted) - index * length // wanted


for _spatial in (1, 2, 3):
    describe(f"aten.max_pool{_spatial}d.default", operator=Pool(_spatial, mean=False))
    describe(f"aten.max_pool{_spatial}d_with_indices.default", operator=Pool(_spatial, mean=False))
    describe(f"aten.avg_pool{_spatial}d.default", operator=Pool(_spatial, mean=True))
    describe(f"aten.adaptive_avg_pool{_spatial}d.default", operator=AdaptivePool(_spatial, mean=True))
    describe(f"aten.adaptive_max_pool{_spatial}d.default", operator=AdaptivePool(_spatial, mean=False))
    for _name in ("upsample_nearest", "_upsample_nearest_exact"):
        _repeat = Spatial(_spatial, "interpolated")
        describe(f"aten.{_name}{_spatial}d.default", f"aten.{_name}{_spatial}d.vec", operator=_repeat)
# A line between two points is two products and a sum; lines between lines need three, then seven, of them.
# A cubic between four points is four products and three sums; a plane needs five.
for _name, _spatial, _each in (
    ("linear1d", 1, 3), ("bilinear2d", 2, 9), ("trilinear3d", 3, 21), ("bicubic2d", 2, 35)
):  # fmt: skip
    _between = Spatial(_spatial, "interpolated", each=_each)
    describe(f"aten.upsample_{_name}.vec", operator=_between)
describe("aten.upsample_linear1d.default", operator=Spatial(1, "interpolated", each=3))
