"""How far back and how far ahead in time an output looks, found by trying.

Part of the input is made not-a-number, the graph is run, and the outputs that become not-a-number are those that depend
on that part. Where all outputs are made alike, as by convolutions without strides and by recurrent layers, one early
and one late input tell everything. Elsewhere longer and longer beginnings and ends of the input are made so, halving,
until the output that depends on most is known, exactly and whatever the operators are. What a zero hides (a weight
that is zero, an attention weight of a masked place) counts as dependence: it is in the structure. What passes only
through a comparison does not show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from pochette.graph.graph import Graph, Node, Value
from pochette.graph.run import run
from pochette.measure.time_axis import Time, find_time, period_of

Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Reach:
    """What an output depends on, in samples at the faster of the rates of input and output."""

    receptive_field_samples: int | None = None
    """Longest stretch of input that one output depends on; None if there is no end to it within the example."""
    look_ahead_samples: int | None = None
    """Longest stretch of input after an output's own time that it waits for; None if there is no end to it."""


def reach_of(
    module: nn.Module, graph: Graph, example_inputs: tuple[Any, ...], time_axis: int | None = None
) -> Reach:  # fmt: skip
    """Find how far a module looks back and ahead.

    An output shorter than its input (no padding) is taken to end with it, a longer one to begin with it.

    Args:
        module: that was captured; a copy of it is run on a longer input to see which axis is time.
        graph: of the module.
        example_inputs: of the capture. Both ends of what an output depends on must lie inside: an example of twice the
            receptive field always suffices.
        time_axis: of the inputs; by default the last axis, or axis 1, whichever the output's length follows. Where
            there are recurrent layers, axis 0 too, and an axis along which nothing is heard is not time.

    Returns:
        the reach; all None if no axis is time, or if state carries the past from call to call.
    """
    if graph.mutations:
        return Reach()
    recurrent = any(word in node.op for node in graph.nodes for word in _RECURRENT)
    axes = (None,) if time_axis is not None or not recurrent else (-1, 1, 0)
    for axis in axes:
        try:
            time = find_time(module, graph, example_inputs, time_axis if axis is None else axis)
            probe = None if time is None else Probe(graph, example_inputs, time)
            if probe is None or (axis is not None and _apart(probe)):
                continue
            return _measure(probe)
        except (RuntimeError, IndexError, TypeError, ValueError):
            continue  # not-a-number has no place in a table, for instance: nothing can be said
    return Reach()


_RECURRENT = ("gru", "lstm", "rnn_")


class Probe:
    """Which outputs depend on a stretch of the input.

    Args:
        graph: captured.
        example_inputs: of the capture.
        time: where it runs.
    """

    def __init__(self, graph: Graph, example_inputs: tuple[Any, ...], time: Time) -> None:
        self.graph, self.time = graph, time
        flat = tree_flatten((example_inputs, {}))[0]
        self.inputs = [flat[place].detach() for place, value in enumerate(graph.fed) if value is not None]
        self.axes = [time.inputs.get(place) for place, value in enumerate(graph.fed) if value is not None]
        self.border = _border(graph)
        self.clean: dict[str, Tensor] = {}
        if self.border:
            self.clean = self._run(self.inputs).watched
        self._known: dict[tuple[int, int], Flags] = {}

    @property
    def outputs(self) -> int:
        """Number of places in time of the output."""
        return self.graph.outputs[0].shape[self.time.output]

    def spoilt(self, start: int, end: int) -> Flags:
        """Which outputs depend on the inputs from `start` to before `end`.

        Args:
            start: first input.
            end: behind the last.

        Returns:
            (output,) flags.
        """
        if (start, end) not in self._known:
            self._known[start, end] = self._spoilt(start, end)
        return self._known[start, end]

    def _spoilt(self, start: int, end: int) -> Flags:
        inputs = []
        for x, axis in zip(self.inputs, self.axes, strict=True):
            spoilt = x.clone()
            if axis is not None:
                stretch = spoilt.narrow(axis, start, end - start)
                # Whole numbers stay whole numbers; another one in their place shows what they become.
                stretch.copy_(torch.where(stretch == 0, 1, stretch - 1) if _whole(x) else stretch * float("nan"))
            inputs.append(spoilt)
        changed: dict[str, Tensor] = {}
        if self.border:
            seen = self._run(inputs).watched
            changed = {name: (seen[name] != value) & ~seen[name].isnan() for name, value in self.clean.items()}
        out, value = self._run(inputs, changed).outputs[0], self.graph.outputs[0]
        flags = out.isnan() if out.is_floating_point() or out.is_complex() else torch.zeros(out.shape, dtype=torch.bool)
        if value.name in changed:
            flags = flags | changed[value.name]
        others = [axis for axis in range(flags.dim()) if axis != self.time.output]
        found: Flags = (flags.any(others) if others else flags).numpy()
        return found

    def _run(self, inputs: Sequence[Tensor], changed: dict[str, Tensor] | None = None) -> Any:
        def alter(node: Node, value: Value, tensor: Tensor) -> Tensor:
            return (
                tensor.masked_fill(changed[value.name], float("nan")) if changed and value.name in changed else tensor
            )

        with torch.no_grad():
            return run(self.graph, inputs, alter=alter, watch=frozenset(self.border))


def _apart(probe: Probe) -> bool:
    """Whether each output hears nothing but the input at its own place, as the sounds of a batch do."""
    samples = probe.time.samples
    if samples == 1 or samples != probe.outputs:
        return samples == 1
    ends = (0, samples - 1)
    return all(np.flatnonzero(probe.spoilt(end, end + 1)).tolist() == [end] for end in ends)


def _whole(x: Tensor) -> bool:
    return not (x.is_floating_point() or x.is_complex())


def _border(graph: Graph) -> list[str]:
    """Names of values at which whole numbers of the input turn into others, as rows of a table do."""
    whole = {id(value) for value in graph.inputs if not (value.dtype.is_floating_point or value.dtype.is_complex)}
    border = []
    for node in graph.nodes:
        if whole.isdisjoint(id(value) for value in node.inputs()):
            continue
        for value in node.outputs:
            if value.dtype.is_floating_point or value.dtype.is_complex:
                border.append(value.name)
            else:
                whole.add(id(value))
    return border


def _measure(probe: Probe) -> Reach:
    if probe.time.rate == 1 and period_of(probe.graph) == 1:
        found = _of_one_sample(probe)
        if found is not None:
            return found
    return _of_one_period(probe)


# -- where every output is made like its neighbour ---------------------------------------------------------------------


def _of_one_sample(probe: Probe) -> Reach | None:
    """The reach where an input is heard at the same distances wherever it stands; None if that is not so.

    A late input shows how far ahead outputs hear it, an early one how long. Whether inputs a little apart are heard a
    little apart is tried with both.
    """
    last = probe.outputs - 1
    ahead: list[int] = []
    behind: list[int | None] = []
    for shift in _SHIFTS if probe.time.samples > 4 * _SHIFTS[-1] else ():
        late, early = probe.time.samples - 2 - shift, 1 + shift
        heard = np.flatnonzero(probe.spoilt(late, late + 1))
        if not len(heard) or heard[0] == 0:
            return None  # cropped off, or heard from end to end, or round a corner
        ahead.append(late - int(heard[0]))
        if shift == 0 or behind[0] is not None:
            flags = probe.spoilt(early, early + 1)
            if not flags.any() or (flags[last] and not flags[last // 2]):
                return None
            behind.append(None if flags[last] else int(np.flatnonzero(flags)[-1]) - early)
        if ahead[-1] != ahead[0] or behind[-1] != behind[0]:
            return None
    if not ahead:
        return None
    field = None if behind[0] is None else ahead[0] + behind[0] + 1
    return Reach(field, max(ahead[0] - probe.time.missing, 0))


_SHIFTS = (0, 1, 2, 7)
"""Frames and other groups of samples that are treated together show at one of these distances."""


# -- where outputs differ within a period ------------------------------------------------------------------------------


class Bounds:
    """Between which inputs the first and the last lie that some outputs depend on, as far as was tried.

    Args:
        probe: tries.
        outputs: (output,) that are asked about.
    """

    def __init__(self, probe: Probe, outputs: Indices) -> None:
        self.probe, self.outputs = probe, outputs
        samples = probe.time.samples
        self.first = np.stack([np.zeros(len(outputs), np.int64), np.full(len(outputs), samples - 1)])
        self.last = self.first.copy()

    def try_last(self, start: int) -> Flags:
        """Which outputs' last input is `start` or a later one."""
        spoilt = self.probe.spoilt(start, self.probe.time.samples)[self.outputs]
        self.last[0] = np.where(spoilt, np.maximum(self.last[0], start), self.last[0])
        self.last[1] = np.where(spoilt, self.last[1], np.minimum(self.last[1], start - 1))
        return spoilt

    def try_first(self, end: int) -> Flags:
        """Which outputs' first input comes before `end`."""
        spoilt = self.probe.spoilt(0, end)[self.outputs]
        self.first[1] = np.where(spoilt, np.minimum(self.first[1], end - 1), self.first[1])
        self.first[0] = np.where(spoilt, self.first[0], np.maximum(self.first[0], end))
        return spoilt

    def latest(self, since: Indices) -> int:
        """Largest distance of an output's last input from a moment of its own, tried no further than it takes.

        Args:
            since: (output,) the moments.

        Returns:
            the distance.
        """
        while True:
            most = self.last[1] - since
            place = int(np.argmax(most))
            if most[place] <= (self.last[0] - since).max():
                return int(most[place])
            self.try_last(int(self.last[:, place].sum() + 1) // 2)

    def longest(self) -> int:
        """Largest distance of an output's last input from its first, both counted; tried no further than it takes."""
        while True:
            most = self.last[1] - self.first[0]
            place = int(np.argmax(most))
            if most[place] <= (self.last[0] - self.first[1]).max():
                return int(most[place]) + 1
            first, last = self.first[:, place], self.last[:, place]
            if last[1] - last[0] >= first[1] - first[0]:
                self.try_last(int(last.sum() + 1) // 2)
            else:
                self.try_first(int(first.sum() + 1) // 2)


def _of_one_period(probe: Probe) -> Reach:
    """The reach of the worst of as many neighbouring outputs as show all that there is."""
    time, width = probe.time, min(_period(probe), max(probe.outputs // 2, 1))
    middle = np.arange(width) + (probe.outputs - width) // 2
    middle = middle[probe.spoilt(0, time.samples)[middle]]
    bounds = Bounds(probe, middle)
    if not len(middle) or bounds.try_last(time.samples - 1).any():
        return Reach()
    # As late as the end of the example allows, so that as much as possible of the past lies inside.
    later = time.samples - 2 - bounds.latest(np.zeros(len(middle), np.int64)) - ceil(width / time.rate)
    asked = np.minimum(middle + max(floor(later * time.rate), 0), probe.outputs - 1)
    moved = Bounds(probe, asked[probe.spoilt(0, time.samples)[asked]])
    if len(moved.outputs) and not moved.try_last(time.samples - 1).any():
        bounds = moved
    own = np.array([ceil((out + probe.time.missing + 1) / time.rate) - 1 for out in bounds.outputs])
    ahead = bounds.latest(own)
    field = None if bounds.try_first(1).any() else bounds.longest()
    scale = max(time.rate, Fraction(1))
    return Reach(None if field is None else floor(field * scale), floor(max(ahead, 0) * scale))


def _period(probe: Probe) -> int:
    """So many neighbouring outputs show all that there is.

    At least 16, for what is cut and re-arranged by other means.
    """
    most = max(period_of(probe.graph), ceil(probe.time.rate), ceil(1 / probe.time.rate))
    return max(16, most)
