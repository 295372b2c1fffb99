"""Weight sharing: every layer's weights take one of a few values, which train on together."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import ClassVar, Self

from pochette.errors import ReductionError
from pochette.families import methods
from pochette.models.model import Model
from pochette.recipe import check_ranges
from pochette.reduce.clusters import Shared
from pochette.reduce.sparse.weights import weights_of
from pochette.reduce.technique import DENSE_SHARE, Axes, Path, Round, Technique, Told
from pochette.train.session import Session


@methods.member("cluster")
@dataclass(frozen=True)
class Cluster(Technique):
    """Let the weights of a layer share a few values, and train the values on (Han et al. 2016)."""

    axes: ClassVar[Axes] = Axes(
        source="Han, Mao & Dally 2016",
        scored="nothing: nearness to a shared value",
        over="single weights, none of which goes",
        when="after training, at once",
        rest="trained on, those of one value together",
    )
    few_values: ClassVar[bool] = True

    values: int = 16
    """Of a layer: 16 are told apart by 4 bits."""

    @classmethod
    def keeping(cls, keep: float) -> Self:
        """See `Technique.keeping`: of so many bits, as many values."""
        return cls(values=2 ** round(32 * keep))

    def __post_init__(self) -> None:
        check_ranges(self, values=(2, 65536))

    @property
    def keep(self) -> float:
        """Share of the bytes that weights of 32 bits take, the values themselves apart."""
        return math.ceil(math.log2(self.values)) / 32

    def apply(self, model: Model, session: Session, told: Told | None = None) -> list[Round]:
        """See `Technique.apply`."""
        path = Path(told)
        path.reach("dense", model, session.phase("dense", model, DENSE_SHARE))
        model = copy.deepcopy(model)
        weights = weights_of(model)
        normed = next((where for where, weight in weights.items() if weight.gain is not None), None)
        if normed is not None:
            raise ReductionError(
                "Weights that are normed do not stay equal while they share a value.",
                where=normed,
                remedy="Quantise this model instead, or train it without weight normalisation.",
            )
        shared = Shared(weights, self.values)
        progress = session.phase("round-1", model, 1.0 - DENSE_SHARE, again=True, companions=(shared,))
        path.reach("round-1", model, progress, stored_bytes=shared.stored_bytes())
        return path
