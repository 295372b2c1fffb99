"""A walk through a space of codes along which a descriptor of the sound follows a curve (Esling et al. 2018, 4.4).

Points are spread evenly over the space, each is described, and of all ways from frame to frame the one is taken that
costs least: squared misses of the descriptor, and squared steps (a number's, on average), so that the timbre does not
jump. Points lie far apart where codes have many numbers; so, where the descriptor has a slope, the way then goes down
the same cost, off the points.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pochette.errors import RecipeError

FloatArray = npt.NDArray[np.float64]
POINTS = 512
"""That are described; a power of two, as Sobol's sequence is even then."""
DESCENTS, DESCENT_RATE = 200, 0.03
"""Steps off the points, and how far one goes."""
BOUND = 2.0
"""Codes go from minus to plus this; beyond it a normal law hardly ever goes."""


def walk(
    describe: Callable[[Tensor], Tensor], target: FloatArray, numbers: int, *, step_weight: float = 0.02, seed: int = 0
) -> FloatArray:
    """Codes whose descriptor follows a curve.

    Args:
        describe: codes (point, number) to a descriptor of each, (point,).
        target: (frame,), the curve, in the descriptor's unit.
        numbers: of a code.
        step_weight: how much a step of length 1 counts beside a miss as large as the descriptor's whole range.
        seed: of the points.

    Returns:
        (frame, number), -2 to 2.

    Raises:
        RecipeError: the curve is not of finite numbers, or the descriptor is the same everywhere.
    """
    target = np.asarray(target, np.float64)
    if target.ndim != 1 or not len(target) or not np.isfinite(target).all():
        raise RecipeError("The curve is not a row of finite numbers.", remedy="Give one number a frame.")
    drawn = torch.quasirandom.SobolEngine(numbers, scramble=True, seed=seed).draw(POINTS)  # type: ignore[no-untyped-call]
    points = (2.0 * drawn - 1.0) * BOUND
    with torch.no_grad():
        found = describe(points).double().numpy()
    span = float(np.ptp(found))
    if not np.isfinite(found).all() or span <= 1e-9 * max(1.0, float(np.abs(found).max())):
        raise RecipeError(
            f"The descriptor says the same at every one of {POINTS} points, or is not finite there.",
            remedy="Train the model longer, or choose another descriptor.",
        )
    miss = ((target[:, None] - found) / span) ** 2
    steps = step_weight * torch.cdist(points.double(), points.double()).square().numpy() / numbers
    way = points[_cheapest(miss, steps)]
    return np.asarray(_descended(describe, way, torch.from_numpy(target).float(), span, step_weight), np.float64)


def _descended(
    describe: Callable[[Tensor], Tensor], way: Tensor, target: Tensor, span: float, step_weight: float
) -> Tensor:
    """A way led down its cost, within the space; as it is where the descriptor has no slope."""
    moved = way.clone().requires_grad_()
    if not describe(moved).requires_grad:
        return way
    stepper = torch.optim.Adam([moved], DESCENT_RATE)
    for _ in range(DESCENTS):
        stepper.zero_grad()
        miss = ((describe(moved) - target) / span).square().sum()
        cost = miss + step_weight * moved.diff(dim=0).square().mean(dim=1).sum()
        (moved.grad,) = torch.autograd.grad(cost, [moved])
        stepper.step()
        with torch.no_grad():
            moved.clamp_(-BOUND, BOUND)
    return moved.detach()


def _cheapest(miss: FloatArray, steps: FloatArray) -> list[int]:
    """The way of least cost, one point a frame, by dynamic programming.

    Args:
        miss: (frame, point).
        steps: (point, point), from one to the other.

    Returns:
        numbers of points.
    """
    cost, before = miss[0].copy(), []
    for row in miss[1:]:
        ways = cost[:, None] + steps
        best = ways.argmin(axis=0)
        before.append(best)
        cost = ways[best, np.arange(len(best))] + row
    way = [int(cost.argmin())]
    for best in reversed(before):
        way.append(int(best[way[-1]]))
    return way[::-1]
