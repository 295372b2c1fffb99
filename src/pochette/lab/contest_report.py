"""The page of a contest: who wins where, error against every kind of cost, and all figures in tables."""

from __future__ import annotations

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
from pochette.lab.judge import TEST_EXCERPTS, TEST_SECONDS
from pochette.lab.report import _policy, _text, words
from pochette.lab.report.figures import _STYLE, BRASS, INK, SOFT, WINE, _canvas, _svg, _tick, _ticks
from pochette.lab.standings import (
    HARDLY,
    LEVEL,
    TELLING,
    TOLERANCE,
    Standing,
    clearly,
    comparable,
    learnt,
    standings,
)
from pochette.reduce.technique import DENSE_SHARE

MOSS = "#4f6a2d"
SAVES = {
    "work": ("units are gone", BRASS, "o"),
    "numbers": ("single weights are zero", WINE, "s"),
    "bits": ("weights have fewer bits", MOSS, "^"),
}
"""What became less: in words, its colour and its marker."""
SMALL_PRINT = """
td .over { display: block; color: var(--soft); font: 500 0.72rem/1.3 var(--sans); }
.told { color: var(--wine); }
@media (prefers-color-scheme: dark) { [fill="#4f6a2d"] { fill: #a9c47a; } [stroke="#4f6a2d"] { stroke: #a9c47a; } }
"""
SMALL_FROM_THE_START = "scratch"
LABELLED = 7
"""Points of a front that are named in its figure."""


AXES = (
    Axis("stored_bytes", "bytes that the weights take, per dense", "counted"),
    Axis("operations", "multiply-accumulates, per dense", "counted"),
    Axis("engine_instructions", "instructions of the engine, per dense", "counted"),
    Axis("weights", "learnt numbers that live, per dense", "counted"),
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
        tables=_tables(rows),
        missing=missing(rows, told),
        skills=skills(rows),
        tolerance=TOLERANCE,
        telling=TELLING,
        hardly=HARDLY,
        level=LEVEL,
        winners=winners(rows),
        budgets={name: steps for name, steps in told.budgets.items() if name in {row.model for row in rows}},
        models=[_model(model, points, rows) for model in dict.fromkeys(point.model for point in points)],
        saves={name: said for name, (said, _, _) in SAVES.items()},
        axes={name: methods[name].axes for name in sorted({row.method for row in rows})},
        dense_share=DENSE_SHARE,
        moves=MOVES,
        excerpts=TEST_EXCERPTS,
        excerpt_seconds=TEST_SECONDS,
    )


def _keeps(rows: Sequence[Row]) -> list[float]:
    return sorted({row.keep for row in rows}, reverse=True)


def _tables(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """A ranking for each ratio and thing that is saved."""
    made = []
    for keep in _keeps(rows):
        for saves, (said, _, _) in SAVES.items():
            ranked, others = standings(rows, saves, keep), comparable(rows, saves, keep)[1]
            if ranked or others:
                places = {item.method: _place(item, number) for number, item in enumerate(ranked, 1)}
                made.append({"keep": keep, "said": said, "ranked": ranked, "others": others, "places": places})
    return made


def _place(item: Standing, number: int) -> str:
    return f"{number}" if item.told_apart else "1" if item.behind is None else "shares 1"


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


def skills(rows: Sequence[Row]) -> list[str]:
    """Whose dense model learnt how much, and how many reduced ones are worse than having learnt an average.

    Args:
        rows: of a contest.

    Returns:
        a sentence a model.
    """
    found = []
    for model in dict.fromkeys(row.model for row in rows):
        own = [row for row in rows if row.model == model]
        shares = [share for row in own if (share := learnt(row)) is not None]
        if not shares:
            found.append(f"{model}: no anchor in its loss, so that it is not known how much skill was kept.")
            continue
        least, at = min(shares), "at least " if len(set(shares)) > 1 else ""
        if least > 0:
            said = f"{model}: the dense model’s error is {at}{words.percent(least)} below that of its anchor"
        else:
            said = f"{model}: the dense model is no better than its anchor"
        if not all(clearly(row) for row in own):
            said += ", hardly better: its multipliers tell little of what was learnt"
        worse = sum(row.anchor is not None and row.error > row.anchor for row in own)
        found.append(
            f"{said}; {worse or 'none'} of {len(own)} reduced networks {'are' if worse > 1 else 'is'} worse than it."
        )
    return found


def sentences(rows: Sequence[Row]) -> list[str]:
    """Who wins at which ratio among those that save the same, and from whom the winner is not told apart.

    Args:
        rows: of a contest.

    Returns:
        a sentence a ranking.
    """
    found = []
    for table in _tables(rows):
        if not table["ranked"]:
            continue
        first, *others = table["ranked"]
        level = [other.method for other in others if not other.told_apart]
        kept = words.percent(table["keep"])
        said = f"Where {table['said']}, {kept} being kept, {first.method} stands first"
        said += f" ({words.number(first.multiplier.mean)} times the dense error"
        models = f"{first.models} model{'s' if first.models > 1 else ''}"
        said += f" on average of {models}, {first.runs} runs" if first.runs > 1 else " in the one run there is"
        # A share of the others beaten once is no more than their order.
        enough = first.beaten is not None and first.beaten.seeds >= TELLING
        said += (
            f", better than {_beaten(first, len(others))}{_kept_skill(first)})" if enough else f"{_kept_skill(first)})"
        )
        if not others:
            said += "; nobody else was asked"
        elif not level:
            said += ", and is told apart from all others"
        elif len(level) == len(others):
            said += "; these runs tell it apart from nobody"
        else:
            said += f"; these runs do not tell it apart from {', '.join(level)}"
        found.append(f"{said}.")
        if others and SMALL_FROM_THE_START in (first.method, *level):
            found.append(
                f"{SMALL_FROM_THE_START.capitalize()}, which begins with a network of that size, is among them: on "
                "this budget nothing shows that it pays to begin with a larger one."
            )
    return found


def _beaten(first: Standing, others: int) -> str:
    if first.beaten is None or others == 1:
        units = first.beaten.seeds if first.beaten is not None else 0
        won = first.beaten.mean * units if first.beaten is not None else 0.0
        return f"the one other in {words.number(won, 2)} of {units} {'models' if first.models > 1 else 'runs'}"
    return f"{words.percent(first.beaten.mean)} of the {others} others"


def _kept_skill(item: Standing) -> str:
    return "" if item.skill is None else f", {words.percent(item.skill.mean)} of the skill kept"


def winners(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The first of each ranking by kind of model.

    Args:
        rows: of a contest.

    Returns:
        kind, ratio, what is saved, and the three first.
    """
    made = []
    for kind in dict.fromkeys(row.kind for row in rows):
        own = [row for row in rows if row.kind == kind]
        of = ", ".join(dict.fromkeys(row.model for row in own))
        for table in (table for table in _tables(own) if table["ranked"]):
            made.append({"kind": kind, "of": of, "keep": table["keep"], "said": table["said"],
                         "first": _podium(table["ranked"])})  # fmt: skip
    return made


def _podium(ranked: Sequence[Standing]) -> str:
    first = ", ".join(f"{item.method} ({words.number(item.multiplier.mean)}{_kept_skill(item)})" for item in ranked[:3])
    level = sum(not item.told_apart for item in ranked[1:])
    return f"{first}; {level} of {len(ranked) - 1} others share the first place" if len(ranked) > 1 else first


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
        for saves, (said, colour, marker) in SAVES.items():
            own = [point for point in known if point.saves == saves]
            if own:
                _scatter(axes, own, axis, colour, marker, said)
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
    return [step for step in steps if low / 1.1 <= step <= 1.1 * high or step == 1.0]


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
