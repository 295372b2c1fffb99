"""Spectra of layers: whether what is left of one spreads signals as well as a graph of so few edges can."""

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
class Spectrum:
    """Singular values of a bipartite graph's matrix; its adjacency has these eigenvalues and their negatives."""

    first: float
    second: float
    bound: float
    """sqrt(d_l - 1) + sqrt(d_r - 1)."""
    values: FloatArray = field(repr=False)
    """All, falling."""

    @property
    def gap(self) -> float:
        """1 - second / first; 0 if there is no edge."""
        return 1.0 - self.second / self.first if self.first > 0 else 0.0

    @property
    def is_ramanujan(self) -> bool:
        """Whether there are edges and the second is within the bound, to rounding."""
        return self.first > 0 and self.second <= self.bound * (1 + 1e-9) + 1e-9


def spectrum_of(edges: FloatArray) -> Spectrum:
    """The spectrum of a bipartite graph and the Ramanujan bound.

    A (d_l, d_r)-biregular graph has first = sqrt(d_l d_r), and is a Ramanujan graph if every other singular value is at
    most sqrt(d_l - 1) + sqrt(d_r - 1) (Feng & Li 1996). Variant: a graph that is not regular is held against the
    bound of its mean degrees, over the units that have an edge, as in Pal et al. 2022; for such graphs it is a
    yardstick, not a theorem.

    Args:
        edges: (row, column) weights, 0 for no edge; of a graph without weights ones.

    Returns:
        singular values of the matrix as given; the bound counts edges, whatever they weigh.
    """
    wide = edges if len(edges) <= edges.shape[1] else edges.T
    squares = np.linalg.eigvalsh(wide @ wide.T)[::-1]
    # What is zero is zero to the rounding of the largest square.
    squares[squares < 1e-13 * max(float(squares[0]), 0.0) * len(squares)] = 0.0
    values = np.sqrt(squares)
    degrees = [np.count_nonzero(edges, axis=axis) for axis in (1, 0)]
    means = [float(each[each > 0].mean()) if each.any() else 1.0 for each in degrees]
    second = float(values[1]) if len(values) > 1 else 0.0
    return Spectrum(float(values[0]), second, sum(np.sqrt(mean - 1.0) for mean in means), values)


@analyses.member("spectrum")
class LayerSpectrum(Analysis):
    """Spectral gap of each layer's graph and of its weights, against the Ramanujan bound."""

    source: ClassVar[str] = "Feng & Li 1996; of networks Pal et al. 2022"
    reads: ClassVar[Literal["weights", "activations"]] = "weights"
    figure: ClassVar[Figure] = "spectrum"
    words: ClassVar[dict[str, str]] = {
        "gap": "1 - second over first singular value of the graph without weights; 1 if all are joined to all",
        "weighted_gap": "the same of the magnitudes of the weights",
        "second": "second singular value of the graph without weights",
        "bound": "sqrt(d_l - 1) + sqrt(d_r - 1) of the mean degrees",
        "ramanujan": "1 if the second is within the bound; of the network the share of layers",
    }

    def find(self, subject: Subject) -> Finding:
        """See `Analysis.find`."""
        layers, points, notes = {}, {}, []
        for layer in subject.each_layer():
            edges, note = subject.edges(layer)
            plain, weighted = spectrum_of((edges > 0).astype(np.float64)), spectrum_of(edges)
            layers[layer.name] = {
                "gap": plain.gap,
                "weighted_gap": weighted.gap,
                "second": plain.second,
                "bound": plain.bound,
                "ramanujan": float(plain.is_ramanujan),
            }
            points[layer.name] = [(float(value),) for value in weighted.values]
            notes += [note] if note else []
        numbers = {name: mean_of(layers, name) for name in ("gap", "weighted_gap", "ramanujan")}
        return Finding(numbers, layers, points, tuple(notes))
