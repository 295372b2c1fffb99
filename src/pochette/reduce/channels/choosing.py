"""Which channels a layer needs least, by what they bring to the layer that reads them: ThiNet's two ways, and LASSO.

A contribution is what one channel adds to one output of the reader, without its bias; the response is what all of them
added before anything was cut. All methods choose exactly as many channels as they are asked for.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from pochette.reduce.evidence import FloatArray

Chooser = Callable[[FloatArray, FloatArray, int], np.ndarray]
"""Contributions (entry, channel), responses (entry,) and a count to the numbers of so many channels, rising."""
_LEAST = 1e-20
"""Below this share of its first energy a channel has nothing of its own."""


def greedily_removed(contributions: FloatArray, response: FloatArray, count: int) -> np.ndarray:
    """ThiNet as published (Luo et al. 2017, algorithm 1): what goes is added one by one, together adding up to least.

    Args:
        contributions: (entry, channel).
        response: not looked at; the published criterion is the energy of what goes.
        count: how many channels stay.

    Returns:
        numbers of those that stay, rising.
    """
    gram = contributions.T @ contributions
    left = np.ones(len(gram), np.bool_)
    together = np.zeros(len(gram))
    for _ in range(len(gram) - count):
        # |sum of T and j|^2 - |sum of T|^2
        added = np.where(left, np.diag(gram) + 2.0 * together, np.inf)
        goes = int(np.argmin(added))
        left[goes] = False
        together += gram[goes]
    return np.flatnonzero(left)


def forward_selected(contributions: FloatArray, response: FloatArray, count: int) -> np.ndarray:
    """ThiNet as its authors' later code has it: what stays is added one by one, each time scaled anew to fit best.

    Args:
        contributions: (entry, channel).
        response: (entry,).
        count: how many channels stay.

    Returns:
        numbers of those that stay, rising.
    """
    own, rest = contributions.copy(), response.copy()
    first = np.square(own).sum(axis=0)
    chosen: list[int] = []
    for _ in range(count):
        energy = np.square(own).sum(axis=0)
        usable = energy > _LEAST * np.maximum(first, 1e-300)
        gain = np.where(usable, np.square(rest @ own) / np.where(usable, energy, 1.0), -1.0)
        gain[chosen] = -2.0
        best = int(np.argmax(gain))
        chosen.append(best)
        if usable[best]:
            # What the chosen one explains is taken from the response, and from what others have of their own.
            direction = own[:, best] / np.sqrt(energy[best])
            rest = rest - direction * (direction @ rest)
            own = own - direction[:, None] * (direction @ own)[None]
    return np.sort(np.array(chosen))


def lasso(contributions: FloatArray, response: FloatArray, strength: float) -> FloatArray:
    """The factors b that minimise |response - contributions b|^2 / (2 entries) + strength |b|_1.

    Args:
        contributions: (entry, channel).
        response: (entry,).
        strength: of the penalty.

    Returns:
        (channel,).
    """
    from sklearn.linear_model import Lasso

    fitted = Lasso(alpha=strength, fit_intercept=False, max_iter=_SWEEPS, tol=1e-6)
    with warnings.catch_warnings():
        # Of channels that say nearly the same it takes for ever to tell which says it; either will do.
        warnings.filterwarnings("ignore", message="Objective did not converge")
        found: FloatArray = fitted.fit(contributions, response).coef_
    return found


def lasso_selected(contributions: FloatArray, response: FloatArray, count: int) -> np.ndarray:
    """Channels whose factors a LASSO leaves (He et al. 2017), its strength found by bisection.

    Deviations from the published code: no offset is fitted (the reader keeps its bias); factors are found in a fixed
    order, so that the same data give the same channels; where no strength leaves exactly as many as are asked for, the
    largest of the least too many stay.

    Args:
        contributions: (entry, channel).
        response: (entry,).
        count: how many channels stay.

    Returns:
        numbers of those that stay, rising.
    """
    unit = float(np.sqrt(np.mean(np.square(response)))) or 1.0
    scaled, aim = contributions / unit, response / unit
    strong = float(np.abs(scaled.T @ aim).max()) / len(aim)
    weak, factors = 0.0, np.abs(scaled.T @ aim)
    for _ in range(_BISECTIONS):
        middle = (weak + strong) / 2.0
        found = np.abs(lasso(scaled, aim, middle)) if middle > 0.0 else factors
        left = np.count_nonzero(found)
        if left >= count:
            weak, factors = middle, found
        else:
            strong = middle
        if left == count:
            break
    return np.sort(np.argsort(-factors, kind="stable")[:count])


_SWEEPS = 2000
"""Over all factors, at most, for one LASSO; fewer where it has settled."""
_BISECTIONS = 24
