"""Degrees: how many others each unit listens to and is heard by, and how many of them matter."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from pochette.families import analyses
from pochette.measure.analysis import Analysis, Figure, Finding, mean_of
from pochette.measure.subject import Subject

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Degrees:
    """Of one side of a bipartite graph."""

    plain: FloatArray = field(repr=False)
    """(unit,) edges."""
    effective: FloatArray = field(repr=False)
    """(unit,) edges that would weigh as much if all weighed alike."""

    def times(self, factor: float) -> Degrees:
        """So many times as many neighbours, who weigh as these do."""
        return Degrees(factor * self.plain, factor * self.effective)

    @property
    def spread(self) -> float:
        """Standard deviation over mean of the effective degrees; 0 for equal ones."""
        mean = float(self.effective.mean())
        return float(self.effective.std()) / mean if mean > 0 else 0.0


def degrees_of(edges: FloatArray) -> Degrees:
    """Degrees of the rows of a bipartite graph.

    The effective degree is the participation ratio (sum w)^2 / sum w^2 of the magnitudes (an inverse Simpson index): d
    of d equal weights, near 1 if one weight outweighs all others.

    Args:
        edges: (row, column) magnitudes, 0 for no edge; give the transpose for the other side.

    Returns:
        the degrees; 0 of a row without edges.
    """
    largest = edges.max(axis=1, keepdims=True, initial=0.0)
    relative = edges / np.where(largest > 0, largest, 1.0)  # squares of tiny weights would vanish
    squares = np.square(relative).sum(axis=1)
    effective = np.square(relative.sum(axis=1)) / np.where(squares > 0, squares, 1.0)
    return Degrees(np.count_nonzero(edges, axis=1).astype(np.float64), effective)


@analyses.member("degrees")
class EffectiveDegrees(Analysis):
    """Degrees of units, and effective ones: how many of a unit's weights carry most of what it hears."""

    source: ClassVar[str] = "ours; participation ratio"
    reads: ClassVar[Literal["weights", "activations"]] = "weights"
    figure: ClassVar[Figure] = "histogram"
    counted: ClassVar[str] = "effective degree: how many neighbours carry most of what a unit hears"
    words: ClassVar[dict[str, str]] = {
        "in": "mean degree of rows: what a unit hears",
        "out": "mean degree of columns: by how many a unit is heard",
        "effective_in": "mean effective degree of rows",
        "effective_out": "mean effective degree of columns",
        "effective_share": "mean effective over mean plain degree of rows",
        "spread_in": "standard deviation over mean of the effective degrees of rows",
        "spread_out": "the same of columns",
    }

    def find(self, subject: Subject) -> Finding:
        """See `Analysis.find`."""
        layers, points, notes = {}, {}, []
        for layer in subject.each_layer():
            edges, note = subject.edges(layer)
            # Of a part that was drawn a unit has so many fewer neighbours: a share of them is drawn like any other.
            heard_of, hears = (
                whole / max(drawn, 1) for whole, drawn in zip(layer.edges.shape, edges.shape, strict=True)
            )
            rows, columns = degrees_of(edges).times(hears), degrees_of(edges.T).times(heard_of)
            heard = float(rows.plain.mean())
            layers[layer.name] = {
                "in": heard,
                "out": float(columns.plain.mean()),
                "effective_in": float(rows.effective.mean()),
                "effective_out": float(columns.effective.mean()),
                "effective_share": float(rows.effective.mean()) / heard if heard else 0.0,
                "spread_in": rows.spread,
                "spread_out": columns.spread,
            }
            points[layer.name] = [(float(degree),) for degree in rows.effective]
            notes += [f"{note} Degrees are estimates from them."] if note else []
        numbers = {name: mean_of(layers, name) for name in ("effective_share", "spread_in", "spread_out")}
        return Finding(numbers, layers, points, tuple(notes))
