"""The information plane: what a layer still knows of the input, against what it knows of what is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from pochette.families import analyses
from pochette.measure.analysis import Analysis, Figure, Finding, mean_of
from pochette.measure.information import blur, ksg_nats, normal_scores, principal_components
from pochette.measure.subject import Subject

FloatArray = npt.NDArray[np.float64]

NOISE = 0.1
"""Standard deviations of noise added to a layer. A network without chance is a function of its input, and I(X; T) would
be infinite: what is measured is what survives this noise, at most 2.31 nats a component, ln(1 + 1 / NOISE^2) / 2."""
COMPONENTS = 2
"""Of the input, the layer and the target: neighbours in more dimensions lie too far apart."""


@dataclass(frozen=True)
class PlanePoint:
    """Where a layer stands."""

    input_nats: float
    """I(X; T)."""
    target_nats: float | None
    """I(T; Y); None if nothing is wanted."""


def plane_point(
    inputs: FloatArray, activations: FloatArray, target: FloatArray | None = None, seed: int = 0
) -> PlanePoint:
    """A layer's point in the information plane (Tishby & Zaslavsky 2015; Shwartz-Ziv & Tishby 2017).

    Variant: the papers bin activations; here each quantity is reduced to principal components, the layer gets noise
    (see `NOISE` and Saxe et al. 2018 on why that decides the result), all marginals are made Gaussian, and the estimate
    is that of Kraskov et al. 2004. A pure function of three arrays: it can be asked at any step of a training.

    Args:
        inputs: (sample, dimension).
        activations: (sample, unit), at the same moments.
        target: (sample, dimension), at the same moments.
        seed: of the noise.

    Returns:
        the point; estimates below zero are given as zero.
    """
    layer = _reduced(activations)
    if layer.shape[1] == 0:
        return PlanePoint(0.0, None if target is None else 0.0)
    layer = normal_scores(blur(layer, NOISE, seed))

    def nats(other: FloatArray) -> float:
        reduced = _reduced(other)
        if reduced.shape[1] == 0:
            return 0.0
        # Repeated values, such as held controls, are parted by as little as does not matter beside the layer's noise.
        return max(ksg_nats(normal_scores(blur(reduced, NOISE / 100, seed + 1)), layer), 0.0)

    return PlanePoint(nats(inputs), None if target is None else nats(target))


def _reduced(values: FloatArray) -> FloatArray:
    return principal_components(values, COMPONENTS)


@analyses.member("information-plane")
class InformationPlane(Analysis):
    """Information of each layer on input and target, in nats: its point in the information plane."""

    source: ClassVar[str] = "Shwartz-Ziv & Tishby 2017; estimator Kraskov et al. 2004"
    reads: ClassVar[Literal["weights", "activations"]] = "activations"
    figure: ClassVar[Figure] = "plane"
    effort: ClassVar[float] = 4.0
    words: ClassVar[dict[str, str]] = {
        "input_nats": "I(X; T), what the layer says of the input, through noise",
        "target_nats": "I(T; Y), what it says of the target",
    }

    def find(self, subject: Subject) -> Finding:
        """See `Analysis.find`."""
        layers, points = {}, {}
        for name, values in subject.each_heard():
            assert subject.inputs is not None
            found = plane_point(subject.inputs, values, subject.target, subject.seed)
            layers[name] = {"input_nats": found.input_nats}
            if found.target_nats is not None:
                layers[name]["target_nats"] = found.target_nats
            points[name] = [(found.input_nats, found.target_nats or 0.0)]
        known = {number for row in layers.values() for number in row}
        note = (
            f"{COMPONENTS} principal components of input, layer and target; noise of {NOISE} deviations on the layer."
        )
        return Finding({name: mean_of(layers, name) for name in sorted(known)}, layers, points, (note,))
