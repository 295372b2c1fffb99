"""Similarity by kernels: how alike the arrangement of moments is in a layer and in what goes in or is wanted."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import pdist, squareform

from pochette.families import analyses
from pochette.measure.analysis import Analysis, Finding, mean_of
from pochette.measure.subject import Subject

FloatArray = npt.NDArray[np.float64]


def gaussian_kernel(values: FloatArray, width: float | None = None) -> FloatArray:
    """exp(-d^2 / 2 width^2) of all pairs of samples.

    Args:
        values: (sample, dimension).
        width: the kernel's standard deviation; the median distance by default, as in Gretton et al. 2005.

    Returns:
        (sample, sample).
    """
    squares = squareform(pdist(values, "sqeuclidean"))
    if width is None:
        apart = squares[squares > 0]
        width = float(np.sqrt(np.median(apart))) if len(apart) else 1.0
    kernel: FloatArray = np.exp(-squares / (2.0 * width**2))
    return kernel


def hsic(kernel: FloatArray, other: FloatArray) -> float:
    """The Hilbert-Schmidt independence criterion, tr(K H L H) / (n - 1)^2, the biased estimate (Gretton et al. 2005).

    Args:
        kernel: (sample, sample) of one quantity.
        other: of the other.

    Returns:
        0 or more; of independent quantities of the order of 1 / n.
    """
    return float((_centred(kernel) * other).sum()) / (len(kernel) - 1) ** 2


def kernel_alignment(kernel: FloatArray, other: FloatArray) -> float:
    """Centred kernel alignment, HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) (Kornblith et al. 2019, equation 4).

    Args:
        kernel: (sample, sample) of one quantity.
        other: of the other.

    Returns:
        0 to 1; 0 where one of them never changes.
    """
    size = hsic(kernel, kernel) * hsic(other, other)
    return hsic(kernel, other) / float(np.sqrt(size)) if size > 0 else 0.0


def linear_cka(x: FloatArray, y: FloatArray) -> float:
    """The same with linear kernels, |Y'X|^2 / (|X'X| |Y'Y|) of centred columns (Kornblith et al. 2019).

    Args:
        x: (sample, dimension).
        y: (sample, dimension), aligned.

    Returns:
        0 to 1; of two numbers the square of their correlation.
    """
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    size = float(np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    return float(np.linalg.norm(y.T @ x) ** 2) / size if size > 0 else 0.0


def _centred(kernel: FloatArray) -> FloatArray:
    rows = kernel.mean(axis=0)
    centred: FloatArray = kernel - rows - kernel.mean(axis=1, keepdims=True) + rows.mean()
    return centred


@analyses.member("similarity")
class KernelSimilarity(Analysis):
    """Similarity of each layer with input and target: centred alignment of linear and of Gaussian kernels."""

    source: ClassVar[str] = "Kornblith et al. 2019; Gretton et al. 2005"
    reads: ClassVar[Literal["weights", "activations"]] = "activations"
    effort: ClassVar[float] = 5.0
    words: ClassVar[dict[str, str]] = {
        "input_linear": "linear centred kernel alignment with the network's input, 0 to 1",
        "input_gaussian": "the same with Gaussian kernels as wide as the median distance: normalised HSIC",
        "target_linear": "linear alignment with what is wanted",
        "target_gaussian": "Gaussian alignment with what is wanted",
    }

    def find(self, subject: Subject) -> Finding:
        """See `Analysis.find`."""
        others = {"input": subject.inputs, "target": subject.target}
        known = {name: (values, gaussian_kernel(values)) for name, values in others.items() if values is not None}
        layers: dict[str, dict[str, float]] = {}
        for layer, values in subject.each_heard():
            kernel = gaussian_kernel(values)
            layers[layer] = {}
            for name, (other, its_kernel) in known.items():
                layers[layer][f"{name}_linear"] = linear_cka(values, other)
                layers[layer][f"{name}_gaussian"] = kernel_alignment(kernel, its_kernel)
        numbers = {number: mean_of(layers, number) for number in self.words if number.split("_")[0] in known}
        return Finding(numbers, layers)
