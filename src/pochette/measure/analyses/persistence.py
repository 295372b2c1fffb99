"""Neural persistence: how early the strong weights of a layer join its units into one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import minimum_spanning_tree

from pochette.families import analyses
from pochette.measure.analysis import Analysis, Figure, Finding, mean_of
from pochette.measure.subject import Subject

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Persistence:
    """The 0-dimensional persistence of one layer's graph."""

    deaths: FloatArray = field(repr=False)
    """(vertices - 1,) the weights, relative to the largest, at which components merge, falling; all are born at 1."""
    norm: float
    """2-norm of the lifetimes 1 - death."""
    normalised: float
    """The same over its bound, 0 to 1."""


def neural_persistence(edges: FloatArray, largest: float | None = None) -> Persistence:
    """The persistence of a bipartite graph filtered by weight (Rieck et al. 2019, section 3 and algorithm 1).

    All vertices stand there from the beginning, at 1; edges come in the order of falling |w| / max |w|. Each edge that
    joins two components ends one of them, at its own weight: these are the edges of a maximum spanning tree, so the
    tree gives the diagram. Its 2-norm is at most (1 - least) sqrt(vertices - 1), where least is the smallest relative
    weight, and is divided by that. Pairs of units without an edge count as an edge of weight 0, as a pruned weight
    is in a complete layer; the one component that never ends counts nothing.

    Variant: the paper divides by the largest weight of the whole network, this by that of the layer unless told
    otherwise, so that a layer's number does not depend on the scale of others.

    Args:
        edges: (row, column) magnitudes, 0 for no edge.
        largest: what weights are relative to; the layer's own largest by default.

    Returns:
        the persistence; of a layer without any edge 0, as its bound is of no use there.
    """
    top = float(edges.max(initial=0.0)) if largest is None else largest
    vertices = sum(edges.shape)
    if top == 0.0:
        return Persistence(np.zeros(max(vertices - 1, 0)), 0.0, 0.0)
    relative = edges / top
    rows, columns = np.nonzero(relative)
    # The least tree of 2 - w is the greatest of w; all entries are positive, so none is taken for a missing one.
    lengths = 2.0 - relative[rows, columns]
    tree = minimum_spanning_tree(csr_matrix((lengths, (rows, columns + len(edges))), shape=(vertices, vertices)))
    deaths = np.zeros(vertices - 1)
    deaths[: tree.nnz] = np.sort(2.0 - tree.data)[::-1]
    norm = float(np.linalg.norm(1.0 - deaths))
    bound = (1.0 - float(relative.min())) * np.sqrt(vertices - 1)
    return Persistence(deaths, norm, norm / bound if bound > 0 else 0.0)


@analyses.member("persistence")
class NeuralPersistence(Analysis):
    """Neural persistence: how early a layer's strong weights join its units, 0 (all at once) to 1 (by the weakest)."""

    source: ClassVar[str] = "Rieck et al. 2019"
    reads: ClassVar[Literal["weights", "activations"]] = "weights"
    figure: ClassVar[Figure] = "diagram"
    words: ClassVar[dict[str, str]] = {
        "normalised": "2-norm of lifetimes over its bound, 0 to 1; of the network the mean of its layers",
        "norm": "2-norm of lifetimes",
    }

    def find(self, subject: Subject) -> Finding:
        """See `Analysis.find`."""
        layers, points, notes = {}, {}, []
        for layer in subject.each_layer():
            edges, note = subject.edges(layer)
            found = neural_persistence(edges)
            layers[layer.name] = {"normalised": found.normalised, "norm": found.norm}
            points[layer.name] = [(1.0, float(death)) for death in found.deaths]
            notes += [note] if note else []
        return Finding({"normalised": mean_of(layers, "normalised")}, layers, points, tuple(notes))
