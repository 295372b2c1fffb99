"""What storing matrices in fewer bits does to a network's layers, heard at their outputs."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from pochette.engine.packing import FloatArray
from pochette.engine.precision import LayerPrecision, snr_db


def with_outputs(
    report: Sequence[LayerPrecision],
    stored: Mapping[str, FloatArray],
    module: nn.Module,
    samples: Sequence[tuple[Any, ...]],
) -> tuple[LayerPrecision, ...]:
    """Tell of each layer that reads a stored matrix how exact its output is.

    The module and its copy with rounded matrices make the same calls; what the rounding of vectors adds in an int8
    engine is not in it, some 30 dB below.

    Args:
        report: of the engine.
        stored: path of each tensor in fewer bits to what it is once it is stored.
        module: it was made from; neither it nor its state is changed.
        samples: inputs of calls that follow each other.

    Returns:
        the report with the outputs' signal-to-noise ratios.
    """
    exact, rounded = copy.deepcopy(module).eval(), copy.deepcopy(module).eval()
    for line in (line for line in report if line.weight in stored):
        try:
            weight = rounded.get_parameter(line.weight)
        except AttributeError:
            continue  # computed of others once and for all, as by weight normalisation
        with torch.no_grad():
            weight.copy_(torch.from_numpy(stored[line.weight]))
    layers = dict.fromkeys(line.layer for line in report)
    heard, wrong = _outputs(exact, layers, samples), _outputs(rounded, layers, samples)
    noise = {layer: snr_db(torch.cat(heard[layer]), torch.cat(wrong[layer])) for layer in heard}
    return tuple(replace(line, output_snr_db=noise.get(line.layer)) for line in report)


def _outputs(
    module: nn.Module, layers: dict[str, None], samples: Sequence[tuple[Any, ...]]
) -> dict[str, list[Tensor]]:  # fmt: skip
    """What some submodules give over calls, by path; those that are not called are left out."""
    found: dict[str, list[Tensor]] = {}

    def keep(layer: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            first = output[0] if isinstance(output, (tuple, list)) else output
            if isinstance(first, Tensor):
                found.setdefault(layer, []).append(first.detach().flatten().clone())

        return hook

    for layer in layers:
        try:
            module.get_submodule(layer).register_forward_hook(keep(layer))
        except AttributeError:
            continue
    with torch.no_grad():
        for inputs in samples:
            module(*inputs)
    return found
