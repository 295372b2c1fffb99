"""Where time runs in a network, found by running it on a longer and a shorter input."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor, lcm, prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from pochette.graph.copying import copy_of
from pochette.graph.graph import Graph, Node


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
    missing: int
    """So many outputs fewer than the input has time for there are, for want of padding, at the beginning."""


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
        args, names = tree_unflatten(longer, form)
        try:
            with torch.no_grad():
                called = copy_of(module).eval()
                said = tree_flatten(called(*args, **names))[0]
        except Exception:  # whatever a module says of a length that it cannot take
            continue
        before = graph.outputs[0].shape
        after = next(value for value in said if isinstance(value, Tensor)).shape
        grown = [place for place, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
        if len(grown) == 1:
            time = Time(moved, samples, grown[0], _rate(after[grown[0]] - before[grown[0]], samples), 0)
            return replace(time, missing=_missing(called, graph, example_inputs, time))
    return None


def _rate(more_outputs: int, more_inputs: int) -> Fraction:
    """Outputs an input; a ratio that is nearly whole is so, the rest being cut off at the ends."""
    rate = Fraction(more_outputs, more_inputs)
    if max(rate.numerator, rate.denominator) <= 16 or rate <= 0:
        return rate
    return Fraction(round(rate)) if rate > 1 else 1 / Fraction(round(1 / rate))


def _missing(called: nn.Module, graph: Graph, example_inputs: tuple[Any, ...], time: Time) -> int:
    """How many outputs fewer there are than the input has time for, for want of padding.

    What a stride cuts off at the end is not missing: the shortest example of as many outputs has nothing to cut off.

    Args:
        called: the module, evaluating.
        graph: of it.
        example_inputs: of the capture.
        time: where it runs.

    Returns:
        the number.
    """
    outputs = graph.outputs[0].shape[time.output]
    if floor(time.samples * time.rate) <= outputs:
        return 0
    flat, form = tree_flatten((example_inputs, {}))

    def as_many(samples: int) -> bool:
        shorter = [
            x.narrow(time.inputs[place], 0, samples) if place in time.inputs else x for place, x in enumerate(flat)
        ]
        args, names = tree_unflatten(shorter, form)
        try:
            with torch.no_grad():
                said = tree_flatten(called(*args, **names))[0]
        except Exception:  # whatever a module says of a length that it cannot take
            return False
        first = next(value for value in said if isinstance(value, Tensor))
        return bool(first.shape[time.output] == outputs)

    least, most = max(time.samples - period_of(graph), 0), time.samples
    while most - least > 1:  # `most` gives as many outputs, `least` does not
        middle = (least + most) // 2
        least, most = (least, middle) if as_many(middle) else (middle, most)
    return max(0, floor(most * time.rate) - outputs)


def period_of(graph: Graph) -> int:
    """After so many samples places repeat by what strides make of them.

    Each value's rate follows from the strides in front of it, steps down and up again undoing each other; so many
    samples are whole numbers of all values' own.

    Args:
        graph: captured.

    Returns:
        the number.
    """
    rates = {id(value): Fraction(1) for value in graph.inputs}
    period = 1
    for node in graph.nodes:
        rate = next((rates[id(value)] for value in node.inputs() if id(value) in rates), Fraction(1)) * _step(node)
        rates.update((id(value), rate) for value in node.outputs)
        period = lcm(period, max(rate.numerator, rate.denominator))
    return period


def _step(node: Node) -> Fraction:
    """Places of an operator's output for each of its input, by its strides."""
    name = node.op.split(".")[1]
    if "conv" in name:
        strides = prod(_listed(node.args[3]))
        back = "transpose" in name or (name == "convolution" and node.args[6])
        return Fraction(strides) if back else Fraction(1, strides)
    if "pool" in name and "adaptive" not in name and "unpool" not in name:
        return Fraction(1, prod(_listed(node.args[2] or node.args[1])))
    return Fraction(1, node.args[3]) if name == "unfold" else Fraction(1)


def _listed(given: Any) -> list[int]:
    return [given] if isinstance(given, int) else list(given)
