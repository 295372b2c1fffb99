"""From scores to a smaller model: choosing units, cutting them out, and saying what was done.

Four questions stay apart: what is scored (a criterion), over which units (the families of the graph), how many (here),
and what happens to the rest (the method's business).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pochette.errors import ReductionError
from pochette.families import criteria
from pochette.graph.capture import capture
from pochette.graph.coupling import UnitFamily, units_of
from pochette.graph.graph import Graph
from pochette.graph.trim import Cuts, cut_module
from pochette.models.model import Model, Step

Indices = npt.NDArray[np.int64]
PREFIX = "model."
"""What the paths of a captured `Step` carry in front of the model's own."""


@dataclass(frozen=True)
class FamilyTrim:
    """What happened to one family of units."""

    name: str
    before: int
    after: int
    norms: tuple[str, ...]
    """Layers whose statistics run over these units: there the trimmed model is not the masked one."""


@dataclass(frozen=True)
class TrimReport:
    """What went, what stayed and why, what is not exact."""

    families: tuple[FamilyTrim, ...]
    kept: dict[str, str]
    """Parameter axis to the reason why it stays whole."""
    macs_before: int
    """Of learnt matrices, per frame."""
    macs_after: int

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Structure:
    """A captured model and what can be removed from it."""

    graph: Graph
    families: tuple[UnitFamily, ...]
    kept: dict[str, str]

    @classmethod
    def of(cls, model: Model) -> Structure:
        """Capture a model and find its units.

        Args:
            model: left as it was.

        Returns:
            the structure.

        Raises:
            ExportError: the model cannot be captured.
            ReductionError: nothing in it can be removed.
        """
        step = Step(copy.deepcopy(model))
        graph = capture(step, step.example_inputs())
        units = units_of(graph)
        if not units.families:
            raise ReductionError(
                "No unit of this model can be removed.",
                remedy="Models with hidden layers can be trimmed; the reasons: "
                + "; ".join(f"{path}: {why}" for path, why in list(units.kept.items())[:3]),
            )
        return cls(graph, units.families, units.kept)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every stored tensor by path."""
        return {path: value.shape for path, value in self.graph.stored.items()}

    def matrix_macs(self, cuts: Cuts | None = None) -> int:
        """Multiply-accumulates of the learnt matrices per frame, after some cuts.

        Each matrix of a step graph is used once a frame, so its size is its cost.

        Args:
            cuts: what is removed; nothing by default.

        Returns:
            the sum of their sizes.
        """
        survivors = cuts.survivors if cuts else {}
        total = 0
        for value in self.graph.of_kind("parameter"):
            if len(value.shape) < 2:
                continue
            shape = list(value.shape)
            for place, indices in survivors.items():
                if place.path == value.path:
                    shape[place.axis] = len(indices)
            total += prod(shape)
        return total

    def cuts(self, survivors: Mapping[str, int], scores: Mapping[str, npt.NDArray[np.float64]]) -> Cuts:
        """The cuts that leave each family its best units.

        Args:
            survivors: family name to how many stay.
            scores: family name to a score per unit; ties go to the lower number.

        Returns:
            the cuts.
        """
        cuts, shapes = Cuts(), self.shapes
        for family in self.families:
            order = np.argsort(-scores[family.name], kind="stable")
            cuts.remove(family, np.sort(order[survivors[family.name] :]), shapes)
        return cuts

    def uniform(self, keep: float) -> dict[str, int]:
        """How many units each family keeps: max(1, round(keep * n))."""
        return {family.name: max(1, round(keep * family.units)) for family in self.families}

    def least_macs(self) -> int:
        """Multiply-accumulates of the learnt matrices per frame with one unit left in every family."""
        return self._uniform_macs(0.0)

    def _uniform_macs(self, keep: float) -> int:
        first = {family.name: np.arange(family.units, 0, -1, dtype=np.float64) for family in self.families}
        return self.matrix_macs(self.cuts(self.uniform(keep), first))

    def keep_for(self, target_macs: float) -> float:
        """Largest uniform share of units whose matrices need at most so many MACs a frame.

        Args:
            target_macs: multiply-accumulates per frame.

        Returns:
            share of units, between 0 and 1.

        Raises:
            ReductionError: even one unit a family is too many.
        """
        if self.least_macs() > target_macs * (1 + 1e-9):
            raise ReductionError(
                f"With one unit in every layer the network still needs {self.least_macs()} MACs a frame, "
                f"more than the {target_macs:.0f} asked for.",
                remedy="Ask for less reduction, or start from a smaller model.",
            )
        low, high = 0.0, 1.0
        for _ in range(24):
            middle = (low + high) / 2
            within = self._uniform_macs(middle) <= target_macs * (1 + 1e-9)
            low, high = (middle, high) if within else (low, middle)
        return low


def trim_model(
    model: Model, keep: float, criterion: str = "magnitude", structure: Structure | None = None
) -> tuple[Model, Cuts, TrimReport]:
    """Remove units from every family of a model, the least worthy first.

    Args:
        model: left untouched.
        keep: share of each family's units that stays; max(1, round(keep * n)) of n.
        criterion: name of a member of `pochette.families.criteria`.
        structure: of this very model, if it is at hand.

    Returns:
        the smaller model, the cuts (to apply to other states of the same model), and the report.

    Raises:
        ReductionError: the request would remove nothing, or is not between 0 and 1.
        ExportError: the model cannot be captured.
    """
    if not 0.0 < keep < 1.0:
        raise ReductionError(f"keep is {keep}.", remedy="Give the share of units to keep, between 0 and 1.")
    structure = structure or Structure.of(model)
    survivors = structure.uniform(keep)
    if all(survivors[family.name] == family.units for family in structure.families):
        raise ReductionError(
            f"Keeping {keep:.1%} of the units removes none: the layers are too small.",
            remedy="Keep less.",
        )
    tensors: dict[str, Tensor] = structure.graph.tensors
    scores = {family.name: criteria[criterion](family, tensors) for family in structure.families}
    cuts = structure.cuts(survivors, scores)
    smaller = copy.deepcopy(model)
    cut_module(smaller, _without_prefix(cuts))
    report = TrimReport(
        tuple(FamilyTrim(f.name, f.units, survivors[f.name], f.norms) for f in structure.families),
        structure.kept,
        structure.matrix_macs(),
        structure.matrix_macs(cuts),
    )
    return smaller, cuts, report


def _without_prefix(cuts: Cuts) -> Cuts:
    """Cuts by the model's own paths; the step's state buffers take their sizes from the model and are left out."""
    own = {}
    for place, indices in cuts.survivors.items():
        if place.path.startswith(PREFIX):
            own[type(place)(place.path.removeprefix(PREFIX), place.axis)] = indices
    return Cuts(own)
