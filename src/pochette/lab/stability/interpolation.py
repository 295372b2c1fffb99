"""Whether two trained networks lie in one valley: the error on the straight line between their weights.

Two definitions of a barrier are in use, and give different numbers where the ends are not equally good:
- over the mean of the ends (Frankle et al. 2020, "Linear Mode Connectivity"): never below half the ends' difference;
- over the line between the ends' errors (Entezari et al. 2022): 0 wherever the error is a convex function on the line.

What is interpolated is what is learnt (of a weight-normed layer gains and directions), and buffers with it. Statistics
of batch norms belong to a network's own activations, which no mean of two others' is; so they are taken anew from data
where it is given, and both curves are told.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pochette.errors import RecipeError, RunError, ShapeError

POINTS = 11
"""On a line, its ends and its middle among them."""

ErrorOf = Callable[[nn.Module], float]
"""What is wrong with a network: its loss, or its mistakes."""
Passes = Callable[[nn.Module], None]
"""Sends training data through a network, whose batch norms watch it."""


@dataclass(frozen=True)
class Line:
    """Errors between two networks."""

    shares: tuple[float, ...]
    """Of the second network in each mixture, 0 to 1; 0.5 is among them."""
    errors: tuple[float, ...]
    """Of each mixture."""
    renewed: Line | None = None
    """The same with the statistics of batch norms taken anew, where there are any and data was given."""

    @property
    def over_mean(self) -> float:
        """The barrier of Frankle et al. 2020: the highest error less the mean of the ends'; at least 0."""
        return max(self.errors) - (self.errors[0] + self.errors[-1]) / 2.0

    @property
    def over_line(self) -> float:
        """The barrier of Entezari et al. 2022: the most by which they exceed the line between the ends'; at least 0."""
        first, last = self.errors[0], self.errors[-1]
        between = zip(self.shares, self.errors, strict=True)
        return max(error - ((1.0 - share) * first + share * last) for share, error in between)


@torch.no_grad()
def line(
    module: nn.Module,
    first: Mapping[str, Tensor],
    second: Mapping[str, Tensor],
    error_of: ErrorOf,
    *,
    points: int = POINTS,
    passes: Passes | None = None,
) -> Line:
    """Errors of mixtures of two networks of one shape.

    Args:
        module: says what is computed; left as it was.
        first: state dictionary of one network.
        second: of the other.
        error_of: asked of each mixture, which is in the state of playing.
        points: how many mixtures, the ends among them; odd, so that the middle is among them, where the barrier of two
            networks that are each other's mirror image stands.
        passes: for the statistics of batch norms.

    Returns:
        the curve.

    Raises:
        RecipeError: the number of points is even, or less than 3.
        ShapeError: the networks' weights are not the same by name and shape.
        RunError: an error is no finite number.
    """
    if points < 3 or points % 2 == 0:
        raise RecipeError(
            f"A line of {points} points leaves out the middle.", remedy="Ask for an odd number of points, 3 or more."
        )
    _check_alike(first, second)
    mixed = copy.deepcopy(module).eval()
    renews = passes is not None and any(isinstance(part, _BatchNorm) for part in mixed.modules())
    shares = tuple(number / (points - 1) for number in range(points))
    errors, renewed = [], []
    for share in shares:
        mixed.load_state_dict(mixture(first, second, share))
        errors.append(_finite(error_of(mixed), share))
        if renews and passes is not None:
            renew(mixed, passes)
            renewed.append(_finite(error_of(mixed), share))
    return Line(shares, tuple(errors), Line(shares, tuple(renewed)) if renews else None)


def mixture(first: Mapping[str, Tensor], second: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Weights on the way from one network to another.

    Args:
        first: state dictionary of one.
        second: of the other.
        share: of the second, 0 to 1.

    Returns:
        a state dictionary; what is not of real numbers (counts) is the first one's. Where both agree it is what they
        are, to the bit.
    """
    return {
        path: torch.lerp(one, second[path], share) if one.is_floating_point() else one for path, one in first.items()
    }


def renew(module: nn.Module, passes: Passes) -> None:
    """Take the statistics of a network's batch norms anew: plain means over the batches that are sent through.

    Args:
        module: changed in place; everything but its batch norms stays as it is.
        passes: sends data through.
    """
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for a plain mean over batches
        norm.train()
    try:
        with torch.no_grad():
            passes(module)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()


def _check_alike(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    for path in first.keys() | second.keys():
        if path not in first or path not in second or first[path].shape != second[path].shape:
            raise ShapeError(
                "The two networks do not have the same weights, so there is no line between them.",
                where=path,
                remedy="Compare networks of one recipe that were trimmed alike, or masked ones.",
            )


def _finite(error: float, share: float) -> float:
    if not math.isfinite(error):
        raise RunError(
            f"The error at {share:g} of the way between the networks is {error}.",
            remedy="Measure by a loss that stays finite for networks nobody trained.",
        )
    return error
