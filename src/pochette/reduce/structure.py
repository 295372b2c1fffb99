"""A captured network and what can be removed from it: sizes and costs for any number of units left in each family."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from pochette.errors import ReductionError
from pochette.graph.capture import capture
from pochette.graph.graph import Graph, Node, Value
from pochette.graph.operator import description_of
from pochette.graph.ops.convolution import Convolution
from pochette.graph.rewrite import Remains
from pochette.graph.units import UnitFamily, Units, units_of
from pochette.reduce.shares import check_least, named

Counts = Mapping[str, int]
"""Family name to how many of its units stay."""
Survivors = Mapping[str, npt.NDArray[np.int64]]
"""Family name to the numbers of the units that stay."""


@dataclass(frozen=True)
class Structure:
    """A captured network and its units."""

    graph: Graph = field(repr=False)
    units: Units

    @classmethod
    def of(cls, module: nn.Module, example_inputs: tuple[Any, ...]) -> Structure:
        """Capture a module and find its units.

        Args:
            module: left as it was.
            example_inputs: positional arguments of a call.

        Returns:
            the structure.

        Raises:
            ExportError: the module cannot be captured.
            ReductionError: nothing in it can be removed.
        """
        graph = capture(module, example_inputs)
        units = units_of(graph)
        if not any(family.units > 1 for family in units.families):
            reasons = [f"{path}: {why}" for path, why in list(units.kept.items())[:3]]
            raise ReductionError(
                "No unit of this model can be removed.",
                where=type(module).__name__,
                remedy="Models with hidden layers can be trimmed"
                + (f"; the reasons here: {'; '.join(reasons)}." if reasons else "."),
            )
        return cls(graph, units)

    @property
    def families(self) -> tuple[UnitFamily, ...]:
        """What can be ranked and removed."""
        return self.units.families

    @property
    def whole(self) -> dict[str, int]:
        """How many units each family has."""
        return {family.name: family.units for family in self.families}

    def uniform(self, keep: float, multiple_of: int = 1) -> dict[str, int]:
        """How many units each family keeps at a share: max(1, round(keep * n)), rounded up to a multiple if asked.

        Args:
            keep: share of the units.
            multiple_of: of what the numbers must be multiples, as far as a family has so many units.

        Returns:
            family name to number.
        """
        counts = {}
        for family in self.families:
            count = max(1, round(keep * family.units))
            counts[family.name] = min(family.units, -(-count // multiple_of) * multiple_of)
        return counts

    def least_macs(self) -> int:
        """Multiply-accumulates of learnt weights in one call with one unit left in every family."""
        return self.matrix_macs(dict.fromkeys(self.whole, 1))

    def keep_for(self, target_macs: float) -> float:
        """Largest share of units, the same for every family, whose weights need at most so many MACs a call.

        Args:
            target_macs: multiply-accumulates per call.

        Returns:
            share of units, between 0 and 1.

        Raises:
            ReductionError: even one unit a family is too many.
        """
        if self.least_macs() > target_macs * (1 + 1e-9):
            raise ReductionError(
                f"With one unit in every layer the network still needs {self.least_macs()} MACs a call, "
                f"more than the {target_macs:.0f} asked for.",
                remedy=f"Keep {named(self.least_macs() / self.matrix_macs())} of them or more, or start from a smaller "
                "model.",
            )
        low, high = 0.0, 1.0
        for _ in range(24):
            middle = (low + high) / 2
            within = self.matrix_macs(self.uniform(middle)) <= target_macs * (1 + 1e-9)
            low, high = (middle, high) if within else (low, middle)
        return low

    # -- sizes and costs -----------------------------------------------------------------------------------------------

    def parameters(self, counts: Counts | None = None) -> int:
        """Learnt numbers the graph uses, with some units left.

        Args:
            counts: units left in each family; all by default.

        Returns:
            their number.
        """
        return int(self._sizes(counts).sum())

    def matrix_macs(self, counts: Counts | None = None) -> int:
        """Multiply-accumulates of learnt weights in one call, with some units left.

        One call of what was captured: a frame of DDSP, several hops of WaveNet. Shares of it mean the same for all.

        Args:
            counts: units left in each family; all by default.

        Returns:
            their number.
        """
        return round(float((self._sizes(counts) * self._rates).sum()))

    def macs_by_parameter(self) -> dict[str, float]:
        """Multiply-accumulates a call that each learnt tensor of the whole network takes part in, by path."""
        each = self._sizes(None) * self._rates
        return {value.path: float(macs) for value, macs in zip(self._parameters, each, strict=True)}

    def marginal(self, counts: Counts, of: str) -> dict[str, float]:
        """What one unit of each family costs where some are left already.

        Args:
            counts: units left in each family.
            of: "operations" (multiply-accumulates a call) or "bytes" (of float32 weights).

        Returns:
            family name to the cost that removing one more unit saves.
        """
        rates = self._rates if of == "operations" else np.full(len(self._rates), 4.0)
        now = float((self._sizes(counts) * rates).sum())
        return {
            name: now - float((self._sizes({**counts, name: counts[name] - 1}) * rates).sum()) for name in self.whole
        }

    def _sizes(self, counts: Counts | None) -> npt.NDArray[np.float64]:
        """Elements of each parameter."""
        missing = np.zeros(len(self.families))
        if counts is not None:
            missing = np.array([family.units - counts[family.name] for family in self.families], float)
        lengths = self._lengths - self._owned @ missing
        for at, times, sides, owned in self._crossings:
            lengths[at] -= times * (sides.prod() - (sides - owned @ missing).prod())
        return np.multiply.reduceat(lengths, self._first)

    @cached_property
    def _parameters(self) -> list[Value]:
        return self.graph.of_kind("parameter")

    @cached_property
    def _lengths(self) -> npt.NDArray[np.float64]:
        """Length of every axis of every parameter, one after the other; 1 stands for a scalar."""
        return np.array([size for value in self._parameters for size in (value.shape or (1,))], float)

    @cached_property
    def _first(self) -> npt.NDArray[np.int64]:
        """Where each parameter's axes begin in `_lengths`."""
        ranks = [max(1, len(value.shape)) for value in self._parameters]
        return np.concatenate([[0], np.cumsum(ranks)[:-1]]).astype(np.int64)

    @cached_property
    def _owned(self) -> npt.NDArray[np.float64]:
        """(axis of a parameter, family): indices that each unit owns there."""
        start = dict(zip((value.path for value in self._parameters), self._first.tolist(), strict=True))
        owned = np.zeros((len(self._lengths), len(self.families)))
        for number, family in enumerate(self.families):
            for place, indices in family.indices.items():
                if place.path in start:
                    owned[start[place.path] + place.axis, number] = indices.shape[1]
        return owned

    @cached_property
    def _crossings(self) -> list[tuple[int, int, npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
        """Axes along which the units of two families cross.

        Place in `_lengths`, how often each cell stands there, (side,) how many units there are, and (side, family) how
        many of them a unit of a family is.
        """
        found = []
        for cells, *sides in self.units.crossed:
            whole = np.array([len(side) for side in sides], float)
            owned = np.array([[np.isin(side, f.numbers).sum() / f.units for f in self.families] for side in sides])
            for value, first in zip(self._parameters, self._first.tolist(), strict=True):
                for axis, labels in enumerate(self.units.coupling.axes(value)):
                    times = int(np.isin(self.units.unit[labels], cells).sum()) // cells.size
                    if times:
                        found.append((first + axis, times, whole, owned))
        return found

    @cached_property
    def _rates(self) -> npt.NDArray[np.float64]:
        """Multiply-accumulates a call for each element of each parameter."""
        source = sources(self.graph)
        macs: dict[str, float] = defaultdict(float)
        for node in self.graph.nodes:
            count = description_of(node).cost(node).macs
            matrices = self._matrices(node, source)
            description = description_of(node)
            if count and not matrices and isinstance(description, Convolution):
                matrices = self._set_by(description.call(node).weight, source)
            total = sum(matrices.values())
            for path, size in matrices.items():
                macs[path] += count * size / total
        return np.array([macs[value.path] / max(1, value.size) for value in self._parameters])

    def _matrices(self, node: Node, source: Mapping[int, str]) -> dict[str, int]:
        """Learnt matrices that a node reads, under whatever shape, and the numbers it reads of each."""
        paths = [(source[id(value)], value.size) for value in node.inputs() if id(value) in source]
        return {path: size for path, size in paths if len(self.graph.stored[path].shape) > 1}

    def _set_by(self, filters: Value, source: Mapping[int, str]) -> dict[str, int]:
        """Learnt matrices that data make filters of: a style that scales them, a layer that computes them."""
        makers = {id(value): node for node in self.graph.nodes for value in node.outputs}
        found: dict[str, int] = {}
        pending, seen = [filters], set[int]()
        while pending:
            value = pending.pop()
            node = makers.get(id(value))
            if node is None or id(value) in seen:
                continue
            seen.add(id(value))
            matrices = self._matrices(node, source)
            found |= matrices
            pending += [] if matrices else node.inputs()
        return found

    # -- removal -------------------------------------------------------------------------------------------------------

    def remains(self, survivors: Survivors) -> Remains:
        """What is left of every value.

        Args:
            survivors: units that stay.

        Returns:
            shapes and indices.
        """
        removed = np.zeros(int(self.units.unit.max()) + 1, np.bool_)
        for family in self.families:
            gone = np.setdiff1d(np.arange(family.units), survivors[family.name])
            removed[family.numbers[gone]] = True
        return Remains(self.units, removed)

    def at(self, module: nn.Module, inputs: tuple[Any, ...], remains: Remains) -> tuple[Structure, Remains]:
        """The same module on inputs of other shapes, and the same removal there.

        Args:
            module: the captured one.
            inputs: positional arguments of a call.
            remains: of this structure.

        Returns:
            its structure there, and what remains of it.

        Raises:
            ExportError: the module cannot be captured there.
            ReductionError: its units are others there.
        """
        other = Structure.of(module, inputs)
        if [(f.name, f.units) for f in other.families] != [(f.name, f.units) for f in self.families]:
            raise ReductionError(
                "The network has other units on inputs of this shape.", remedy="Give data of the example's shapes."
            )
        removed = np.zeros(int(other.units.unit.max()) + 1, np.bool_)
        for mine, theirs in zip(self.families, other.families, strict=True):
            removed[theirs.numbers[np.flatnonzero(remains.removed[mine.numbers])]] = True
        return other, Remains(other.units, removed)


def sources(graph: Graph) -> dict[int, str]:
    """What values that are parameters under another shape or norm come from.

    Args:
        graph: captured.

    Returns:
        identity of a value to the path of the (first) parameter it is computed from.
    """
    source = {id(value): value.path for value in graph.of_kind("parameter")}
    for node in graph.nodes:
        inputs = list(node.inputs())
        if inputs and all(id(value) in source or value.kind == "constant" for value in inputs):
            first = next((source[id(value)] for value in inputs if id(value) in source), None)
            if first is not None:
                source.update((id(value), first) for value in node.outputs)
    return source


def check_share(whole: Structure, keep: float, floor: int = 1) -> None:
    """Refuse what the units that stay in any case exceed, before anything is trained.

    Args:
        whole: the network's structure.
        keep: share of its multiply-accumulates that is asked for.
        floor: units that every family keeps.

    Raises:
        ReductionError: it cannot be reached.
    """
    smallest = {name: min(floor, units) for name, units in whole.whole.items()}
    least = whole.matrix_macs(smallest) / whole.matrix_macs()
    units = "one unit" if floor == 1 else f"{floor} units"
    check_least(
        keep,
        least,
        f"With {units} in every layer {100 * least:.3g} % of the network's multiply-accumulates are left",
        ", or start from another size of the model",
    )
