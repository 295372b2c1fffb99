"""How far back and how far ahead in time an output looks, found by trying.

Part of the input is made not-a-number, the graph is run, and the outputs that become not-a-number are those that depend
on that part. Making longer and longer beginnings and ends of the input so, and halving, gives for each output the
first and the last input that it depends on, exactly and whatever the operators are. What a zero hides (a weight that
is zero, an attention weight of a masked place) counts as dependence: it is in the structure. What passes only through
a comparison does not show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, prod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from pochette.graph.copying import copy_of
from pochette.graph.graph import Graph, Node, Value
from pochette.graph.run import run

Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Reach:
    """What an output depends on, in samples at the faster of the rates of input and output."""

    receptive_field_samples: int | None = None
    """Longest stretch of input that one output depends on; None if there is no end to it within the example."""
    look_ahead_samples: int | None = None
    """Longest stretch of input after an output's own time that it waits for; None if there is no end to it."""


@dataclass(frozen=True)
class Time:
    """Where time runs."""

    inputs: dict[int, int]
    """Place among the flat arguments to the axis that is time."""
    samples: int
    """Length of that axis."""
    output: int
    """Axis of the first output."""
    rate: Fraction
    """Outputs an input."""


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
        time_axis: of the inputs; by default the last axis, or axis 1, whichever the output's length follows.

    Returns:
        the reach; all None if no axis is time, or if state carries the past from call to call.
    """
    try:
        time = None if graph.mutations else find_time(module, graph, example_inputs, time_axis)
        return Reach() if time is None else _measure(Probe(graph, example_inputs, time))
    except (RuntimeError, IndexError, TypeError, ValueError):
        return Reach()  # not-a-number has no place in a table, for instance: nothing can be said


def find_time(
    module: nn.Module, graph: Graph, example_inputs: tuple[Any, ...], time_axis: int | None = None
) -> Time | None:  # fmt: skip
    """Which axis of the inputs the output's length follows.

    Args:
        module: that was captured.
        graph: of the module.
        example_inputs: of the capture.
        time_axis: the only one to try; by default the last, then axis 1.

    Returns:
        axes and rate; None if no output's length follows an input's, or if the module takes one length only.
    """
    flat, form = tree_flatten((example_inputs, {}))
    tensors = {place: value for place, value in enumerate(flat) if isinstance(value, Tensor) and value.dim()}
    if not tensors or not graph.outputs:
        return None
    first = next(iter(tensors.values()))
    candidates = [first.dim() - 1, 1] if time_axis is None else [time_axis % first.dim()]
    for axis in dict.fromkeys(axis for axis in candidates if axis < first.dim()):
        samples = first.shape[axis]
        moved = {place: axis for place, x in tensors.items() if x.dim() > axis and x.shape[axis] == samples}
        longer = [torch.cat([x, x], axis) if place in moved else x for place, x in enumerate(flat)]
        args, names = torch.utils._pytree.tree_unflatten(longer, form)
        try:
            with torch.no_grad():
                said = tree_flatten(copy_of(module).eval()(*args, **names))[0]
        except Exception:  # whatever a module says of a length that it cannot take
            continue
        before = graph.outputs[0].shape
        after = next(value for value in said if isinstance(value, Tensor)).shape
        grown = [place for place, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
        if len(grown) == 1:
            return Time(moved, samples, grown[0], _rate(after[grown[0]] - before[grown[0]], samples))
    return None


def _rate(more_outputs: int, more_inputs: int) -> Fraction:
    """Outputs an input; a ratio that is nearly whole is so, the rest being cut off at the ends."""
    rate = Fraction(more_outputs, more_inputs)
    if max(rate.numerator, rate.denominator) <= 16 or rate <= 0:
        return rate
    return Fraction(round(rate)) if rate > 1 else 1 / Fraction(round(1 / rate))


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
    time, width = probe.time, min(_period(probe), max(probe.outputs // 2, 1))
    middle = np.arange(width) + (probe.outputs - width) // 2
    last = _last(probe, middle)
    if not len(last) or max(last.values()) >= time.samples - 1:
        return Reach()
    # As late as the end of the example allows, so that as much as possible of the past lies inside.
    later = time.samples - 2 - max(last.values()) - ceil(width / time.rate)
    asked = np.minimum(middle + max(floor(later * time.rate), 0), probe.outputs - 1)
    last, first = _last(probe, asked), _first(probe, asked)
    if not last or max(last.values()) >= time.samples - 1:
        asked = middle
        last, first = _last(probe, asked), _first(probe, asked)
    scale = max(time.rate, Fraction(1))
    missing = max(0, floor(time.samples * time.rate) - probe.outputs)
    ahead = max(last[out] - (ceil((out + missing + 1) / time.rate) - 1) for out in last)
    inside = min(first.values()) > 0
    field = max(last[out] - first[out] + 1 for out in last)
    return Reach(floor(field * scale) if inside else None, floor(max(ahead, 0) * scale))


def _first(probe: Probe, outputs: Indices) -> dict[int, int]:
    """Output to the first input that it depends on; without those that depend on none."""
    ends = _shortest(lambda length: probe.spoilt(0, length), probe.time.samples, outputs)
    return {output: end - 1 for output, end in ends.items()}


def _last(probe: Probe, outputs: Indices) -> dict[int, int]:
    """Output to the last input that it depends on; without those that depend on none."""
    samples = probe.time.samples
    lengths = _shortest(lambda length: probe.spoilt(samples - length, samples), samples, outputs)
    return {output: samples - length for output, length in lengths.items()}


def _shortest(spoilt: Callable[[int], Flags], longest: int, outputs: Indices) -> dict[int, int]:
    """For each output the least length at which it is spoilt, by halving; outputs share what is tried."""
    found: dict[int, int] = {}

    def halve(asked: Indices, low: int, high: int) -> None:
        if not len(asked):
            return
        if high - low == 1:
            found.update(dict.fromkeys(asked.tolist(), high))
            return
        middle = (low + high) // 2
        flags = spoilt(middle)[asked]
        halve(asked[flags], low, middle)
        halve(asked[~flags], middle, high)

    halve(outputs[spoilt(longest)[outputs]], 0, longest)
    return found


def _period(probe: Probe) -> int:
    """So many neighbouring outputs show all that there is: places repeat with the product of all strides.

    At least 16, for what is cut and re-arranged by other means.
    """
    strides = 1
    for node in probe.graph.nodes:
        name = node.op.split(".")[1]
        if "conv" in name:
            strides *= prod(_listed(node.args[3]))
        elif "pool" in name and "adaptive" not in name:
            strides *= prod(_listed(node.args[2] or node.args[1]))
        elif name == "unfold":
            strides *= node.args[3]
    most = max(strides, ceil(probe.time.rate), ceil(1 / probe.time.rate))
    return max(16, most)


def _listed(given: Any) -> list[int]:
    return [given] if isinstance(given, int) else list(given)
