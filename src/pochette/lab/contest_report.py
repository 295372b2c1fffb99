"""The page of a contest: who wins where, error against every kind of cost, and all figures in tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2
import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from pochette.families import methods
from pochette.lab.compare_report import Axis
from pochette.lab.contest import MOVES, Point, Row, front, points_of
from pochette.lab.contest_words import SAVES, careful, sentences, skills, spending, tables, winners
from pochette.lab.judge import TEST_EXCERPTS, TEST_SECONDS
from pochette.lab.report import _policy, _text, words
from pochette.lab.report.figures import _STYLE, BRASS, INK, SOFT, WINE, _canvas, _svg, _tick, _ticks
from pochette.lab.standings import HARDLY, LEVEL, TELLING, TOLERANCE, Standing
from pochette.reduce.technique import DENSE_SHARE

MOSS = "#4f6a2d"
LOOKS = {"work": (BRASS, "o"), "numbers": (WINE, "s"), "bits": (MOSS, "^")}
"""Colour and marker of what became less."""
SMALL_PRINT = """
td .over { display: block; color: var(--soft); font: 500 0.72rem/1.3 var(--sans); }
.told { color: var(--wine); }
@media (prefers-color-scheme: dark) { [fill="#4f6a2d"] { fill: #a9c47a; } [stroke="#4f6a2d"] { stroke: #a9c47a; } }
"""
LABELLED = 7
"""Points of a front that are named in its figure."""
HEIGHTS = 12
"""Into how many parts a figure's height may be divided so that its figures have room."""


AXES = (
    Axis("stored_bytes", "bytes that the weights take, per dense", "counted"),
    Axis("operations", "multiply-accumulates, per dense", "counted"),
    Axis("engine_instructions", "instructions of the engine, per dense", "counted"),
    Axis("weights", "learnt numbers that live, per dense", "counted"),
    Axis("state_bytes", "memory of the state, per dense", "counted"),
    Axis("engine_time", "time of the engine, per dense", "measured"),
)


@dataclass(frozen=True)
class Told:
    """What the page says beside the results."""

    title: str
    sounds: str
    """In words, what the models were trained on."""
    command: str
    """That makes the page again."""
    budgets: Mapping[str, int]
    """Steps of a run, by model."""
    machines: Sequence[str]
    hours: float
    """CPU time of all runs."""
    refused: Mapping[str, Mapping[str, str]]
    """What has no result and why, by model and technique."""
    models: int
    """That the whole contest has."""
    methods: int
    keeps: Sequence[float]
    seeds: Sequence[int]

    @property
    def wanted(self) -> int:
        """Networks that the whole contest has."""
        return self.models * self.methods * len(self.keeps) * len(self.seeds)


def page(rows: Sequence[Row], told: Told) -> str:
    """The report of a contest.

    Args:
        rows: of its networks.
        told: what is said beside them.

    Returns:
        HTML.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {name: getattr(words, name) for name in ("number", "amount", "size", "percent")}
    style = _text("report.css") + SMALL_PRINT
    points = points_of(rows)
    text = resources.files("pochette.lab.report").joinpath("contest.html.j2").read_text(encoding="utf-8")
    return environment.from_string(text).render(
        policy=_policy(style, ""),
        style=Markup(style),
        told=told,
        rows=rows,
        seeds=sorted({row.seed for row in rows}),
        techniques=sorted({row.method for row in rows}),
        sentences=sentences(rows),
        tables=[{**table, "places": _places(table["ranked"])} for table in tables(rows)],
        missing=missing(rows, told),
        skills=skills(rows),
        careful=careful(rows),
        spending=spending(points),
        tolerance=TOLERANCE,
        telling=TELLING,
        hardly=HARDLY,
        level=LEVEL,
        winners=winners(rows),
        budgets={name: steps for name, steps in told.budgets.items() if name in {row.model for row in rows}},
        models=[_model(model, points, rows) for model in dict.fromkeys(point.model for point in points)],
        saves=SAVES,
        axes={name: methods[name].axes for name in sorted({row.method for row in rows})},
        dense_share=DENSE_SHARE,
        moves=MOVES,
        excerpts=TEST_EXCERPTS,
        excerpt_seconds=TEST_SECONDS,
    )


def _places(ranked: Sequence[Standing]) -> dict[str, str]:
    """Places of a ranking; "open" of whoever is not told apart from the first."""
    return {
        item.method: f"{number}" if item.told_apart else "1" if item.behind is None else "open"
        for number, item in enumerate(ranked, 1)
    }


def missing(rows: Sequence[Row], told: Told) -> list[str]:
    """Why networks are not there, each reason with its count.

    Args:
        rows: that are there.
        told: what was wanted and what was refused.

    Returns:
        "3 refused", "26 of 6.2 % kept, which is not begun" and so on; empty if all are there.
    """
    there = {(row.model, f"{row.method} to {row.keep:.4g}", row.seed) for row in rows}
    refused = {
        (model, name, seed) for model, reasons in told.refused.items() for name in reasons for seed in told.seeds
        if not name.startswith("engine of")
    } - there  # fmt: skip
    begun = {row.keep for row in rows}
    said, left = ([f"{len(refused)} refused"] if refused else []), told.wanted - len(rows)
    for keep in told.keeps:
        if round(keep, 6) not in begun:
            own = sum(name.endswith(f" to {keep:.4g}") for _, name, _ in refused)
            count = told.models * told.methods * len(told.seeds) - own
            left -= count
            said.append(f"{count} where {words.percent(keep)} is kept, which is not begun")
    left -= len(refused)
    return [*said, *([f"{left} not computed yet"] if left > 0 else [])]


def _model(model: str, points: Sequence[Point], rows: Sequence[Row]) -> dict[str, Any]:
    own = [point for point in points if point.model == model]
    drawn = [(axis, figure(own, axis, model)) for axis in AXES]
    return {
        "name": model,
        "seeds": len({row.seed for row in rows if row.model == model}),
        "skill": skills([row for row in rows if row.model == model])[0],
        "figures": [(axis, drawing) for axis, drawing in drawn if drawing is not None],
        "points": sorted(own, key=lambda p: (-p.keep, list(SAVES).index(p.saves), p.multiplier.mean)),
        "fronts": {axis.field: {(p.method, p.keep) for p in front(own, axis.field)} for axis in AXES},
    }


def figure(points: Sequence[Point], axis: Axis, model: str) -> Markup | None:
    """Error multiplier against one cost, with the front that nobody is better than.

    Args:
        points: of one model.
        axis: what lies to the right.
        model: its name.

    Returns:
        SVG; None if there is nothing to draw.
    """
    known = [point for point in points if getattr(point, axis.field) is not None]
    if not known:
        return None
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": f"contest-{model}-{axis.field}"}):
        picture, axes = _canvas(3.6)
        axes.axhline(1.0, color=SOFT, lw=1)
        best = front(known, axis.field)
        places = [getattr(point, axis.field).mean for point in best]
        axes.step(places, [point.multiplier.mean for point in best], where="post", color=SOFT, lw=1, ls=(0, (4, 3)))
        for saves, (colour, marker) in LOOKS.items():
            own = [point for point in known if point.saves == saves]
            if own:
                _scatter(axes, own, axis, colour, marker, SAVES[saves])
        _name(axes, best, axis)
        _scale(axes, [getattr(point, axis.field).mean for point in known], axis)
        axes.set_yscale("log")
        axes.yaxis.set_minor_locator(NullLocator())
        heights = [point.multiplier.mean for point in known]
        axes.yaxis.set_major_locator(FixedLocator(_heights(min(heights), max(heights))))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_ylabel("test error per that of the dense model")
        picture.legend(frameon=False, loc="outside lower center", ncols=3, fontsize=8, labelcolor=SOFT)
        return _svg(picture, f"{model}: error multiplier against {axis.label}")


def _heights(low: float, high: float) -> list[float]:
    """Round numbers between the least and the largest multiplier; 1 always."""
    steps = (0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0)
    fits = [step for step in steps if low / 1.1 <= step <= 1.1 * high or step == 1.0]
    least = math.log(max(fits) / min(fits)) / HEIGHTS if len(fits) > 1 else 0.0
    shown = [1.0]
    for step in sorted(fits, key=lambda step: abs(math.log(step))):
        if all(abs(math.log(step / other)) >= least for other in shown):
            shown.append(step)
    return sorted(shown)


def _scatter(axes: Axes, points: Sequence[Point], axis: Axis, colour: str, marker: str, label: str) -> None:
    xs, ys = [getattr(p, axis.field).mean for p in points], [p.multiplier.mean for p in points]
    bars = [[max(0.0, y - p.multiplier.low) for y, p in zip(ys, points, strict=True)],
            [max(0.0, p.multiplier.high - y) for y, p in zip(ys, points, strict=True)]]  # fmt: skip
    axes.errorbar(xs, ys, yerr=bars, color=colour, ls="none", marker=marker, ms=4.5, mec=colour, mfc=colour,
                  elinewidth=0.8, alpha=0.85, label=label)  # fmt: skip


def _name(axes: Axes, best: Sequence[Point], axis: Axis) -> None:
    """Names at the points of a front, not more than there is room for."""
    step = max(1, -(-len(best) // LABELLED))
    for point in best[::step]:
        place = (getattr(point, axis.field).mean, point.multiplier.mean)
        axes.annotate(point.method, place, (4, -9), textcoords="offset points", fontsize=7, color=INK)


def _scale(axes: Axes, places: Sequence[float], axis: Axis) -> None:
    low, high = min(places) / 1.35, max(places) * 1.35
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(_ticks(low, high)))
    axes.xaxis.set_major_formatter(FuncFormatter(_tick))
    axes.set_xlabel(axis.label)
