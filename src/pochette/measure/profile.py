"""What a network costs, counted on its graph: exact for every operator that is described, silent about none.

MACs are products of weights (or filters) with data, summed; biases, activations and cross-fades by hand count as
pointwise operations, exp, tanh, sines and roots as transcendental ones. All of them are per call of the graph; a model
that makes `hop_samples` a call turns them into figures per second of audio.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from pochette.graph.capture import capture
from pochette.graph.graph import Graph
from pochette.graph.operator import Cost, description_of, operators
from pochette.models.model import Model, Step


@dataclass(frozen=True)
class LayerProfile:
    """One layer's share."""

    layer: str
    """Path of the module."""
    parameters: int
    cost: Cost
    """Per call."""


@dataclass(frozen=True)
class Profile:
    """Complexity of a captured module, every figure counted on its graph."""

    parameters: int
    """Learnt numbers that the graph uses."""
    cost: Cost
    """Arithmetic per call."""
    weight_bytes: int
    """Parameters and constants, as float32."""
    state_bytes: int
    """What one call hands to the next."""
    peak_activation_bytes: int
    """Most memory that computed values need at one time, in the graph's order."""
    layers: tuple[LayerProfile, ...]
    unknown: tuple[str, ...]
    """Operators that no description counts; their cost is missing above."""
    calls_per_second: float | None = None
    """Calls per second of audio; None for a module whose rates are not known."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates per call."""
        return self.cost.macs

    @property
    def macs_per_second(self) -> float | None:
        """Multiply-accumulates per second of audio."""
        return None if self.calls_per_second is None else self.cost.macs * self.calls_per_second

    def part(self, prefix: str) -> LayerProfile:
        """The layers below a path, added up.

        Args:
            prefix: path of a module, "model.network".

        Returns:
            their parameters and cost.
        """
        inside = [layer for layer in self.layers if f"{layer.layer}.".startswith(f"{prefix}.")]
        return LayerProfile(prefix, sum(x.parameters for x in inside), sum((x.cost for x in inside), Cost()))

    def to_json(self) -> dict[str, Any]:
        """Plain data, per call and, where rates are known, MACs per second."""
        return {**asdict(self), "macs_per_second": self.macs_per_second, "obtained": "counted"}


def profile(module: nn.Module, example_inputs: tuple[Any, ...]) -> Profile:
    """Count what a call of a module costs.

    Args:
        module: any module that `torch.export` can follow; left as it was.
        example_inputs: positional arguments of the call.

    Returns:
        the profile.

    Raises:
        ExportError: the module cannot be captured.
    """
    return profile_graph(capture(module, example_inputs))


def profile_model(model: Model) -> Profile:
    """Count what a streaming model costs, frame by frame.

    Args:
        model: trained or not.

    Returns:
        the profile of its step form, with its frame rate.

    Raises:
        ExportError: the model cannot be captured.
    """
    step = Step(model)
    return profile_graph(capture(step, step.example_inputs()), model.sample_rate_hz / model.hop_samples)


def profile_graph(graph: Graph, calls_per_second: float | None = None) -> Profile:
    """Count what a graph costs.

    Args:
        graph: captured, trimmed or not.
        calls_per_second: of audio, where known.

    Returns:
        the profile.
    """
    operators.load()
    costs: dict[str, Cost] = defaultdict(Cost)
    for node in graph.nodes:
        costs[node.layer] += description_of(node).cost(node)
    parameters: dict[str, int] = defaultdict(int)
    for value in graph.of_kind("parameter"):
        parameters[value.path.rpartition(".")[0]] += value.size
    names = list(dict.fromkeys([*costs, *parameters]))
    stored = [value for value in graph.stored.values() if value.kind in ("parameter", "constant")]
    known = operators.names()
    return Profile(
        parameters=sum(parameters.values()),
        cost=sum(costs.values(), Cost()),
        weight_bytes=sum(value.bytes for value in stored),
        state_bytes=sum(value.bytes for value in graph.of_kind("state")),
        peak_activation_bytes=_peak_activation_bytes(graph),
        layers=tuple(LayerProfile(name, parameters[name], costs[name]) for name in names),
        unknown=tuple(sorted({node.op for node in graph.nodes if node.op not in known})),
        calls_per_second=calls_per_second,
    )


def _peak_activation_bytes(graph: Graph) -> int:
    """Largest sum of computed values alive at one node; each lives from its making to its last reading.

    A view has no memory of its own: what reads it keeps alive what it looks at.
    """
    seen_through: dict[int, int] = {}
    sizes: dict[int, int] = {}
    for node in graph.nodes:
        if description_of(node).view:
            base = next(node.inputs())
            seen_through[id(node.output)] = seen_through.get(id(base), id(base))
        else:
            sizes.update((id(value), value.bytes) for value in node.outputs)
    last_use: dict[int, int] = {}
    for index, node in enumerate(graph.nodes):
        last_use.update((seen_through.get(id(value), id(value)), index) for value in node.inputs())
    for value in [*graph.outputs, *graph.mutations.values()]:
        last_use[seen_through.get(id(value), id(value))] = len(graph.nodes)
    alive: set[int] = set()
    peak = 0
    for index, node in enumerate(graph.nodes):
        alive.update(id(value) for value in node.outputs if id(value) in sizes)
        peak = max(peak, sum(sizes[key] for key in alive))
        alive = {key for key in alive if last_use.get(key, -1) > index}
    return peak
