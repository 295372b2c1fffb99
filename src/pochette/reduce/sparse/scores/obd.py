"""Optimal brain damage: what the loss gains when a weight goes, as far as the loss is a bowl."""

from __future__ import annotations

from torch import Tensor

from pochette.families import scores
from pochette.reduce.sparse.curvature import gauss_newton_diagonal, hessian_diagonal
from pochette.reduce.sparse.subject import Subject


@scores.member("obd")
def obd(subject: Subject) -> dict[str, Tensor]:
    """Half of h w^2, with the loss's curvature h by the weight (LeCun, Denker & Solla 1990).

    The published recursion is for chains of layers (`sparse.curvature.recursion`); for any network the diagonal is
    drawn. Where it is negative no bowl is there, and it counts as none.
    """
    return _gain(subject, hessian_diagonal(subject))


@scores.member("obd-gauss-newton")
def obd_gauss_newton(subject: Subject) -> dict[str, Tensor]:
    """Half of h w^2, with the Gauss-Newton curvature of what the network says (LeCun, Denker & Solla 1990).

    Of squared errors of the sound, or of the surprise at the next sample where a model draws sample by sample: not of
    spectral losses, whose own curvature `obd` asks for.
    """
    return _gain(subject, gauss_newton_diagonal(subject))


def _gain(subject: Subject, curvature: dict[str, Tensor]) -> dict[str, Tensor]:
    return {path: 0.5 * curvature[path].clamp(min=0.0) * weight.square() for path, weight in subject.tensors().items()}
