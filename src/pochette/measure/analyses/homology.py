"""Homology of activations: into how many clusters and around how many holes what a layer hears is laid."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist, pdist, squareform

from pochette.errors import ToolError
from pochette.families import analyses
from pochette.measure.analysis import Analysis, Figure, Finding, mean_of
from pochette.measure.subject import Subject

FloatArray = npt.NDArray[np.float64]


def diagrams(points: FloatArray, dimensions: int = 1) -> list[FloatArray]:
    """Persistent homology of the Vietoris-Rips filtration of a cloud of points.

    Simplices enter at the largest distance of two of their corners (the diameter, not the radius); coefficients are
    those of gudhi, Z/11. The edges' collapse (Boissonnat & Pritam 2020) changes no diagram and saves most simplices.

    Args:
        points: (point, coordinate).
        dimensions: homology up to this one.

    Returns:
        for each dimension (feature, 2), births and deaths; the one cluster that never dies is left out.

    Raises:
        ToolError: the package gudhi is missing.
    """
    try:
        import gudhi
    except ImportError as error:
        raise ToolError(
            "Homology of activations needs the package `gudhi`, which is not installed.",
            remedy="pip install 'pochette[topology]'",
        ) from error
    distances = squareform(pdist(points))
    tree = gudhi.RipsComplex(distance_matrix=distances).create_simplex_tree(max_dimension=1)
    if dimensions > 0:
        tree.collapse_edges()
        tree.expansion(dimensions + 1)
    tree.compute_persistence(homology_coeff_field=11, persistence_dim_max=False)
    found = []
    for dimension in range(dimensions + 1):
        intervals = np.asarray(tree.persistence_intervals_in_dimension(dimension), np.float64).reshape(-1, 2)
        found.append(intervals[np.isfinite(intervals[:, 1])])
    return found


def landmarks(points: FloatArray, count: int, seed: int = 0) -> FloatArray:
    """Points spread as evenly as can be: each next one is the farthest from those before (greedy maxmin).

    Args:
        points: (point, coordinate).
        count: how many.
        seed: draws the first.

    Returns:
        (landmark, coordinate).
    """
    if len(points) <= count:
        return points
    chosen = [int(np.random.default_rng(seed).integers(len(points)))]
    nearest = cdist(points[chosen], points)[0]
    while len(chosen) < count:
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, cdist(points[chosen[-1:]], points)[0])
    return points[chosen]


@analyses.member("homology")
class ActivationHomology(Analysis):
    """Persistent homology of what each layer hears: clusters and loops, relative to how far points lie apart."""

    source: ClassVar[str] = "Naitzat et al. 2020; Vietoris-Rips persistence by gudhi"
    reads: ClassVar[Literal["weights", "activations"]] = "activations"
    figure: ClassVar[Figure] = "diagram"
    effort: ClassVar[float] = 5.0
    words: ClassVar[dict[str, str]] = {
        "longest_gap": "lifetime of the cluster that stands alone the longest, over the diameter of the cloud",
        "longest_loop": "lifetime of the loop that lasts the longest, over the diameter",
        "total_loops": "sum of the lifetimes of all loops, over the diameter",
        "loops": "loops that are there for more than a tenth of the diameter",
    }

    def find(self, subject: Subject) -> Finding:
        """See `Analysis.find`."""
        layers: dict[str, dict[str, float]] = {}
        points: dict[str, list[tuple[float, ...]]] = {}
        notes = []
        for name, values in subject.each_heard():
            most = subject.limit.points
            cloud = landmarks(np.unique(values, axis=0), most, subject.seed)
            if len(cloud) == most < len(values):
                notes.append(f"{name}: {most} of {len(values)} moments, those farthest apart.")
            diameter = float(pdist(cloud).max()) if len(cloud) > 1 else 0.0
            if diameter == 0.0:
                notes.append(f"{name}: it hears the same at all moments.")
                layers[name], points[name] = {}, []
                continue
            clusters, loops = diagrams(cloud / diameter)
            lives = loops[:, 1] - loops[:, 0]
            layers[name] = {
                "longest_gap": float(clusters[:, 1].max(initial=0.0)),
                "longest_loop": float(lives.max(initial=0.0)),
                "total_loops": float(lives.sum()),
                "loops": float((lives > 0.1).sum()),
            }
            points[name] = [(float(birth), float(death)) for birth, death in (*clusters, *loops)]
        numbers = {number: mean_of(layers, number) for number in self.words}
        return Finding(numbers, layers, points, tuple(notes))
