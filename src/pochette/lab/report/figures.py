"""Plots as SVG that takes its letters from the page and its colours from the page's style sheet.

The page forbids inline styles, so matplotlib's are turned into attributes; the style sheet re-colours them by value, by
day and by night (`[stroke="#9a6a1c"] { stroke: var(--brass) }`).
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from pochette.lab.report.words import known
from pochette.lab.result import LearningPoint, TrimPoint

INK, SOFT, GRID, BRASS, WINE = "#2b1a0f", "#7a634a", "#dccdb4", "#9a6a1c", "#8f3324"
WORSE = 1.05
"""Distance relative to dense up to which a trimmed network still counts as good."""
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "text.parse_math": False,
}


def trimming_figure(points: Sequence[TrimPoint], kept: TrimPoint | None, of: str) -> Markup | None:
    """Distance to held-out sound against size: how much could go before it was heard.

    Args:
        points: dense first.
        kept: the one that was chosen.
        of: "network_macs_per_second" or "parameters".

    Returns:
        SVG; None if fewer than two points have a distance.
    """
    shown = [(float(getattr(p, of)), p.distance, p is kept) for p in points if p.distance is not None]
    shown = [(x, y, k) for x, y, k in shown if x > 0 and math.isfinite(x) and math.isfinite(y)]
    if len(shown) < 2:
        return None
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": of}):
        figure, axes = _canvas()
        dense = points[0].distance
        if known(dense) and dense is not None:
            axes.axhline(dense, color=SOFT, lw=1)
            axes.axhline(WORSE * dense, color=WINE, lw=1, ls=(0, (4, 3)))
            _right(axes, dense, "dense", SOFT)
            _right(axes, WORSE * dense, "+5 %", WINE)
        shown.sort()
        axes.plot([x for x, _, _ in shown], [y for _, y, _ in shown], color=BRASS, lw=2)
        axes.plot([x for x, _, _ in shown], [y for _, y, _ in shown], "o", color=BRASS, ms=5)
        for x, y, k in shown:
            if k:
                axes.plot([x], [y], "o", mfc="none", mec=WINE, ms=12, mew=1.6)
                axes.annotate("kept", (x, y), (8, 6), textcoords="offset points", color=WINE)
        xs = [x for x, _, _ in shown]
        axes.set_xscale("log")
        axes.set_xlim(min(xs) / 1.35, max(xs) * 1.35)
        axes.xaxis.set_major_locator(FixedLocator(_ticks(min(xs) / 1.35, max(xs) * 1.35)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(_tick))
        ys = [y for _, y, _ in shown] + ([dense, WORSE * dense] if dense is not None else [])
        margin = 0.14 * (max(ys) - min(ys)) or 0.1
        axes.set_ylim(min(ys) - margin, max(ys) + 1.6 * margin)
        axes.set_ylabel("distance to held-out sound")
        axes.set_xlabel("network MACs per second" if of == "network_macs_per_second" else "parameters")
        return _svg(figure, f"Distance to held-out sound against {of.replace('_', ' ')}, by amount of trimming")


def learning_figure(name: str, points: Sequence[LearningPoint], number: int) -> Markup | None:
    """Loss while learning, on training and on held-out sounds.

    Args:
        name: of the phase.
        points: in order of steps.
        number: of the phase; keeps the figure's identifiers apart from other figures'.

    Returns:
        SVG; None if there is nothing to draw.
    """
    training = [(step, a) for step, a, _ in points if a is not None and math.isfinite(a)]
    held_out = [(step, b) for step, _, b in points if b is not None and math.isfinite(b)]
    if not training and not held_out:
        return None
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": f"learning-{number}"}):
        figure, axes = _canvas(2.35)
        for line, colour, width, label in ((training, BRASS, 1.2, "training"), (held_out, WINE, 2.0, "held out")):
            if line:
                xs, ys = zip(*line, strict=True)
                axes.plot(xs, ys, color=colour, lw=width, marker="o" if len(line) == 1 else "", ms=4, label=label)
        axes.legend(frameon=False, loc="upper right", handlelength=1.4, labelcolor=SOFT)
        axes.set_xlabel("step")
        axes.set_ylabel("loss")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(_tick))
        return _svg(figure, f"Loss while learning: {name}")


def _canvas(height: float = 3.0) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.9, height), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(axis="y", color=GRID, lw=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=3)
    axes.margins(x=0.03)
    return figure, axes


def _right(axes: Axes, y: float, text: str, colour: str) -> None:
    axes.annotate(text, (1, y), (-2, 2), xycoords=("axes fraction", "data"), textcoords="offset points", ha="right",
                  va="bottom", color=colour)  # fmt: skip


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of every decade; of a wide range only 1."""
    steps = (1, 2, 5) if high / low < 60 else (1,)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]


def _tick(value: float, _: int | None) -> str:
    """Short: "20 k", "1.2 M"."""
    for size, letter in ((1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _svg(figure: Figure, label: str) -> Markup:
    """The figure as an element of the page: no style of its own, no fixed size, a name for those who cannot see it."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r' style="([^"]*)"', lambda match: _attributes(match[1]), text)
    text = re.sub(r"<svg [^>]*?(viewBox=\"[^\"]*\")[^>]*>",
                  str(Markup('<svg class="plot" role="img" aria-label="{}" xmlns:xlink="http://www.w3.org/1999/xlink" ')
                  .format(label)).replace("\\", "\\\\") + r"\1>", text, count=1)  # fmt: skip
    text = re.sub(r' id="(?!m[0-9a-f]{6}|p[0-9a-f]{6})[^"]*"', "", text)
    return Markup(re.sub(r"\s*\n\s*", "\n", text))


def _attributes(style: str) -> str:
    """Inline CSS as SVG attributes; letters are the page's business."""
    pairs = [part.split(":", 1) for part in style.split(";") if ":" in part]
    kept = {key.strip(): value.strip() for key, value in pairs if not key.strip().startswith("font-family")}
    if match := re.search(r"([\d.]+)px", kept.pop("font", "")):
        kept["font-size"] = match[1]
    if "font-size" in kept:
        kept["font-size"] = kept["font-size"].removesuffix("px")
        kept.setdefault("fill", INK)
    return "".join(f' {key}="{value}"' for key, value in kept.items())
