"""Quantisation: weights of few bits, after training or while it goes on."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from pochette.errors import RecipeError, ReductionError
from pochette.families import methods
from pochette.models.model import Model
from pochette.recipe import check_ranges
from pochette.reduce.learnt_steps import MOST_BITS, LearntSteps
from pochette.reduce.rounded import Rounding, output_axes, stored_bytes
from pochette.reduce.sparse.held import living
from pochette.reduce.sparse.weights import weights_of
from pochette.reduce.technique import DENSE_SHARE, Axes, Path, Round, Technique, Told
from pochette.train.session import Session


@methods.member("quantise")
@dataclass(frozen=True)
class Quantise(Technique):
    """Round weights to few bits with a scale a row, and train on knowing it (Jacob et al. 2018; Esser et al. 2020).

    A row's scale is that of its largest weight, or of few bits learnt (LSQ). Vectors are not rounded in training; see
    `pochette.reduce.rounded` for what that leaves out.
    """

    axes: ClassVar[Axes] = Axes(
        source="Jacob et al. 2018; Esser et al. 2020 where scales are learnt",
        scored="nothing: nearness to a whole number of steps",
        over="single weights, none of which goes",
        when="after training; rounded while training goes on",
        rest="trained on behind their rounded values",
    )
    few_values: ClassVar[bool] = True

    bits: int = 8
    """Of each weight, 2 to 8; engines of `--precision int8` hold 8."""
    scales: Literal["largest", "learnt"] = "largest"
    """What a row's scale follows: its largest weight; or, of 2 to 4 bits, the loss (Esser et al. 2020)."""
    rate: float = 0.01
    """Of the descent of scales that are learnt; 0.01 as published for few bits."""

    @classmethod
    def keeping(cls, keep: float) -> Self:
        """See `Technique.keeping`: so many bits of 32."""
        return cls(bits=round(32 * keep))

    def __post_init__(self) -> None:
        check_ranges(self, bits=(2, 8), rate=(1e-9, 1e3))
        if self.scales == "learnt" and self.bits > MOST_BITS:
            raise RecipeError(
                f"Scales are learnt where bits are few, {MOST_BITS} or less, not {self.bits}.",
                where="--scales",
                remedy=f"Use --bits {MOST_BITS} or fewer, or --scales largest.",
            )

    @property
    def keep(self) -> float:
        """Share of the bytes that weights of 32 bits take, the scales apart."""
        return self.bits / 32

    def apply(self, model: Model, session: Session, told: Told | None = None) -> list[Round]:
        """See `Technique.apply`; the rounds are the dense model, it rounded ("after"), and it rounded in training."""
        normed = next((path for path, weight in weights_of(model).items() if weight.gain is not None), None)
        if normed is not None:
            raise ReductionError(
                "The engines round what normed weights act as, not their directions, and that is not trained here.",
                where=normed,
                remedy="Export it in fewer bits: pochette export RUN --precision int8.",
            )
        path = Path(told)
        progress = session.phase("dense", model, DENSE_SHARE)
        path.reach("dense", model, progress)
        at_once, trained = copy.deepcopy(model), copy.deepcopy(model)
        axes = output_axes(model)
        size = stored_bytes(weights_of(model), self.bits, axes, living(model, session))
        Rounding(weights_of(at_once), self.bits, axes)
        path.reach("after", at_once, progress, stored_bytes=size)
        rounding: Rounding | LearntSteps = (
            LearntSteps(weights_of(trained), self.bits, axes, self.rate)
            if self.scales == "learnt"
            else Rounding(weights_of(trained), self.bits, axes)
        )
        progress = session.phase("round-1", trained, 1.0 - DENSE_SHARE, again=True, companions=(rounding,))
        path.reach("round-1", trained, progress, stored_bytes=size)
        return path
