"""How a captured network behaves on data: the evidence that criteria ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pochette.errors import ReductionError
from pochette.graph.capture import capture
from pochette.graph.graph import Graph, Value
from pochette.graph.run import run
from pochette.graph.units import Place, UnitFamily, Units, units_of
from pochette.reduce.copying import copy_of

FloatArray = npt.NDArray[np.float64]
SAMPLES = 1000
"""Moments at which activations are looked at, as many as the published criterion takes (Esling et al. 2020)."""


@dataclass(frozen=True)
class Batch:
    """Data that a network is watched on."""

    inputs: tuple[Any, ...]
    """Positional arguments of a call."""
    target: Tensor | None = None
    """What training wants of it, (batch, ..., time) or (batch, dimension)."""


Loss = Callable[[nn.Module, Batch], Tensor]
"""The network and a batch to a scalar."""


@dataclass
class Observed:
    """A network, its weights, and data to watch it on.

    Args:
        module: the captured one; left as it was.
        graph: of it.
        batches: data; empty if there is none.
        loss: what training minimises; None if nobody asks for gradients.
        seed: for what criteria draw.
        prefix: what the graph's paths carry in front of the parameters' names; only for what `loss` is given.
    """

    module: nn.Module
    graph: Graph
    batches: Sequence[Batch] = ()
    loss: Loss | None = None
    seed: int = 0
    _watched: dict[str, FloatArray] = field(default_factory=dict)

    # -- weights -------------------------------------------------------------------------------------------------------

    @cached_property
    def tensors(self) -> Mapping[str, Tensor]:
        """Trained weights by path; weight-normed ones as they act, g v / |v|, under the path of v."""
        tensors = {path: tensor.detach() for path, tensor in self.graph.tensors.items()}
        for v, g, dim in self._weight_norms:
            tensors[v] = torch._weight_norm(tensors[v], tensors[g], dim)
        return tensors

    @cached_property
    def _weight_norms(self) -> list[tuple[str, str, int]]:
        """Paths of direction and gain, and the axis of the gain, of every weight norm."""
        nodes = [node for node in self.graph.nodes if node.op == "aten._weight_norm.default"]
        return [(node.args[0].path, node.args[1].path, node.args[2]) for node in nodes]

    def makers(self, family: UnitFamily) -> tuple[Place, ...]:
        """See `Evidence.makers`."""
        return family.makers

    def gains(self, family: UnitFamily) -> tuple[Place, ...]:
        """See `Evidence.gains`."""
        weight_gains = {g for _, g, _ in self._weight_norms}
        norm_gains = {
            node.args[place].path
            for node in self.graph.nodes
            for name, place in _GAINS.items()
            if node.op.startswith(name) and isinstance(node.args[place], Value)
        }
        makers = {place.path for place in family.makers}
        own_gains = {g for v, g, _ in self._weight_norms if v in makers}
        return tuple(
            place
            for place in family.indices
            if place.path in norm_gains or (place.path in weight_gains and place.path in own_gains)
        )

    # -- data ----------------------------------------------------------------------------------------------------------

    def gradients(self) -> Mapping[str, Tensor]:
        """See `Evidence.gradients`."""
        return self._gradients

    @cached_property
    def _gradients(self) -> dict[str, Tensor]:
        self._need_data()
        if self.loss is None:
            raise ReductionError(
                "This criterion needs the gradient of a loss.",
                remedy="Pass loss=..., a function of the output and the target.",
            )
        module = copy_of(self.module).eval()
        # Recurrent layers refuse gradients in evaluation mode on some devices only; on the CPU they give them.
        module.zero_grad(set_to_none=True)
        for batch in self.batches:
            self.loss(module, batch).backward()  # type: ignore[no-untyped-call]
        named = dict(module.named_parameters(remove_duplicate=False))
        gradients = {
            path: torch.zeros_like(self.graph.tensors[path])
            if path not in named or named[path].grad is None
            else named[path].grad.detach()  # type: ignore[union-attr]
            for path in self.graph.stored
        }
        for v, g, dim in self._weight_norms:
            gradients[v] = _effective_gradient(
                self.graph.tensors[v].detach(), self.graph.tensors[g].detach(), gradients[v], gradients[g], dim
            )
        return gradients

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
        for batch in self.batches:
            target = batch.inputs[0] if batch.target is None else batch.target
            target = target.detach().double()
            moving = target.unsqueeze(1) if target.dim() == 2 else target
            parts.append(self._sampled(moving, moving.dim() - 2 if moving.dim() > 2 else 1, target.shape[0]))
        return np.concatenate(parts)

    def _need_data(self) -> None:
        if not self.batches:
            raise ReductionError(
                "This criterion looks at how the network behaves, and no data was given.",
                remedy="Pass data=[(inputs, target), ...], or choose a criterion of weights such as magnitude.",
            )

    @cached_property
    def _watching(self) -> tuple[Graph, Units]:
        """The graph at the data's shapes."""
        graph = capture(self.module, self.batches[0].inputs)
        return graph, units_of(graph)

    def _seen(self, family: UnitFamily, *, made: bool) -> FloatArray:
        self._need_data()
        graph, units = self._watching
        same = next((found for found in units.families if found.makers == family.makers), None)
        if same is None:
            raise ReductionError(
                f"The units of {family.name} are not found on the data's shapes.",
                remedy="Give data of the shapes of the example inputs.",
            )
        value, axis = _last_read(units, same) if made else _read_by_maker(graph, units, same)
        whole = self._run(graph, value, axis)
        if not made:
            return whole
        labels = units.unit[units.coupling.axes(value)[axis]]
        columns = [whole[:, labels == number].mean(axis=1) for number in same.numbers]
        return np.stack(columns, axis=1)

    def _run(self, graph: Graph, value: Value, axis: int) -> FloatArray:
        key = f"{value.name}:{axis}"
        if key not in self._watched:
            parts = []
            for batch in self.batches:
                flat = [item for item in batch.inputs if isinstance(item, Tensor)]
                if value.kind == "input":
                    tensor = flat[graph.inputs.index(value)]
                else:
                    with torch.no_grad():
                        tensor = run(graph, flat, watch=frozenset((value.name,))).watched[value.name]
                parts.append(self._sampled(tensor.double(), axis, flat[0].shape[0]))
            self._watched[key] = np.concatenate(parts)
        return self._watched[key]

    def _sampled(self, tensor: Tensor, axis: int, batch: int) -> FloatArray:
        """Rows at evenly spread moments, the same share of the way through for fast and slow signals: (moment, feature)."""
        rest = [number for number in range(tensor.dim()) if number != axis]
        first = next((number for number in rest if tensor.shape[number] == batch), None)
        if first is not None:
            rest.remove(first)
            rest.insert(0, first)
        rows = tensor.permute(*rest, axis)
        items = rows.shape[0] if first is not None else 1
        rows = rows.reshape(items, -1, rows.shape[-1])
        moments = max(1, SAMPLES // max(1, items * len(self.batches)))
        at = ((torch.arange(moments) + 0.5) / moments * rows.shape[1]).long()
        return rows[:, at].reshape(-1, rows.shape[-1]).numpy()


def _last_read(units: Units, family: UnitFamily) -> tuple[Value, int]:
    """The value, and its axis, in which the family's units are read last."""
    numbers = set(family.numbers.tolist())
    for reading in reversed(units.coupling.readings):
        labels = units.unit[units.coupling.axes(reading.value)[reading.axis]]
        if reading.value.kind == "computed" and not numbers.isdisjoint(labels.tolist()):
            return reading.value, reading.axis
    raise ReductionError(
        f"Nothing reads the units of {family.name} as data.", remedy="Choose a criterion of weights such as magnitude."
    )


def _read_by_maker(graph: Graph, units: Units, family: UnitFamily) -> tuple[Value, int]:
    """The data that the layer reads which makes the family's units."""
    paths = {place.path for place in family.makers}
    for node in graph.nodes:
        inputs = list(node.inputs())
        if not any(value.path in paths for value in inputs):
            continue
        data = next(
            (value for value in inputs if value.kind in ("computed", "input") and value.dtype.is_floating_point), None
        )
        if data is not None and not units.coupling.learnt(data):
            contracted = [r.axis for r in units.coupling.readings if r.node is node and r.value is data]
            return data, contracted[0] if contracted else len(data.shape) - 1
    raise ReductionError(
        f"The layer that makes the units of {family.name} reads no data.",
        remedy="Choose a criterion of weights such as magnitude.",
    )


def _effective_gradient(v: Tensor, g: Tensor, by_v: Tensor, by_g: Tensor, dim: int) -> Tensor:
    """Gradient by the effective weight w = g v / |v| from those by v (its part across w) and by g (its part along w)."""
    norm = torch.norm_except_dim(v, 2, dim)
    return by_v * norm / g + by_g * v / norm


_GAINS = {
    "aten.layer_norm": 2,
    "aten.group_norm": 2,
    "aten.rms_norm": 2,
    "aten._native_batch_norm_legit_no_training": 1,
    "aten.batch_norm": 1,
    "aten.instance_norm": 1,
}
"""Normalisations, and the place of their gain among the arguments."""
