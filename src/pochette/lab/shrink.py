"""What an experiment does to shapes: which indices of which tensors stay, composed over cuts, applied, or held at zero.

What survives is written as tensors too, "PATH|AXIS" to indices of the dense model's axis, so that it is stored beside
the weights it concerns.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pochette.models.model import Model
from pochette.reduce.choosing import Choice
from pochette.reduce.evidence import Evidence
from pochette.reduce.sparse.weights import Masks
from pochette.reduce.trimming import PREFIX, trim_model

Kept = dict[str, Tensor]
"""What survives: "PATH|AXIS" to indices, ascending; axes that are not named survive whole."""


def shrink(
    model: Model, weights: int | None, choice: Choice, evidence: Evidence | None = None, *, macs: float | None = None
) -> tuple[Model, Kept]:
    """Take units out of a model until so little of it is left; the one place that calls the trimmer.

    Args:
        model: left as it was.
        weights: most learnt numbers that may stay; None where operations are counted.
        choice: what goes first.
        evidence: of this model, where the criterion needs data.
        macs: most multiply-accumulates of learnt weights that a call of the trim form may still take.

    Returns:
        the smaller model, and what survived of this one.

    Raises:
        ReductionError: it cannot become so small, or would not become any smaller.
    """
    small, _, report = trim_model(model, weights=weights, macs=macs, choice=choice, evidence=evidence)
    kept = {
        f"{place.path.removeprefix(PREFIX)}|{place.axis}": torch.from_numpy(indices)
        for place, indices in report.survivors.items()
        if place.path.startswith(PREFIX)
    }
    return small, kept


def weights_of(model: nn.Module) -> int:
    """How many learnt numbers a model plays with."""
    held = model.played_parameters() if isinstance(model, Model) else dict(model.named_parameters())
    return sum(parameter.numel() for parameter in held.values())


def compose(before: Kept, after: Kept) -> Kept:
    """What survives two cuts, in the numbering from before the first.

    Args:
        before: survivors of the first.
        after: survivors of the second, in the numbering that the first left.

    Returns:
        survivors of both.
    """
    return before | {place: before[place][kept] if place in before else kept for place, kept in after.items()}


def cut_tensors(tensors: Mapping[str, Tensor], kept: Kept) -> dict[str, Tensor]:
    """A state dictionary, cut to what survives.

    Args:
        tensors: by path.
        kept: in the numbering of these tensors.

    Returns:
        new tensors.
    """
    out = {path: tensor.detach().clone() for path, tensor in tensors.items()}
    for place, indices in kept.items():
        path, axis = _axis(place)
        if path in out:
            out[path] = out[path].index_select(axis, indices)
    return out


def masks(model: nn.Module, kept: Kept) -> Masks:
    """For every parameter that cuts concern: where it survives.

    Args:
        model: dense.
        kept: what survives.

    Returns:
        path to booleans of the parameter's shape.
    """
    made: dict[str, Tensor] = {}
    parameters = dict(model.named_parameters())
    for place, indices in kept.items():
        path, axis = _axis(place)
        if path not in parameters:
            continue
        tensor = parameters[path].detach()
        line = torch.zeros(tensor.shape[axis], dtype=torch.bool).index_fill(0, indices, True)
        shape = [1] * tensor.dim()
        shape[axis] = -1
        made[path] = made.get(path, torch.ones_like(tensor, dtype=torch.bool)) & line.view(shape)
    return made


def _axis(place: str) -> tuple[str, int]:
    path, _, axis = place.rpartition("|")
    return path, int(axis)
