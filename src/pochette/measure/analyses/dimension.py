"""Intrinsic dimension: on how many parameters what a layer hears depends, however many units carry it."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from pochette.errors import MeasureError
from pochette.families import analyses
from pochette.measure.analysis import Analysis, Finding, mean_of
from pochette.measure.subject import Subject

FloatArray = npt.NDArray[np.float64]
LEAST = 20
"""Points of different places that an estimate needs."""


def two_nn(points: FloatArray, discarded: float = 0.1) -> float:
    """Intrinsic dimension from the two nearest neighbours (TwoNN, Facco et al. 2017).

    Where density is even over the second neighbour's distance, mu = r2 / r1 is distributed as F(mu) = 1 - mu^-d, so
    that the points (ln mu, -ln(1 - F)), F the empirical i / N, lie on a line through the origin of slope d, which is
    fitted by least squares. As published, the tenth with the largest mu is left out; the variant by maximum likelihood,
    N / sum ln mu, is not what is computed here.

    Args:
        points: (point, coordinate); of points at one place only one counts.
        discarded: share of the largest ratios that is left out.

    Returns:
        the dimension; too low by some tenths of its value where it is above ten or so and points are thousands.

    Raises:
        MeasureError: there are too few different points.
    """
    # What differs by rounding alone is one place: such pairs would say that there is no dimension large enough.
    size = float(np.abs(points - points.mean(axis=0)).max(initial=0.0)) or 1.0
    places = np.unique(np.round(points / size, 6), axis=0)
    if len(places) < LEAST:
        raise MeasureError(
            f"{len(places)} different points have no dimension that could be estimated; {LEAST} are needed.",
            remedy="Watch the network on more sound, or on sound that changes.",
        )
    distances = cKDTree(places).query(places, k=3)[0]
    ratios = np.sort(np.log(distances[:, 2] / distances[:, 1]))
    kept = int(len(ratios) * (1.0 - discarded))
    x, y = ratios[:kept], -np.log1p(-np.arange(1, kept + 1) / len(ratios))
    square = float(x @ x)
    return float(x @ y) / square if square > 0 else 0.0


@analyses.member("dimension")
class IntrinsicDimension(Analysis):
    """Intrinsic dimension of what each layer hears, by two nearest neighbours."""

    source: ClassVar[str] = "Facco et al. 2017; of networks Ansuini et al. 2019"
    reads: ClassVar[Literal["weights", "activations"]] = "activations"
    words: ClassVar[dict[str, str]] = {
        "dimension": "parameters that activations depend on",
        "share": "the same over the number of units",
        "largest": "the most of any layer",
    }

    def find(self, subject: Subject) -> Finding:
        """See `Analysis.find`."""
        layers: dict[str, dict[str, float]] = {}
        notes = []
        for name, values in subject.activations().items():
            try:
                found = two_nn(values)
            except MeasureError as error:
                notes.append(f"{name}: {error.what}")
                layers[name] = {}
                continue
            layers[name] = {"dimension": found, "share": found / values.shape[1]}
        known = [row["dimension"] for row in layers.values() if row]
        if not known:
            raise MeasureError(
                "No layer hears enough different things for its dimension to be estimated.",
                where=notes[0],
                remedy="Watch the network on more sound, or on sound that changes.",
            )
        numbers = {"dimension": mean_of(layers, "dimension"), "largest": max(known)}
        return Finding(numbers, layers, notes=tuple(notes))
