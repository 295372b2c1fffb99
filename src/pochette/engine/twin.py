"""What an engine with matrices of fewer bits says, in torch: the reference that its C is held against.

Such an engine is not its network: rounding a matrix changes the sound, by how much is measured where the instrument is
made. Held against the network itself, its C could be wrong by as much as the rounding and nobody would see. So it is
held against this twin, which is the captured graph with every matrix rounded as it is stored, and, where matrices are
of whole numbers, every vector that meets one rounded as the engine rounds it. What then differs is what differs in
engines of floats too, the order of sums and the last bits of functions, and now and then a vector's number that lies
between two whole ones and is rounded up on one machine and down on another, by a thirty-thousandth. The tolerance that
holds for floats holds for these.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor

from pochette.engine.packing import FloatArray
from pochette.engine.precision import NO_FRACTION, VECTOR_LIMIT, VECTOR_SILENCE, LayerPrecision, vector_levels
from pochette.graph.graph import Graph, Node, Value
from pochette.graph.operator import description_of
from pochette.graph.run import Outcome, run

Call = tuple[Tensor, ...]
"""What one call of a graph is given."""


class Twin:
    """A captured step whose matrices are rounded as an engine stores them; its state is carried from call to call.

    Args:
        graph: that the engine was written of.
        rounded: path of each matrix in fewer bits to what it is once it is stored.
        whole: those of them that are whole numbers with scales.
        report: how the engine keeps every matrix.
    """

    feeds_back = False

    def __init__(
        self,
        graph: Graph,
        rounded: Mapping[str, FloatArray],
        whole: frozenset[str],
        report: tuple[LayerPrecision, ...] = (),
    ) -> None:
        # What was computed of constants when the engine was written stands among the tensors now.
        computed = [node for node in graph.nodes if any(value.kind == "computed" for value in node.outputs)]
        self.graph = replace(graph, nodes=computed)
        self.rounded, self.whole, self.report = frozenset(rounded), whole, report
        # The module's own buffers go on changing.
        states = {value.path: graph.tensors[value.path].clone() for value in graph.of_kind("state")}
        kept = {path: torch.from_numpy(array) for path, array in rounded.items()}
        self._start = {**graph.tensors, **states, **kept}
        self._exact = {path: graph.tensors[path] for path in rounded}
        self.reset()

    def fresh(self) -> Twin:
        """The same, with a state of its own: that at capture."""
        other = copy.copy(self)
        other.reset()
        return other

    def floats(self, *, rounded: bool) -> Twin:
        """The same step computed in floats alone, from the state at capture.

        Args:
            rounded: whether its matrices are what the engine holds, or what they were before they were rounded.

        Returns:
            another twin.
        """
        other = copy.copy(self)
        other.whole = frozenset()
        if not rounded:
            other.rounded, other._start = frozenset(), {**self._start, **self._exact}
        other.reset()
        return other

    def reset(self) -> None:
        """Set the state back to that at capture."""
        self._tensors = dict(self._start)

    def stored(self) -> dict[str, Tensor]:
        """What the engine holds in place of each matrix in fewer bits, by path."""
        return {path: self._start[path] for path in self.rounded}

    def remember(self, other: Twin) -> None:
        """Take over the state of another twin of the same graph."""
        self._tensors.update({value.path: other._tensors[value.path] for value in self.graph.of_kind("state")})

    @torch.no_grad()
    def process(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """One call.

        Args:
            *inputs: one for each input, of the shapes at capture.

        Returns:
            one for each output.
        """
        return self.look(inputs).outputs

    @torch.no_grad()
    def look(self, inputs: Call, watch: frozenset[str] = frozenset()) -> Outcome:
        """One call, looked into.

        Args:
            inputs: one for each input, of the shapes at capture.
            watch: names of the graph's values to keep.

        Returns:
            outputs, and what was watched.
        """
        made = run(self.graph, inputs, self._tensors, instead=self._instead, watch=watch)
        self._tensors.update({path: tensor.clone() for path, tensor in made.mutations.items()})
        return made

    def graphs(self) -> list[tuple[Graph, int]]:
        """See `Playing.graphs`."""
        return [(self.graph, 1)]

    def calls(self, controls: FloatArray) -> list[tuple[Twin, list[Call]]]:
        """See `Playing.calls`."""
        return [(self, [(row,) for row in torch.from_numpy(controls)[:, None]])]

    def play(self, controls: FloatArray) -> FloatArray:
        """The sound of a playable model's step, from where it stands.

        Args:
            controls: (frame, control).

        Returns:
            (frame * hop,).
        """
        frames = [self.process(*call)[0].reshape(-1) for _, calls in self.calls(controls) for call in calls]
        audio: FloatArray = torch.cat(frames).numpy()
        return audio

    def _instead(self, node: Node, given: tuple[Any, ...]) -> Any:
        if not any(value.path in self.whole for value in node.inputs() if value.path):
            return None
        made = description_of(node).perform(node, given, self._coarse)
        return made if len(made) > 1 else made[0]

    def _coarse(self, weight: Value, x: Tensor) -> Tensor:
        return coarse(x) if weight.path in self.whole else x


@dataclass(frozen=True, eq=False)
class PartTwin:
    """One part of a model that makes its sound sample by sample."""

    twin: Twin
    every_samples: int
    """From one turn to the next."""
    heard_samples: int
    """So many of the latest samples it is given."""


class DrawnTwin:
    """The same of a model that makes its sound sample by sample.

    Args:
        parts: what is done once a frame first, what is done for every sample last; see `models.model.Part`.
        heard: samples that parts hear before the first one is made, (sample,).
    """

    feeds_back = True

    def __init__(self, parts: Sequence[PartTwin], heard: Tensor) -> None:
        self.parts, self.rest = tuple(parts), heard
        self.rounded = frozenset[str]().union(*(part.twin.rounded for part in parts))
        self.reset()

    def reset(self) -> None:
        """Set the state back to that at capture."""
        self._heard = self.rest
        for part in self.parts:
            part.twin.reset()

    def play(self, controls: FloatArray) -> FloatArray:
        """See `Twin.play`."""
        return self._play(controls, lambda part, call: None)

    def floats(self, *, rounded: bool) -> DrawnTwin:
        """See `Twin.floats`."""
        return DrawnTwin([replace(part, twin=part.twin.floats(rounded=rounded)) for part in self.parts], self.rest)

    def graphs(self) -> list[tuple[Graph, int]]:
        """See `Playing.graphs`."""
        hop_samples = self.parts[0].every_samples
        return [(part.twin.graph, hop_samples // part.every_samples) for part in self.parts]

    def calls(self, controls: FloatArray) -> list[tuple[Twin, list[Call]]]:
        """See `Playing.calls`; what parts hear is what the step draws in floats."""
        exact = self.floats(rounded=False)
        found: dict[PartTwin, list[Call]] = {part: [] for part in exact.parts}
        exact._play(controls, lambda part, call: found[part].append(call))
        return [(part.twin, calls) for part, calls in zip(self.parts, found.values(), strict=True)]

    def _play(self, controls: FloatArray, told: Callable[[PartTwin, Call], None]) -> FloatArray:
        samples = [sample for row in torch.from_numpy(controls)[:, None] for sample in self._frame(row, told)]
        audio: FloatArray = torch.cat(samples).numpy()
        return audio

    def _frame(self, controls: Tensor, told: Callable[[PartTwin, Call], None]) -> list[Tensor]:
        """A frame's samples, (1,) each."""

        def made(part: PartTwin, *call: Tensor) -> tuple[Tensor, ...]:
            told(part, call)
            return part.twin.process(*call)

        hold, *tiers, draw = self.parts
        held, said, samples = made(hold, controls), {}, []
        for n in range(hold.every_samples):
            above: tuple[Tensor, ...] = ()
            for part, following in pairwise((*tiers, draw)):
                if n % part.every_samples == 0:
                    heard = self._heard[None, len(self._heard) - part.heard_samples :]
                    (spoken,) = made(part, *held, *above, heard)
                    said[part] = spoken.view(1, part.every_samples // following.every_samples, -1)
                above = (said[part][:, n % part.every_samples // following.every_samples],)
            samples.append(made(draw, *held, *above)[0].reshape(-1))
            self._heard = torch.cat([self._heard, samples[-1]])[1:]
        return samples


class Playing(Protocol):
    """What plays what an engine should."""

    rounded: frozenset[str]
    """Paths of the matrices in fewer bits."""
    feeds_back: bool
    """Whether it hears what it drew."""

    def reset(self) -> None:
        """Set the state back to that at capture."""

    def play(self, controls: FloatArray) -> FloatArray:
        """(frame, control) to (frame * hop,), from where it stands."""

    def floats(self, *, rounded: bool) -> Playing:
        """See `Twin.floats`."""

    def graphs(self) -> list[tuple[Graph, int]]:
        """Each captured graph, and how many times it is called in a frame."""

    def calls(self, controls: FloatArray) -> list[tuple[Twin, list[Call]]]:
        """Each captured graph, and the calls that are made of it where a curve (frame, control) is played in floats."""


def coarse(x: Tensor) -> Tensor:
    """Vectors as whole numbers times a scale each: `precision.to_whole` for many at once, multiplied out.

    Args:
        x: (..., column).

    Returns:
        same shape.
    """
    levels = torch.tensor(float(vector_levels(x.shape[-1])))
    limit, silence = float(VECTOR_LIMIT), float(VECTOR_SILENCE)
    bounded = torch.nan_to_num(x, nan=-limit).clamp(-limit, limit)
    top = bounded.abs().amax(-1, keepdim=True)
    loud = top > silence
    inverse = torch.where(loud, levels / top, 0.0)
    whole = (bounded * inverse + float(NO_FRACTION)) - float(NO_FRACTION)
    return whole * torch.where(loud, top / levels, 0.0)
