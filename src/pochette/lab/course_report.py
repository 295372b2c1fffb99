"""The course of a reduction on the page of an analysis: what lives and what it cost, and each property, by stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from pochette.lab.report import words
from pochette.lab.report.figures import _STYLE, BRASS, GRID, WINE, _svg
from pochette.lab.report.property_names import called

NAMED = 4
"""Stages whose share one small figure can name."""
ERROR = "loss on held-out sound"
Panel = tuple[str, str, Markup]
"""What is drawn, its identifier, and the drawing."""


def rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """What the page tells of each stage.

    Args:
        found: see `pochette.lab.analyse.analysed`.

    Returns:
        rows of "course"; none where there is one stage, which nothing can be held against.
    """
    course: list[dict[str, Any]] = found.get("course", [])
    return course if len(course) > 1 else []


def error_panel(found: dict[str, Any]) -> Panel | None:
    """The error by stage, to be held beside every property.

    Args:
        found: see `rows`.

    Returns:
        the figure; None where fewer than two stages have an error.
    """
    return _panel(rows(found), ERROR, "", [row["held_out_error"] for row in rows(found)], WINE)


def panels(found: dict[str, Any], analysis: str) -> tuple[list[Panel], list[str]]:
    """The numbers of one analysis by stage.

    Args:
        found: see `rows`.
        analysis: its name.

    Returns:
        a figure for each number that two stages or more have, and the names of those that never change.
    """
    course = rows(found)
    names = dict.fromkeys(name for row in course for name in row["properties"] if name.startswith(f"{analysis}: "))
    values = {name: [row["properties"].get(name) for row in course] for name in names}
    still = [name for name in names if len(course) == values[name].count(values[name][0])]
    drawn = (_panel(course, called(name), name, values[name], BRASS) for name in names if name not in still)
    return [panel for panel in drawn if panel is not None], [called(name) for name in still]


def _panel(
    course: list[dict[str, Any]], title: str, identifier: str, values: Sequence[float | None], colour: str
) -> Panel | None:
    """A line over the stages in order, each named by the share that is kept: equal shares would lie on each other."""
    there = [(place, value) for place, value in enumerate(values) if value is not None]
    if len(there) < 2:
        return None
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": f"course-{identifier or title}", "font.size": 9}):
        figure = Figure(figsize=(2.6, 1.75), layout="constrained")
        axes = figure.add_subplot()
        axes.grid(axis="y", color=GRID, lw=0.7)
        axes.plot(*zip(*there, strict=True), color=colour, lw=1.8, marker="o", ms=4)
        every = -(-(len(course) - 1) // NAMED) or 1
        places = list(range(0, len(course), every))
        axes.xaxis.set_major_locator(FixedLocator(places))
        axes.set_xticklabels([words.percent(course[place]["share_kept"]) for place in places])
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.set_xlim(-0.3, len(course) - 0.7)
        axes.set_xlabel("weights kept")
        return title, identifier, _svg(figure, f"{title} by stage of the reduction")
