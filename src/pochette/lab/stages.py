"""The stages of a run: every network that it kept before, during and after a reduction, in order, and what each cost.

A reduction's folder begins with the network that it was given ("dense"). Where that was reduced before, the stages of
the earlier reduction come first, as far as its folder lies around this one.
"""

from __future__ import annotations

import filecmp
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pochette.families import methods
from pochette.lab.runs import FILE, TRAINED_ON, last_phase, read_run
from pochette.models.model import Model
from pochette.reduce.sparse.weights import live, not_zero, weights_of
from pochette.train.session import moments_of

BEFORE_ROUNDS = ("search", "penalised", "noisy")
"""Phases of some methods that come before their rounds."""


@dataclass(frozen=True)
class Stage:
    """One network on the way."""

    name: str
    alive: int
    """Single weights of matrices and filters that are not zero."""
    share_kept: float
    """The same, of the first stage's."""
    steps: int
    """That its training took so far."""
    held_out_error: float | None
    """Loss on held-out sound as that training last saw it; None where it never looked."""
    finished: bool
    """Whether its training had ended, or goes on from there."""

    @classmethod
    def of(cls, name: str, model: Model, facts: dict[str, Any], first: Stage | None) -> Stage:
        """Count what lives.

        Args:
            name: of the stage.
            model: as its checkpoint holds it.
            facts: of the checkpoint.
            first: stage of the run, if this is another.

        Returns:
            the stage.
        """
        alive = live(not_zero(weights_of(model)))
        progress = facts.get("progress", {})
        looks = progress.get("history") or [(0, math.nan, math.nan)]
        error = float(looks[-1][2])
        return cls(
            name=name,
            alive=alive,
            share_kept=alive / max(first.alive if first else alive, 1),
            steps=int(progress.get("steps", 0)),
            held_out_error=error if math.isfinite(error) else None,
            finished=bool(progress.get("stopped")),
        )


def stages_of(folder: Path) -> dict[str, Path]:
    """The checkpoints of a run's stages.

    Args:
        folder: of the run.

    Returns:
        name of a stage to its checkpoint, the first network first; those of an earlier reduction as "METHOD: STAGE".

    Raises:
        RunError: nothing was trained there, or facts of a run are damaged.
    """
    last = last_phase(folder)
    return {**_earlier(folder), **(dict(_own(folder)) or {last: folder / f"{last}.safetensors"})}


def rounds_of(folder: Path) -> list[str]:
    """Names of the rounds of which a run holds a checkpoint, the dense one first."""
    numbers = [path.stem.removeprefix("round-") for path in folder.glob("round-*.safetensors")]
    later = [f"round-{number}" for number in sorted(int(number) for number in numbers if number.isdecimal())]
    return [name for name in ("dense", *later, TRAINED_ON) if (folder / f"{name}.safetensors").is_file()]


def _own(folder: Path) -> Iterator[tuple[str, Path]]:
    """Of a folder alone: each phase, and before it the moments of it that were kept."""
    dense, later = (folder / "dense.safetensors"), [name for name in rounds_of(folder) if name != "dense"]
    if dense.is_file():
        yield "dense", dense
    for name in (*BEFORE_ROUNDS, *later):
        yield from ((f"{name} at {percent} %", path) for percent, path in moments_of(folder, name))
        if (folder / f"{name}.safetensors").is_file():
            yield name, folder / f"{name}.safetensors"


def _earlier(folder: Path) -> dict[str, Path]:
    """The stages of the reduction that left what this one began with, without its last, which is this one's first."""
    outer = folder.resolve().parent
    if read_run(folder).reduction is None or not (outer / FILE).is_file():
        return {}
    reduction = read_run(outer).reduction
    if reduction is None:
        return {}
    left, begun = outer / f"{last_phase(outer)}.safetensors", folder / "dense.safetensors"
    if not begun.is_file() or not filecmp.cmp(left, begun, shallow=False):
        return {}  # it began with the whole network, which is its own "dense"
    found = {name: path for name, path in stages_of(outer).items() if path != left}
    return {name if ": " in name else f"{reduction['method']}: {name}": path for name, path in found.items()}


def notes_on(folder: Path, stages: dict[str, Path]) -> list[str]:
    """What is to be known of a run's stages: what "dense" is, and what of the reduction cannot be shown.

    Args:
        folder: of the run.
        stages: see `stages_of`.

    Returns:
        sentences.
    """
    reduction, notes = read_run(folder).reduction or {}, list[str]()
    name = str(reduction.get("method", ""))
    if any(": " in stage for stage in stages):
        notes.append('An earlier reduction comes first; "dense" is what it left and this one began with.')
    kept = any(path.stem.startswith("at-") for path in stages.values())
    if name in methods.names() and methods[name].axes.in_training and not kept:
        notes.append(
            f"{name} works while a network trains, and no moment of that training was kept here: it took too few "
            "steps, or a version made it that kept none. What lies between its stages cannot be shown; reduced anew, "
            "it can."
        )
    return notes
