"""Similarity: how much a layer stays arranged as what it reads while units go."""

from __future__ import annotations

import numpy as np

from pochette.families import criteria
from pochette.graph.units import UnitFamily
from pochette.reduce.evidence import Evidence, FloatArray, reads_data


@criteria.member("similarity")
@reads_data
def similarity(family: UnitFamily, evidence: Evidence) -> FloatArray:
    """When a unit goes, if each time that one goes without which the layer is most like its input.

    Likeness is linear centred kernel alignment, |Y'X|^2 / (|X'X| |Y'Y|) of what is read, X, and what is put out, Y
    (Kornblith et al. 2019). Among networks that techniques made small, those whose layers are most like the input have
    the least errors; this is that finding as a criterion. It is no good one: see `benchmarks/criterion.py`.

    Args:
        family: the units to score.
        evidence: its activations and inputs.

    Returns:
        (unit,) the share of the units that have gone when it goes, the last one's being 1. Ranks, so between layers
        scores compare by rank alone.
    """
    read, made = (values - values.mean(axis=0) for values in (evidence.inputs(family), evidence.activations(family)))
    return kept_alike(np.square(read.T @ made).sum(axis=0), made.T @ made)


def kept_alike(shared: FloatArray, gram: FloatArray) -> FloatArray:
    """Backward elimination that keeps the alignment as large as it can.

    Args:
        shared: (unit,) squared length of X'y, what a unit adds to |Y'X|^2.
        gram: (unit, unit) Y'Y of centred units.

    Returns:
        (unit,) at what share of all removals each goes.
    """
    units, square = len(gram), np.square(gram)
    left = np.ones(units, dtype=bool)
    own, with_all = square.diagonal().copy(), square.sum(axis=1)
    together, size = float(shared.sum()), float(square.sum())
    scores = np.zeros(units)
    for gone in range(units):
        # Without unit j the squared size of Y'Y lacks j's row and column, whose corner is counted once.
        smaller = np.maximum(size - 2.0 * with_all + own, np.finfo(np.float64).tiny)
        alike = np.where(left, np.maximum(together - shared, 0.0) / np.sqrt(smaller), -np.inf)
        goes = int(np.argmax(alike))
        scores[goes], left[goes] = (gone + 1) / units, False
        together -= float(shared[goes])
        size += float(own[goes] - 2.0 * with_all[goes])
        with_all -= square[:, goes]
    return scores
