"""What the command line says, where, and how: results on stdout, everything else on stderr, nothing a file could forge.

Names and texts out of files are data from strangers: control characters in them are shown escaped and rich's markup is
never read, so that no file name can colour, move or rewrite what a person sees.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

Tell = Callable[[str, float, str], None]
"""Told of progress: stage, share of it done (0 to 1), a line of detail."""

_PLAIN_WIDTH = 120
"""Columns of a table that is not written to a terminal."""
_SHORT_CELL = 26
"""Letters of a cell that is never wrapped."""
_PLAIN_SECONDS = 10.0
"""Time between lines of progress where there is no terminal."""


def clean(text: object) -> str:
    r"""A text on one line, with whatever a terminal might obey made visible.

    Args:
        text: anything; its `str` is shown.

    Returns:
        printable characters only; others as `\n`, `\x1b`, `\udc80`... Spaces that do not break are spaces.
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "surrogatepass").decode("ascii")
        for letter in str(text).translate(_SPACES)
    )


_SPACES = dict.fromkeys(map(ord, "\u00a0\u202f"), " ")
"""What pages put between a number and its unit."""


def words(text: object, style: str = "") -> Text:
    """A text for the screen, cleaned, its markup not read."""
    return Text(clean(text), style)


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> Table:
    """A table of cleaned cells, numbers to the right.

    Args:
        headings: one a column.
        rows: cells, as many as headings.
        title: above the table.

    Returns:
        the table.
    """
    listed = [list(row) for row in rows]
    made = Table(title=words(title) if title else None, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for column, heading in enumerate(headings):
        cells = [row[column] for row in listed]
        numeric = bool(cells) and all(isinstance(cell, (int, float, type(None))) for cell in cells)
        # Words are only broken where a column holds whole sentences, or names as long as a line.
        short = max((len(clean(number(cell))) for cell in cells), default=0) <= _SHORT_CELL
        made.add_column(words(heading), justify="right" if numeric else "left", overflow="fold", no_wrap=short)
    for row in listed:
        made.add_row(*(words(number(cell)) for cell in row))
    return made


def number(value: object) -> str:
    """A cell's text: thousands apart, six digits, a dash for what is not known."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return str(value)


def span(seconds: float) -> str:
    """A stretch of time as a person says it: "40 s", "3 min", "2.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def plain(value: Any) -> Any:
    """Anything an answer holds as data that JSON can say; numbers that are not finite become null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(value.to_json() if hasattr(value, "to_json") else dataclasses.asdict(value))
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a verb found out or made."""

    data: dict[str, Any]
    """For machines: the document of `--json`."""
    show: tuple[RenderableType, ...] = ()
    """For people."""
    next: tuple[str, ...] = ()
    """Commands that make sense now."""
    exit_code: int = 0


class Screen:
    """Where a verb speaks.

    Args:
        as_json: keep stdout for one JSON document.
    """

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        for stream in (sys.stdout, sys.stderr):
            # A terminal that cannot show a letter shows its number.
            with contextlib.suppress(AttributeError, OSError):
                stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        self.out, self.err = _console(sys.stdout), _console(sys.stderr)

    def say(self, text: object, style: str = "") -> None:
        """Tell a person something beside the result."""
        self.err.print(words(text, style), soft_wrap=True)

    def answer(self, answer: Answer) -> None:
        """Give the result: as JSON, or for people with the next command below it."""
        if self.as_json:
            self.document({**answer.data, "next": list(answer.next)})
            return
        for part in answer.show:
            self.out.print(part, soft_wrap=isinstance(part, Text))
        for line, command in enumerate(answer.next):
            self.out.print(
                Text("next: " if line == 0 else "      ", "bold").append_text(words(command)), soft_wrap=True
            )
        self.out.file.flush()

    def document(self, data: dict[str, Any]) -> None:
        """Write the one JSON document."""
        self.out.file.write(json.dumps(plain(data), indent=1, allow_nan=False) + "\n")
        self.out.file.flush()

    def complain(self, error: dict[str, str], headline: str = "error") -> None:
        """Say what went wrong, where, and what to do.

        Args:
            error: "what", and "where" and "remedy" unless empty; more goes into the JSON document only.
            headline: what it is.
        """
        if self.as_json:
            with contextlib.suppress(OSError):
                self.document({"error": error})
        self._part(headline, error["what"], "bold red")
        for name in ("where", "remedy"):
            if error.get(name):
                self._part(f"  {name}", error[name], "bold")

    def _part(self, name: str, text: str, style: str) -> None:
        first, *rest = text.splitlines() or [""]
        self.err.print(Text(f"{name}: ", style).append_text(words(first)), soft_wrap=True)
        for line in rest:
            self.err.print(words(f"    {line}"), soft_wrap=True)

    @contextlib.contextmanager
    def progress(self) -> Iterator[Tell]:
        """Show the progress of some work while the context lasts.

        Yields:
            what the work is to call.
        """
        if not self.err.is_terminal:
            yield _PlainProgress(self).tell
            return
        columns = (
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[left]:>12}"),
            TextColumn("{task.fields[detail]}", markup=False),
        )
        with Progress(*columns, console=self.err) as bars:
            yield _Bars(bars).tell


def _console(stream: Any) -> Console:
    tty = stream.isatty() if hasattr(stream, "isatty") else False
    return Console(file=stream, highlight=False, width=None if tty or "COLUMNS" in os.environ else _PLAIN_WIDTH)


class _TimeLeft:
    """How long a stage will still take, from the pace since it was first heard of, or since it began anew."""

    def __init__(self, share: float) -> None:
        self._restart(share)

    def _restart(self, share: float) -> None:
        self.first, self.last, self.began = share, share, time.monotonic()

    def seconds(self, share: float) -> float | None:
        """Seconds left; None while nothing can be said."""
        if share < self.last:
            self._restart(share)
        self.last = share
        elapsed, gained = time.monotonic() - self.began, share - self.first
        return elapsed / gained * (1.0 - share) if gained > 0 and elapsed > 1.0 else None


class _Bars:
    """One bar a stage, on a terminal."""

    def __init__(self, bars: Progress) -> None:
        self.bars = bars
        self.stages: dict[str, tuple[Any, _TimeLeft]] = {}

    def tell(self, stage: str, share: float, detail: str) -> None:
        if stage not in self.stages:
            for task, _ in self.stages.values():
                self.bars.update(task, completed=1.0, left="", detail="")
            self.stages[stage] = (self.bars.add_task(clean(stage), total=1.0, left="", detail=""), _TimeLeft(share))
        task, pace = self.stages[stage]
        left = pace.seconds(share)
        text = f"{span(left)} left" if left is not None and share < 1.0 else ""
        self.bars.update(task, completed=share, left=text, detail=clean(detail))


class _PlainProgress:
    """A line now and then, where there is no terminal."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.paces: dict[str, _TimeLeft] = {}
        self.last = -math.inf

    def tell(self, stage: str, share: float, detail: str) -> None:
        new = stage not in self.paces
        pace = self.paces.setdefault(stage, _TimeLeft(share))
        left = pace.seconds(share)
        if not new and time.monotonic() - self.last < _PLAIN_SECONDS:
            return
        self.last = time.monotonic()
        estimate = f", about {span(left)} left" if left is not None and share < 1.0 else ""
        self.screen.say(f"{stage} {share:.0%}{estimate}: {detail}")


def counting(tell: Tell, stage: str) -> Callable[[int, int, str], None]:
    """Progress that counts things, told as a share.

    Args:
        tell: what to call.
        stage: name of the stage.

    Returns:
        a function of (done, total, name).
    """
    return lambda done, total, name: tell(stage, done / max(total, 1), name)


def part(tell: Tell, begin: float, end: float) -> Tell:
    """Progress of a part of a stage, so that the share that is told of the stage never falls between its parts.

    Args:
        tell: what to call.
        begin: share of the stage that is done when the part begins.
        end: share that is done when it ends.

    Returns:
        what the part calls with shares of its own, 0 to 1.
    """
    return lambda stage, share, detail: tell(stage, begin + (end - begin) * share, detail)


def folder_of(path: Path) -> str:
    """A path as a person would type it: relative where it lies below the working folder."""
    with contextlib.suppress(ValueError, OSError):
        return str(path.resolve().relative_to(Path.cwd()))
    return str(path)
