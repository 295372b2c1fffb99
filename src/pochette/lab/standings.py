"""Who wins a contest: techniques that save the same, ranked within every model and seed, and told apart or not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pochette.lab.compare import Spread, spread
from pochette.lab.contest import Row

TELLING = 3
"""Models and seeds below which nobody is told apart."""


@dataclass(frozen=True)
class Standing:
    """How a technique stands among those that save the same, at one ratio."""

    method: str
    saves: str
    keep: float
    beaten: Spread | None
    """Share of the others that it beats, over models and seeds; None where nobody else was there."""
    multiplier: Spread
    behind: Spread | None
    """How many times the winner's error it has, over the models and seeds of both; None for the winner."""

    @property
    def told_apart(self) -> bool:
        """Whether the models and seeds there are tell it from the winner."""
        return (
            self.behind is not None and self.behind.seeds >= TELLING and not self.behind.low <= 1.0 <= self.behind.high
        )


def standings(rows: Sequence[Row], saves: str, keep: float) -> list[Standing]:
    """Techniques that save the same, ranked at one ratio.

    A technique's place is the share of the others that it beats in each block of one model and one seed, averaged; so
    one that a model refuses is not punished for it. Differences from the winner are taken within blocks.

    Args:
        rows: of as many models and seeds as one likes.
        saves: "work", "numbers" or "bits".
        keep: the ratio.

    Returns:
        best first; empty if nobody was asked.
    """
    blocks: dict[tuple[str, int], dict[str, float]] = {}
    for row in rows:
        if row.saves == saves and math.isclose(row.keep, keep, rel_tol=1e-4):
            blocks.setdefault((row.model, row.seed), {})[row.method] = row.multiplier
    shares: dict[str, list[float]] = {}
    for errors in blocks.values():
        for method, own in errors.items():
            others = [error for other, error in errors.items() if other != method]
            won = sum((error > own) + 0.5 * (error == own) for error in others)
            shares.setdefault(method, []).extend([won / len(others)] if others else [])
    order = sorted(shares, key=lambda method: -sum(shares[method]) / max(len(shares[method]), 1))
    return [_standing(method, order[0], saves, keep, blocks, shares[method]) for method in order]


def _standing(
    method: str, winner: str, saves: str, keep: float, blocks: Mapping[Any, Mapping[str, float]], shares: list[float]
) -> Standing:
    own = [errors[method] for errors in blocks.values() if method in errors]
    both = [math.log(e[method] / e[winner]) for e in blocks.values() if method in e and winner in e]
    behind = None
    if method != winner and both:
        log = spread(both)
        behind = Spread(math.exp(log.mean), math.exp(log.low), math.exp(log.high), log.seeds)
    beaten = spread(shares) if shares else None
    if beaten is not None:  # Student's interval knows nothing of the ends of a share
        beaten = replace(beaten, low=max(0.0, beaten.low), high=min(1.0, beaten.high))
    return Standing(method, saves, keep, beaten, spread(own), behind)
