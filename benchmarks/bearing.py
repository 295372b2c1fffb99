"""Which board bears which model: the table of the 2020 paper redone from counts, and trained models fitted and proven.

    python benchmarks/bearing.py --counts   generate, compile, emulate and count engines of three models at four sizes
    python benchmarks/bearing.py --fits     train a DDSP and a WaveNet, and fit each to its boards (needs recordings)
    python benchmarks/bearing.py            rewrite docs/boards.md from what is stored
    python benchmarks/bearing.py --check    exit 1 if the page differs from what is stored

Counts depend on shapes and not on weights, so the first part trains nothing. What was counted or fitted is stored as it
comes and not done again; `--fits` goes on with a training that was stopped.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks")]

from make_sax import SOUNDS, machine  # noqa: E402
from publish import fill  # noqa: E402

from pochette.boards.board import Board  # noqa: E402
from pochette.engine.export import export  # noqa: E402
from pochette.families import boards, models  # noqa: E402
from pochette.lab.build import Ranges, golden_curve  # noqa: E402
from pochette.lab.fit import COUNTED_FRAMES, cost_on  # noqa: E402
from pochette.lab.shrink import shrink, weights_of  # noqa: E402
from pochette.measure import profile_model  # noqa: E402
from pochette.reduce.choosing import Choice  # noqa: E402

STORED = ROOT / "benchmarks" / "results" / "bearing.json"
PAGE = ROOT / "docs" / "boards.md"
RUNS = ROOT / "build" / "fits"
RATE_HZ = 16000
TRIO = ("ddsp", "sing-ae", "wavenet")
REMOVED = (0.0, 0.8, 0.95, 0.99)
BOARDS = ("arduino-nano-33-ble", "rp2350", "daisy-seed", "teensy-4.1", "bela", "pi-zero-2w", "pi-4")
RANGES = Ranges((110.0, 880.0), (-60.0, -6.0))
"""Of what counted engines play: three octaves, soft to loud."""
ARDUINO = {"ATmega1280": (128 << 10, 8 << 10), "ATmega2560": (256 << 10, 8 << 10)}
"""Flash and RAM of the paper's small boards, in bytes (data sheets, recalled): 8-bit processors without a
floating-point unit, for which there is no engine; only bytes can be compared."""
WAVENET = ("--batch", "2", "--excerpt-seconds", "0.25", "--learning-rate", "0.004", "--shift-semitones", "3",
           "--gain-db", "6")  # fmt: skip
TRAINED: dict[str, tuple[tuple[str, ...], tuple[str, ...], int]] = {
    "ddsp": (("--steps", "2000"), ("daisy-seed", "arduino-nano-33-ble", "pi-zero-2w", "browser"), 600),
    "wavenet": (("--steps", "1500", *WAVENET), ("pi-4",), 1000),
}
"""Model to options of its training, boards it is fitted to, and training steps after each fitting's cuts."""


# -- counts ------------------------------------------------------------------------------------------------------------


def sizes(model: str) -> Iterator[tuple[float, Any]]:
    """A model with first weights, and what is left of it when a share of its learnt numbers is gone."""
    torch.manual_seed(0)
    whole = replace(models[model].sized("small"), sample_rate_hz=RATE_HZ).build()
    for removed in REMOVED:
        if not removed:
            yield removed, whole
        else:
            yield removed, shrink(whole, round((1.0 - removed) * weights_of(whole)), Choice("random"))[0]


def count(stored: dict[str, Any]) -> None:
    """Count every engine on every board that has no count yet, storing each as it comes."""
    counts: dict[str, Any] = stored.setdefault("counts", {})
    for model in TRIO:
        wanted = {(removed, board) for removed in REMOVED for board in BOARDS}
        if all(_name(model, removed, board) in counts for removed, board in wanted):
            continue
        for removed, small in sizes(model):
            lacking = [board for board in BOARDS if _name(model, removed, board) not in counts]
            if not lacking:
                continue
            source = export(small, "bearing")
            curve = golden_curve(small, RANGES)[:COUNTED_FRAMES, : len(small.controls)]
            weights, macs = weights_of(small), profile_model(small).macs_per_second
            for board in lacking:
                cost, shares = cost_on(source, boards[board], curve)
                counts[_name(model, removed, board)] = {
                    "weights": weights, "macs_per_second": macs, "shares": shares, "cost": cost.to_json(),
                }  # fmt: skip
                save(stored)
                print(f"{_name(model, removed, board)}: {_verdict(shares)}", flush=True)
    stored["paper"] = {model: _paper(model) for model in TRIO}
    stored["counted"] = {"date": _today(), "compiler": f"ziglang {importlib.metadata.version('ziglang')}"}
    save(stored)


def _paper(model: str) -> dict[str, Any]:
    """What the published size takes, from the graph alone."""
    counted = profile_model(replace(models[model].sized("paper"), sample_rate_hz=RATE_HZ).build())
    return {
        "weights": counted.parameters,
        "macs_per_second": counted.macs_per_second,
        "weight_bytes": counted.weight_bytes,
        "state_bytes": counted.state_bytes,
    }


def _name(model: str, removed: float, board: str) -> str:
    return f"{model}, {removed:.0%} removed, on {board}"


# -- fits --------------------------------------------------------------------------------------------------------------


def fit(stored: dict[str, Any]) -> int:
    """Train each model and fit it to each of its boards by the commands that a person would type."""
    fits: dict[str, Any] = stored.setdefault("fits", {})
    failed = 0
    for model, (options, where, steps) in TRAINED.items():
        run = RUNS / model
        trained = _pochette("train", model, str(SOUNDS), "--sample-rate-hz", str(RATE_HZ), *options, "--out", str(run))
        for board in where:
            if f"{model} on {board}" in fits:
                continue
            answer = _pochette("fit", str(run), "--board", board, "--steps", str(steps))
            failed += "error" in answer
            kept = {name: value for name, value in answer.items() if name not in ("run", "instrument")}
            fits[f"{model} on {board}"] = {
                **kept, "date": _today(), "machine": machine(), "trained_steps": trained.get("steps"),
                "sounds": SOUNDS.name,
            }  # fmt: skip
            save(stored)
            print(f"{model} on {board}: {'proven' if answer.get('proven') else 'NOT proven'}", flush=True)
    return int(failed > 0)


def _pochette(*arguments: str) -> dict[str, Any]:
    """What a command answers with --json; its progress is seen meanwhile."""
    made = subprocess.run(
        [sys.executable, "-m", "pochette.cli", *arguments, "--json"], stdout=subprocess.PIPE, text=True, check=False
    )
    answer: dict[str, Any] = json.loads(made.stdout)
    return answer


# -- the page ----------------------------------------------------------------------------------------------------------


def page(stored: Mapping[str, Any]) -> str:
    """All that stands between the markers."""
    return "\n".join([*fitted(stored.get("fits", {})), *table_of_counts(stored), *beside_the_paper(stored)])


def fitted(fits: Mapping[str, Any]) -> list[str]:
    """Trained models on their boards."""
    if not fits:
        return ["## Trained and proven", "", "Not yet computed.", ""]
    rows = []
    for name, found in fits.items():
        if "final" not in found:
            rows.append([name, "does not fit", "", "", "", "", found.get("error", {}).get("what", "")])
            continue
        final, loss, check = found["final"], found["held_out_loss"], found["check"]
        budget, share = max(final["shares"].items(), key=lambda item: item[1])
        error = "not run" if check["max_error"] is None else f"{check['max_error']:.1e}"
        rows.append([
            name, f"{final['keep']:.1%}", f"{final['parameters']:,}", final.get("precision", "float32"),
            f"{loss['dense']:.3f}, {loss['fitted']:.3f}", f"{share:.0%} of its {budget}",
            f"{'proven' if found['proven'] else '**not proven**'}: {error} over {check['seconds_of_audio']:g} s on "
            f"{check['engine']}",
        ])  # fmt: skip
    any_fit = next(iter(fits.values()))
    said = (
        f"Trained on `{any_fit['sounds']}` at {RATE_HZ} Hz, then `pochette fit RUN --board BOARD`; "
        f"{any_fit['machine']['cpu']}, {any_fit['date']}."
    )
    heading = ["model on board", "network kept", "parameters", "weights as", "held-out loss, whole and fitted"]
    return ["## Trained and proven", "", said, "", *_table([*heading, "tightest budget", "golden sound"], rows)]


def table_of_counts(stored: Mapping[str, Any]) -> list[str]:
    """Every model at every size on every board."""
    counts, when = stored.get("counts", {}), stored.get("counted")
    if not counts:
        return ["## Counted", "", "Not yet computed.", ""]
    out = ["## Counted", ""]
    if when:
        out += [f"First weights at {RATE_HZ} Hz, one voice; code by {when['compiler']}, {when['date']}.", ""]
    for model in TRIO:
        known = [
            (removed, [counts.get(_name(model, removed, board)) for board in BOARDS], board_counts)
            for removed in REMOVED
            if (board_counts := counts.get(_name(model, removed, BOARDS[0])))
        ]
        rows = [
            [
                "whole" if not removed else f"{removed:.0%}",
                f"{first['weights']:,}",
                f"{first['macs_per_second'] / 1e6:,.1f} M",
                *("" if found is None else _verdict(found["shares"]) for found in row),
            ]
            for removed, row, first in known
        ]
        heading = ["removed", "learnt numbers", "MAC/s", *(_title(board) for board in BOARDS)]
        out += [f"### {model}", "", *_table(heading, rows)]
    return out


def beside_the_paper(stored: Mapping[str, Any]) -> list[str]:
    """The paper's own boards and sizes, as far as bytes and multiply-accumulates go."""
    paper, counts = stored.get("paper"), stored.get("counts", {})
    if not paper:
        return []
    rows = []
    for model, size in paper.items():
        least = max(
            (size["macs_per_second"] or 0.0) / (LANES * board.cycle_budget)
            for board in (boards["pi-4"],)
            if board.cycle_budget
        )
        rows.append([
            model, f"{size['weights']:,}", f"{size['weight_bytes'] / 1e6:,.1f} MB",
            f"{(size['macs_per_second'] or 0) / 1e9:,.2f} G", f"{least:.2g} times",
        ])  # fmt: skip
    heading = [
        "what plays of a model at its published size",
        "learnt numbers",
        "weights",
        "MAC/s",
        "of a Pi 4's budget, at least",
    ]
    out = ["## Beside the table of 2020", "", *_table(heading, rows)]
    small = []
    for model in TRIO:
        found = counts.get(_name(model, REMOVED[-1], "arduino-nano-33-ble"))
        if found is None:
            continue
        flash, state = 4 * found["weights"], found["cost"]["state_bytes"] or 0
        small.append([
            f"{model}, {REMOVED[-1]:.0%} removed",
            *(f"{flash / has_flash:.2g}, {state / has_ram:.2g}" for has_flash, has_ram in ARDUINO.values()),
        ])  # fmt: skip
    heading = ["times the flash, times the RAM", *ARDUINO]
    return [*out, *_table(heading, small)]


LANES = 4
"""Multiply-adds that a Cortex-A72 can begin in a cycle, in one vector instruction: the bound of bounds."""


def _verdict(shares: Mapping[str, float]) -> str:
    budget, share = max(shares.items(), key=lambda item: item[1])
    return f"**{share:.0%}** {budget}" if share <= 1.0 else f"{share:.3g} x {budget}"


def _title(board: str) -> str:
    found: Board = boards[board]
    return found.title


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (heading, ["---"] * len(heading), *rows)] + [""]


# -- files -------------------------------------------------------------------------------------------------------------


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def load() -> dict[str, Any]:
    """What is stored; nothing if nothing is."""
    return json.loads(STORED.read_text(encoding="utf-8")) if STORED.is_file() else {}


def save(stored: Mapping[str, Any]) -> None:
    """Keep it."""
    STORED.write_text(json.dumps(stored, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", action="store_true", help="count what has no count yet")
    parser.add_argument("--fits", action="store_true", help="train and fit what is not fitted yet")
    parser.add_argument("--check", action="store_true", help="exit 1 if the page differs from what is stored")
    asked = parser.parse_args()
    stored, failed = load(), 0
    if asked.counts:
        count(stored)
    if asked.fits:
        if not SOUNDS.is_dir():
            print(f"skipped: there are no recordings at {SOUNDS}", file=sys.stderr)
            return 0
        failed = fit(stored)
    old = PAGE.read_text(encoding="utf-8")
    new = fill(old, "bearing", page(stored))
    if not asked.check:
        PAGE.write_text(new, encoding="utf-8")
    print("up to date" if new == old else f"differs: {PAGE.name}")
    return failed or int(asked.check and new != old)


if __name__ == "__main__":
    sys.exit(main())
