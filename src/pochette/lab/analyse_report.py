"""The page of an analysis: tables of every round, a figure of each analysis, and the networks to look at."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jinja2
import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from pochette.families import analyses
from pochette.lab import course_report, early_report
from pochette.lab.layer_graph import layer_graph
from pochette.lab.report import _policy, _text, words
from pochette.lab.report.figures import _STYLE, BRASS, SOFT, WINE, _canvas, _svg
from pochette.lab.stability_report import section

_Draws = Callable[[Axes, dict[str, np.ndarray]], None]
SHOWN = 8
"""Layers whose points one figure shows at most, spread over the network."""


def page(found: dict[str, Any], title: str) -> str:
    """The report.

    Args:
        found: see `pochette.lab.analyse.analysed`.
        title: of the page.

    Returns:
        HTML, in one file, with nothing that is fetched from elsewhere.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {name: getattr(words, name) for name in ("number", "percent", "duration")}
    style = _text("report.css") + _text("analysis.css")
    return environment.from_string(_text("analysis.html.j2")).render(
        policy=_policy(style, ""),
        style=Markup(style),
        title=title,
        found=found,
        graphs=_graphs(found),
        stability=section(found),
        early=early_report.section(found),
        course=course_report.rows(found),
        error=course_report.error_panel(found),
        parts=[_part(name, found) for name in analyses.names()],
    )


def _graphs(found: dict[str, Any]) -> list[tuple[str, Markup, list[str]]]:
    """The networks of the last round and, if that is another, of the first: name, picture, and what was folded."""
    names = list(dict.fromkeys((list(found["rounds"])[-1], next(iter(found["rounds"])))))
    rows = {name: found["rounds"][name].get("connectivity", {}).get("layers", {}) for name in names}
    return [(name, *layer_graph(name, found["wiring"][name], rows[name])) for name in names]


def _part(name: str, found: dict[str, Any]) -> dict[str, Any]:
    """What the page shows of one analysis."""
    own = {round_name: every[name] for round_name, every in found["rounds"].items()}
    there = {round_name: finding for round_name, finding in own.items() if "left_out" not in finding}
    last = list(there)[-1] if there else ""
    layers = there[last]["layers"] if there else {}
    panels, still = course_report.panels(found, name)
    return {
        "name": name,
        "help": analyses.help(name),
        "source": analyses[name].source,
        "words": analyses[name].words,
        "left_out": [f"{key}: {finding['left_out']}" for key, finding in own.items() if "left_out" in finding],
        "numbers": list(dict.fromkeys(number for finding in there.values() for number in finding["numbers"])),
        "rounds": [(key, finding["numbers"]) for key, finding in there.items()],
        "panels": panels,
        "still": still,
        "last": last,
        "layers": list(layers.items()),
        "layer_numbers": list(dict.fromkeys(number for row in layers.values() for number in row)),
        "figure": _figure(name, last, there[last]["points"]) if there else None,
        "notes": there[last]["notes"] if there else (),
    }


def _figure(name: str, last: str, points: dict[str, list[tuple[float, ...]]]) -> Markup | None:
    histogram = partial(_histogram, counted=analyses[name].counted)
    drawing: dict[str, _Draws] = {
        "diagram": _diagram, "spectrum": _spectrum, "histogram": histogram, "plane": _plane
    }  # fmt: skip
    kind = analyses[name].figure
    drawn = {layer: np.array(rows) for layer, rows in points.items() if len(rows)}
    if kind == "" or not drawn:
        return None
    few = list(drawn)[:: max(1, -(-len(drawn) // SHOWN))]
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure, axes = _canvas()
        drawing[kind](axes, drawn if kind == "plane" else {layer: drawn[layer] for layer in few})
        return _svg(figure, f"{name} of {last}")


def _diagram(axes: Axes, points: dict[str, np.ndarray]) -> None:
    """Births against deaths; where all are born at once, lifetimes in order."""
    every = np.concatenate(list(points.values()))
    if np.ptp(every[:, 0]) == 0:
        for rows in points.values():
            axes.plot(np.linspace(0, 1, len(rows)), np.sort(rows[:, 1])[::-1], color=BRASS, lw=1)
        axes.set_xlabel("components, the first that ends to the last")
        axes.set_ylabel("weight at which it ends")
        return
    axes.plot([0, every.max()], [0, every.max()], color=SOFT, lw=0.8)
    for rows in points.values():
        born = rows[:, 0] > 0
        axes.plot(rows[~born, 0], rows[~born, 1], "o", ms=2, color=BRASS)
        axes.plot(rows[born, 0], rows[born, 1], "^", ms=3, color=WINE)
    axes.set_xlabel("birth (circles: clusters, triangles: loops)")
    axes.set_ylabel("death")


def _spectrum(axes: Axes, points: dict[str, np.ndarray]) -> None:
    for rows in points.values():
        axes.plot(np.linspace(0, 1, len(rows)), rows[:, 0] / max(float(rows.max()), 1e-300), color=BRASS, lw=1)
    axes.set_xlabel("place among singular values")
    axes.set_ylabel("over the largest")


def _histogram(axes: Axes, points: dict[str, np.ndarray], counted: str) -> None:
    values = np.concatenate([rows[:, 0] for rows in points.values()])
    axes.hist(values, bins=24, color=BRASS)
    axes.set_xlabel(counted)
    axes.set_ylabel("units")


def _plane(axes: Axes, points: dict[str, np.ndarray]) -> None:
    every = np.concatenate(list(points.values()))
    axes.plot(every[:, 0], every[:, 1], color=BRASS, lw=1, marker="o", ms=4)
    axes.plot(every[-1:, 0], every[-1:, 1], "o", mfc="none", mec=WINE, ms=10)
    axes.set_xlabel("I(X; T), nats")
    axes.set_ylabel("I(T; Y), nats")
