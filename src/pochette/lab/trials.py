"""What was tried on the way to a board: engines counted and judged, kept in a file so that none is counted twice."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pochette.engine.precision import Precision
from pochette.lab.cost import EngineCost

PRECISIONS: tuple[Precision, ...] = ("float32", "float16", "bfloat16", "int8")
"""The most exact first."""


@dataclass(frozen=True)
class Trial:
    """An engine of one size and precision, counted for a board."""

    keep: float
    """Share of the network's multiply-accumulates."""
    parameters: int
    shares: dict[str, float]
    """Of each budget, what it takes; see `Board.shares`."""
    cost: EngineCost
    precision: Precision = "float32"
    """In which its large matrices are stored."""
    distance: float | None = None
    """Of its engine to held-out sounds, where it was trained on and played."""

    @property
    def fits(self) -> bool:
        """Whether every budget holds."""
        return all(share <= 1.0 for share in self.shares.values())

    @property
    def tightest(self) -> tuple[str, float]:
        """The budget that it takes most of, and how much."""
        return max(self.shares.items(), key=lambda item: item[1])

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "fits": self.fits}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Trial:
        """What `to_json` made plain data of.

        Args:
            data: as it was given.

        Returns:
            the trial.

        Raises:
            TypeError: it lacks something, or has more.
        """
        plain = {name: value for name, value in data.items() if name != "fits"}
        return cls(**{**plain, "cost": EngineCost(**plain["cost"])})


@dataclass(frozen=True)
class Plan:
    """What was tried, and what came of it."""

    board: str
    trials: tuple[Trial, ...]
    """The more exact precision first, within it the larger network first."""

    @property
    def contenders(self) -> tuple[Trial, ...]:
        """The largest that fits in each precision, if it is larger than those of the more exact ones."""
        found: list[Trial] = []
        for precision in PRECISIONS:
            fitting = [trial for trial in self.trials if trial.fits and trial.precision == precision]
            best = max(fitting, key=lambda trial: trial.keep, default=None)
            if best is not None and best.keep > max((trial.keep for trial in found), default=0.0):
                found.append(best)
        return tuple(found)

    def broken(self) -> str:
        """Which budget the whole network breaks first, and by what factor the least broken trial still does.

        Returns:
            a sentence; empty if something fits.
        """
        if self.contenders:
            return ""
        whole = max(self.trials, key=lambda trial: (trial.keep, -PRECISIONS.index(trial.precision)))
        least = min(self.trials, key=lambda trial: trial.tightest[1])
        first, first_factor = whole.tightest
        last, factor = least.tightest
        stored = "" if least.precision == whole.precision else f" in {least.precision}"
        return (
            f"The whole model takes {first_factor:.3g} times the {first} that {self.board} allows; with "
            f"{least.keep:.1%} of its network{stored} it still takes {factor:.3g} times the {last}."
        )


def best_of(trials: Sequence[Trial]) -> int:
    """Which of several trained contenders is delivered.

    Args:
        trials: one at least.

    Returns:
        the number of the one nearest to held-out sounds, of those that fit; of the largest where none was heard. Where
        none fits, of the one that breaks its tightest budget least.
    """

    def rank(number: int) -> tuple[bool, float, float]:
        trial = trials[number]
        if not trial.fits:
            return True, trial.tightest[1], 0.0
        return False, math.inf if trial.distance is None else trial.distance, -trial.keep

    return min(range(len(trials)), key=rank)


@dataclass
class Notes:
    """Trials that were counted already, in a file that is written after each.

    Args:
        path: of the file; what is there but damaged, or of something else, is counted anew.
        identity: of all that decides a count, see `lab.fit.notes_for`.
    """

    path: Path
    identity: str
    known: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What was asked to what came of it, as plain data."""

    def __post_init__(self) -> None:
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            data = json.loads(self.path.read_text(encoding="utf-8"))
            if data["identity"] == self.identity:
                self.known = {name: dict(trial) for name, trial in data["trials"].items()}

    def find(self, keep: float, precision: Precision) -> Trial | None:
        """What came of a share of the network in a precision, if it was counted before."""
        try:
            return Trial.from_json(self.known[_asked(keep, precision)])
        except (KeyError, TypeError):
            return None

    def add(self, keep: float, trial: Trial) -> None:
        """Note a trial; a file that cannot be written costs time, never the work.

        Args:
            keep: the share of the network that was asked for.
            trial: what came of it.
        """
        self.known[_asked(keep, trial.precision)] = trial.to_json()
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps({"identity": self.identity, "trials": self.known}, indent=1) + "\n")
            os.replace(temporary, self.path)


def _asked(keep: float, precision: Precision) -> str:
    return f"{keep:.9g} {precision}"
