"""A network as analyses see it: its graph, its layers as they act, and what it did on some sound."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from pochette.errors import MeasureError
from pochette.graph.capture import capture
from pochette.graph.coupling import Coupling
from pochette.graph.graph import Graph, Value
from pochette.graph.run import run
from pochette.graph.straight import RECURRENT
from pochette.graph.units import propagate
from pochette.measure.moments import rows_at
from pochette.measure.weighted import Layer, layers_of
from pochette.models.model import Excerpt, Model

FloatArray = npt.NDArray[np.float64]
Told = Callable[[float, str], None]
"""Hears of progress: the share that is done, and what comes next."""


@dataclass(frozen=True)
class Limit:
    """How much analyses may look at; of more they draw a sample, and say so."""

    units: int = 2048
    """Rows, and columns, of one layer's graph; work grows with the third power."""
    samples: int = 1000
    """Moments of sound at which activations are watched."""
    points: int = 150
    """Of them, those whose homology is computed; work grows with the third power and more."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A network to be analysed."""

    graph: Graph
    """Of a short call."""
    layers: tuple[Layer, ...]
    heard: Mapping[str, FloatArray] = field(default_factory=dict, repr=False)
    """(sample, unit) what each layer reads that reads what others made, by that layer's name, in order."""
    inputs: FloatArray | None = field(default=None, repr=False)
    """(sample, dimension) what the layers read that read what is given to the network, side by side."""
    target: FloatArray | None = field(default=None, repr=False)
    """(sample, dimension) what training wants of it at the same moments."""
    limit: Limit = Limit()
    seed: int = 0
    """For what is drawn."""
    played: Graph | None = field(default=None, repr=False)
    """Of the call that was watched."""
    told: Told | None = field(default=None, repr=False)
    """Hears from each analysis how many of the layers it has read, and which is next."""

    @classmethod
    def of(
        cls,
        module: nn.Module,
        example_inputs: tuple[Any, ...] = (),
        target: Tensor | None = None,
        *,
        watch: bool = False,
        limit: Limit | None = None,
        seed: int = 0,
        told: Told | None = None,
    ) -> Subject:
        """A subject of any module.

        Args:
            module: left as it was; of a `Model` its trim form is read.
            example_inputs: of a call; a `Model` knows some.
            target: (batch, feature, time) what is wanted of that call.
            watch: whether activations on the inputs are kept.
            limit: see `Limit`.
            seed: see `Subject`.
            told: hears of the progress.

        Returns:
            the subject.

        Raises:
            MeasureError: the module has no layers.
            ExportError: it cannot be captured.
        """
        form, inputs, short = module, example_inputs, example_inputs
        if isinstance(module, Model):
            form, short = module.trim_form()
            inputs = example_inputs or short
        # Structure is read from a short call, as ways through it are followed moment by moment.
        graph = capture(form, short)
        tell: Told = told or (lambda share, what: None)
        tell(0.6, "its graph")
        limit = limit or Limit()
        layers = layers_of(graph)
        if not watch:
            return cls(graph, layers, limit=limit, seed=seed)
        long = graph if inputs is short else capture(form, inputs)
        tell(0.8, "what layers hear")
        return cls(graph, layers, limit=limit, seed=seed)._playing(long, inputs, target)

    @classmethod
    def hearing(
        cls, model: Model, excerpt: Excerpt, *, limit: Limit | None = None, seed: int = 0, told: Told | None = None
    ) -> Subject:
        """A model, watched on some sound.

        Args:
            model: left as it was.
            excerpt: a batch of it, best held out from training.
            limit: see `Limit`.
            seed: see `Subject`.
            told: hears of the progress.

        Returns:
            the subject.

        Raises:
            ReductionError: the model cannot be watched; `of` reads its weights alone.
        """
        with torch.no_grad():
            inputs, target = model.watched(excerpt)
        return cls.of(model, inputs, target, watch=True, limit=limit, seed=seed, told=told)

    def with_weights(self, model: Model, excerpt: Excerpt) -> Subject:
        """The same network with other weights: read as `hearing` reads it, but not captured again.

        Args:
            model: of the very structure that was captured; left as it was.
            excerpt: a batch of the shape that was heard.

        Returns:
            the subject.

        Raises:
            MeasureError: the network was not watched.
        """
        self.activations()
        assert self.played is not None, "what was heard was played"
        with torch.no_grad():
            inputs, target = model.watched(excerpt)
        own = model.trim_form()[0].state_dict()
        short, long = (
            replace(graph, tensors={path: own.get(path, tensor) for path, tensor in graph.tensors.items()})
            for graph in (self.graph, self.played)
        )
        return Subject(short, layers_of(short), limit=self.limit, seed=self.seed)._playing(long, inputs, target)

    def _playing(self, graph: Graph, inputs: tuple[Any, ...], target: Tensor | None) -> Subject:
        """Watched on a call whose graph is given."""
        items = next((len(leaf) for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor) and leaf.dim()), 1)
        moments = max(1, self.limit.samples // items)
        if target is not None and target.shape[-1] > 1:
            moments = min(moments, target.shape[-1])  # more would repeat rows
        layers = self.layers if graph is self.graph else layers_of(graph)
        heard, first = _watched(graph, layers, inputs, items, moments)
        wanted = None if target is None else rows_at(target.detach().double(), 1, items, moments)
        return replace(self, heard=heard, inputs=first, target=wanted, played=graph)

    def activations(self) -> Mapping[str, FloatArray]:
        """What was heard.

        Returns:
            see `heard`.

        Raises:
            MeasureError: the network was not watched.
        """
        if not self.heard:
            raise MeasureError(
                "This analysis looks at what a network does on sound, and none was played to it.",
                remedy="Give sound: analyse a run whose recordings are still where they were, or Subject.hearing.",
            )
        return self.heard

    def each_layer(self) -> Iterator[Layer]:
        """The layers one after the other; progress is told of.

        Yields:
            a layer.
        """
        for number, layer in enumerate(self.layers):
            self._tell(number / len(self.layers), layer.name)
            yield layer

    def each_heard(self) -> Iterator[tuple[str, FloatArray]]:
        """What the layers heard, one after the other; progress is told of.

        Yields:
            name of a layer, and what it heard, see `heard`.

        Raises:
            MeasureError: the network was not watched.
        """
        for number, (name, values) in enumerate(self.activations().items()):
            self._tell(number / len(self.heard), name)
            yield name, values

    def _tell(self, share: float, what: str) -> None:
        if self.told is not None:
            self.told(share, what)

    def edges(self, layer: Layer) -> tuple[FloatArray, str]:
        """The weighted graph of a layer, or as much of it as may be looked at.

        Args:
            layer: of the subject.

        Returns:
            (row, column) magnitudes, and what was left out; an empty note if nothing was.
        """
        edges, most = layer.edges, self.limit.units
        if max(edges.shape) <= most:
            return edges, ""
        random = np.random.default_rng(self.seed)
        rows, columns = (np.sort(random.permutation(size)[:most]) for size in edges.shape)
        size = " x ".join(map(str, edges.shape))
        note = f"{layer.name}: {len(rows)} rows and {len(columns)} columns were drawn from {size}."
        return edges[np.ix_(rows, columns)], note


def sampled(values: FloatArray, most: int, seed: int) -> FloatArray:
    """Rows drawn without repetition, in order; all of them if there are no more.

    Args:
        values: (sample, ...).
        most: how many rows.
        seed: draws them.

    Returns:
        (sample, ...).
    """
    if len(values) <= most:
        return values
    return values[np.sort(np.random.default_rng(seed).permutation(len(values))[:most])]


def _watched(
    graph: Graph, layers: tuple[Layer, ...], inputs: tuple[Any, ...], items: int, moments: int
) -> tuple[dict[str, FloatArray], FloatArray | None]:
    """What layers hear that hear others, and what the first hear."""
    coupling = propagate(graph)
    spots, firsts = _spots(graph, coupling, layers)
    leaves = tree_leaves(inputs)
    given = [leaf for leaf, value in zip(leaves, graph.fed, strict=True) if value is not None]
    names = frozenset(value.name for value, _ in (*spots.values(), *firsts))
    with torch.no_grad():
        seen = run(graph, given, watch=names).watched
    seen.update((value.name, tensor) for value, tensor in zip(graph.inputs, given, strict=True))

    def rows(value: Value, axis: int) -> FloatArray:
        tensor = seen[value.name]
        real = tensor.abs() if tensor.is_complex() else tensor
        if axis == real.dim():  # numbers of codes: one feature
            real = real[..., None]
        return rows_at(real.double(), axis, items, moments)

    met = [rows(value, axis) for value, axis in firsts]
    return {name: rows(*spot) for name, spot in spots.items()}, np.concatenate(met, axis=1) if met else None


def _spots(
    graph: Graph, coupling: Coupling, layers: tuple[Layer, ...]
) -> tuple[dict[str, tuple[Value, int]], list[tuple[Value, int]]]:
    """Where layers read: values and their axes of features, those that depend on other layers under their names."""
    name_of = {id(value): layer.name for layer in layers for value in layer.values}
    depends = {id(value) for value in graph.of_kind("parameter")}
    for node in graph.nodes:
        if any(id(value) in depends for value in node.inputs()):
            depends.update(id(value) for value in node.outputs)
    spots: dict[str, tuple[Value, int]] = {}
    firsts: list[tuple[Value, int]] = []
    done: set[int] = set()
    for reading in coupling.readings:
        node, value, axis = reading.node, reading.value, reading.axis
        if node.op.split(".")[1] in RECURRENT and value is not node.args[0]:
            # Such a layer sums over its weights' columns; what stands before them is the data that it is fed.
            value = node.args[0]
            axis = len(value.shape) - 1
        name = next((name_of[id(item)] for item in node.inputs() if id(item) in name_of), "")
        if not name or id(value) in done or coupling.learnt(value) or value.dtype == torch.bool:
            continue
        if value.kind not in ("computed", "input"):
            continue
        done.add(id(value))
        if id(value) in depends:
            spots.setdefault(name, (value, axis))
        else:
            firsts.append((value, axis))
    return spots, firsts or [(value, _last(value)) for value in graph.inputs]


def _last(value: Value) -> int:
    """The axis of features of an input that no layer reads as it is: the last, or none of numbers of codes."""
    return len(value.shape) if value.dtype == torch.int64 else max(len(value.shape) - 1, 0)
