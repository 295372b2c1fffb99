"""What trimming saves on a real processor, and what masking does not: measured time against weights removed.

    python benchmarks/speed.py           measure, store results/speed.json, rewrite docs/speed.md and its figure
    python benchmarks/speed.py --page    only rewrite them from what is stored
    python benchmarks/speed.py --check   exit 1 if they differ from what is stored

DDSP with first weights: time depends on shapes, not on what was learnt. Units are chosen by magnitude, within layers;
the masked network has the very same units at zero. All networks are timed in turns, round after round, and the smallest
of the times counts, since what else a machine does only ever adds: ratios hold better than the times themselves.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks")]

from lottery import RECIPES, STOPS  # noqa: E402
from publish import fill, millions  # noqa: E402

from pochette.boards.target import CORTEX_M7  # noqa: E402
from pochette.engine.build import compile_elf, compile_host_library, host_compiler  # noqa: E402
from pochette.engine.emulate import workload  # noqa: E402
from pochette.engine.export import export  # noqa: E402
from pochette.engine.native import NativeRunner  # noqa: E402
from pochette.lab.judge import machine  # noqa: E402
from pochette.lab.report.figures import _STYLE, BRASS, SOFT, WINE, _canvas, _svg  # noqa: E402
from pochette.lab.shrink import masks, shrink, weights_of  # noqa: E402
from pochette.measure import profile_model  # noqa: E402
from pochette.models.model import Model, Step  # noqa: E402
from pochette.reduce.choosing import Choice  # noqa: E402
from pochette.reduce.copying import copy_of  # noqa: E402

STORED = ROOT / "benchmarks" / "results" / "speed.json"
PAGE = ROOT / "docs" / "speed.md"
IMAGE = ROOT / "docs" / "images" / "speed.svg"
ROUNDS = 2
EMULATED_FRAMES = 8
FORMS = {
    "torch": "torch, one second in one piece",
    "step": "torch, frame by frame",
    "c": "C engine, native",
    "c network": "C engine, the network alone",
}
NETWORK_ONLY = ("POCHETTE_NETWORK_ONLY",)
Network = tuple[str, float, Model]
"""How units were removed ("trimmed", "masked"; dense is trimmed by nothing), share of weights asked to go, the model."""


def networks() -> list[Network]:
    """The dense network, and for every stop what is left and what is masked."""
    torch.manual_seed(0)
    dense: Model = RECIPES["ddsp"].build().eval()
    made: list[Network] = [("trimmed", 0.0, dense)]
    for stop in STOPS:
        small, kept = shrink(dense, round((1.0 - stop) * weights_of(dense)), Choice("magnitude"))
        zeroed: Model = copy_of(dense)  # type: ignore[assignment]
        with torch.no_grad():
            for path, mask in masks(zeroed, kept).items():
                zeroed.get_parameter(path).mul_(mask)
        made += [("trimmed", stop, small.eval()), ("masked", stop, zeroed.eval())]
    return made


def runs_of(model: Model, folder: Path, number: int) -> dict[str, Callable[[], Any]]:
    """A second of sound in each form, as something to call.

    Args:
        model: the network with its synthesiser.
        folder: for compiled libraries.
        number: of the network; keeps the libraries apart.

    Returns:
        form to function.
    """
    frames = round(model.sample_rate_hz / model.hop_samples)
    rest = torch.tensor([knob.default for knob in model.controls])
    curve, step = rest.expand(1, frames, -1), Step(model).eval()
    controls = rest.numpy()
    source = export(model, "voice")
    whole = NativeRunner(compile_host_library(source, folder / f"{number}"))
    alone = NativeRunner(compile_host_library(source, folder / f"{number}-network", defines=NETWORK_ONLY))

    def frame_by_frame() -> None:
        for _ in range(frames):
            step(rest[None])

    return {
        "torch": lambda: model(curve),
        "step": frame_by_frame,
        "c": lambda: whole.process(controls, model.sample_rate_hz),
        "c network": lambda: alone.process(controls, model.sample_rate_hz),
    }


@torch.no_grad()
def measure() -> dict[str, Any]:
    """Everything, as plain data."""
    torch.set_num_threads(1)
    made = networks()
    with tempfile.TemporaryDirectory(prefix="pochette-") as folder:
        runs = [runs_of(model, Path(folder), number) for number, (_, _, model) in enumerate(made)]
        times = [{form: {"cpu": np.inf, "wall": np.inf} for form in FORMS} for _ in made]
        for turn in range(ROUNDS + 1):
            for forms, best in zip(runs, times, strict=True):
                for form, call in forms.items():
                    cpu, wall = time.process_time(), time.perf_counter()
                    call()
                    took = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
                    if turn:  # the first only warms up
                        best[form] = {clock: min(best[form][clock], took[clock]) for clock in took}
    dense_weights = weights_of(made[0][2])
    rows = []
    for (removal, stop, model), taken in zip(made, times, strict=True):
        # Zeros are parameters like any other: what a masked network lacks is what its trimmed twin lacks.
        twin = next(other for kind, asked, other in made if kind == "trimmed" and asked == stop)
        row = {
            "removal": removal,
            "asked_removed": stop,
            "removed": 1.0 - weights_of(twin) / dense_weights,
            "parameters": weights_of(model),
            "macs_per_second": float(profile_model(model).macs_per_second or 0.0),
            "seconds": taken,
            "instructions_per_second": instructions(model),
        }
        rows.append(row)
        print(row, file=sys.stderr)
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": {"processor": machine(), "cores": os.cpu_count(), "system": platform.system()},
        "load": os.getloadavg()[0],
        "versions": {name: version(name) for name in ("torch", "pochette")} | {"compiler": Path(host_compiler()[0]).name},
        "rounds": ROUNDS,
        "recipe": {"hidden": RECIPES["ddsp"].hidden, "sample_rate_hz": RECIPES["ddsp"].sample_rate_hz},
        "rows": rows,
    }  # fmt: skip


def instructions(model: Model) -> dict[str, float]:
    """Cortex-M7 instructions per second of audio, whole and the network alone, emulated and counted."""
    source = export(model, "voice")
    curve = np.array([[knob.default for knob in model.controls]] * EMULATED_FRAMES, np.float32)
    parts = {"whole": (), "network": NETWORK_ONLY}
    return {
        part: workload(compile_elf(source, CORTEX_M7, defines=defines), "cortex-m7", curve).instructions_per_second
        for part, defines in parts.items()
    }


# -- the page ----------------------------------------------------------------------------------------------------------


def page(stored: Mapping[str, Any]) -> str:
    """What stands between the markers of docs/speed.md."""
    recipe, where = stored["recipe"], stored["machine"]
    versions = ", ".join(f"{name} {value}" for name, value in stored["versions"].items())
    rows, dense = stored["rows"], stored["rows"][0]
    out = [
        f"DDSP, {recipe['hidden']} recurrent units, {recipe['sample_rate_hz']} Hz, first weights. {stored['date']}, "
        f"{where['processor']}, one thread of {where['cores']} cores, other work beside it (load {stored['load']:.1f}); "
        f"{versions}. Smallest of {stored['rounds']} times, all networks in turns; milliseconds of CPU time per second "
        "of sound, and the share of the dense network's in brackets.",
        "",
        "![time per second of sound against weights removed, trimmed and masked](images/speed.svg)",
        "",
    ]
    for removal in ("trimmed", "masked"):
        out += [f"### {removal.capitalize()}", "",
                f"| removed | parameters | MAC/s | {' | '.join(FORMS.values())} | Cortex-M7 instructions | of the network |",
                "|---" * (len(FORMS) + 5) + "|"]  # fmt: skip
        for row in rows:
            if row["removal"] != removal and row is not dense:
                continue
            cells = [_time(row, dense, form) for form in FORMS]
            cells += [_count(row, dense, part) for part in ("whole", "network")]
            out.append(f"| {row['removed']:.1%} | {row['parameters']:,} | {millions(row['macs_per_second'])} | "
                       f"{' | '.join(cells)} |")  # fmt: skip
        out.append("")
    wall = [max(row["seconds"][form]["wall"] / row["seconds"][form]["cpu"] for row in rows) for form in FORMS]
    out += [f"Wall time is stored beside CPU time; its smallest values are at most {max(wall) - 1:.0%} above.", ""]
    return "\n".join(out)


def _time(row: Mapping[str, Any], dense: Mapping[str, Any], form: str) -> str:
    own, whole = row["seconds"][form]["cpu"], dense["seconds"][form]["cpu"]
    return f"{1e3 * own:.2f} ({own / whole:.0%})"


def _count(row: Mapping[str, Any], dense: Mapping[str, Any], part: str) -> str:
    own, whole = row["instructions_per_second"][part], dense["instructions_per_second"][part]
    return f"{millions(own)} ({own / whole:.0%})"


def digest(stored: Mapping[str, Any]) -> str:
    """Of the rows that the figure shows."""
    return hashlib.sha256(json.dumps(stored["rows"]).encode()).hexdigest()[:16]


def picture(stored: Mapping[str, Any]) -> str:
    """Time relative to dense against weights removed, trimmed and masked, as SVG that stands alone."""
    rows, dense = stored["rows"], stored["rows"][0]
    drawn = {"torch": ("torch", WINE, "s"), "c": ("C engine", BRASS, "o"),
             "c network": ("C engine, network alone", "#2f6678", "D")}  # fmt: skip
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": "speed"}):
        chart, axes = _canvas(3.6)
        for form, (label, colour, marker) in drawn.items():
            for removal, line in (("trimmed", "-"), ("masked", ":")):
                own = [row for row in rows if row["removal"] == removal or row is dense]
                shares = [100 * row["seconds"][form]["cpu"] / dense["seconds"][form]["cpu"] for row in own]
                axes.plot([100 * row["removed"] for row in own], shares, line, color=colour, marker=marker, ms=4, lw=1.6,
                          mfc=colour if removal == "trimmed" else "none", label=f"{label}, {removal}")  # fmt: skip
        axes.axhline(100, color=SOFT, lw=0.8)
        axes.set_ylim(0, None)
        axes.set_xlabel("weights removed, %")
        axes.set_ylabel("CPU time, % of the dense network's")
        chart.legend(frameon=False, loc="outside lower center", ncols=2, fontsize=8, labelcolor=SOFT)
        text = str(_svg(chart, "CPU time per second of sound against weights removed, trimmed and masked"))
    return stand_alone(text, f'data-rows="{digest(stored)}"')


def stand_alone(text: str, attribute: str) -> str:
    """A report's figure as a file of its own: a name space, a size, letters and paper.

    Args:
        text: an `svg` element of `report.figures`.
        attribute: to give it.

    Returns:
        SVG.
    """
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)
    assert box
    width, height = float(box[1]), float(box[2])
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{1.6 * width:.0f}" height="{1.6 * height:.0f}" '
        f'font-family="Helvetica, Arial, sans-serif" {attribute}'
    )
    text = text.replace('<svg class="plot"', opening, 1)
    paper = f'<rect width="{width}" height="{height}" fill="#fffdf8"/>'
    return re.sub(r"(<svg [^>]*>)", lambda found: found[1] + paper, text, count=1) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", action="store_true", help="only rewrite the page")
    parser.add_argument("--check", action="store_true", help="exit 1 if the page differs from the stored results")
    asked = parser.parse_args()
    if not (asked.page or asked.check):
        STORED.write_text(json.dumps(measure(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    old = PAGE.read_text(encoding="utf-8")
    new = fill(old, "speed", page(stored))
    drawn = IMAGE.is_file() and f'data-rows="{digest(stored)}"' in IMAGE.read_text(encoding="utf-8")
    if asked.check:
        print("up to date" if new == old and drawn else f"differs: {PAGE.name} or {IMAGE.name}")
        return int(new != old or not drawn)
    PAGE.write_text(new, encoding="utf-8")
    IMAGE.write_text(picture(stored), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
