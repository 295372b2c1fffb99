"""What a criterion may look at: the weights, and how the network behaves on data.

Criteria ask for what they need and nothing else is computed. Those that need data say so (`needs_data`), so that nobody
captures a network with data for a criterion that reads weights alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pochette.errors import ReductionError
from pochette.graph.units import Place, UnitFamily

FloatArray = npt.NDArray[np.float64]
Criterion = TypeVar("Criterion", bound=Callable[..., Any])


class Evidence(Protocol):
    """All that is known of a trained network.

    A weight-normed layer stands in `tensors`, in `gradients` and in `makers` by its effective weight g v / |v|, under
    one path that `makers` names: its direction v alone says nothing of its size.
    """

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """Trained weights by path, those of `makers` and `gains` at least."""

    @property
    def seed(self) -> int:
        """For whatever a criterion draws."""

    def gradients(self) -> Mapping[str, Tensor]:
        """Derivative of the loss, summed over the data, by every maker, by path: one backward, accumulated.

        Returns:
            tensors of the shapes of `tensors`; zeros where the loss does not depend on a weight.

        Raises:
            ReductionError: there is no data.
        """

    def weight_scores(self, name: str) -> Mapping[str, Tensor]:
        """What a score of single weights says.

        Args:
            name: member of `pochette.families.scores`.

        Returns:
            tensors of the shapes of `tensors`, for all makers.

        Raises:
            ReductionError: the score looks at the loss, and there is no data.
        """

    def activations(self, family: UnitFamily) -> FloatArray:
        """What the units put out; of a unit with several indices their mean.

        Args:
            family: whose units.

        Returns:
            (sample, unit).

        Raises:
            ReductionError: there is no data.
        """

    def inputs(self, family: UnitFamily) -> FloatArray:
        """What the layer that makes the units reads.

        Args:
            family: whose units.

        Returns:
            (sample, feature), the samples of `activations`.

        Raises:
            ReductionError: there is no data.
        """

    def targets(self) -> FloatArray:
        """What training wants the network to put out.

        Returns:
            (sample, dimension), the samples of `activations`.

        Raises:
            ReductionError: there is no data.
        """

    def makers(self, family: UnitFamily) -> tuple[Place, ...]:
        """Where the weights lie that make the units (their rows), as opposed to those that read them.

        Args:
            family: whose units.

        Returns:
            places of the family.
        """

    def gains(self, family: UnitFamily) -> tuple[Place, ...]:
        """Where learnt gains of the units lie: of normalisations over them, and of weight normalisation.

        Args:
            family: whose units.

        Returns:
            places of the family; none if nothing normalises the units.
        """


def needs_data(criterion: Callable[..., Any]) -> bool:
    """Whether a criterion asks for gradients, activations, inputs or targets."""
    return bool(getattr(criterion, "needs_data", False))


def reads_data(criterion: Criterion) -> Criterion:
    """Mark a criterion that `needs_data`; goes below the decorator that registers it."""
    criterion.__dict__["needs_data"] = True
    return criterion


def falls_back(lacks: Callable[[UnitFamily, Evidence], bool], what: str) -> Callable[[Criterion], Criterion]:
    """Mark a criterion that scores some families by something else than it is named for; goes below `member`.

    Args:
        lacks: whether a family has not what the criterion looks at.
        what: it looks at, "gains of normalisations".

    Returns:
        the decorator.
    """

    def mark(criterion: Criterion) -> Criterion:
        criterion.__dict__["falls_back"] = (lacks, what)
        return criterion

    return mark


def fallen_back(
    criterion: Callable[..., Any], families: Sequence[UnitFamily], evidence: Evidence
) -> tuple[str, ...]:  # fmt: skip
    """Families that a criterion scores by something else than it is named for, as they lack what it looks at.

    Args:
        criterion: a member of `pochette.families.criteria`.
        families: of the network.
        evidence: of the network.

    Returns:
        their names; none for most criteria.

    Raises:
        ReductionError: it would score all of them so.
    """
    lacks, what = getattr(criterion, "falls_back", (None, ""))
    if lacks is None:
        return ()
    names = tuple(family.name for family in families if lacks(family, evidence))
    if len(names) == len(families):
        raise ReductionError(
            f"This criterion looks at {what}, and no layer that can be trimmed has any.",
            where=", ".join(names[:5]),
            remedy="Choose a criterion that applies to every layer, such as magnitude.",
        )
    return names


def weights_of_each(family: UnitFamily, place: Place, tensor: Tensor) -> FloatArray:
    """The slices of one tensor that belong to each unit.

    Args:
        family: whose units.
        place: one of the family's places, for instance a maker.
        tensor: the weights there, or their gradient.

    Returns:
        (unit, weight): all indices a unit owns on that axis (every gate of a recurrent layer), each with all that
        the other axes hold; of complex weights their absolute values.
    """
    real = tensor.detach().cpu().abs() if tensor.is_complex() else tensor.detach().cpu()
    along = real.double().movedim(place.axis, 0)
    slices: FloatArray = along.reshape(len(along), -1).numpy()
    return slices[family.indices[place]].reshape(family.units, -1)


def sum_over_makers(family: UnitFamily, evidence: Evidence, weights: Mapping[str, Tensor]) -> FloatArray:
    """Each unit's sum of what is said of the single weights that make it.

    Args:
        family: whose units.
        evidence: knows the makers.
        weights: something of every weight, by path.

    Returns:
        (unit,).

    Raises:
        ReductionError: nothing is said of a maker's weights.
    """
    total = np.zeros(family.units)
    for place in evidence.makers(family):
        if place.path not in weights:
            raise ReductionError(
                "This criterion scores matrices and filters, and these units are made by something else.",
                where=place.path,
                remedy="Choose magnitude, or another of: pochette list criteria.",
            )
        total += weights_of_each(family, place, weights[place.path]).sum(axis=1)
    return total


def own_makers(family: UnitFamily) -> tuple[Place, ...]:
    """The makers that the graph found, by their stored weights: right where no layer is weight-normed."""
    return family.makers


class WeightsOnly:
    """Evidence without data: enough for criteria that do not `needs_data`.

    Args:
        tensors: trained weights by path.
        makers: finds the places of the weights that make a family; another than the default may name the paths under
            which `tensors` holds effective weights.
        seed: for whatever a criterion draws.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        makers: Callable[[UnitFamily], tuple[Place, ...]] = own_makers,
        seed: int = 0,
    ) -> None:
        self.tensors = tensors
        self.seed = seed
        self._makers = makers

    def gradients(self) -> Mapping[str, Tensor]:
        """Not known."""
        _no_data("the gradient of the loss")

    def weight_scores(self, name: str) -> Mapping[str, Tensor]:
        """Not known."""
        _no_data(f"{name} of single weights")

    def activations(self, family: UnitFamily) -> FloatArray:
        """Not known."""
        _no_data("what the units put out", family.name)

    def inputs(self, family: UnitFamily) -> FloatArray:
        """Not known."""
        _no_data("what the units read", family.name)

    def targets(self) -> FloatArray:
        """Not known."""
        _no_data("the training target")

    def makers(self, family: UnitFamily) -> tuple[Place, ...]:
        """Where the weights lie that make the units."""
        return self._makers(family)

    def gains(self, family: UnitFamily) -> tuple[Place, ...]:
        """Where the gains of the layers lie that normalise over the units: vectors called `weight`."""
        names = {f"{layer}.weight" for layer in family.norms}
        return tuple(place for place in family.indices if place.path in names and self.tensors[place.path].dim() == 1)


def _no_data(what: str, where: str = "") -> NoReturn:
    raise ReductionError(
        f"This criterion asks for {what}, which takes data; there are only weights.",
        where=where,
        remedy="Pass data=..., a corpus to score the units on, or choose a criterion of weights such as magnitude.",
    )
