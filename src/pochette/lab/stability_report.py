"""Stability on the page of an analysis: errors between branches, change under noise and rounding, and what it means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from pochette.lab.report import words
from pochette.lab.report.figures import _STYLE, BRASS, INK, SOFT, WINE, _canvas, _svg
from pochette.lab.stability.interpolation import Line

COLOURS, MARKS = (BRASS, WINE, INK, SOFT), "osD^"
"""Of rounds."""


def section(found: dict[str, Any]) -> dict[str, Any] | None:
    """What the page shows.

    Args:
        found: see `analyse_report.page`; "stability" names rounds, each as `of_run.Stabilities.found` gave it.

    Returns:
        figures, tables and sentences; None if nobody asked for it.
    """
    disturbed: dict[str, dict[str, Any]] = found.get("stability", {})
    if not disturbed:
        return None
    there = {name: told for name, told in disturbed.items() if "left_out" not in told}
    return {
        "left_out": [f"{name}: {told['left_out']}" for name, told in disturbed.items() if "left_out" in told],
        "rounds": [
            {"name": name, "lines": lines_figures(name, told), "said": barriers_in_words(told), "short": _short(told)}
            for name, told in there.items()
        ],
        "noise": changes_figure(there, "noise", "noise on the weights, per root mean square of each tensor"),
        "bits": changes_figure(there, "bits", "bits of each weight"),
        "curvature": [(name, told["curvature"]) for name, told in there.items()],
        "areas": [(name, told["figures"], told["unit"]) for name, told in there.items()],
        "moved": [row for told in there.values() for row in told["moved"]],
        "cost": [(name, told["steps"], told["seconds"]) for name, told in there.items()],
    }


def lines_of(told: dict[str, Any]) -> list[tuple[str, Line]]:
    """The curves between two branches.

    Args:
        told: see `summary.Stability.to_json`; or why there is nothing.

    Returns:
        what the error is, and the curve.
    """
    kinds = (("line", f"test loss in {told['loss_unit']}" if told.get("loss_unit") else "test loss"),
             ("line_db", "distance to held-out sound in dB"))  # fmt: skip
    lines = [(title, told.get(key)) for key, title in kinds]
    return [(title, Line(tuple(of["shares"]), tuple(of["errors"]))) for title, of in lines if of]


def barriers_in_words(told: dict[str, Any]) -> list[str]:
    """How far two branches went, whether that is enough to tell anything, and the barrier by both definitions.

    Args:
        told: see `lines_of`; of an older finding the way is not known, and nothing is said of it.

    Returns:
        sentences, first why the rest tells nothing, if so.
    """
    short, way = _short(told), told.get("way", {}).get("said")
    barriers = [_barrier(title, curve, bool(short)) for title, curve in lines_of(told)]
    return [*filter(None, (short, way)), *barriers]


def _short(told: dict[str, Any]) -> str:
    """Why the branches tell nothing; empty where they do."""
    return str(told.get("way", {}).get("too_short", ""))


def _barrier(title: str, curve: Line, short: bool) -> str:
    first, middle, last = curve.errors[0], curve.errors[curve.shares.index(0.5)], curve.errors[-1]
    highest = curve.shares[curve.errors.index(max(curve.errors))]
    where = "at an end" if highest in (0.0, 1.0) else f"at {highest:g} of the way"
    said = (
        f"By {title} the branches end at {words.number(first, 4)} and {words.number(last, 4)}, halfway it is "
        f"{words.number(middle, 4)}, and it is highest {where}. The barrier is {words.number(curve.over_mean)} over "
        f"the mean of the ends (Frankle et al. 2020) and {words.number(curve.over_line)} over the line between them "
        "(Entezari et al. 2022)"
    )
    if curve.over_line == 0.0:
        valley = "which says nothing after so short a training" if short else "so both lie in one valley"
        return f"{said}: nowhere on the way is it worse than a mixture of the ends' errors, {valley}."
    share = curve.over_line / max((first + last) / 2.0, 1e-300)
    return f"{said}: {words.percent(share)} of the ends' mean error."


def lines_figures(name: str, told: dict[str, Any]) -> list[Markup]:
    """The curves between two branches: both ends, the line between these, and the middle marked.

    Args:
        name: of the round.
        told: see `lines_of`.

    Returns:
        SVG, one for each error.
    """
    return [_line_figure(name, title, curve) for title, curve in lines_of(told)]


def _line_figure(name: str, title: str, curve: Line) -> Markup:
    first, last = curve.errors[0], curve.errors[-1]
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": f"line-{name}-{title}"}):
        figure, axes = _canvas()
        axes.axvline(0.5, color=SOFT, lw=0.8, ls=(0, (4, 3)))
        axes.plot([0, 1], [first, last], color=SOFT, lw=1)
        axes.plot(curve.shares, curve.errors, color=BRASS, lw=2, marker="o", ms=4)
        axes.plot([0, 1], [first, last], "o", color=WINE, ms=7)
        for share, text, side in ((0.0, "one branch", "left"), (1.0, "the other", "right")):
            axes.annotate(text, (share, 0.02), xycoords=("data", "axes fraction"), ha=side, color=WINE)
        axes.annotate("halfway", (0.5, 0.98), (4, 0), xycoords=("data", "axes fraction"), textcoords="offset points",
                      va="top", color=SOFT)  # fmt: skip
        low, high = min(curve.errors), max(curve.errors)
        margin = (high - low) or 0.01 * abs(high) or 1.0
        axes.set_ylim(low - 0.3 * margin, high + 0.25 * margin)
        axes.set_xlabel("share of the other branch's weights (alpha)")
        axes.set_ylabel(title)
        return _svg(figure, f"{title} on the line between the two branches of {name}")


def changes_figure(there: dict[str, dict[str, Any]], of: str, label: str) -> Markup | None:
    """Change of the sound against disturbance, a curve for each round.

    Args:
        there: rounds of which something was found.
        of: "noise" or "bits".
        label: of the disturbance.

    Returns:
        SVG; None if nothing was found.
    """
    if not there:
        return None
    unit = next(iter(there.values()))["unit"]
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": f"changes-{of}"}):
        figure, axes = _canvas()
        amounts: list[float] = []
        for number, (name, told) in enumerate(there.items()):
            curve, colour = told[of], COLOURS[number % len(COLOURS)]
            axes.plot(curve["octaves"], curve["changes"], color=colour, lw=2, marker=MARKS[number % len(MARKS)], ms=5,
                      label=name)  # fmt: skip
            amounts = curve["amounts"]
            _name_octaves(axes, curve["octaves"], amounts)
        axes.legend(frameon=False, loc="upper left", handlelength=1.4, labelcolor=SOFT)
        axes.set_xlabel(label)
        axes.set_ylabel(f"change of the sound, {unit}" if unit == "dB" else f"rise of the loss{unit and ', '}{unit}")
        return _svg(figure, f"Change against {label}")


def _name_octaves(axes: Axes, octaves: Sequence[float], amounts: Sequence[float]) -> None:
    """Ticks where something was measured, with what was done there."""
    names = dict(zip(octaves, amounts, strict=True))
    axes.xaxis.set_major_locator(FixedLocator(list(octaves)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{names.get(x, x):g}"))
