"""How far two branches went from where they fork, and what that brought: whether they say anything yet.

Two trainings that hardly moved end close to each other whatever chance would do later. So their distance is read beside
the way that each of them went, and beside what the error became on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from pochette.lab.stability.apart import apart, as_vector
from pochette.reduce.sparse.weights import Masks

MOVED = 0.1
"""Of the weights' own norm: who went less far hardly moved. A small DDSP network is there after some 15 steps (0.03
after 4, 0.27 after 50)."""
BETTER = 0.01
"""Of the error at the fork: what fell by less hardly fell."""
_LONGER = "Ask again with more --stability-steps."


@dataclass(frozen=True)
class Way:
    """The way of two branches."""

    travelled: float
    """Euclidean distance of the branches' weights from those at the fork, the mean of both."""
    norm: float
    """Of the weights at the fork."""
    apart: float
    """Distance of the branches' weights from each other."""
    start_error: float
    """Test loss at the fork."""
    end_error: float
    """Mean of the branches' own."""

    @classmethod
    def of(
        cls,
        fork: Mapping[str, Tensor],
        ends: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
        errors: tuple[float, float, float],
        masks: Masks | None = None,
    ) -> Way:
        """Measure the way.

        Args:
            fork: weights that both branches began with, by path.
            ends: those that they ended with.
            errors: test loss at the fork, and of each branch.
            masks: what is compared of the weights; None for all.

        Returns:
            the way.
        """
        one, other = ends
        return cls(
            travelled=(apart(fork, one, masks).distance + apart(fork, other, masks).distance) / 2.0,
            norm=float(as_vector(fork, masks).norm()),
            apart=apart(one, other, masks).distance,
            start_error=errors[0],
            end_error=(errors[1] + errors[2]) / 2.0,
        )

    @property
    def share_travelled(self) -> float:
        """Of the weights' norm."""
        return self.travelled / self.norm if self.norm > 0.0 else 0.0

    @property
    def apart_per_travelled(self) -> float:
        """0 where both went the same way, the root of 2 where their ways have nothing in common."""
        return self.apart / self.travelled if self.travelled > 0.0 else 0.0

    @property
    def improvement(self) -> float:
        """Share of the error at the fork that is gone at the ends; negative where it rose."""
        return (self.start_error - self.end_error) / abs(self.start_error) if self.start_error else 0.0

    @property
    def too_short(self) -> str:
        """Why these trainings tell nothing, in a sentence; empty where they went far enough."""
        if self.share_travelled < MOVED:
            return (
                f"Too short to tell: the branches moved the weights by {self.share_travelled:.2g} of their own size. "
                "Networks that hardly trained are close to each other whatever chance would do later: neither a small "
                f"distance nor a missing barrier is good news here. {_LONGER}"
            )
        if self.improvement < BETTER:
            return (
                "Too short to tell, unless the network had learnt all that it can before: on the branches' way the "
                f"test loss hardly fell, from {self.start_error:.4g} to {self.end_error:.4g}. Where they end is not "
                f"yet what a training finds. {_LONGER}"
            )
        return ""

    @property
    def said(self) -> str:
        """The way in a sentence or two."""
        return (
            f"Each branch travelled {self.travelled:.3g} from where both began, {self.share_travelled:.2g} of the "
            f"weights' own size, and they ended {self.apart:.3g} apart: {self.apart_per_travelled:.2g} times what each "
            "travelled, where 0 is the same way and 1.4 are two that have nothing in common. The test loss went from "
            f"{self.start_error:.4g} to {self.end_error:.4g} on it."
        )

    def to_json(self) -> dict[str, Any]:
        """All of it as plain data."""
        derived = ("share_travelled", "apart_per_travelled", "improvement", "said", "too_short")
        return {**asdict(self), **{name: getattr(self, name) for name in derived}}
