"""A network as one looks at it: layers as boxes in columns, lines from who speaks to who hears."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from markupsafe import Markup

from pochette.lab.report import words
from pochette.lab.report.figures import BRASS, INK, SOFT, WINE
from pochette.lab.wiring_layout import Layout, Place, folded, laid_out
from pochette.measure.wiring import Spot, Wiring

MOST = 60
"""Spots that are drawn."""
LETTERS = 20
"""Of a name; of a longer one its end is shown."""
MARGIN = 28.0
"""Pixels around the graph."""
BOX = (14.0, 104.0)
"""Pixels of the width of the smallest and of the largest box."""
HALF = 9.0
"""Pixels of half a box's height, and of a junction's radius."""

_SVG = Markup(
    '<svg class="wires" role="img" aria-label="{label}" width="{width:.0f}" height="{height:.0f}" '
    'viewBox="-{margin:.0f} -{margin:.0f} {width:.0f} {height:.0f}"><defs>{tips}</defs>{parts}</svg>'
)
_TIP = Markup(
    '<marker id="{id}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
    '<path d="M0 0L8 4L0 8z" fill="{colour}"/></marker>'
)
_PATH = Markup('<path d="{d}" fill="none" stroke="{colour}"{dashed}{tip}/>')
_TEXT = Markup('<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" font-size="{size}" fill="{colour}">{text}</text>')
_RECT = Markup(
    '<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="2" fill="{fill}" stroke="{stroke}"'
    "{dashed}/>"
)
_SAID = {"+": "a sum", "×": "a product", "cat": "a concatenation", "·": "streams meet"}
_DASHED = Markup(' stroke-dasharray="4 3"')


def layer_graph(name: str, data: dict[str, Any], rows: Mapping[str, Mapping[str, float]]) -> tuple[Markup, list[str]]:
    """Draw a network.

    Args:
        name: of the round.
        data: its wiring as plain data, see `measure.wiring.Wiring.from_json`.
        rows: what the analysis "connectivity" says of each layer; may lack some.

    Returns:
        SVG, and what was folded, in sentences.
    """
    whole = Wiring.from_json(data)
    wiring, notes = folded(whole, MOST)
    layout = laid_out(wiring)
    largest = max((spot.weights for spot in wiring.spots), default=1) or 1
    half = {spot.name: _half_width(spot, largest) for spot in wiring.spots}
    live = {spot.name: rows.get(spot.name, {}).get("effective_density") for spot in whole.spots if spot.kind == "layer"}
    cut = _common([spot.name for spot in whole.spots if spot.kind == "layer"])
    tips = {colour: f"tip-{number}-{name}" for number, colour in enumerate((SOFT, WINE))}
    parts = [_line(layout, half, one, other, tips[SOFT]) for one, other in layout.pieces]
    parts += [_back(layout.at[speaker], layout.at[hearer], half[speaker], half[hearer], tips[WINE])
              for speaker, hearer in wiring.carried]  # fmt: skip
    parts += [_spot(spot, layout.at[spot.name], half[spot.name], live.get(spot.name), cut) for spot in wiring.spots]
    svg = _SVG.format(
        label=f"The {len(live)} layers of {name} and who hears whom",
        width=layout.width + 2 * MARGIN,
        height=layout.height + 2 * MARGIN,
        margin=MARGIN,
        tips=_whole([_TIP.format(id=tip, colour=colour) for colour, tip in tips.items()]),
        parts=_whole(parts),
    )
    return svg, notes


def _whole(parts: Sequence[Markup]) -> Markup:
    return Markup("\n").join(parts)


def _half_width(spot: Spot, largest: int) -> float:
    """Half of a box's width, whose square grows with the weights in it."""
    if spot.kind == "junction":
        return HALF
    if spot.kind in ("input", "output"):
        return 0.25 * BOX[1]
    return (BOX[0] + (BOX[1] - BOX[0]) * math.sqrt(spot.weights / largest)) / 2


def _line(layout: Layout, half: Mapping[str, float], one: str, other: str, tip: str) -> Markup:
    """A piece of an edge, from column to column; where it ends at a spot it has a tip."""
    (x, y), (u, v) = layout.at[one], layout.at[other]
    x, u = x + half.get(one, 0.0), u - half.get(other, 0.0)
    bend = (u - x) / 2
    d = f"M{x:.1f} {y:.1f}C{x + bend:.1f} {y:.1f} {u - bend:.1f} {v:.1f} {u:.1f} {v:.1f}"
    end = Markup(' marker-end="url(#{})"').format(tip) if other in half else ""
    return _PATH.format(d=d, colour=SOFT, dashed="", tip=end)


def _back(start: Place, end: Place, wide: float, target: float, tip: str) -> Markup:
    """An edge to a later call or step, over the boxes; within a column around their right side."""
    (x, y), (u, v) = start, end
    if start == end:
        y, up = y - HALF, y - HALF - 22
        d = f"M{x + 5:.1f} {y:.1f}C{x + 16:.1f} {up:.1f} {x - 16:.1f} {up:.1f} {x - 5:.1f} {y:.1f}"
    elif x == u:
        x, u = x + wide, u + target
        out = max(x, u) + 16
        d = f"M{x:.1f} {y:.1f}C{out:.1f} {y:.1f} {out:.1f} {v:.1f} {u:.1f} {v:.1f}"
    else:
        y, v = y - HALF, v - HALF
        up = 20 + 0.06 * abs(x - u)
        d = f"M{x:.1f} {y:.1f}C{x:.1f} {y - up:.1f} {u:.1f} {v - up:.1f} {u:.1f} {v:.1f}"
    return _PATH.format(d=d, colour=WINE, dashed=_DASHED, tip=Markup(' marker-end="url(#{})"').format(tip))


def _spot(spot: Spot, at: Place, half: float, live: float | None, cut: int) -> Markup:
    """A spot with what it is called, and all that is known of it where a mouse rests."""
    x, y = at
    if spot.kind == "junction":
        shape = Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{}" fill="none" stroke="{}"/>').format(x, y, HALF, SOFT)
        short = spot.sign[:3]
        sign = _TEXT.format(x=x, y=y + 3, size=11 if len(short) == 1 else 8, colour=INK, text=short)
        return _group(_SAID.get(spot.sign, spot.sign), [shape, sign])
    box = {"x": x - half, "y": y - HALF, "height": 2 * HALF}
    frame = _RECT.format(**box, width=2 * half, fill="none", stroke=SOFT, dashed=_DASHED if spot.kind == "fold" else "")
    if spot.kind in ("input", "output"):
        name = _TEXT.format(x=x, y=y + 24, size=11, colour=SOFT, text=_short(spot.name))
        return _group(f"{spot.kind}: {spot.name}" if spot.kind == "input" else spot.name, [frame, name])
    parts, about = [frame], f"{spot.name}: {words.number(spot.weights)} weights"
    size = f"{words.number(spot.weights)} weights"
    if spot.kind == "layer":
        size = f"{spot.rows} × {spot.columns}"
        about = f"{spot.name}: {size}, {words.number(spot.weights)} weights"
        if live is not None:
            about += f", {words.percent(live)} of them alive and on a way from input to output"
            fill = _RECT.format(**box, width=2 * half * live, fill=BRASS, stroke="none", dashed="")
            parts = [fill, frame]
    parts.append(_TEXT.format(x=x, y=y + 22, size=11, colour=INK, text=_short(spot.name[cut:])))
    parts.append(_TEXT.format(x=x, y=y + 34, size=9.5, colour=SOFT, text=size))
    return _group(about, parts)


def _group(title: str, parts: Sequence[Markup]) -> Markup:
    return Markup('<g class="spot"><title>{}</title>{}</g>').format(title, _whole(parts))


def _common(names: Sequence[str]) -> int:
    """Letters of what all paths begin with, whole parts of them; their last parts are never common."""
    parts = [name.split(".")[:-1] for name in names]
    common = takewhile(lambda heads: len(set(heads)) == 1, zip(*parts, strict=False))
    return sum(len(heads[0]) + 1 for heads in common)


def _short(name: str) -> str:
    """The end of a name, which tells it from its neighbours."""
    name = name.replace(".weight_", ".")
    return name if len(name) <= LETTERS else "…" + name[-(LETTERS - 1) :]
