"""What storing matrices in fewer bits does to a network's layers, heard at their outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pochette.engine.packing import FloatArray
from pochette.engine.precision import LayerPrecision, decibels
from pochette.engine.twin import Call, Playing, Twin


def with_outputs(
    twin: Twin, calls: Sequence[Call], *, vectors_alone: bool = False, follow: bool = False
) -> tuple[LayerPrecision, ...]:
    """Tell of each matrix of an engine how exact that is which is made with it.

    The step in floats and the engine's twin make the same calls, each with its own state; what differs is what an
    engine differs by: matrices and, where they meet whole numbers, vectors too are rounded.

    Args:
        twin: of the engine.
        calls: inputs that follow each other, from the state at capture.
        vectors_alone: whether the step in floats holds the engine's rounded matrices, so that only vectors differ.
        follow: whether the twin begins every call with the state of floats; see `layers_of`.

    Returns:
        its report with the signal-to-noise ratios.
    """
    made = _made_with(twin, {line.weight for line in twin.report})
    exact = twin.floats(rounded=vectors_alone)
    ratios = _ratios_db(exact, twin.fresh(), frozenset(made.values()), calls, follow=follow)
    return tuple(replace(line, output_snr_db=ratios.get(made.get(line.weight, ""))) for line in twin.report)


def layers_of(engine: Playing, controls: FloatArray) -> tuple[LayerPrecision, ...]:
    """How exact the layers of a playable model's engine are over a curve; see `with_outputs`.

    A step that hears what it drew draws another sample some day if anything is rounded otherwise, and what follows is
    another sound, not noise. Its twin therefore begins every sample with what floats remember.

    Args:
        engine: its twin.
        controls: (frame, control).

    Returns:
        a line a matrix, part by part.
    """
    follow, parts = engine.feeds_back, engine.calls(controls)
    return tuple(line for twin, calls in parts for line in with_outputs(twin, calls, follow=follow))


def _ratios_db(
    exact: Twin, other: Twin, values: frozenset[str], calls: Sequence[Call], *, follow: bool
) -> dict[str, float]:
    """How far values within a graph are from what they would be, by name, over all calls."""
    signal, noise = (dict.fromkeys(values, 0.0) for _ in range(2))
    for call in calls:
        if follow:
            other.remember(exact)
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
