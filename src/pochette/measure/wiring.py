"""Who hears whom: the layers of a network as a directed graph, read off the operators between them.

Data is followed through everything that is no layer. Where streams of different layers meet, in a residual sum, a
product or a concatenation, there is a junction, so that a chain of blocks stays a chain and does not become a web in
which each block hears all before it. Gates whose factors one layer made are no meeting. What is carried from one call
to the next, and within a recurrent layer from one step to the next, leads backwards and is told apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pochette.graph.graph import Graph, Node, Value
from pochette.graph.straight import RECURRENT
from pochette.measure.weighted import Layer

Kind = Literal["input", "layer", "junction", "output", "fold"]
"""A fold is several layers and what lies between them, drawn as one."""
OUTPUT = "output"
_SIGNS = {"add": "+", "sub": "+", "sum": "+", "mul": "×", "div": "×", "cat": "cat", "stack": "cat"}  # fmt: skip
Edge = tuple[str, str]


@dataclass(frozen=True)
class Spot:
    """A node of the graph."""

    name: str
    """A layer's own; no two alike."""
    kind: Kind
    sign: str = ""
    """Of a junction: what happens there."""
    rows: int = 0
    columns: int = 0
    """Of a layer, all groups together."""
    weights: int = 0


@dataclass(frozen=True)
class Wiring:
    """Layers and who hears whom; without the carried edges it has no circle."""

    spots: tuple[Spot, ...]
    """In the order of use."""
    edges: tuple[Edge, ...]
    """From who speaks to who hears in the same call."""
    carried: tuple[Edge, ...]
    """From who speaks to who hears later; left out where the same two are joined at once, as by a filter's memory."""

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Wiring:
        """What `dataclasses.asdict` made of one, or JSON of that."""
        edges = {key: tuple((speaker, name) for speaker, name in data[key]) for key in ("edges", "carried")}
        return cls(tuple(Spot(**spot) for spot in data["spots"]), **edges)


def wiring_of(graph: Graph, layers: Sequence[Layer]) -> Wiring:
    """The wiring of a network.

    Args:
        graph: captured.
        layers: of it.

    Returns:
        every layer, and what lies before, between and behind them.
    """
    return _Walk(graph, layers).walked()


@dataclass(frozen=True)
class _Stream:
    """What a value is made of."""

    speakers: frozenset[str] = frozenset()
    """Spots since which nothing else met it."""
    states: frozenset[str] = frozenset()
    """Paths of state since which no spot met it."""

    def __or__(self, other: _Stream) -> _Stream:
        return _Stream(self.speakers | other.speakers, self.states | other.states)


def _met(streams: Iterable[_Stream]) -> _Stream:
    whole = _Stream()
    for stream in streams:
        whole |= stream
    return whole


class _Walk:
    """A graph that is walked through once, in the order of its operators."""

    def __init__(self, graph: Graph, layers: Sequence[Layer]) -> None:
        self.graph = graph
        self.name_of = {id(value): layer.name for layer in layers for value in layer.values}
        self.spots: dict[str, Spot] = {}
        self.sizes = {layer.name: layer for layer in layers}
        self.heard: dict[str, dict[str, None]] = {}
        """Name to those it hears, in order."""
        self.later: dict[Edge, None] = {}
        self.remembers: list[tuple[str, str]] = []
        """Path of a state, and who hears it."""
        self.streams: dict[int, _Stream] = {}

    def walked(self) -> Wiring:
        """Walk."""
        for value in self.graph.inputs:
            self._spot(Spot(value.name, "input"))
            self.streams[id(value)] = _Stream(frozenset({value.name}))
        for path, value in self.graph.stored.items():
            if value.kind == "state":
                self.streams[id(value)] = _Stream(states=frozenset({path}))
        for node in self.graph.nodes:
            self._follow(node)
        self._spot(Spot(OUTPUT, "output"))
        ends = _met(self.streams.get(id(value), _Stream()) for value in self.graph.outputs)
        self._hear(OUTPUT, _Stream(ends.speakers))
        for path, name in self.remembers:
            for speaker in self._carries(path, frozenset()):
                self._later(speaker, name)
        self._tidy()
        edges = tuple((speaker, name) for name, speakers in self.heard.items() for speaker in speakers)
        return Wiring(tuple(self.spots.values()), edges, tuple(edge for edge in self.later if edge not in set(edges)))

    def _follow(self, node: Node) -> None:
        name_of_op = node.op.split(".")[1]
        weights = list(dict.fromkeys(self.name_of[id(v)] for v in node.inputs() if id(v) in self.name_of))
        streams = [self.streams.get(id(v), _Stream()) for v in node.inputs() if id(v) not in self.name_of]
        if name_of_op.startswith("new_") or name_of_op.endswith("_like"):
            made = _Stream()  # it asks for nothing but a shape
        elif not weights:
            made = self._joined(node, [stream for stream in streams if stream != _Stream()])
        elif name_of_op in RECURRENT:
            made = self._recurrent(node)
        else:
            for name in weights:
                self._layer(name)
                self._hear(name, _met(streams))
            made = _Stream(frozenset(weights))
        self.streams.update((id(value), made) for value in node.outputs)

    def _joined(self, node: Node, streams: list[_Stream]) -> _Stream:
        """Streams that meet: a junction, if they are of different speakers, and not all of them inputs."""
        whole = _met(streams)
        spoken = {stream.speakers for stream in streams if stream.speakers}
        if whole.speakers in spoken or len(spoken) < 2:
            return whole
        if all(self.spots[name].kind == "input" for name in whole.speakers):
            return whole
        name = f"junction {1 + sum(spot.kind == 'junction' for spot in self.spots.values())}"
        self._spot(Spot(name, "junction", _SIGNS.get(node.op.split(".")[1], "·")))
        self._hear(name, whole)
        return _Stream(frozenset({name}))

    def _recurrent(self, node: Node) -> _Stream:
        """Layers that hear the data, and beside each one that hears what both said a step before."""
        streams = [self.streams.get(id(value), _Stream()) for value in _flat(node.args[0])]
        rest = _met(self.streams.get(id(value), _Stream()) for value in _flat(node.args[1]))
        made = _met(streams)
        for of_layer in _pairs(node):
            names = [tuple(self.name_of.get(id(value), "") for value in pair) for pair in of_layer]
            for by_data, by_state in names:
                for name, stream in ((by_data, made), (by_state, rest)):
                    if name:
                        self._layer(name)
                        self._hear(name, stream)
                for speaker in filter(None, (by_data, by_state)):
                    if by_state:
                        self._later(speaker, by_state)
            made = _Stream(frozenset(name for pair in names for name in pair if name))
        return made

    def _layer(self, name: str) -> None:
        weights = self.sizes[name].weights
        rows, columns = weights.shape[0], weights.shape[1] * self.sizes[name].groups
        self._spot(Spot(name, "layer", rows=rows, columns=columns, weights=weights.size))

    def _spot(self, spot: Spot) -> None:
        self.spots.setdefault(spot.name, spot)
        self.heard.setdefault(spot.name, {})

    def _hear(self, name: str, stream: _Stream) -> None:
        for speaker in sorted(stream.speakers, key=list(self.spots).index):
            # A layer that is used again behind itself would close a circle.
            if speaker == name or self._hears(speaker, name):
                self._later(speaker, name)
            else:
                self.heard[name][speaker] = None
        self.remembers += [(path, name) for path in sorted(stream.states)]

    def _later(self, speaker: str, name: str) -> None:
        self.later[speaker, name] = None

    def _hears(self, name: str, whom: str) -> bool:
        """Whether a spot hears another, however indirectly."""
        met, waiting = {name}, [name]
        while waiting:
            for speaker in self.heard[waiting.pop()]:
                if speaker == whom:
                    return True
                if speaker not in met:
                    met.add(speaker)
                    waiting.append(speaker)
        return False

    def _carries(self, path: str, met: frozenset[str]) -> list[str]:
        """Whose words a state holds after a call, also by way of other states."""
        if path not in self.graph.mutations or path in met:
            return []
        stream = self.streams.get(id(self.graph.mutations[path]), _Stream())
        further = [name for other in sorted(stream.states) for name in self._carries(other, met | {path})]
        return [*sorted(stream.speakers), *further]

    def _tidy(self) -> None:
        """Junctions behind all layers are no part of the network, and one that only another hears is part of that."""
        for name in [name for name, spot in self.spots.items() if spot.kind == "junction"]:
            readers = [reader for reader, speakers in self.heard.items() if name in speakers]
            readers_later = [edge for edge in self.later if name in edge]
            last = not any(self._leads(reader) for reader in readers)
            inner = len(readers) == 1 and self.spots[readers[0]].kind == "junction"
            if not readers_later and (last or inner):
                for reader in readers:
                    del self.heard[reader][name]
                    self.heard[reader].update(self.heard[name])
                del self.heard[name], self.spots[name]

    def _leads(self, name: str) -> bool:
        """Whether a spot is a layer or leads to one."""
        return self.spots[name].kind == "layer" or any(
            self._leads(reader) for reader, speakers in self.heard.items() if name in speakers
        )


def _flat(given: Any) -> list[Value]:
    if isinstance(given, Value):
        return [given]
    return [value for item in given for value in _flat(item)] if isinstance(given, (list, tuple)) else []


def _pairs(node: Node) -> list[list[tuple[Value, Value]]]:
    """Of each layer of a recurrent operator, and each direction, what multiplies data and what multiplies state."""
    if node.op.split(".")[1].endswith("_cell"):
        return [[(node.args[2], node.args[3])]]
    weights, biased, layers, both_ways = node.args[2], node.args[3], node.args[4], node.args[7]
    each, ways = 4 if biased else 2, 2 if both_ways else 1
    starts = [[each * (layer * ways + way) for way in range(ways)] for layer in range(layers)]
    return [[(weights[start], weights[start + 1]) for start in of_layer] for of_layer in starts]
