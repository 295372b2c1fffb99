"""How far two trainings that began alike end apart: by distance, by angle, and by the error on the line between them.

Stability to pruning (Frankle et al. 2019, "Stabilizing the Lottery Ticket Hypothesis"): the whole network and the
sub-network are trained from the same weights on the same data in the same order; both are masked, and compared.
Stability to data order: the sub-network is trained twice, in two orders. Instability (Frankle et al. 2020, "Linear Mode
Connectivity") is the barrier between two such trainings. A random choice of as many weights in each layer is the
baseline of all three.

How a training goes is the caller's: a function of masks and order to the network it ends with. `branches.Course` is
that of pochette's models.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from pochette.lab.stability.interpolation import POINTS, ErrorOf, Line, Passes, line
from pochette.reduce.sparse.weights import Masks, effective, weights_of


class Trains(Protocol):
    """A training from fixed weights."""

    def __call__(self, masks: Masks | None, order: int) -> nn.Module:
        """Train from the beginning.

        Args:
            masks: where weights live, from the beginning on; None for everywhere.
            order: which order the data comes in; everything else that is drawn may follow it.

        Returns:
            the network at the end.
        """


@dataclass(frozen=True)
class Apart:
    """How far two sets of weights are from each other."""

    distance: float
    """Euclidean."""
    angle_degrees: float
    """Between them as seen from zero; 90 where one of them is zero."""


@dataclass(frozen=True)
class Instability:
    """Two trainings that began alike, in two orders."""

    line: Line
    apart: Apart


def apart(one: Mapping[str, Tensor], other: Mapping[str, Tensor], masks: Masks | None = None) -> Apart:
    """Compare two sets of weights.

    Args:
        one: by path.
        other: the same paths and shapes.
        masks: what is compared of them; None for all.

    Returns:
        distance and angle.
    """
    first, second = as_vector(one, masks), as_vector(other, masks)
    # Not by the cosine, which near 1 says nothing of small angles (Kahan 2006).
    directions = [v / norm if (norm := float(v.norm())) > 0.0 else v for v in (first, second)]
    across, along = directions[0] - directions[1], directions[0] + directions[1]
    angle = 2.0 * math.atan2(float(across.norm()), float(along.norm()))
    return Apart(float((first - second).norm()), math.degrees(angle))


def as_vector(weights: Mapping[str, Tensor], masks: Masks | None = None) -> Tensor:
    """Weights one behind the other, in double precision.

    Args:
        weights: by path.
        masks: which of them; None for all.

    Returns:
        (weight,).
    """
    if masks is None:
        return torch.cat([tensor.detach().double().flatten() for tensor in weights.values()])
    return torch.cat([weights[path].detach().double()[mask] for path, mask in masks.items()])


def to_pruning(train: Trains, masks: Masks, order: int = 0) -> Apart:
    """Stability to pruning: what the weights that are removed meant to those that stay.

    Args:
        train: from the weights that both networks begin with.
        masks: of the sub-network.
        order: of the data, the same for both.

    Returns:
        how far the sub-network is from what its weights become within the whole network.
    """
    return apart(_acting(train(None, order)), _acting(train(masks, order)), masks)


def to_order(train: Trains, masks: Masks, orders: tuple[int, int] = (0, 1)) -> Apart:
    """Stability to data order of a sub-network.

    Args:
        train: from the weights that it begins with.
        masks: of it.
        orders: two.

    Returns:
        how far the ends of the trainings are apart.
    """
    one, other = (_acting(train(masks, order)) for order in orders)
    return apart(one, other, masks)


def instability(
    train: Trains,
    error_of: ErrorOf,
    *,
    masks: Masks | None = None,
    orders: tuple[int, int] = (0, 1),
    points: int = POINTS,
    passes: Passes | None = None,
) -> Instability:
    """Whether chance decides where a training ends, from where it begins.

    Args:
        train: from the weights at the step that is asked about.
        error_of: what the barrier is measured in.
        masks: of a sub-network; None for the whole.
        orders: two.
        points: on the line.
        passes: see `interpolation.line`.

    Returns:
        the line between the two ends, and how far they are apart.

    Raises:
        RecipeError: the number of points is even, or less than 3.
        RunError: an error is no finite number.
    """
    one, other = (train(masks, order) for order in orders)
    between = line(one, one.state_dict(), other.state_dict(), error_of, points=points, passes=passes)
    return Instability(between, apart(_acting(one), _acting(other), masks))


def shuffled_masks(masks: Masks, seed: int) -> Masks:
    """The baseline: as many weights of every layer, chosen by chance.

    Args:
        masks: by path.
        seed: of the choice.

    Returns:
        masks with the same counts.
    """
    generator = torch.Generator().manual_seed(seed)
    return {
        path: mask.flatten()[torch.randperm(mask.numel(), generator=generator)].view(mask.shape)
        for path, mask in masks.items()
    }


def _acting(network: nn.Module) -> dict[str, Tensor]:
    return effective(weights_of(network))
