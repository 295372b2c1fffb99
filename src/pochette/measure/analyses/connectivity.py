"""Connectivity: what of a network's weights is joined to anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from pochette.families import analyses
from pochette.measure.analysis import Analysis, Finding
from pochette.measure.paths import STATE_ROUNDS, paths_log10, reach_of_weights
from pochette.measure.subject import Subject


@dataclass(frozen=True)
class Joined:
    """What a bipartite graph falls apart into."""

    components: int
    """Parts that have an edge."""
    dead_rows: int
    """Rows without an edge."""
    dead_columns: int
    """Columns without an edge."""


def joined(edges: npt.NDArray[np.bool_]) -> Joined:
    """Count the components of a bipartite graph.

    Args:
        edges: (row, column) where there is one.

    Returns:
        the counts.
    """
    rows, columns = np.nonzero(edges)
    size = sum(edges.shape)
    graph = csr_matrix((np.ones(len(rows), np.int8), (rows, columns + len(edges))), shape=(size, size))
    labels = connected_components(graph, directed=False)[1]
    dead_rows, dead_columns = (int((~edges.any(axis=axis)).sum()) for axis in (1, 0))
    return Joined(len(np.unique(labels[rows])) if len(rows) else 0, dead_rows, dead_columns)


@analyses.member("connectivity")
class Connectivity(Analysis):
    """What survives: weights on a way from input to output, dead units, components, layers that lost all, ways."""

    source: ClassVar[str] = "effective sparsity: Vysogorets & Kempe 2023; layer collapse: Tanaka et al. 2020"
    reads: ClassVar[Literal["weights", "activations"]] = "weights"
    words: ClassVar[dict[str, str]] = {
        "density": "share of weights that are not zero",
        "effective_density": "share of weights that are not zero and on a way from input to output",
        "dead_units": "share of rows without such a weight",
        "collapsed_layers": "layers without such a weight",
        "components": "parts that a layer's graph of such weights falls into; of the network the most of any layer",
        "dead_columns": "share of columns without such a weight",
        "paths_log10": "decimal logarithm of the number of ways from input to output in one call",
    }

    def find(self, subject: Subject) -> Finding:
        """See `Analysis.find`."""
        reach = reach_of_weights(subject.graph, subject.layers)
        layers, totals, notes = {}, np.zeros(3), []
        for layer in subject.each_layer():
            alive = reach.effective[layer.name]
            counts = np.array([layer.weights.size, np.count_nonzero(layer.weights), np.count_nonzero(alive)], float)
            found = joined(layer.spread(np.asarray(alive.any(axis=2), np.float64)) > 0)
            layers[layer.name] = {
                "density": counts[1] / counts[0],
                "effective_density": counts[2] / counts[0],
                "dead_units": found.dead_rows / layer.weights.shape[0],
                "dead_columns": found.dead_columns / (layer.weights.shape[1] * layer.groups),
                "components": float(found.components),
            }
            totals += counts
        if not reach.whole:
            notes.append(f"Ways through the state were followed for {STATE_ROUNDS} calls; there may be longer ones.")
        ways = paths_log10(subject.graph, subject.layers)
        rows = sum(layer.weights.shape[0] for layer in subject.layers)
        dead = sum(layers[layer.name]["dead_units"] * layer.weights.shape[0] for layer in subject.layers)
        numbers = {
            "density": totals[1] / totals[0],
            "effective_density": totals[2] / totals[0],
            "dead_units": dead / rows,
            "collapsed_layers": float(sum(row["effective_density"] == 0 for row in layers.values())),
            "components": max(row["components"] for row in layers.values()),
        }
        if ways is None:
            notes.append("There are more ways from input to output than double precision can count, over 10^308.")
        elif np.isfinite(ways):
            numbers["paths_log10"] = ways
        else:
            notes.append("There is no way from input to output: the network says the same whatever it is given.")
        return Finding({name: float(value) for name, value in numbers.items()}, layers, notes=tuple(notes))
