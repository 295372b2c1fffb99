"""Energy per second of audio: measured where something measures it, else estimated and called so.

Three ways, best first. A power meter's file tells what a whole board took while it played. The counters of an Intel or
AMD processor (RAPL, as Linux shows them) tell what its packages took while this machine played. Where neither is at
hand, counted instructions times the picojoules that one takes, a band that is wide because it is recalled from data
sheets' currents, give an estimate. Nothing is taken from a processor's nominal power.
"""

from __future__ import annotations

import csv
import math
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pochette.boards.board import Board
from pochette.errors import MeasureError

POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows the counters."""
IDLE_SECONDS = 1.0


@dataclass(frozen=True)
class Energy:
    """What a second of audio takes, one voice."""

    joules_low: float
    joules_high: float
    """The same as `joules_low` where one number was measured."""
    obtained: str
    """How, in words; begins with "measured" or "estimated"."""

    @property
    def estimated(self) -> bool:
        """Whether nothing measured it."""
        return self.obtained.startswith("estimated")

    def __str__(self) -> str:
        """In millijoules, as a person reads it."""
        low, high = (f"{1000 * joules:.3g}" for joules in (self.joules_low, self.joules_high))
        return f"{low} mJ" if low == high else f"{low} to {high} mJ"

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "estimated": self.estimated}


def estimated(board: Board, instructions_per_second: float | None) -> Energy | None:
    """Counted instructions, priced.

    Args:
        board: says what one takes.
        instructions_per_second: per second of audio; None if nobody counted them.

    Returns:
        the band; None where a number is missing.
    """
    band = board.instruction_picojoules
    if band is None or instructions_per_second is None:
        return None
    low, high = (picojoules * 1e-12 * instructions_per_second for picojoules in band)
    said = f"estimated: counted instructions at {band[0]:g} to {band[1]:g} pJ each, recalled from data sheets' currents"
    return Energy(low, high, said)


# -- the processor's counters ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Package:
    """One counter of a processor's package."""

    folder: Path
    range_microjoules: int
    """Where it begins again at 0."""

    def read(self) -> int:
        """What it stands at, in microjoules.

        Returns:
            the count.

        Raises:
            OSError: it may not be read.
        """
        return int((self.folder / "energy_uj").read_text())

    def since(self, before: int, after: int) -> float:
        """Joules between two readings, of which the second may be beyond the counter's end once.

        Args:
            before: first reading.
            after: second.

        Returns:
            joules.
        """
        spent = after - before
        return (spent + self.range_microjoules if spent < 0 else spent) * 1e-6


def packages(powercap: Path = POWERCAP) -> tuple[Package, ...]:
    """The counters that may be read here: one a package, and none of what lies within one or around all.

    Args:
        powercap: folder of the counters.

    Returns:
        counters; none where there are none or where only the administrator may read them.
    """
    found = []
    for folder in sorted(powercap.glob("intel-rapl:*")):
        # "intel-rapl:0:1" is a part of "intel-rapl:0"; "psys" is the whole platform, packages among it.
        if folder.name.count(":") != 1:
            continue
        try:
            if not (folder / "name").read_text().startswith("package"):
                continue
            package = Package(folder, int((folder / "max_energy_range_uj").read_text()))
            package.read()
        except (OSError, ValueError):
            continue
        found.append(package)
    return tuple(found)


def measured(
    work: Callable[[], float], counters: tuple[Package, ...], *, idle_seconds: float = IDLE_SECONDS,
    clock: Callable[[], float] = time.monotonic, wait: Callable[[float], None] = time.sleep,
) -> Energy:  # fmt: skip
    """What packages took while something played.

    They count everything that runs on them, and what they take while nothing does. The upper end is all of it; the
    lower end leaves out what an idle stretch before took in the same time.

    Args:
        work: plays; gives the seconds of audio it made.
        counters: of the packages, at least one.
        idle_seconds: length of the idle stretch.
        clock: seconds that pass.
        wait: lets them pass.

    Returns:
        joules per second of audio.

    Raises:
        OSError: a counter may not be read any more.
    """

    def over(doing: Callable[[], float]) -> tuple[float, float, float]:
        begun, before = clock(), [package.read() for package in counters]
        given = doing()
        after, passed = [package.read() for package in counters], clock() - begun
        spent = (package.since(*readings) for package, *readings in zip(counters, before, after, strict=True))
        return sum(spent), passed, given

    def idle() -> float:
        wait(idle_seconds)
        return 0.0

    resting, rested, _ = over(idle)
    joules, seconds, audio_seconds = over(work)
    above = max(joules - resting / rested * seconds, 0.0)
    many = f"{len(counters)} packages" if len(counters) > 1 else "the processor's package"
    said = f"measured: counters of {many}, from what is above idle to all of it"
    return Energy(above / audio_seconds, joules / audio_seconds, said)


# -- a power meter's file ----------------------------------------------------------------------------------------------


def of_meter(path: Path) -> Energy:
    """What a board took while it played in real time, read from a power meter's file.

    Args:
        path: CSV of seconds and watts, rising in time, under a line of headings that say so, such as "time (s),power
            (W)"; what stands before that line is passed over. The board played one voice from the first line to the
            last.

    Returns:
        joules per second of audio: the mean power, samples weighted by the time between them.

    Raises:
        MeasureError: it cannot be read, or is no such file.
    """
    remedy = (
        'Give a CSV file of two columns, seconds and watts, headed so ("seconds,watts" or "time (s),power (W)"), with '
        "at least two lines."
    )
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise MeasureError(f"The power meter's file cannot be read: {why}.", where=str(path), remedy=remedy) from error
    _check_headings(rows, path, remedy)
    samples: list[tuple[float, float]] = []
    for number, row in enumerate(rows, start=1):
        try:
            samples.append((float(row[0]), float(row[1])))
        except (ValueError, IndexError):
            if samples:
                wrong = f"Line {number} of the power meter's file holds no two numbers."
                raise MeasureError(wrong, where=str(path), remedy=remedy) from None
    steps = list(pairwise(samples))
    sane = all(math.isfinite(t) and math.isfinite(w) and w >= 0 for t, w in samples)
    if not steps or not sane or any(later[0] <= earlier[0] for earlier, later in steps):
        raise MeasureError(
            "The power meter's file holds no power over time: seconds must rise and watts be 0 or more.",
            where=str(path),
            remedy=remedy,
        )
    joules = sum((later[0] - earlier[0]) * (later[1] + earlier[1]) / 2 for earlier, later in steps)
    seconds = samples[-1][0] - samples[0][0]
    said = f"measured: power meter, {len(samples)} samples over {seconds:.4g} s of playing in real time"
    return Energy(joules / seconds, joules / seconds, said)


_UNITS = ({"s", "sec", "secs", "second", "seconds"}, {"w", "watt", "watts"})
"""How the two columns may say what they are in, as a word of their headings."""


def _check_headings(rows: list[list[str]], path: Path, remedy: str) -> None:
    """Refuse columns that do not say that they are seconds and watts: two columns of anything would be believed.

    Args:
        rows: of the file.
        path: of it, for the message.
        remedy: what to do instead.

    Raises:
        MeasureError: the last line before the first numbers says something else, or there is none.
    """
    numbers = next((place for place, row in enumerate(rows) if _is_number(row[0])), len(rows))
    headings = rows[numbers - 1][:2] if numbers else []
    words = [set(re.findall(r"[^\W\d_]+", heading.lower())) for heading in headings]
    if len(words) < len(_UNITS) or not all(said & units for said, units in zip(words, _UNITS, strict=True)):
        found = f"its columns are headed {' and '.join(map(repr, headings))}" if headings else "it has no headings"
        raise MeasureError(
            f"The power meter's file is not told to be seconds and watts: {found}.", where=str(path), remedy=remedy
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
