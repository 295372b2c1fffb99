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
import math
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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

STORED = ROOT / "benchmarks" / "results" / "speed.json"
PAGE = ROOT / "docs" / "speed.md"
IMAGE = ROOT / "docs" / "images" / "speed.svg"
ROUNDS = 12
EMULATED_FRAMES = 8
FORMS = {
    "torch": "torch, one second in one piece",
    "step": "torch, frame by frame",
    "c": "C engine, native",
    "c network": "C engine, the network alone",
}
NETWORK_ONLY = ("POCHETTE_NETWORK_ONLY",)
Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Network:
    """One network of the comparison."""

    removal: str
    """"trimmed", of which the dense one is the first, or "masked"."""
    asked_removed: float
    model: Model
    weights: Weights
    """To be loaded into the model before anything is asked of it."""
    removed: float
    """Share of learnt numbers that are gone or zero."""

    def ready(self) -> Model:
        """The model with this network's weights."""
        self.model.load_state_dict(self.weights)
        return self.model


def networks() -> list[Network]:
    """The dense network, and for every stop what is left and what is masked.

    A masked network is the dense module with other values in the same memory: where in memory four megabytes happen to
    lie makes more of a difference to torch than anything that is in them.
    """
    torch.manual_seed(0)
    dense: Model = RECIPES["ddsp"].build().eval()
    whole = weights_copy(dense)
    made = [Network("trimmed", 0.0, dense, whole, 0.0)]
    for stop in STOPS:
        small, kept = shrink(dense, round((1.0 - stop) * weights_of(dense)), Choice("magnitude"))
        zeroed = {path: tensor.clone() for path, tensor in whole.items()}
        for path, mask in masks(dense, kept).items():
            zeroed[path] *= mask
        removed = 1.0 - weights_of(small) / weights_of(dense)
        made.append(Network("trimmed", stop, small.eval(), weights_copy(small), removed))
        made.append(Network("masked", stop, dense, zeroed, removed))
    return made


def weights_copy(model: Model) -> Weights:
    """What a model has learnt, apart from it."""
    return {path: tensor.detach().clone() for path, tensor in model.state_dict().items()}


def runs_of(network: Network, folder: Path) -> dict[str, Callable[[], Any]]:
    """A second of sound in each form, as something to call.

    Args:
        network: with its synthesiser.
        folder: for compiled libraries.

    Returns:
        form to function.
    """
    model = network.ready()
    frames = round(model.sample_rate_hz / model.hop_samples)
    rest = torch.tensor([knob.default for knob in model.controls])
    curve, step, controls = rest.expand(1, frames, -1), Step(model).eval(), rest.numpy()
    source = export(model, "voice")
    whole = NativeRunner(compile_host_library(source, folder / "whole"))
    alone = NativeRunner(compile_host_library(source, folder / "network", defines=NETWORK_ONLY))

    def frame_by_frame() -> None:
        for _ in range(frames):
            step(rest[None])

    return {
        "torch": lambda: model(curve),
        "step": frame_by_frame,
        "c": lambda: whole.process(controls, model.sample_rate_hz),
        "c network": lambda: alone.process(controls, model.sample_rate_hz),
    }


def times_of(made: Sequence[Network]) -> list[dict[str, dict[str, float]]]:
    """Smallest CPU and wall time of a second of sound, all networks in turns.

    Args:
        made: the networks.

    Returns:
        for each network form to clock to seconds.
    """
    times = [{form: {"cpu": math.inf, "wall": math.inf} for form in FORMS} for _ in made]
    with tempfile.TemporaryDirectory(prefix="pochette-") as folder:
        runs = [runs_of(network, Path(folder) / str(number)) for number, network in enumerate(made)]
        for _ in range(ROUNDS):
            for network, forms, best in zip(made, runs, times, strict=True):
                network.ready()
                for form, call in forms.items():
                    if form != "step":
                        call()  # to have in the cache what belongs there; the step comes after the same weights
                    cpu, wall = time.process_time(), time.perf_counter()
                    call()
                    took = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
                    best[form] = {clock: min(best[form][clock], took[clock]) for clock in took}
    return times


@torch.no_grad()
def measure() -> dict[str, Any]:
    """Everything, as plain data."""
    torch.set_num_threads(1)
    made = networks()
    load = os.getloadavg()[0]
    rows = []
    for network, taken in zip(made, times_of(made), strict=True):
        model = network.ready()
        row = {
            "removal": network.removal,
            "asked_removed": network.asked_removed,
            "removed": network.removed,
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
        "load": load,
        "versions": {"torch": version("torch"), "pochette": version("pochette"), "compiler": compiler()},
        "rounds": ROUNDS,
        "recipe": {"hidden": RECIPES["ddsp"].hidden, "sample_rate_hz": RECIPES["ddsp"].sample_rate_hz},
        "rows": rows,
    }


def compiler() -> str:
    """What compiles the native engines, as it calls itself."""
    told = subprocess.run([*host_compiler(), "--version"], capture_output=True, text=True, check=True)
    return told.stdout.splitlines()[0]


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
        f"{where['processor']}, one thread of {where['cores']} cores, other work beside it (load "
        f"{stored['load']:.1f}); {versions}. Smallest of {stored['rounds']} times, all networks in turns; milliseconds "
        "of CPU time per second of sound, in brackets the share of the dense network's.",
        "",
        "![time per second of sound against weights removed, trimmed and masked](images/speed.svg)",
        "",
    ]
    for removal in ("trimmed", "masked"):
        heading = ["removed", "parameters", "MAC/s", *FORMS.values(), "Cortex-M7 instructions", "of the network alone"]
        out += [f"### {removal.capitalize()}", "", f"| {' | '.join(heading)} |", "|---" * len(heading) + "|"]
        for row in rows:
            if row["removal"] != removal and row is not dense:
                continue
            cells = [_time(row, dense, form) for form in FORMS]
            cells += [_count(row, dense, part) for part in ("whole", "network")]
            share = "dense" if row is dense else f"{row['removed']:.1%}"
            out.append(f"| {share} | {row['parameters']:,} | {millions(row['macs_per_second'])} | "
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
    drawn = {"step": ("torch, frame by frame", SOFT, "^"), "torch": ("torch, in one piece", WINE, "s"),
             "c": ("C engine", BRASS, "o"),
             "c network": ("C engine, network alone", "#2f6678", "D")}  # fmt: skip
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": "speed"}):
        chart, axes = _canvas(3.6)
        for form, (label, colour, marker) in drawn.items():
            for removal, line in (("trimmed", "-"), ("masked", ":")):
                own = [row for row in rows if row["removal"] == removal or row is dense]
                shares = [100 * row["seconds"][form]["cpu"] / dense["seconds"][form]["cpu"] for row in own]
                places = [100 * row["removed"] for row in own]
                axes.plot(places, shares, line, color=colour, marker=marker, ms=4, lw=1.6,
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
