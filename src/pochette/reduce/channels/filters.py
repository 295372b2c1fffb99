"""Filters by the sum of their absolute weights, and how much a network minds the loss of some (Li et al. 2016)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from pochette.errors import ReductionError
from pochette.graph.units import UnitFamily
from pochette.models.model import Excerpt, Model
from pochette.reduce.channels.signal_order import along_signal
from pochette.reduce.criteria.magnitude import magnitude
from pochette.reduce.evidence import Evidence, FloatArray, WeightsOnly
from pochette.reduce.shares import named
from pochette.reduce.structure import Counts, Structure
from pochette.reduce.trimming import trim_model

Scored = Literal["independent", "greedy"]
"""Whether a filter's weights all count, or those alone that read units which are still there."""
Chosen = dict[str, np.ndarray]
"""Family name to the numbers of the units that stay."""


def smallest_filters_gone(structure: Structure, evidence: Evidence, counts: Counts, scored: Scored) -> Chosen:
    """The filters with the largest sums of absolute weights, so many of each family.

    Greedy scoring goes along the signal and leaves out the weights that read units which are already gone; independent
    scoring never asks what went before.

    Args:
        structure: of the network.
        evidence: its weights.
        counts: how many units each family keeps.
        scored: independent or greedy.

    Returns:
        survivors of every family.
    """
    tensors = dict(evidence.tensors)
    survivors: Chosen = {}
    for family in along_signal(structure):
        scores = magnitude(family, WeightsOnly(tensors, evidence.makers, evidence.seed))
        survivors[family.name] = best(scores, counts[family.name])
        if scored == "greedy":
            tensors |= _without(family, survivors[family.name], tensors)
    return {name: survivors[name] for name in structure.whole}


def best(scores: FloatArray, count: int) -> np.ndarray:
    """Numbers of the highest scores, rising; of equal ones the first."""
    return np.sort(np.argsort(-scores, kind="stable")[:count])


def _without(family: UnitFamily, kept: np.ndarray, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights whose columns for units that are gone are zero."""
    gone = np.setdiff1d(np.arange(family.units), kept)
    changed: dict[str, Tensor] = {}
    for place, indices in family.indices.items():
        if place not in family.makers and place.path in tensors and tensors[place.path].dim() > 1:
            weight = changed.get(place.path, tensors[place.path]).clone()
            weight.index_fill_(place.axis, torch.from_numpy(indices[gone].ravel()), 0.0)
            changed[place.path] = weight
    return changed


@torch.no_grad()
def sensitivity(
    model: Model, structure: Structure, evidence: Evidence, excerpt: Excerpt, keeps: Sequence[float]
) -> dict[str, list[float]]:
    """What the loss becomes when one family alone is made smaller, all others left whole.

    Args:
        model: trained; left as it was.
        structure: of it.
        evidence: its weights.
        excerpt: held-out sound.
        keeps: shares of the family's units that stay.

    Returns:
        family name to a loss for each share; where a share removes nothing, the whole model's.
    """
    whole = _loss(model, excerpt)
    found: dict[str, list[float]] = {name: [] for name in structure.whole}
    for family in structure.families:
        for keep in keeps:
            counts = {**structure.whole, family.name: max(1, round(keep * family.units))}
            if counts == structure.whole:
                found[family.name].append(whole)
                continue
            survivors = smallest_filters_gone(structure, evidence, counts, "independent")
            smaller, _, _ = trim_model(model, survivors=survivors, structure=structure, evidence=evidence)
            found[family.name].append(_loss(smaller, excerpt))
    return found


def _loss(model: Model, excerpt: Excerpt) -> float:
    return float(model.loss(excerpt, torch.Generator().manual_seed(0)))


def most_sensitive(found: Mapping[str, Sequence[float]], count: int) -> list[str]:
    """The families whose loss costs most.

    Args:
        found: what `sensitivity` gave.
        count: how many.

    Returns:
        names, the worst first; of equal ones the first.
    """
    return sorted(found, key=lambda name: -float(np.mean(found[name])))[:count]


def counts_within(structure: Structure, macs: float, spared: Sequence[str] = ()) -> dict[str, int]:
    """How many units stay: the same share of every family that is not spared, the largest that is small enough.

    Args:
        structure: of the network.
        macs: multiply-accumulates of learnt weights that a call may take at most.
        spared: families that lose nothing.

    Returns:
        family name to number.

    Raises:
        ReductionError: one unit in every other family is too many.
    """
    whole = structure.whole

    def counts(keep: float) -> dict[str, int]:
        thinned = structure.uniform(keep)
        return {name: whole[name] if name in spared else count for name, count in thinned.items()}

    if structure.matrix_macs(counts(0.0)) > macs * (1 + 1e-9):
        others = "every layer" if not spared else "every layer that is not spared"
        share = structure.matrix_macs(counts(0.0)) / structure.matrix_macs()
        raise ReductionError(
            f"With one unit in {others} the network still needs {structure.matrix_macs(counts(0.0))} MACs a call, "
            f"more than the {macs:.0f} asked for.",
            where="--keep",
            remedy=f"Keep {named(share)} or more" + (", or spare fewer layers." if spared else "."),
        )
    low, high = 0.0, 1.0
    for _ in range(24):
        middle = (low + high) / 2
        within = structure.matrix_macs(counts(middle)) <= macs * (1 + 1e-9)
        low, high = (middle, high) if within else (low, middle)
    return counts(low)
