"""Redundancy: how much of a unit the others already say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from pochette.families import analyses
from pochette.measure.analysis import Analysis, Figure, Finding, mean_of
from pochette.measure.information import standardised
from pochette.measure.subject import Subject

FloatArray = npt.NDArray[np.float64]
SAMPLES_PER_UNIT = 4
"""So many moments for each unit that is explained by others; of more units some are drawn."""


@dataclass(frozen=True)
class Redundancy:
    """Of the units of one layer."""

    explained: FloatArray = field(repr=False)
    """(unit,) share of variance that a linear function of the others explains, 0 to 1; of units that vary."""
    participation: float
    """(sum of eigenvalues)^2 / sum of their squares, of the covariance: directions that would do if all were alike."""


def participation_ratio(values: FloatArray) -> float:
    """How many directions activations vary in, (tr C)^2 / tr C^2 (as in Gao & Ganguli 2015).

    Args:
        values: (sample, unit).

    Returns:
        1 to the number of units; 0 if nothing varies.
    """
    centred = values - values.mean(axis=0)
    narrow = centred if len(centred) >= centred.shape[1] else centred.T
    covariance = narrow.T @ narrow
    square = float(np.square(covariance).sum())
    return float(np.trace(covariance)) ** 2 / square if square > 0 else 0.0


def redundancy_of(values: FloatArray) -> Redundancy:
    """How much of each unit a linear function of all others explains, adjusted for their number.

    R^2 of unit j is 1 - 1 / (C^-1)_jj of the correlations C, and 1 - (1 - R^2)(n - 1)/(n - p) of p units and n samples
    is what of it is not chance (Ezekiel 1930); below zero it is given as zero.

    Args:
        values: (sample, unit), more samples than units.

    Returns:
        what was found; units that never change are left out of the shares.
    """
    moving = standardised(values)
    moving = moving[:, moving.any(axis=0)]
    samples, units = moving.shape
    ratio = participation_ratio(values)
    if units < 2:
        return Redundancy(np.zeros(units), ratio)
    # Copies make C singular: what is then inverted is C of the values with noise of 1e-9 of their variance.
    inverse = np.linalg.inv(moving.T @ moving / samples + 1e-9 * np.eye(units))
    left = (samples - 1) / max(samples - units, 1) / np.diag(inverse)
    return Redundancy(np.clip(1.0 - left, 0.0, 1.0), ratio)


@analyses.member("redundancy")
class UnitRedundancy(Analysis):
    """Redundancy between units: variance that others explain, and directions that activations vary in."""

    source: ClassVar[str] = "coefficient of determination; participation ratio: Gao & Ganguli 2015"
    reads: ClassVar[Literal["weights", "activations"]] = "activations"
    figure: ClassVar[Figure] = "histogram"
    counted: ClassVar[str] = "share of a unit's variance that the others explain"
    words: ClassVar[dict[str, str]] = {
        "explained": "mean share of a unit's variance that a linear function of the others explains",
        "participation": "participation ratio of the covariance: directions",
        "participation_share": "the same over the number of units",
        "constant_units": "share of units that never change",
    }

    def find(self, subject: Subject) -> Finding:
        """See `Analysis.find`."""
        layers, points, notes = {}, {}, []
        for name, values in subject.each_heard():
            units, most = values.shape[1], max(2, len(values) // SAMPLES_PER_UNIT)
            looked = values
            if units > most:
                drawn = np.random.default_rng(subject.seed).permutation(units)[:most]
                looked = values[:, np.sort(drawn)]
                notes.append(f"{name}: {most} of {units} units were drawn, as {len(values)} moments explain no more.")
            found = redundancy_of(looked)
            ratio = participation_ratio(values)
            layers[name] = {
                "explained": float(found.explained.mean()) if len(found.explained) else 0.0,
                "participation": ratio,
                "participation_share": ratio / units,
                "constant_units": float((~standardised(values).any(axis=0)).mean()),
            }
            points[name] = [(float(share),) for share in found.explained]
        names = ("explained", "participation_share", "constant_units")
        return Finding({number: mean_of(layers, number) for number in names}, layers, points, tuple(notes))
