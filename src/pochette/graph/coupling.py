"""Which channels must be removed together.

Every index of every axis carries a label. Operators hand labels on (an elementwise sum gives its inputs' channels one
label), re-arrange them (concatenation, slices) or tie them (the rows of a recurrent layer's gates). Labels tied
directly or indirectly form one **unit**: removing it means cutting all its indices from all tensors at once. Units that
touch the same axes of the same parameters form a **family**; within it they can be ranked.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from pochette.graph.graph import Graph, Value
from pochette.graph.operator import description_of

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Place:
    """One axis of one stored tensor."""

    path: str
    axis: int


@dataclass(frozen=True)
class UnitFamily:
    """Units that can be ranked against each other: same parameters, same axes."""

    name: str
    """Path of the parameter that makes the units, without its last part."""
    indices: dict[Place, npt.NDArray[np.int64]]
    """For each place, (unit, indices a unit owns there)."""
    norms: tuple[str, ...]
    """Layers that normalise over these units: removing some changes the others' statistics."""

    @property
    def units(self) -> int:
        """How many there are."""
        return len(next(iter(self.indices.values())))


@dataclass
class Coupling:
    """The labels of a graph while operators propagate them."""

    graph: Graph
    _next: int = 0
    _axes: dict[int, list[Labels]] = field(default_factory=dict)
    _ties: list[tuple[Labels, Labels]] = field(default_factory=list)
    _frozen: list[tuple[Labels, str]] = field(default_factory=list)
    _norms: list[tuple[Labels, str]] = field(default_factory=list)

    def fresh(self, length: int) -> Labels:
        """Labels never used before."""
        self._next += length
        return np.arange(self._next - length, self._next)

    def axes(self, value: Value) -> list[Labels]:
        """Labels of each axis of a value; fresh ones for a tensor not met before."""
        if id(value) not in self._axes:
            self._axes[id(value)] = [self.fresh(size) for size in value.shape]
        return self._axes[id(value)]

    def set(self, value: Value, axes: list[Labels]) -> None:
        """Give a computed value its labels.

        Args:
            value: of the graph.
            axes: labels of each of its axes.

        Raises:
            AssertionError: their lengths are not the value's shape (a defect of an operator's description).
        """
        assert tuple(len(axis) for axis in axes) == value.shape, f"{value} labelled {[len(a) for a in axes]}"
        self._axes[id(value)] = axes

    def tie(self, left: Labels, right: Labels) -> None:
        """Index by index, the two belong to one unit."""
        assert left.shape == right.shape
        self._ties.append((left, right))

    def freeze(self, value: Value, reason: str) -> None:
        """No index of this value may be removed."""
        for axis in self.axes(value):
            self.freeze_labels(axis, reason)

    def freeze_labels(self, labels: Labels, reason: str) -> None:
        """None of these may be removed."""
        self._frozen.append((labels, reason))

    def normalised(self, labels: Labels, layer: str) -> None:
        """A layer computes statistics over these."""
        self._norms.append((labels, layer))

    def components(self) -> Labels:
        """The unit of every label."""
        pairs = [np.stack([a.ravel(), b.ravel()]) for a, b in self._ties]
        edges = np.concatenate(pairs, axis=1) if pairs else np.zeros((2, 0), np.int64)
        matrix = coo_matrix((np.ones(edges.shape[1]), (edges[0], edges[1])), shape=(self._next, self._next))
        found: Labels = connected_components(matrix, directed=False)[1].astype(np.int64)
        return found


@dataclass(frozen=True)
class Units:
    """What can be removed from a graph, and what cannot and why."""

    families: tuple[UnitFamily, ...]
    kept: dict[str, str]
    """Parameter axis ("path:axis") to the reason why it stays whole."""


def propagate(graph: Graph) -> Coupling:
    """Let every operator of a graph hand its labels on.

    Args:
        graph: captured.

    Returns:
        the labels, ready for `units_of`.
    """
    coupling = Coupling(graph)
    for value in graph.inputs:
        coupling.freeze(value, "an input of the model")
    for node in graph.nodes:
        description_of(node).couple(node, coupling)
    for value in graph.outputs:
        coupling.freeze(value, "an output of the model")
    for path, value in graph.mutations.items():
        state = graph.stored[path]
        for before, after in zip(coupling.axes(state), coupling.axes(value), strict=True):
            coupling.tie(before, after)
    return coupling


def units_of(graph: Graph) -> Units:
    """The families of removable units of a graph.

    A unit is removable if nothing freezes it and it is hidden: some weight makes it and another weight reads it. What
    only feeds fixed arithmetic (a noise band, a partial) has a meaning of its own and stays.

    Args:
        graph: captured.

    Returns:
        families in the order of their first parameter, and the reasons for what stays.
    """
    coupling = propagate(graph)
    component = coupling.components()
    reasons: dict[int, str] = {}
    for labels, reason in coupling._frozen:
        for unit in np.unique(component[labels]):
            reasons.setdefault(int(unit), reason)
    owned = _owned_indices(graph, coupling, component)
    learnt = {value.path for value in graph.of_kind("parameter") if len(value.shape) > 1}
    kept: dict[str, str] = {}
    grouped: dict[tuple[tuple[Place, int], ...], list[int]] = defaultdict(list)
    for unit, places in owned.items():
        matrices = sum(place.path in learnt for place in places)
        if unit not in reasons and matrices < 2:
            reasons[unit] = "read by no learnt weight"
        if unit in reasons:
            kept.update({f"{place.path}:{place.axis}": reasons[unit] for place in places if place.path in learnt})
        else:
            grouped[tuple((place, len(found)) for place, found in places.items())].append(unit)
    norm_units = [(set(component[labels].tolist()), layer) for labels, layer in coupling._norms]
    families = []
    for signature, units in grouped.items():
        indices = {place: np.stack([np.array(owned[unit][place]) for unit in units]) for place, _ in signature}
        norms = tuple(layer for members, layer in norm_units if units[0] in members)
        families.append(UnitFamily(signature[0][0].path.rpartition(".")[0], indices, norms))
    return Units(tuple(families), kept)


def _owned_indices(graph: Graph, coupling: Coupling, component: Labels) -> dict[int, dict[Place, list[int]]]:
    """Unit to the indices it owns in each place of each stored tensor."""
    owned: dict[int, dict[Place, list[int]]] = defaultdict(dict)
    for path, value in graph.stored.items():
        for axis, labels in enumerate(coupling.axes(value)):
            for index, unit in enumerate(component[labels].tolist()):
                owned[unit].setdefault(Place(path, axis), []).append(index)
    return owned
