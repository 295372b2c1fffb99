"""The report that ends `pochette make`: one page that holds everything, to be read, listened to, printed and sent on.

The page asks no network for anything. Its content security policy names its own script and style by their checksums, so
that nothing else can run in it, whatever the sounds and folders were called.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from pochette.lab.report import view, words
from pochette.lab.report.figures import learning_figure, trimming_figure
from pochette.lab.report.sounds import Clip, takes_of
from pochette.lab.result import MakeResult
from pochette.shells.bundle import write_file

__all__ = ["Clip", "page", "write_report"]


def write_report(result: MakeResult, clips: Sequence[Clip], path: Path) -> Path:
    """Write the report: one HTML file that needs nothing else.

    Args:
        result: what was found out.
        clips: what can be heard, each in several versions.
        path: the file; its folder is made if missing.

    Returns:
        the path.

    Raises:
        InstrumentError: it cannot be written; what was there before is unchanged.
    """
    # File names need not be text; what is not becomes a question mark.
    return write_file(Path(path), page(result, clips).encode(errors="replace"))


def page(result: MakeResult, clips: Sequence[Clip]) -> str:
    """Make the report's text.

    Args:
        result: what was found out.
        clips: what can be heard.

    Returns:
        HTML.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        name: getattr(words, name) for name in ("number", "amount", "in_words", "size", "percent", "change", "duration")
    }
    style, script = _text("report.css"), _text("report.js")
    return environment.from_string(_text("report.html.j2")).render(
        policy=_policy(style, script), style=Markup(style), script=Markup(script), **_sections(result, clips)
    )


def _sections(result: MakeResult, clips: Sequence[Clip]) -> dict[str, Any]:
    """Everything the template shows."""
    columns, metric_rows = view.metric_rows(result)
    learning = enumerate(result.learning.items())
    return {
        "result": result,
        "sentences": view.sentences(result),
        "clips": [(clip.title, clip.sample_rate_hz, takes_of(clip)) for clip in clips],
        "scale": None if result.ends is None else view.SCALES[result.ends],
        "marks": view.marks(result),
        "metric_columns": columns,
        "metric_rows": metric_rows,
        "trimming": [
            figure
            for of in ("network_macs_per_second", "parameters")
            if (figure := trimming_figure(result.trimming, result.trimmed, of)) is not None
        ],
        "learning": [
            (name, figure)
            for number, (name, points) in learning
            if (figure := learning_figure(name, points, number)) is not None
        ],
        "costs": view.cost_rows(result),
        "verdict": view.verdict(result),
        "board": view.board_of(result),
        "bars": view.bars(result),
        "layers": view.layer_rows(result),
        "slices": view.slices(result),
        "recipe": json.dumps(result.recipe, indent=2, ensure_ascii=False, default=str),
        "latency_ms": 1000 * result.latency_samples / result.sample_rate_hz if result.sample_rate_hz else None,
    }


def _policy(style: str, script: str) -> str:
    """No connection of any kind; only this style and this script; pictures and sounds only from the page itself."""
    return "; ".join(
        [
            "default-src 'none'",
            f"style-src '{_checksum(style)}'",
            f"script-src '{_checksum(script)}'",
            "img-src data:",
            "media-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _checksum(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _text(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
