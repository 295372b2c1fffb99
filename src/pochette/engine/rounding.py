"""What storing matrices in fewer bits does to a network's layers, heard at their outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pochette.engine.packing import FloatArray
from pochette.engine.precision import LayerPrecision, decibels
from pochette.engine.twin import Call, Playing, Twin


def with_outputs(twin: Twin, calls: Sequence[Call]) -> tuple[LayerPrecision, ...]:
    """Tell of each matrix of an engine how exact that is which is made with it.

    The step in floats and the engine's twin make the same calls, each with its own state; what differs is what an
    engine differs by: matrices and, where they meet whole numbers, vectors too are rounded.

    Args:
        twin: of the engine.
        calls: inputs that follow each other, from the state at capture.

    Returns:
        its report with the signal-to-noise ratios.
    """
    made = _made_with(twin, {line.weight for line in twin.report})
    ratios = ratios_db(twin.floats(rounded=False), twin, frozenset(made.values()), calls)
    return tuple(replace(line, output_snr_db=ratios.get(made.get(line.weight, ""))) for line in twin.report)


def layers_of(engine: Playing, controls: FloatArray) -> tuple[LayerPrecision, ...]:
    """How exact the layers of a playable model's engine are over a curve; see `with_outputs`.

    Args:
        engine: its twin.
        controls: (frame, control).

    Returns:
        a line a matrix, part by part.
    """
    return tuple(line for twin, calls in engine.calls(controls) for line in with_outputs(twin, calls))


def ratios_db(exact: Twin, other: Twin, values: frozenset[str], calls: Sequence[Call]) -> dict[str, float]:
    """How far values within a graph are from what they would be, both steps called alike from the state at capture.

    Args:
        exact: what they would be.
        other: what they are.
        values: their names.
        calls: inputs that follow each other.

    Returns:
        by name, the signal-to-noise ratio in decibels over all calls: infinite where nothing differs.
    """
    signal, noise = (dict.fromkeys(values, 0.0) for _ in range(2))
    exact, other = (twin.fresh() for twin in (exact, other))
    for call in calls:
        wanted, got = (twin.look(call, values).watched for twin in (exact, other))
        for name, tensor in wanted.items():
            signal[name] += float(tensor.double().square().sum())
            noise[name] += float((tensor.double() - got[name].double()).square().sum())
    return {name: decibels(signal[name], noise[name]) for name in values}


def _made_with(twin: Twin, weights: set[str]) -> Mapping[str, str]:
    """Name of the first value that is made with each matrix."""
    found: dict[str, str] = {}
    for node in twin.graph.nodes:
        for value in node.inputs():
            if value.path in weights:
                found.setdefault(value.path, node.outputs[0].name)
    return found
