"""How a captured network behaves on data: the evidence that criteria ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from pochette.errors import ReductionError
from pochette.families import scores
from pochette.graph.capture import capture
from pochette.graph.copying import copy_of
from pochette.graph.graph import Graph, Value
from pochette.graph.run import run
from pochette.graph.units import Place, UnitFamily, Units, units_of
from pochette.measure.moments import rows_at
from pochette.reduce.comparing import call_key
from pochette.reduce.sparse.subject import Subject
from pochette.reduce.structure import sources

FloatArray = npt.NDArray[np.float64]
_NO_LOSS = "This criterion needs the gradient of a loss."
_GIVE_LOSS = "Pass loss=..., a function of the output and the target."
SAMPLES = 1000
"""Moments at which activations are looked at, as many as the published criterion takes (Esling et al. 2020)."""


@dataclass(frozen=True)
class Batch:
    """Data that a network is watched on."""

    inputs: tuple[Any, ...]
    """Positional arguments of a call."""
    target: Tensor | None = None
    """What training wants of it: (batch, ..., time); (batch, dimension) where the network puts out the like. The first
    input if there is none."""

    @property
    def items(self) -> int:
        """How many sounds it holds."""
        first = next((item for item in tree_leaves(self.inputs) if isinstance(item, Tensor) and item.dim()), None)
        return 1 if first is None else len(first)


Loss = Callable[[nn.Module, Batch], Tensor]
"""The network and a batch to a scalar."""
Spot = tuple[Value, int]
"""A value of a graph, and the axis of it along which units lie."""


@dataclass
class Observed:
    """A network, its weights, and data to watch it on.

    Args:
        module: the captured one; left as it was.
        graph: of it.
        batches: data; empty if there is none.
        loss: what training minimises; None if nobody asks for gradients.
        seed: for what criteria draw.
        scenes: graphs that are at hand.
    """

    module: nn.Module
    graph: Graph
    batches: Sequence[Batch] = ()
    loss: Loss | None = None
    seed: int = 0
    scenes: dict[tuple[Any, ...], tuple[Graph, Units]] = field(default_factory=dict)
    """What a batch has for its `call_key`, to the graph there and its units; missing ones are captured."""
    _weight_scores: dict[str, Mapping[str, Tensor]] = field(default_factory=dict)
    _watched: dict[tuple[int, str, int], FloatArray] = field(default_factory=dict)
    """Number of a batch, name of a value and axis to what was seen there."""

    # -- weights -------------------------------------------------------------------------------------------------------

    @cached_property
    def tensors(self) -> Mapping[str, Tensor]:
        """Trained weights by path; weight-normed ones as they act, g v / |v|, under the path of v."""
        tensors = {path: tensor.detach() for path, tensor in self.graph.tensors.items()}
        for v, (g, dim) in self._weight_norms.items():
            tensors[v] = torch._weight_norm(tensors[v], tensors[g], dim)
        return tensors

    @cached_property
    def _weight_norms(self) -> dict[str, tuple[str, int]]:
        """Path of the direction to that of the gain, and the axis of the gain, of every weight norm."""
        nodes = [node for node in self.graph.nodes if node.op == "aten._weight_norm.default"]
        # A layer that is called twice has two nodes for one norm.
        return {
            node.args[0].path: (node.args[1].path, node.args[2])
            for node in nodes
            if node.args[0].path and node.args[1].path
        }

    def makers(self, family: UnitFamily) -> tuple[Place, ...]:
        """See `Evidence.makers`."""
        return family.makers

    def gains(self, family: UnitFamily) -> tuple[Place, ...]:
        """See `Evidence.gains`."""
        norm_gains = {
            node.args[place].path
            for node in self.graph.nodes
            for name, place in _GAINS.items()
            if node.op.startswith(name) and isinstance(node.args[place], Value)
        }
        makers = {place.path for place in family.makers}
        own_gains = {g for v, (g, _) in self._weight_norms.items() if v in makers}
        return tuple(place for place in family.indices if place.path in norm_gains | own_gains)

    # -- data ----------------------------------------------------------------------------------------------------------

    def gradients(self) -> Mapping[str, Tensor]:
        """See `Evidence.gradients`."""
        return self._gradients

    @cached_property
    def _gradients(self) -> dict[str, Tensor]:
        self._need_data()
        if self.loss is None:
            raise ReductionError(_NO_LOSS, remedy=_GIVE_LOSS)
        module = copy_of(self.module).eval()
        module.zero_grad(set_to_none=True)
        for batch in self.batches:
            found = self.loss(module, batch)
            if not isinstance(found, Tensor) or found.numel() != 1 or not found.requires_grad:
                raise ReductionError(
                    "The loss is no single number that depends on the network's weights.",
                    remedy="Give a loss that returns a scalar tensor, and let the weights require gradients.",
                )
            found.backward()  # type: ignore[no-untyped-call]
        named = dict(module.named_parameters(remove_duplicate=False))
        gradients = {
            path: torch.zeros_like(self.graph.tensors[path])
            if path not in named or named[path].grad is None
            else named[path].grad.detach()  # type: ignore[union-attr]
            for path in self.graph.stored
        }
        for v, (g, dim) in self._weight_norms.items():
            gradients[v] = _effective_gradient(
                self.graph.tensors[v].detach(), self.graph.tensors[g].detach(), gradients[v], gradients[g], dim
            )
        return gradients

    def weight_scores(self, name: str) -> Mapping[str, Tensor]:
        """See `Evidence.weight_scores`."""
        if name not in self._weight_scores:
            self._need_data()
            losses = [partial(self._loss_of, batch) for batch in self.batches]
            self._weight_scores[name] = scores[name](Subject.of(self.module, losses, self.seed))
        return self._weight_scores[name]

    def _loss_of(self, batch: Batch, network: nn.Module) -> Tensor:
        if self.loss is None:
            raise ReductionError(_NO_LOSS, remedy=_GIVE_LOSS)
        return self.loss(network, batch)

    def activations(self, family: UnitFamily) -> FloatArray:
        """See `Evidence.activations`; seen where they are read last, after their nonlinearity."""
        return self._seen(family, made=True)

    def inputs(self, family: UnitFamily) -> FloatArray:
        """See `Evidence.inputs`."""
        return self._seen(family, made=False)

    def targets(self) -> FloatArray:
        """See `Evidence.targets`."""
        self._need_data()
        parts = []
        for number, batch in enumerate(self.batches):
            target = self._over_time(self._target(batch), batch)
            parts.append(rows_at(target.double(), 1, batch.items, self._moments(number)))
        return np.concatenate(parts)

    def _target(self, batch: Batch) -> Tensor:
        """What is wanted of a batch."""
        if batch.target is None:
            raise ReductionError(
                "The criterion asks how much units tell of the training target, and the data has none.",
                remedy="Give data=[(inputs, target), ...] (an auto-encoder's target is its input), or choose "
                "information_input, which asks for what each layer is given.",
            )
        return batch.target

    def _over_time(self, target: Tensor, batch: Batch) -> Tensor:
        """What belongs to a batch, (batch, dimension, time)."""
        target = target.detach()
        if target.dim() == 1:
            return target[:, None, None]
        if target.dim() == 2:
            graph, units = self._scene(batch)
            output = graph.outputs[0]
            # Of two axes the second is features where the network makes features, and time where it makes sound.
            features = len(output.shape) == 2 and units.coupling.made(units.coupling.axes(output)[1])
            return target[:, :, None] if features else target[:, None, :]
        return target.flatten(1, -2)

    def _moments(self, number: int) -> int:
        """How many moments of each item are looked at: no more than its target or input has, lest rows repeat."""
        most = max(1, SAMPLES // sum(batch.items for batch in self.batches))
        batch = self.batches[number]
        length = self._over_time(batch.inputs[0] if batch.target is None else batch.target, batch).shape[-1]
        return most if length == 1 else min(most, length)

    def _need_data(self) -> None:
        if not self.batches:
            raise ReductionError(
                "This criterion looks at how the network behaves, and no data was given.",
                remedy="Pass data=[(inputs, target), ...], or choose a criterion of weights such as magnitude.",
            )

    def _scene(self, batch: Batch) -> tuple[Graph, Units]:
        """The graph at a batch's shapes, and its units."""
        key = call_key(batch.inputs)
        if key not in self.scenes:
            graph = capture(self.module, batch.inputs)
            self.scenes[key] = graph, units_of(graph)
        return self.scenes[key]

    def _seen(self, family: UnitFamily, *, made: bool) -> FloatArray:
        self._need_data()
        parts = []
        for number, batch in enumerate(self.batches):
            graph, units = self._scene(batch)
            same = _same_family(units, family)
            value, axis = _last_read(units, same) if made else _read_by_maker(graph, units, same)
            if (number, value.name, axis) not in self._watched:
                self._watch(number)
            rows = self._watched[number, value.name, axis]
            if made:
                labels = next(own for own in units.owners(value, axis) if np.isin(same.numbers, own).all())
                rows = np.stack([rows[:, labels == unit].mean(axis=1) for unit in same.numbers], axis=1)
            parts.append(rows)
        return np.concatenate(parts)

    def _watch(self, number: int) -> None:
        """Run the network on a batch once, and keep what any criterion may ask of any family."""
        batch = self.batches[number]
        graph, units = self._scene(batch)
        spots: set[Spot] = set()
        for family in units.families:
            with suppress(ReductionError):
                spots.add(_last_read(units, family))
            with suppress(ReductionError):
                spots.add(_read_by_maker(graph, units, family))
        leaves = tree_leaves(batch.inputs)
        given = [leaf for leaf, value in zip(leaves, graph.fed, strict=True) if value is not None]
        with torch.no_grad():
            seen = run(graph, given, watch=frozenset(value.name for value, _ in spots)).watched
        seen.update((value.name, tensor) for value, tensor in zip(graph.inputs, given, strict=True))
        for value, axis in spots:
            tensor = seen[value.name]
            real = tensor.abs() if tensor.is_complex() else tensor
            if axis == real.dim():  # numbers of codes: one feature
                real = real[..., None]
            rows = rows_at(real.double(), axis, batch.items, self._moments(number))
            self._watched[number, value.name, axis] = rows


def _same_family(units: Units, family: UnitFamily) -> UnitFamily:
    """A family where the same network is captured at other shapes."""
    for found in units.families:
        if found.makers == family.makers and all(
            np.array_equal(found.indices[place], family.indices[place]) for place in found.makers
        ):
            return found
    raise ReductionError(
        f"The units of {family.name} are not found on the data's shapes.",
        remedy="Give data of the shapes of the example inputs.",
    )


def _last_read(units: Units, family: UnitFamily) -> Spot:
    """The value, and its axis, in which the family's units are read last."""
    for reading in reversed(units.coupling.readings):
        value, axis = reading.value, reading.axis
        if reading.node.op in _RECURRENT and value is not reading.node.args[0]:
            # Such a layer sums over its weights' columns; what stands before them is the data that it is fed.
            value = reading.node.args[0]
            axis = len(value.shape) - 1
        if value.kind != "computed" or units.coupling.learnt(value):
            continue
        if any(np.isin(family.numbers, own).all() for own in units.owners(value, axis)):
            return value, axis
    raise ReductionError(
        f"Nothing reads the units of {family.name} as data.", remedy="Choose a criterion of weights such as magnitude."
    )


def _read_by_maker(graph: Graph, units: Units, family: UnitFamily) -> Spot:
    """The data that the layer reads which makes the family's units; of one that reads numbers of codes, those."""
    paths = {place.path for place in family.makers}
    source = sources(graph)
    maker = {id(value): node for node in graph.nodes for value in node.outputs}
    numbers: Spot | None = None
    for node in graph.nodes:
        inputs = list(node.inputs())
        if paths.isdisjoint(source.get(id(value), "") for value in inputs):
            continue
        codes = [value for value in inputs if value.kind in ("computed", "input") and value.dtype == torch.int64]
        if codes and numbers is None:
            numbers = codes[0], len(codes[0].shape)
        data = next((value for value in inputs if _is_signal(value) and not units.coupling.learnt(value)), None)
        if data is None:
            continue
        contracted = [r.axis for r in units.coupling.readings if r.node is node and r.value is data]
        axis = contracted[0] if contracted else len(data.shape) - 1
        # Padding in time would shift it against what comes of it.
        while id(data) in maker and maker[id(data)].op in _PADDINGS:
            before = maker[id(data)].args[0]
            if before.shape[axis] != data.shape[axis]:
                break
            data = before
        return data, axis
    if numbers is not None:
        return numbers
    raise ReductionError(
        f"The layer that makes the units of {family.name} reads no data.",
        remedy="Choose a criterion of weights such as magnitude.",
    )


def _is_signal(value: Value) -> bool:
    return value.kind in ("computed", "input") and value.dtype.is_floating_point


def _effective_gradient(v: Tensor, g: Tensor, by_v: Tensor, by_g: Tensor, dim: int) -> Tensor:
    """Gradient by the effective weight w = g v / |v|: those by v give its part across w, those by g its part along."""
    norm = torch.norm_except_dim(v, 2, dim)
    # A gain of zero hides the part across.
    across = torch.where(g == 0, 0.0, by_v * norm / g)
    return across + by_g * v / norm


_GAINS = {
    "aten.layer_norm": 2,
    "aten.group_norm": 2,
    "aten.rms_norm": 2,
    "aten._native_batch_norm_legit_no_training": 1,
    "aten.batch_norm": 1,
    "aten.instance_norm": 1,
}
"""Normalisations, and the place of their gain among the arguments."""
_RECURRENT = frozenset(
    f"aten.{name}"
    for kind in ("gru", "lstm", "rnn_tanh", "rnn_relu")
    for name in (f"{kind}.input", f"{kind}_cell.default")
)
"""Layers that are one operator, gates and all."""
_PADDINGS = frozenset(
    f"aten.{name}.default" for name in ("pad", "constant_pad_nd", "reflection_pad1d", "replication_pad1d")
)
"""Operators that lengthen a signal by what is none of its own."""
