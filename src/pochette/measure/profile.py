"""What a network costs, counted on its graph: exact for every operator that is described, silent about none.

MACs are products of weights (or filters) with data, summed, of real numbers: one of two complex numbers is four, one of
a complex number and a real one is two; summed by the operator itself, as convolutions and matrix products do: an
elementwise product and a sum written after it are pointwise operations, as they are computed. So are biases,
activations and cross-fades by hand, one an element, complex or not; exp, tanh, sines and roots count as transcendental
operations; Fourier transforms as 5 N log2 N operations of N complex points, half of it for real ones. All of a graph
counts, also what only one side of a choice reads and an engine leaves out while it is not needed (`engine.guards`): of
a sound that ends, this is a frame that is heard, and its silence costs less. An operator that PyTorch declares
elementwise, and that nobody describes, counts one operation an element. What follows from parameters and constants
alone (the weights behind a weight norm) is computed once, and costs a call nothing. All figures are per call of the
graph; a model that makes `hop_samples` a call, or an example that is so many seconds of audio, turns them into figures
per second.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn

from pochette.errors import ExportError
from pochette.graph.capture import arguments_of, capture
from pochette.graph.graph import Graph, Node, function_of
from pochette.graph.operator import UNKNOWN, Cost, description_of
from pochette.measure.reach import Reach, reach_of
from pochette.models.autoregressive import Autoregressive
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
    receptive_field_samples: int | None = None
    """Longest stretch of input that one output depends on, at the faster of the rates of input and output; None if it
    has no end within the example (recurrent layers, whole-signal norms), or is not known."""
    look_ahead_samples: int | None = None
    """Algorithmic latency: so long an output waits for input after its own time; None as above."""

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


def profile(
    module: nn.Module,
    example_inputs: tuple[Any, ...],
    *,
    seconds: float | None = None,
    time_axis: int | None = None,
    reach: bool = True,
) -> Profile:
    """Count what a call of a module costs, and find how far in time it looks.

    Args:
        module: any module that `torch.export` can follow; left as it was.
        example_inputs: positional arguments of the call. The receptive field must lie well inside them to be found.
        seconds: of audio that the example is, for figures per second.
        time_axis: of the inputs; by default the last axis, or axis 1, whichever the output's length follows; axis 0 of
            recurrent layers that take time first.
        reach: whether to look for receptive field and look-ahead, which runs the module some dozens of times.

    Returns:
        the profile.

    Raises:
        ExportError: the module cannot be captured, or the seconds are none.
    """
    plain = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if seconds is not None and not (plain and 0.0 < seconds < math.inf):
        raise ExportError(f"The example cannot be {seconds!r} seconds of audio.", remedy="Give seconds above 0.")
    example_inputs = arguments_of(example_inputs)
    graph = capture(module, example_inputs)
    rank = max((len(value.shape) for value in graph.inputs), default=0)
    if time_axis is not None and not (isinstance(time_axis, int) and -rank <= time_axis < rank):
        raise ExportError(
            f"The inputs have no axis {time_axis}.", remedy="Give time_axis as one of theirs, or leave it."
        )
    found = reach_of(module, graph, example_inputs, time_axis) if reach else Reach()
    return replace(profile_graph(graph, None if seconds is None else 1 / seconds), **asdict(found))


def profile_model(model: Model) -> Profile:
    """Count what a streaming model costs, frame by frame.

    Args:
        model: trained or not.

    Returns:
        the profile of its step form, with its frame rate.

    Raises:
        ExportError: the model cannot be captured.
    """
    frames_per_second = model.sample_rate_hz / model.hop_samples
    if isinstance(model, Autoregressive):
        parts = [(part, model.hop_samples // part.every_samples) for part in model.parts()]
        return profile_graphs(
            [(capture(part, part.example_inputs()), turns) for part, turns in parts], frames_per_second
        )
    step = Step(model)
    return profile_graph(capture(step, step.example_inputs()), frames_per_second)


def profile_graph(graph: Graph, calls_per_second: float | None = None) -> Profile:
    """Count what a graph costs.

    Args:
        graph: captured, trimmed or not.
        calls_per_second: of audio, where known.

    Returns:
        the profile.
    """
    return profile_graphs([(graph, 1)], calls_per_second)


def profile_graphs(graphs: Sequence[tuple[Graph, int]], calls_per_second: float | None) -> Profile:
    """Count what graphs cost together; they may share what is stored.

    Args:
        graphs: each with how many times it is called in a call of the whole.
        calls_per_second: of audio, where known.

    Returns:
        the profile of a call of the whole.
    """
    costs: dict[str, Cost] = defaultdict(Cost)
    every = [(graph, times, _at_every_call(graph)) for graph, times in graphs]
    for _, times, nodes in every:
        for node in nodes:
            costs[node.layer] += description_of(node).cost(node) * times
    stored = {value.path: value for graph, _ in graphs for value in graph.stored.values() if value.kind in _WEIGHTS}
    parameters: dict[str, int] = defaultdict(int)
    for value in stored.values():
        if value.kind == "parameter":
            parameters[value.path.rpartition(".")[0]] += value.size
    return Profile(
        parameters=sum(parameters.values()),
        cost=sum(costs.values(), Cost()),
        weight_bytes=sum(value.bytes for value in stored.values()),
        state_bytes=sum(value.bytes for graph, _ in graphs for value in graph.of_kind("state")),
        peak_activation_bytes=max(_peak_activation_bytes(graph, nodes) for graph, _, nodes in every),
        layers=tuple(
            LayerProfile(name, parameters[name], costs[name]) for name in dict.fromkeys([*costs, *parameters])
        ),
        unknown=tuple(sorted({n.op for _, _, nodes in every for n in nodes if description_of(n) is UNKNOWN})),
        calls_per_second=calls_per_second,
    )


_WEIGHTS = ("parameter", "constant")


def macs_of(graph: Graph) -> int:
    """Multiply-accumulates of one call: what `profile_graph` says, and nothing else of it.

    Args:
        graph: captured, trimmed or not.

    Returns:
        their number.
    """
    return sum(description_of(node).cost(node).macs for node in _at_every_call(graph))


def _at_every_call(graph: Graph) -> list[Node]:
    """Nodes whose results are not the same at every call."""
    same = {id(value) for value in graph.stored.values() if value.kind in ("parameter", "constant")}
    nodes = []
    for node in graph.nodes:
        if all(id(value) in same for value in node.inputs()) and not _draws(node):
            same.update(id(value) for value in node.outputs)
        else:
            nodes.append(node)
    return nodes


def _draws(node: Node) -> bool:
    """Whether an operator draws random numbers."""
    return torch.Tag.nondeterministic_seeded in function_of(node.op).tags


def _peak_activation_bytes(graph: Graph, nodes: list[Node]) -> int:
    """Largest sum of computed values alive at one node; each lives from its making to its last reading.

    A view has no memory of its own: what reads it keeps alive what it looks at.
    """
    seen_through: dict[int, int] = {}
    sizes: dict[int, int] = {}
    for node in nodes:
        if description_of(node).view:
            base = next(node.inputs())
            seen_through[id(node.output)] = seen_through.get(id(base), id(base))
        else:
            sizes.update((id(value), value.bytes) for value in node.outputs)
    last_use: dict[int, int] = {}
    for index, node in enumerate(nodes):
        last_use.update((seen_through.get(id(value), id(value)), index) for value in node.inputs())
    for value in [*graph.outputs, *graph.mutations.values()]:
        last_use[seen_through.get(id(value), id(value))] = len(nodes)
    alive: set[int] = set()
    peak = 0
    for index, node in enumerate(nodes):
        alive.update(id(value) for value in node.outputs if id(value) in sizes)
        peak = max(peak, sum(sizes[key] for key in alive))
        alive = {key for key in alive if last_use.get(key, -1) > index}
    return peak
