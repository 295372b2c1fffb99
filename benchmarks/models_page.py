"""Put what `models.py` stored into docs/models.html: figures, players, what beats its anchors and what does not.

python benchmarks/models_page.py            write docs/models.html
python benchmarks/models_page.py --check    exit 1 if it differs from what is stored
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import numpy as np
import soundfile
from markupsafe import Markup

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks")]

from models_page_boards import FORMS, average_said, fitting_said, heads_of, row_of, verdict_of  # noqa: E402
from models_page_words import explained, first_step_said, listed, pitch_said, said_of, trained_how  # noqa: E402
from pages import put  # noqa: E402

from models import WORKS  # noqa: E402
from pochette.families import boards, models  # noqa: E402
from pochette.lab.figures import figures_of  # noqa: E402
from pochette.lab.report import _policy, _text, words  # noqa: E402
from pochette.lab.report.figures import _STYLE, BRASS, INK, SOFT, WINE, _canvas, _svg  # noqa: E402
from pochette.lab.report.sounds import Take, data_uri, spectrograms  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "models"
PAGE = ROOT / "docs" / "models.html"
STYLE = """
.takes { grid-template-columns: repeat(auto-fit, minmax(min(12rem, 100%), 1fr)); }
.take figcaption, td small, th small { display: block; color: var(--soft); font: 500 0.75rem/1.3 var(--sans); }
"""
NARROW = 0.01
"""Share of an anchor by which it has to be beaten so that one training tells anything."""
HARDLY_DBFS = -50.0
"""Root mean square below which a clip is said to hardly sound."""
QUIET_PEAK = 0.1
"""Of a tone that pictures of a work are drawn beside: clips of which all hardly sound look so."""


def stored() -> dict[str, dict[str, Any]]:
    """Every work's document, by name."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))}


def page(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The whole page."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {name: getattr(words, name) for name in ("number", "amount", "percent")}
    style = _text("report.css") + STYLE
    known = {data["model"].lower() for data in found.values()}
    missing = [name for name in models.names() if models[name].__name__.lower() not in known]
    dates = sorted({data["date"] for data in found.values()})
    heads = heads_of(found)
    return environment.from_string((ROOT / "benchmarks" / "models.html.j2").read_text(encoding="utf-8")).render(
        policy=_policy(style, ""),
        style=Markup(style),
        works=[_work(name, data, list(heads)) for name, data in found.items()],
        beating=sum(_beats(data["verdict"], "dense") for data in found.values()),
        beating_trimmed=sum(_beats(data["verdict"], "trimmed") for data in found.values()),
        failing_trimmed=[name for name, data in found.items() if not _beats(data["verdict"], "trimmed")],
        narrow_share=NARROW,
        narrow=[name for name, data in found.items() if _narrowly(data["verdict"])],
        failing=[name for name, data in found.items() if not _beats(data["verdict"], "dense")],
        trained=len(known),
        lacking=f"not yet trained: {', '.join(missing)}." if missing else "none is missing.",
        dates=" to ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else "",
        figures={name: figures_of(name) for name in models.names()},
        boards=heads,
        pitch=pitch_said(found),
        longest_minutes=max((data["cpu_seconds"]["dense"] / 60 for data in found.values()), default=0.0),
        hardly_dbfs=words.number(HARDLY_DBFS),
        peak_missing=any("golden_peak" not in check for data in found.values() for check in data["engine"]["checks"]),
    )


def _to_beat(verdict: Mapping[str, Any]) -> tuple[str, ...]:
    """Anchors that a model has to be below: those of its kind, and itself before it learnt anything."""
    return (*verdict["to_beat"], "untrained")


def _beats(verdict: Mapping[str, Any], form: str) -> bool:
    return all(verdict[form] < verdict["anchors"][name] for name in _to_beat(verdict))


def _narrowly(verdict: Mapping[str, Any]) -> bool:
    """Whether an anchor that has to be beaten is so by less than what its figure is good for."""
    least = min(verdict["anchors"][name] for name in _to_beat(verdict))
    return bool(least * (1.0 - NARROW) <= verdict["dense"] < least)


def _work(name: str, data: Mapping[str, Any], titles: Sequence[str]) -> dict[str, Any]:
    verdict, rows = data["verdict"], {form: row_of(form, data) for form in FORMS}
    return {
        "name": name,
        "verdict": verdict,
        "said": said_of(WORKS[name].recipe, data, _unusual(name)),
        "trained": trained_how(WORKS[name], data),
        "sentence": _sentence(verdict),
        "aside": _aside(name, verdict["aside"]),
        "explained": explained(verdict),
        "first_step": first_step_said(data.get("first_step", {})),
        "figure": _figure(name, verdict),
        "takes": _takes(data["played"]),
        "rows": list(rows.values()),
        "boards": [verdict_of(rows, board) for board in titles],
        "fitting": fitting_said(rows["trimmed"]["cells"]),
        "keyed": any(cell["key_ms"] for row in rows.values() for cell in row["cells"].values()),
        "checked": _checked(data["engine"]["checks"]),
        "average": average_said(rows["trimmed"]["cells"]),
        "begins": _begins(data["engine"].get("first_block", {})),
    }


def _unusual(work: str) -> str:
    """In what a recipe is not the declared small size, but for its rate."""
    recipe = WORKS[work].recipe
    usual = type(recipe).sized("small", sample_rate_hz=recipe.sample_rate_hz)
    fields = [field.name for field in dataclasses.fields(recipe)]
    said = [f"{name} {getattr(recipe, name)}" for name in fields if getattr(recipe, name) != getattr(usual, name)]
    return f" Not as usual at this size: {', '.join(said).replace('_', ' ')}." if said else ""


def _sentence(verdict: Mapping[str, Any]) -> str:
    ratio = verdict["trimmed"] / verdict["dense"]
    return (
        f"The dense model ({verdict['dense']:.3f}) {_against(verdict, 'dense')}. With a quarter of its learnt numbers "
        f"({verdict['trimmed']:.3f}, {ratio:.2f} times the dense figure) it {_against(verdict, 'trimmed')}."
    )


def _against(verdict: Mapping[str, Any], form: str) -> str:
    """Which anchors a form is below, and which not, those that it need not be below among them."""
    anchors, own = verdict["anchors"], verdict[form]
    to_beat = _to_beat(verdict)
    lost = [name for name in to_beat if own >= anchors[name]]
    said = f"does not beat {listed(lost, 'or')}" if lost else f"beats {listed(to_beat, 'and')}"
    # Nothing that was learnt is to be below recordings themselves.
    beside = [name for name in anchors if name not in (*to_beat, "recordings") and own >= anchors[name]]
    if beside:
        said += f", nor {listed(beside, 'or')}" if lost else f", but not {listed(beside, 'or')}"
    return said


def _aside(work: str, aside: Mapping[str, Mapping[str, float]]) -> str:
    names = list(dict.fromkeys(name for form in FORMS for name in aside[form]))
    said = "; ".join(
        f"{name}: " + ", ".join(f"{form} {aside[form][name]:.3g}" for form in FORMS if name in aside[form])
        for name in names
    )
    if not any("heard as their class" in name for name in names):
        return said
    return f"{said}; a class guessed by chance: {1 / WORKS[work].recipe.classes:.3g}"


def _figure(name: str, verdict: Mapping[str, Any]) -> Markup:
    """Anchors and both forms on one scale."""
    values = {**verdict["anchors"], **{form: verdict[form] for form in FORMS}}
    order = sorted(values, key=lambda item: -values[item])
    colours = {**dict.fromkeys(_to_beat(verdict), WINE), "dense": BRASS, "trimmed": BRASS}
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": f"models-{name}"}):
        figure, axes = _canvas(0.7 + 0.3 * len(order))
        axes.grid(visible=False)
        bars = axes.barh(range(len(order)), [values[item] for item in order], 0.62)
        for bar, item in zip(bars, order, strict=True):
            bar.set_color(colours.get(item, SOFT))
            axes.annotate(f"{values[item]:.3g}", (values[item], bar.get_y() + 0.31), (3, 0), va="center", color=INK,
                          textcoords="offset points")  # fmt: skip
        axes.set_yticks(range(len(order)), order)
        axes.set_xlim(min(0.0, *values.values()), 1.14 * max(values.values()))
        return _svg(figure, f"{name}: {verdict['metric']}, beside its anchors")


def _takes(files: Sequence[str]) -> list[Take]:
    """A work's clips with their levels, and pictures of them on one scale."""
    read = {file: soundfile.read(RESULTS / file, dtype="float32") for file in files}
    sounds = {file: audio for file, (audio, _) in read.items()}
    takes, pictures = [], {}
    for rate in {rate for _, rate in read.values()}:
        tone = QUIET_PEAK * np.sin(2 * np.pi * 1000 / rate * np.arange(rate, dtype=np.float32))
        pictures |= spectrograms({**sounds, "tone": tone.astype(np.float32)}, rate)
    for file, (audio, rate) in read.items():
        form, number = file.removesuffix(".mp3").split("-")[-2:]
        uri = data_uri("audio/mpeg", (RESULTS / file).read_bytes())
        said = f"{form}, sound {int(number) + 1}; {level_said(audio)}"
        takes.append(Take(said, uri, pictures[file], len(audio) / rate))
    return takes


def level_said(audio: np.ndarray) -> str:
    """The level of a clip in words, and that it hardly sounds where it does not."""
    # What does not swing is not heard, however large.
    power = float(np.var(audio, dtype=np.float64)) if audio.size else 0.0
    level = 10 * np.log10(power) if power > 0.0 else -np.inf
    said = f"{words.number(level, 2)} dBFS" if np.isfinite(level) else "silence"
    return said if level >= HARDLY_DBFS else f"{said}, hardly sounds"


def _begins(found: Mapping[str, Mapping[str, Any]]) -> str:
    """How much sooner a sound of one piece begins than it would if all of it were made first."""
    said = []
    for form, cost in found.items():
        here = cost["host_whole_seconds"] / cost["host_seconds"]
        counted = ""
        if cost["instructions"] and cost["whole_instructions"]:
            ratio = cost["whole_instructions"] / cost["instructions"]
            counted = f", {ratio:.1f} by instructions on {boards[cost['board']].title}"
        said.append(f"{form}: {here:.1f} times sooner in CPU time here{counted}")
    if not said:
        return ""
    return (
        f"The first block of a sound is there before all of it is made. {'; '.join(said)}. All of it is what the same "
        "engine makes step after step: where every step is the same work, the ratio is their number, and an engine "
        "that made a whole sound at once would share work between them."
    )


def _checked(checks: Sequence[Mapping[str, Any]]) -> str:
    passed = [f"{c['engine']} ({c['max_error']:.1e}{_peak(c)})" for c in checks if c["passed"]]
    failed = [f"{c['engine']} ({c['max_error']})" for c in checks if not c["passed"]]
    said = f"The trimmed engine sounds as torch does (largest difference of full scale): {', '.join(passed)}."
    said += f" It does not on: {', '.join(failed)}." if failed else ""
    return said + ("" if all("golden_peak" in c for c in checks) else f" {_early(checks)}")


def _peak(check: Mapping[str, Any]) -> str:
    return f" of a peak of {words.number(check['golden_peak'], 2)}" if "golden_peak" in check else ""


def _early(checks: Sequence[Mapping[str, Any]]) -> str:
    """What checks of before golden sounds moved from their first frame on leave open."""
    seconds = words.number(max(check["seconds_of_audio"] for check in checks), 2)
    return (
        f"It was checked over the first {seconds} s of its golden sound only, in which the knobs rest and loudness, "
        "where it is played by that, is in its softest quarter; how loud that sound was is not stored."
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 if the page differs from what is stored")
    asked = parser.parse_args()
    return put(PAGE, page(stored()), check=asked.check)


if __name__ == "__main__":
    sys.exit(main())
