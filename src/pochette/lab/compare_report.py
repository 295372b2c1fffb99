"""The page of a comparison: what it found in sentences, error against every kind of cost, a table, and what is claimed.

It has the look and the rules of the report that ends `pochette make`: one file, no network, nothing inline that the
page's security policy does not name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2
import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from pochette.lab.compare import Comparison, Point, Spread
from pochette.lab.judge import TEST_EXCERPTS, TEST_SECONDS
from pochette.lab.report import _policy, _text, words
from pochette.lab.report.figures import _STYLE, INK, SOFT, WINE, WORSE, _canvas, _svg, _tick, _ticks

COLOURS = (
    ("#9a6a1c", "#dcae62"),
    ("#8f3324", "#e5806a"),
    ("#4f6a2d", "#a9c47a"),
    ("#2f6678", "#82bdd0"),
    ("#6b4a86", "#c3a2de"),
    ("#b4632f", "#eba276"),
    ("#5b5f66", "#b3b8c0"),
)
"""Of the curves, by day and by night."""
MARKERS = "osD^vPX"
SMALL_PRINT = """
td .over { display: block; color: var(--soft); font: 500 0.72rem/1.3 var(--sans); }
"""
REMOVED_TICKS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)


@dataclass(frozen=True)
class Claim:
    """A point of a published curve."""

    removed: float
    multiplier: float
    how: str


CLAIMS = (
    Claim(0.761, 0.893, "weights masked by magnitude, local: the best point of masking"),
    Claim(0.80, 0.912, "units trimmed by information, global: the best point of trimming"),
    Claim(0.95, 1.0, "units trimmed by information, global: the most that costs nothing"),
    Claim(0.99, 1.2, "units trimmed: about a hundred times smaller"),
)
"""Esling et al. 2020, "Diet deep generative audio models with structured lottery" (DAFx-20, arXiv 2007.16170)."""


@dataclass(frozen=True)
class Axis:
    """What error is drawn against."""

    field: str
    label: str
    obtained: str


AXES = (
    Axis("removed", "weights removed", "counted"),
    Axis("macs_per_second", "multiply-accumulates per second of sound", "counted"),
    Axis("weight_bytes", "bytes of weights", "counted"),
    Axis("inference_seconds", "seconds of work per second of sound", "measured"),
)


def page(
    comparison: Comparison, points: Sequence[Point], failed: dict[str, str], title: str, sounds: str, command: str
) -> str:
    """The report of a comparison.

    Args:
        comparison: what was crossed.
        points: what came out, over seeds.
        failed: what has no result, and why.
        title: of the page.
        sounds: in words, what it was trained on.
        command: that makes the page again.

    Returns:
        HTML.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {name: getattr(words, name) for name in ("number", "amount", "size", "percent")}
    style = _text("report.css") + _colours()
    return environment.from_string(_template()).render(
        policy=_policy(style, ""),
        style=Markup(style),
        title=title,
        sounds=sounds,
        command=command,
        comparison=comparison,
        sentences=sentences(points),
        models=[_model(model, points) for model in dict.fromkeys(point.model for point in points)],
        claims=CLAIMS,
        failed=failed,
        excerpts=TEST_EXCERPTS,
        excerpt_seconds=TEST_SECONDS,
    )


def _template() -> str:
    return resources.files("pochette.lab.report").joinpath("compare.html.j2").read_text(encoding="utf-8")


def _model(model: str, points: Sequence[Point]) -> dict[str, Any]:
    """What the page shows of one model."""
    own = [point for point in points if point.model == model]
    plain = [point for point in own if not point.timed_on]
    drawn = [(axis, figure(plain, axis, model)) for axis in AXES]
    for tag in dict.fromkeys(point.timed_on for point in own if point.timed_on):
        axis = Axis("inference_seconds", f"seconds of work per second of sound on {tag}", "measured")
        drawn.append((axis, figure([point for point in own if point.timed_on == tag], axis, model)))
    machines = sorted({machine for point in own for machine in point.machines})
    return {"name": model, "figures": [(a, f) for a, f in drawn if f is not None], "points": own, "machines": machines}


def figure(points: Sequence[Point], axis: Axis, model: str) -> Markup | None:
    """Error multiplier against one cost, a curve for each way of reducing, intervals over seeds as bars.

    Args:
        points: of one model.
        axis: what lies to the right.
        model: its name.

    Returns:
        SVG; None if there is nothing but the dense model.
    """
    dense = [point for point in points if point.curve == "dense"]
    curves = list(dict.fromkeys(point.curve for point in points if point.curve != "dense"))
    if not curves:
        return None
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": f"{model}-{axis.label}"}):
        picture, axes = _canvas(3.4 + 0.1 * len(curves))
        axes.axhline(1.0, color=SOFT, lw=1)
        axes.axhline(WORSE, color=WINE, lw=1, ls=(0, (4, 3)))
        for number, curve in enumerate(curves):
            own = [*dense, *(point for point in points if point.curve == curve)]
            _curve(axes, own, axis, number, curve)
        if axis.field == "removed":
            for claim in CLAIMS:
                axes.plot([1 - claim.removed], [claim.multiplier], "*", mfc="none", mec=INK, ms=9, mew=0.9)
            axes.plot([], [], "*", mfc="none", mec=INK, ms=9, mew=0.9, ls="none", label="claimed in print")
        _scale(axes, [_place(point, axis) for point in points], axis)
        axes.set_ylabel("test error per that of the dense model")
        picture.legend(frameon=False, loc="outside lower center", ncols=2, fontsize=8, labelcolor=SOFT)
        return _svg(picture, f"{model}: error multiplier against {axis.label}")


def _curve(axes: Axes, points: Sequence[Point], axis: Axis, number: int, name: str) -> None:
    # A little aside of each other, so that bars at the same stop can be told apart.
    aside = 1.0 + 0.012 * (number - 2)
    xs = [_place(point, axis) * (aside if point.curve != "dense" else 1.0) for point in points]
    ys = [point.multiplier.mean for point in points]
    bars = [
        [max(0.0, y - point.multiplier.low) for y, point in zip(ys, points, strict=True)],
        [max(0.0, point.multiplier.high - y) for y, point in zip(ys, points, strict=True)],
    ]
    colour = COLOURS[number % len(COLOURS)][0]
    line = "-" if number < len(COLOURS) else "--"
    axes.errorbar(
        xs, ys, yerr=bars, color=colour, lw=1.6, ls=line, marker=MARKERS[number % len(MARKERS)], ms=4.5, capsize=2.5,
        elinewidth=1, label=name,
    )  # fmt: skip


def _place(point: Point, axis: Axis) -> float:
    """Where a point lies on a logarithmic axis; of weights it is what is left that is drawn."""
    value = float(getattr(point, axis.field).mean)
    return 1.0 - value if axis.field == "removed" else value


def _scale(axes: Axes, places: Sequence[float], axis: Axis) -> None:
    low, high = min(places) / 1.35, max(places) * 1.35
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    if axis.field == "removed":
        axes.set_xlim(1.2, low)
        ticks = [1.0 - removed for removed in REMOVED_TICKS if low <= 1.0 - removed <= 1.0]
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda left, _: f"{100 * (1 - left):g} %"))
    else:
        axes.set_xlim(low, high)
        axes.xaxis.set_major_locator(FixedLocator(_ticks(low, high)))
        axes.xaxis.set_major_formatter(FuncFormatter(_tick))
    axes.set_xlabel(axis.label)


def sentences(points: Sequence[Point]) -> list[str]:
    """What the comparison found, in words that say no more than its seeds can.

    A multiplier never stands alone: beside it is how much skill was kept, or in front of all of a model's that nobody
    knows.

    Args:
        points: over seeds.

    Returns:
        a few sentences a model.
    """
    found = []
    for model in dict.fromkeys(point.model for point in points):
        own = [point for point in points if point.model == model and not point.timed_on and point.curve != "dense"]
        curves = dict.fromkeys(point.curve for point in own)
        reach = {curve: _reach([point for point in own if point.curve == curve]) for curve in curves}
        if own and all(point.skill is None for point in own):
            found.append(f"{model}: {UNKNOWN_SKILL}")
        seeds = {curve: max(point.multiplier.seeds for point in own if point.curve == curve) for curve in curves}
        told = [f"{curve} {_removed(far)}{_FEW.get(seeds[curve], '')}" for curve, far in reach.items()]
        if told:
            within = f"{model}: within 5 % of the dense model’s error on average, at each stop so far, stay"
            found.append(f"{within} {'; '.join(told)}.")
        found += _against_others(model, own)
    return found


UNKNOWN_SKILL = (
    "how much skill there was to keep is not known, because the mean sound’s error was left out or the dense model is "
    "no better than it: a multiplier near 1 may then mean that nothing was learnt."
)


def _removed(far: Point | None) -> str:
    if far is None:
        return "at no stop"
    if far.of == "operations":
        return f"up to {words.percent(far.asked_removed)} of the operations removed{_skill(far)}"
    return f"up to {words.percent(far.removed.mean)} removed{_skill(far)}"


_FEW = {1: ", one seed only", 2: ", two seeds"}


def _skill(point: Point) -> str:
    """How much of the dense model's skill a network kept, in brackets; nothing where nobody knows."""
    if point.skill is None:
        return ""
    # Seeds whose dense model learnt nothing have no skill to keep.
    some = point.skill.seeds < point.multiplier.seeds
    where = f" in {point.skill.seeds} of {point.multiplier.seeds} seeds" if some else ""
    return f" ({_range(point.skill, words.percent)} of the skill kept{where})"


def _reach(points: Sequence[Point]) -> Point | None:
    """The stop of most removed up to which every stop's mean stays below `WORSE`."""
    reached = None
    for point in sorted(points, key=lambda point: point.removed.mean):
        if point.multiplier.mean > WORSE:
            break
        reached = point
    return reached


def _against_others(model: str, points: Sequence[Point]) -> list[str]:
    """Whether a criterion beats lots drawn, and training from scratch, at the furthest stop that both have."""
    told = []
    for curve in dict.fromkeys(point.curve for point in points):
        scope = curve.rpartition(", ")[2]
        if curve.startswith(("masked", "random", "scratch")) or ", " not in curve:
            continue
        rivals = {f"random, {scope}": ("by lots drawn", "lots drawn are better")}
        if scope == "local":  # whose shapes the controls have
            rivals["scratch, same compute"] = ("from scratch with the same compute", "training from scratch is better")
        stops = {point.asked_removed: point for point in points if point.curve == curve}
        for rival, (how, better) in rivals.items():
            others = {point.asked_removed: point for point in points if point.curve == rival}
            if both := sorted(stops.keys() & others.keys()):
                ours, theirs = stops[both[-1]], others[both[-1]]
                share = f"{words.percent(both[-1])}{' of the operations' if ours.of == 'operations' else ''}"
                at = f"At {share} removed, {model} has {_range(ours.multiplier)} times the dense error"
                at += f"{_skill(ours)} by {curve} and {_range(theirs.multiplier)}{_skill(theirs)} {how}"
                told.append(f"{at}: {_verdict(ours.multiplier, theirs.multiplier, better)}.")
    return told


def _verdict(ours: Spread, theirs: Spread, otherwise: str) -> str:
    if min(ours.seeds, theirs.seeds) < 3:
        return "too few seeds to say which is better"
    if ours.low <= theirs.high and theirs.low <= ours.high:
        return "the intervals overlap, so these seeds do not tell them apart"
    return "the criterion is better" if ours.mean < theirs.mean else otherwise


def _range(figure: Spread, show: Callable[[float], str] = words.number) -> str:
    if figure.seeds == 1 or not math.isfinite(figure.mean):
        return str(show(figure.mean))
    return f"{show(figure.mean)} ({show(figure.low)} to {show(figure.high)})"


def _colours() -> str:
    """Rules that turn the curves' colours by day into those by night."""
    rules = "".join(
        f'[fill="{day}"] {{ fill: {night}; }} [stroke="{day}"] {{ stroke: {night}; }}\n' for day, night in COLOURS[2:]
    )
    return f"{SMALL_PRINT}@media (prefers-color-scheme: dark) {{\n{rules}}}\n"
