"""The layers of a network as weighted graphs: every learnt matrix and filter, as it acts on what it meets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pochette.errors import MeasureError
from pochette.graph.coupling import Coupling
from pochette.graph.graph import Graph, Node, Value, call_of, function_of
from pochette.graph.grids import Labels
from pochette.graph.operator import description_of
from pochette.graph.ops.convolution import Convolution
from pochette.graph.units import propagate

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Layer:
    """A weight and the bipartite graph that it is: columns, what it reads, on one side; rows, what it makes, opposite.

    The rows of a recurrent layer are those of its gates, one under the other; those of a table of codes are what it
    gives, its columns the codes.
    """

    name: str
    """Path of the (first) parameter that it is computed from."""
    weights: FloatArray = field(repr=False)
    """(row, column of its group, tap), as they act: of a normed layer g v / |v|."""
    groups: int = 1
    """Rows and columns are parted into so many; there are no edges between different parts."""
    values: tuple[Value, ...] = field(default=(), repr=False)
    """The graph's values of this weight, one or more where it is used more than once."""
    _order: tuple[int, int] = (0, 1)
    """Axes of the rows and columns in those values."""

    @property
    def edges(self) -> FloatArray:
        """(row, column) the largest magnitude among the taps between two channels; 0 where nothing joins them."""
        magnitude: FloatArray = np.abs(self.weights).max(axis=2, initial=0.0)
        return self.spread(magnitude)

    @property
    def joined(self) -> npt.NDArray[np.bool_]:
        """(row, column) where the layer has a weight at all, zero or not: all, if it has one group."""
        return self.spread(np.ones(self.weights.shape[:2])) > 0

    def spread(self, magnitude: FloatArray) -> FloatArray:
        """Numbers of each row and each column of its group, among all columns.

        Args:
            magnitude: (row, column of its group).

        Returns:
            (row, column), zeros between groups.
        """
        if self.groups == 1:
            return magnitude
        rows, columns = magnitude.shape
        each = rows // self.groups
        whole = np.zeros((rows, columns * self.groups))
        for group in range(self.groups):
            own = slice(group * each, (group + 1) * each)
            whole[own, group * columns : (group + 1) * columns] = magnitude[own]
        return whole

    def as_rows(self, tensor: Tensor) -> Tensor:
        """Numbers of the shape of the graph's value, one for each weight, as `weights` has them."""
        return _as_rows(tensor, self._order, self.groups)


def layers_of(graph: Graph) -> tuple[Layer, ...]:
    """All layers of a graph.

    Args:
        graph: captured.

    Returns:
        layers, in the order in which they are used.

    Raises:
        MeasureError: there is none.
    """
    coupling = propagate(graph)
    known = learnt_values(graph, coupling)
    source = _sources(graph, coupling)
    user = {id(value): node for node in graph.nodes for value in node.inputs()}
    found: dict[tuple[str, tuple[int, ...]], Layer] = {}
    for weight, labels in coupling.made_with:
        # A learnt tensor with no axis of columns, a vector that is shifted in time, joins nothing with anything.
        if len(weight.shape) < 2 or not weight.dtype.is_floating_point:
            continue
        key = source[id(weight)], weight.shape
        if key in found:
            old = found[key]
            if weight not in old.values:
                found[key] = Layer(old.name, old.weights, old.groups, (*old.values, weight), old._order)
            continue
        groups, order = _groups(user.get(id(weight)), weight), _order(weight, labels, coupling)
        numbers = _as_rows(known[id(weight)].detach().double(), order, groups).numpy()
        found[key] = Layer(_named(key[0], found), numbers, groups, (weight,), order)
    if not found:
        raise MeasureError(
            "This network has no matrix and no filter whose structure could be looked at.",
            remedy="Give a network with linear, convolutional or recurrent layers.",
        )
    return tuple(found.values())


def learnt_values(graph: Graph, coupling: Coupling) -> dict[int, Tensor]:
    """What parameters, and values computed from parameters and constants alone, are.

    Args:
        graph: captured.
        coupling: of it.

    Returns:
        identity of a value to its tensor; constants too.
    """
    known = {id(v): graph.tensors[path] for path, v in graph.stored.items() if v.kind in ("parameter", "constant")}
    with torch.no_grad():
        for node in _folded(graph, coupling):
            given = tuple(_given(arg, known) for arg in node.args)
            args, names = call_of(node.op, given)
            made = function_of(node.op)(*args, **names)
            made = made if isinstance(made, (tuple, list)) else (made,)
            known.update((id(value), tensor) for value, tensor in zip(node.outputs, made, strict=True))
    return known


def _folded(graph: Graph, coupling: Coupling) -> Iterator[Node]:
    """Nodes that compute from parameters and constants alone, or from nothing."""
    fixed = {id(value) for value in graph.of_kind("constant")}
    for node in graph.nodes:
        inputs = list(node.inputs())
        if all(coupling.learnt(value) or id(value) in fixed for value in inputs):
            fixed.update(id(value) for value in node.outputs)
            yield node


def _given(arg: object, known: dict[int, Tensor]) -> object:
    if isinstance(arg, Value):
        return known[id(arg)]
    return [_given(item, known) for item in arg] if isinstance(arg, (list, tuple)) else arg


def _sources(graph: Graph, coupling: Coupling) -> dict[int, str]:
    """Identity of a learnt value to the path of the first parameter in it."""
    source = {id(value): value.path for value in graph.of_kind("parameter")}
    for node in _folded(graph, coupling):
        first = next((source[id(value)] for value in node.inputs() if id(value) in source), None)
        if first is not None:
            source.update((id(value), first) for value in node.outputs)
    return source


def _groups(node: Node | None, weight: Value) -> int:
    description = None if node is None else description_of(node)
    if node is None or not isinstance(description, Convolution) or description.call(node).weight is not weight:
        return 1
    return int(description.call(node).groups)


def _order(weight: Value, labels: Labels, coupling: Coupling) -> tuple[int, int]:
    """The axes of a weight along which rows and columns lie."""
    made, axes = labels.ravel(), coupling.axes(weight)
    exact = [axis for axis, own in enumerate(axes) if np.array_equal(own, made)]
    unit = coupling.components()
    tied = [axis for axis, own in enumerate(axes) if np.isin(unit[own], unit[made]).all()]
    rows = (exact or tied or [0])[0]
    return rows, next(axis for axis in (1, 0, 2) if axis != rows and axis < len(axes))


def _as_rows(tensor: Tensor, order: tuple[int, int], groups: int) -> Tensor:
    rows, columns = order
    turned = tensor.movedim(order, (0, 1)).reshape(tensor.shape[rows], tensor.shape[columns], -1)
    if groups > 1 and rows == 1:
        # Of a transposed convolution the rows are parted: (input, output of a group) instead of (output, input of one).
        outputs, inputs, taps = turned.shape
        parted = turned.reshape(outputs, groups, inputs // groups, taps).transpose(0, 1)
        turned = parted.reshape(outputs * groups, inputs // groups, taps)
    return turned


def _named(path: str, found: dict[tuple[str, tuple[int, ...]], Layer]) -> str:
    """A short name: without what wraps a model and what norms a weight, numbered where one is taken."""
    name = path.removeprefix("model.").replace(".parametrizations.weight.original1", ".weight")
    name = name.replace(".parametrizations.weight.original0", ".weight").removesuffix(".weight") or path
    taken = {layer.name for layer in found.values()}
    return name if name not in taken else f"{name}#{1 + sum(other.split('#')[0] == name for other in taken)}"
