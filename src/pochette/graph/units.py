"""Units: what can be removed from a graph, what cannot, and why.

Labels that are tied form one **unit**: removing it means cutting all its indices from all tensors at once. Units that
touch the same axes of the same tensors form a **family**; within it they can be ranked, and any share of them removed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pochette.graph.coupling import Coupling
from pochette.graph.graph import Graph, Value
from pochette.graph.grids import Labels
from pochette.graph.operator import description_of

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Place:
    """One axis of one stored tensor."""

    path: str
    axis: int


@dataclass(frozen=True)
class UnitFamily:
    """Units that can be ranked against each other: same tensors, same axes."""

    name: str
    """Path of the parameter that makes the units, without its last part."""
    indices: dict[Place, Indices] = field(repr=False)
    """For each place, (unit, indices a unit owns there)."""
    norms: tuple[str, ...]
    """Layers that normalise over these units: removing some changes the others' statistics."""
    makers: tuple[Place, ...] = ()
    """The places whose weights make the units (their rows), as opposed to those that read them."""
    numbers: Indices = field(default_factory=lambda: np.zeros(0, np.int64), repr=False)
    """The units' numbers in `Units.unit`."""

    @property
    def units(self) -> int:
        """How many there are."""
        return len(next(iter(self.indices.values())))


@dataclass(frozen=True)
class Units:
    """What can be removed from a graph, and what cannot and why."""

    families: tuple[UnitFamily, ...]
    kept: dict[str, str]
    """Parameter axis ("path:axis") to the reason why it stays whole."""
    coupling: Coupling = field(repr=False)
    unit: Labels = field(repr=False)
    """(label,) number of its unit."""
    crossed: tuple[tuple[Indices, Indices, Indices], ...] = field(default=(), repr=False)
    """Units of the cells, rows and columns of grids whose cells go with either of their sides."""

    def closed(self, removed: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """What goes where some units go: with a row or a column its cells.

        Args:
            removed: (unit,) which of them go.

        Returns:
            (unit,) which go then.
        """
        gone = removed.copy()
        for cells, rows, columns in self.crossed:
            gone[cells] = removed[rows][:, None] | removed[columns][None]
        return gone

    def owners(self, value: Value, axis: int) -> list[Indices]:
        """The units to which the indices of an axis belong; of cells first those of their rows, then of their columns.

        Args:
            value: of the graph.
            axis: of the value.

        Returns:
            (index,) number of a unit, once or twice.
        """
        own = self.unit[self.coupling.axes(value)[axis]]
        by_row, by_column = np.arange(len(self.unit)), np.arange(len(self.unit))
        for cells, rows, columns in self.crossed:
            by_row[cells], by_column[cells] = rows[:, None], columns[None]
        return [by_row[own]] if np.array_equal(by_row[own], own) else [by_row[own], by_column[own]]

    def indices(self, value: Value, axis: int, removed: npt.NDArray[np.bool_]) -> Indices:
        """Indices of an axis that survive the removal of some units.

        Args:
            value: of the graph.
            axis: of the value.
            removed: (unit,) which units go, `closed`.

        Returns:
            surviving indices in order.
        """
        return np.flatnonzero(~removed[self.unit[self.coupling.axes(value)[axis]]])


def propagate(graph: Graph) -> Coupling:
    """Let every operator of a graph hand its labels on.

    Args:
        graph: captured.

    Returns:
        the labels.
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
    for value in graph.stored.values():
        coupling.axes(value)
    return coupling


def units_of(graph: Graph) -> Units:
    """The families of removable units of a graph.

    A unit is removable if nothing freezes it and it is hidden: a learnt weight makes it, and a learnt weight of another
    operator reads it. What only feeds fixed arithmetic (a noise band, a partial) has a meaning of its own and stays.

    Args:
        graph: captured.

    Returns:
        families in the order of their first parameter, and the reasons for what stays.
    """
    coupling = propagate(graph)
    unit = coupling.settle()
    crossed = tuple((unit[grid.cells], unit[grid.outer], unit[grid.inner]) for grid in coupling.crossed)
    sides = _sides(crossed)
    makers, readers = _by_unit(coupling._makers, unit), _by_unit(coupling._readers, unit)
    reasons: dict[int, str] = {}
    owned = _owned_indices(graph, coupling, unit)
    for number in {int(one) for labels in coupling._met for one in unit[labels]}:
        if any(graph.stored[place.path].shape[place.axis] > 1 for place in owned.get(number, ())):
            reasons.setdefault(number, "every index of another axis meets it")
    for labels, reason in coupling._frozen:
        for number in np.unique(unit[labels]).tolist():
            reasons.setdefault(number, reason)
    for cell, both in sides.items():
        for number in both:
            readers[number] |= readers[cell]
            if cell in reasons:
                reasons.setdefault(number, reasons[cell])
    for number, nodes in makers.items():
        if not readers[number] - nodes:
            reasons.setdefault(number, "read by no learnt weight")
    made = _maker_places(graph, coupling) | _concatenated_makers(graph, coupling, unit)
    kept: dict[str, str] = {}
    grouped: dict[tuple[tuple[Place, int], ...], list[int]] = defaultdict(list)
    for number, places in owned.items():
        if number in reasons:
            learnt = [place for place in places if _is_matrix(graph, place)]
            kept.update({f"{place.path}:{place.axis}": reasons[number] for place in learnt})
        elif makers[number]:
            grouped[tuple((place, len(found)) for place, found in places.items())].append(number)
    norms = [(set(unit[labels].tolist()), layer) for labels, layer in coupling._norms]
    norms = [(members.union(*(sides[number] for number in sides.keys() & members)), layer) for members, layer in norms]
    families = [
        UnitFamily(
            name,
            {place: np.stack([np.array(owned[number][place]) for number in numbers]) for place, _ in signature},
            tuple(dict.fromkeys(layer for members, layer in norms if not members.isdisjoint(numbers))),
            tuple(place for place, _ in signature if place in made),
            np.array(numbers),
        )
        for name, (signature, numbers) in zip(_names(grouped, made), grouped.items(), strict=True)
    ]
    return Units(tuple(families), kept, coupling, unit, crossed)


def _sides(crossed: Iterable[tuple[Indices, Indices, Indices]]) -> dict[int, tuple[int, int]]:
    """Unit of a cell to those of its row and its column."""
    return {
        int(cell): (int(rows[row]), int(columns[column]))
        for cells, rows, columns in crossed
        for (row, column), cell in np.ndenumerate(cells)
    }


def _by_unit(marks: Iterable[tuple[Labels, int]], unit: Labels) -> defaultdict[int, set[int]]:
    """Unit to the nodes that were noted for any of its labels."""
    nodes: defaultdict[int, set[int]] = defaultdict(set)
    for labels, node in marks:
        for number in np.unique(unit[labels]).tolist():
            nodes[number].add(node)
    return nodes


def _is_matrix(graph: Graph, place: Place) -> bool:
    value = graph.stored[place.path]
    return value.kind == "parameter" and len(value.shape) > 1


def _owned_indices(graph: Graph, coupling: Coupling, unit: Labels) -> dict[int, dict[Place, list[int]]]:
    """Unit to the indices it owns in each place of each stored tensor."""
    owned: dict[int, dict[Place, list[int]]] = defaultdict(dict)
    for path, value in graph.stored.items():
        for axis, labels in enumerate(coupling.axes(value)):
            place = Place(path, axis)
            for index, number in enumerate(unit[labels].tolist()):
                owned[number].setdefault(place, []).append(index)
    return owned


def _maker_places(graph: Graph, coupling: Coupling) -> set[Place]:
    """Axes of stored tensors whose labels are made by a learnt weight: rows, not columns."""
    rows = {int(label) for labels, _ in coupling._makers for label in labels}
    return {
        Place(path, axis)
        for path, value in graph.stored.items()
        if value.kind == "parameter"
        for axis, labels in enumerate(coupling.axes(value))
        if len(value.shape) > 1 and len(labels) and int(labels[0]) in rows
    }


def _concatenated_makers(graph: Graph, coupling: Coupling, unit: Labels) -> set[Place]:
    """The same where weights are laid side by side before they are used: each of them makes the units."""
    origin = {id(node.output): node for node in graph.nodes if node.op in ("aten.cat.default", "aten.stack.default")}
    places: set[Place] = set()
    for weight, labels in coupling.made_with:
        units, parts = set(unit[labels].ravel().tolist()), [weight]
        while parts:
            part = parts.pop()
            if id(part) in origin:
                parts += list(origin[id(part)].inputs())
            elif part is not weight and part.kind == "parameter" and len(part.shape) > 1:
                axes = [a for a, own in enumerate(coupling.axes(part)) if units.issuperset(unit[own].tolist())]
                # Of a square matrix that units make and read, both axes are theirs; its rows make them.
                places.update(Place(part.path, axis) for axis in axes[:1])
    return places


def _names(grouped: Iterable[tuple[tuple[Place, int], ...]], made: set[Place]) -> list[str]:
    """A name for each family: the layer that makes it first; numbered where several share one."""
    names: list[str] = []
    for signature in grouped:
        first = next((place for place, _ in signature if place in made), signature[0][0])
        name = first.path.rpartition(".")[0] or first.path
        name = name.removesuffix(".parametrizations.weight")
        number = sum(other == name or other.startswith(f"{name}#") for other in names)
        names.append(f"{name}#{number + 1}" if number else name)
    return names
