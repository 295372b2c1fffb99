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
NEAR, SPACED = 0.02, 0.9
"""Points are copies where they are nearer than `NEAR` of the distance to its nearest neighbour that the share `SPACED`
of the points does not exceed; a high quantile, as most points may have copies."""


def different(points: FloatArray) -> FloatArray:
    """Points without the copies and near-copies among them, as silence and held notes leave them by the hundred.

    A copy that differs by rounding, or by what of a decaying state is left, is a neighbour at no distance that says
    anything of the dimension: one copy makes r2 / r1 as large as one likes, two make it that of what they differ by.
    What is near is measured by the data's own spacing, which depends on their number and dimension; it is measured anew
    when copies have gone, until none is left. Points on a line are so near each other by chance that some go: one in a
    hundred of a thousand.

    Args:
        points: (point, coordinate).

    Returns:
        (point, coordinate) the first of each group of copies, in their order.
    """
    kept = points[np.sort(np.unique(points, axis=0, return_index=True)[1])]
    while len(kept) > 1:
        nearest = cKDTree(kept).query(kept, k=2)[0][:, 1]
        fewer = _thinned(kept, NEAR * float(np.quantile(nearest, SPACED)))
        if len(fewer) == len(kept):
            break
        kept = fewer
    return kept


def _thinned(points: FloatArray, distance: float) -> FloatArray:
    """Points none of which is nearer to an earlier one that stays."""
    stays = np.ones(len(points), bool)
    tree = cKDTree(points)
    for place, point in enumerate(points):
        if stays[place]:
            near = np.array(tree.query_ball_point(point, distance))
            stays[near[near > place]] = False
    return points[stays]


def two_nn(points: FloatArray, discarded: float = 0.1) -> float:
    """Intrinsic dimension from the two nearest neighbours (TwoNN, Facco et al. 2017).

    Where density is even over the second neighbour's distance, mu = r2 / r1 is distributed as F(mu) = 1 - mu^-d, so
    that the points (ln mu, -ln(1 - F)), F the empirical i / N, lie on a line through the origin of slope d, which is
    fitted by least squares. As published, the tenth with the largest mu is left out; the variant by maximum likelihood,
    N / sum ln mu, is not what is computed here.

    Args:
        points: (point, coordinate); of copies and near-copies only one counts, see `different`.
        discarded: share of the largest ratios that is left out.

    Returns:
        the dimension; too low by some tenths of its value where it is above ten or so and points are thousands.

    Raises:
        MeasureError: there are too few different points.
    """
    return _slope(different(points), discarded)


def _slope(places: FloatArray, discarded: float = 0.1) -> float:
    """See `two_nn`, of points that differ."""
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
    effort: ClassVar[float] = 8.0
    words: ClassVar[dict[str, str]] = {
        "dimension": "parameters that activations depend on",
        "share": "the same over the number of units",
        "copies": "moments left out because they copy others, or nearly",
        "largest": "the most of any layer",
    }

    def find(self, subject: Subject) -> Finding:
        """See `Analysis.find`."""
        layers: dict[str, dict[str, float]] = {}
        notes = []
        for name, values in subject.each_heard():
            places = different(values)
            layers[name] = {"copies": float(len(values) - len(places))}
            if layers[name]["copies"]:
                notes.append(f"{name}: {len(values) - len(places)} of {len(values)} moments are copies, or nearly.")
            try:
                found = _slope(places)
            except MeasureError as error:
                notes.append(f"{name}: {error.what}")
                continue
            layers[name] |= {"dimension": found, "share": found / values.shape[1]}
        known = [row["dimension"] for row in layers.values() if "dimension" in row]
        if not known:
            raise MeasureError(
                "No layer hears enough different things for its dimension to be estimated.",
                where=notes[0],
                remedy="Watch the network on more sound, or on sound that changes.",
            )
        numbers = {"dimension": mean_of(layers, "dimension"), "largest": max(known)}
        return Finding(numbers, layers, notes=tuple(notes))
