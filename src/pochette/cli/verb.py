"""What every verb is: its options as typed fields with their help, and a function that does it."""

from __future__ import annotations

import math
import os
import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import FlagCreatePairsOff, Positional, arg

from pochette.cli.console import Answer, Screen, folder_of
from pochette.engine.precision import Precision
from pochette.errors import PochetteError, RecipeError, RunError

Sounds = Annotated[Positional[Path], arg(metavar="SOUNDS")]
InstrumentPath = Annotated[Positional[Path], arg(metavar="INSTRUMENT")]
RunPath = Annotated[Positional[Path], arg(metavar="RUN")]
OptionalRunPath = Annotated[Positional[Path | None], arg(metavar="RUN")]


class UsageError(PochetteError):
    """The command line names a verb that there is not, or gives an option a value that it cannot have."""

    exit_code = 2


@dataclass(frozen=True, kw_only=True)
class Verb(ABC):
    """One thing that `pochette` does."""

    json: FlagCreatePairsOff[bool] = False
    """Print one JSON document and nothing else; progress and messages go to stderr."""

    @property
    def resumes(self) -> bool:
        """Whether the same command, given again, goes on where it was stopped."""
        return False

    @property
    def keeps(self) -> str:
        """What is kept of it where it resumes, for who stops it."""
        return "the work done so far is kept"

    @abstractmethod
    def run(self, screen: Screen) -> Answer:
        """Do it.

        Args:
            screen: where to speak meanwhile.

        Returns:
            the answer.

        Raises:
            PochetteError: something a person can mend.
        """


@dataclass(frozen=True, kw_only=True)
class Trains:
    """The option of verbs that train."""

    device: str = "cpu"
    """What training computes on: cpu, cuda (cuda:1 for the second of several) or mps. A run may change it on the way;
    only on the cpu do the same seed and steps give the same weights everywhere."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """The option of verbs that build engines."""

    precision: Precision = "float32"
    """In how many bits the engine's large matrices are stored; int8 is a quarter of float32, and what rounding costs is
    measured and told."""


@dataclass(frozen=True, kw_only=True)
class Restored:
    """The option of verbs that build engines, or take one that is built from a .pochette file."""

    precision: Precision | None = None
    """In how many bits the engine's large matrices are stored; int8 is a quarter of float32, and what rounding costs is
    measured and told. By default that of a .pochette file, else float32."""

    @property
    def stored(self) -> Precision:
        """What an engine is built in where there is none yet."""
        return self.precision or "float32"


def command(*arguments: object) -> str:
    """A command of pochette as it is typed in a shell."""
    typed = (_typed(part) if isinstance(part, Path) else str(part) for part in arguments)
    return " ".join(["pochette", *map(quoted, typed)])


def quoted(text: str) -> str:
    """A word as bash takes it back, on one line of printable letters whatever it holds."""
    if text.isprintable():
        return shlex.quote(text)
    letters = (
        letter
        if letter.isprintable() and letter not in "'\\"
        else "".join(f"\\x{byte:02x}" for byte in letter.encode("utf-8", "surrogateescape"))
        for letter in text
    )
    return f"$'{''.join(letters)}'"


def _typed(path: Path) -> str:
    """A path that is not taken for an option."""
    text = folder_of(path)
    return f"{os.curdir}{os.sep}{text}" if text.startswith("-") else text


def heard(instrument: Path) -> tuple[str, ...]:
    """The command that plays an instrument live; none where this machine makes no sound."""
    from pochette.doctor import can_play

    return (command("play", instrument),) if can_play() else ()


def within(option: str, value: float | None, low: float, high: float) -> None:
    """Refuse an option's value that is out of its range.

    Args:
        option: as it is typed.
        value: what was given; None, and nothing is checked.
        low: the least that is allowed.
        high: the most; infinite if there is no bound.

    Raises:
        UsageError: it is outside, or not a number.
    """
    if value is None or low <= value <= high:
        return
    allowed = f"{low:g} or more" if high == math.inf else f"from {low:g} to {high:g}"
    raise UsageError(f"{option} is {value:g}; it should be {allowed}.", remedy=f"Give {option} a number {allowed}.")


def budgeted(minutes: float, steps: int | None) -> None:
    """Refuse a budget in which nothing can be trained, before anything is listened to or counted.

    Args:
        minutes: wall time; it bounds nothing where steps are given.
        steps: of the optimiser; None if time bounds training.

    Raises:
        UsageError: less than one step, or no time.
    """
    within("--steps", steps, 1, math.inf)
    if not minutes > 0:
        raise UsageError(
            f"--minutes is {minutes:g}; there is no time to train in.",
            remedy="Give --minutes a number above 0, or --steps 1 or more.",
        )


@contextmanager
def building(model: str, changed: dict[str, Any]) -> Iterator[None]:
    """Say which fields are to blame where a model cannot be built as the command line asks.

    Args:
        model: its name.
        changed: the fields that were set, by option.

    Yields:
        nothing.

    Raises:
        RecipeError: the model cannot be built of these fields.
    """
    try:
        yield
    except (RuntimeError, MemoryError, ArithmeticError, ValueError) as error:
        fields = ", ".join(f"{name} {value}" for name, value in changed.items())
        reason = (str(error).strip().splitlines() or [""])[0].rstrip(".")[:200] or type(error).__name__
        raise RecipeError(
            f"The model {model!r} cannot be built{' with ' + fields if fields else ''}: {reason}.",
            where=model,
            remedy="Choose other values for these options, or leave them out."
            if fields
            else "Choose another --size or --sample-rate-hz.",
        ) from error


def check_folder(folder: Path | None) -> None:
    """Refuse a folder for results that cannot be made because a file stands in its way.

    Args:
        folder: as given with --out; None, and nothing is checked.

    Raises:
        RunError: it, or a folder above it, is a file.
    """
    from pochette.instrument.archive import file_above

    in_the_way = file_above(folder / "file") if folder is not None else None
    if in_the_way is not None:
        raise RunError(
            "The output folder cannot be made.",
            where=str(folder),
            remedy=f"{str(in_the_way)!r} is a file; choose another folder with --out.",
        )


def _is_run(facts: Path) -> bool:
    """Whether a file tells of a run, and does not only bear the name."""
    try:
        from pochette.lab.runs import read_run

        read_run(facts.parent)
    except (RunError, ImportError):  # what cannot be read here is not recommended
        return False
    return True


def check_run(folder: Path) -> None:
    """Refuse what is no folder of a training run.

    Args:
        folder: as given.

    Raises:
        RunError: there is nothing, a file, or a folder without a run.
    """
    if (folder / "run.json").exists():
        return
    remedy = "Train first: pochette train MODEL SOUNDS --out RUN."
    if not folder.is_dir():
        what = "This is a file, not the folder of a run." if folder.exists() else "There is no such folder of a run."
        raise RunError(what, where=str(folder), remedy=remedy)
    inside = [*folder.glob("training/*/run.json"), *folder.glob("*/run.json")]
    if runs := [path for path in inside if _is_run(path)]:
        newest = max(runs, key=lambda path: path.stat().st_mtime).parent
        remedy = f"The run in it is {str(newest)!r}" + (f"; there are {len(runs) - 1} older." if runs[1:] else ".")
    elif instruments := sorted(folder.glob("*.pochette")):
        remedy = (
            f"The instrument in it is {str(instruments[0])!r}; or train a run: pochette train MODEL SOUNDS --out RUN."
        )
    raise RunError("This folder is not that of a training run.", where=str(folder), remedy=remedy)
