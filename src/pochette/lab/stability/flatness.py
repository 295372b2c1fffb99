"""How sharp the valley is that a network lies in: the steepest curvatures of its loss, and the sum of all.

The largest and the smallest eigenvalue of the Hessian are found by Lanczos iteration, its trace by Hutchinson's draws;
both ask only for products of the Hessian with vectors, each a gradient of a gradient. Where a loss takes logarithms of
spectra, as most of ours do, bins of nearly nothing bend it steeply downwards: the smallest eigenvalue, and with it the
trace, may be far below zero and say more of the loss than of the network.

None of them is a property of the function alone: two networks that say the same, one layer doubled and the next halved,
differ in all (Dinh et al. 2017). They compare networks of one shape that were trained alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pochette.errors import RunError
from pochette.reduce.sparse.subject import Subject
from pochette.sound.audio import Array

DRAWS = 16
"""Of signs, for the trace."""
TOLERANCE = 1e-3
"""Of the eigenvalues, relative: what products in single precision bear."""
COARSE, VECTORS = 0.1, (10, 20)
"""From this tolerance on the iteration looks after ten products whether it is there, else after twenty."""
MOST_RESTARTS = 50
"""Of the iteration, each of about a dozen products."""
WHOLE = 20
"""Weights up to which the Hessian is written out."""


@dataclass(frozen=True)
class Flatness:
    """Curvature of a loss at a point."""

    largest: float
    """Largest eigenvalue of the Hessian: the steepest way up."""
    smallest: float
    """Smallest; below 0 where some way leads down ever more steeply."""
    trace: float
    """Sum of all eigenvalues, estimated."""
    trace_error: float
    """Standard error of the estimate."""
    weights: int
    """How many the loss was differentiated by."""
    products: int
    """Of the Hessian with a vector that were taken: each costs about two gradients."""


class Hessian:
    """The second derivative of a loss, as what it does to vectors.

    Args:
        loss: a scalar whose graph is there; held as long as this is.
        parameters: it is differentiated by; those it does not depend on count as flat.
        told: hears how many products were taken.
    """

    def __init__(self, loss: Tensor, parameters: Sequence[Tensor], told: Callable[[int], None] | None = None) -> None:
        self.parameters, self.told = list(parameters), told
        self.size = sum(parameter.numel() for parameter in self.parameters)
        self.products = 0
        found = torch.autograd.grad(loss, self.parameters, create_graph=True, allow_unused=True)
        self._gradient = self._whole(found)

    def times(self, vector: Tensor) -> Tensor:
        """One product.

        Args:
            vector: (weight,), parameters one behind the other.

        Returns:
            the same shape and precision.
        """
        self.products += 1
        if self.told is not None:
            self.told(self.products)
        if not self._gradient.requires_grad:  # the loss is linear
            return torch.zeros_like(vector)
        along = self._gradient @ vector.to(self._gradient.dtype)
        found = torch.autograd.grad(along, self.parameters, retain_graph=True, allow_unused=True)
        return self._whole(found).detach().to(vector.dtype)

    def _whole(self, found: Sequence[Tensor | None]) -> Tensor:
        parts = [
            torch.zeros_like(parameter) if part is None else part
            for parameter, part in zip(self.parameters, found, strict=True)
        ]
        return torch.cat([part.flatten() for part in parts])


def flatness(
    loss: Tensor,
    parameters: Sequence[Tensor],
    *,
    draws: int = DRAWS,
    tolerance: float = TOLERANCE,
    seed: int = 0,
    told: Callable[[int], None] | None = None,
) -> Flatness:
    """Curvature of any loss.

    Args:
        loss: a scalar with its graph.
        parameters: it depends on.
        draws: for the trace, at least 2.
        tolerance: relative, of the two eigenvalues.
        seed: of the draws and of where the iteration begins.
        told: hears how many products were taken.

    Returns:
        eigenvalues at both ends, and trace.

    Raises:
        RunError: a product is not finite, or the iteration does not come to an end.
    """
    hessian, generator = Hessian(loss, parameters, told), torch.Generator().manual_seed(seed)
    along = torch.empty(draws, dtype=torch.float64)
    for draw in range(draws):
        signs = 2.0 * torch.randint(0, 2, (hessian.size,), generator=generator).double() - 1.0
        along[draw] = signs @ hessian.times(signs)
    if not torch.isfinite(along).all():
        raise RunError(
            "The loss has no second derivative here.",
            remedy="Ask at other weights or on other sound: silence has none.",
        )
    smallest, largest = _ends(hessian, torch.randn(hessian.size, generator=generator).double(), tolerance)
    return Flatness(
        largest=largest,
        smallest=smallest,
        trace=float(along.mean()),
        trace_error=float(along.std()) / draws**0.5,
        weights=hessian.size,
        products=hessian.products,
    )


def flatness_of(
    subject: Subject,
    *,
    draws: int = DRAWS,
    tolerance: float = TOLERANCE,
    told: Callable[[int], None] | None = None,
) -> Flatness:
    """Curvature of a network's mean loss, by its matrices and filters as they act.

    Args:
        subject: with batches; its seed draws.
        draws: see `flatness`.
        tolerance: see `flatness`.
        told: see `flatness`.

    Returns:
        eigenvalues at both ends, and trace.

    Raises:
        ReductionError: no data was given.
        RunError: see `flatness`.
    """
    loss = torch.stack(list(subject.losses())).mean()
    parameters = list(subject.parameters().values())
    return flatness(loss, parameters, draws=draws, tolerance=tolerance, seed=subject.seed, told=told)


def _ends(hessian: Hessian, start: Tensor, tolerance: float) -> tuple[float, float]:
    """Smallest and largest eigenvalue."""
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    if hessian.size <= WHOLE:
        columns = [hessian.times(unit) for unit in torch.eye(hessian.size, dtype=torch.float64)]
        values = torch.linalg.eigvalsh(torch.stack(columns))
        return float(values[0]), float(values[-1])
    if not hessian.times(start).any():  # flat: there is nothing to iterate over
        return 0.0, 0.0

    def times(vector: Array) -> Array:
        return hessian.times(torch.from_numpy(np.ascontiguousarray(vector))).numpy()

    operator = LinearOperator((hessian.size, hessian.size), matvec=times, dtype=np.float64)
    vectors = min(VECTORS[0 if tolerance >= COARSE else 1], hessian.size)
    how = {"v0": start.numpy(), "tol": tolerance, "maxiter": MOST_RESTARTS, "return_eigenvectors": False}
    try:
        found = eigsh(operator, k=2, ncv=vectors, which="BE", **how)
    except ArpackNoConvergence as error:
        raise RunError(
            f"The steepest curvatures are not found within {hessian.products} products.",
            remedy="Ask for less: a larger tolerance.",
        ) from error
    return float(min(found)), float(max(found))
