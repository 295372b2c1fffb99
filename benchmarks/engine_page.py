"""The page and the figure of the engine benchmark, from what is stored."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import engine_counts
import matplotlib
from engine_goals import (
    OURS,
    Row,
    bandwidth,
    bounds_ns,
    fastest_other,
    layered_ns,
    least_ns,
    median_ns,
    ratio,
    share,
    tally,
    verdicts,
)
from engine_nets import NETS, Net
from engine_peers import PEERS
from publish import fill
from speed import stand_alone

from pochette.lab.report.figures import _STYLE, BRASS, SOFT, WINE, _canvas, _svg

ROOT = Path(__file__).resolve().parents[1]
STORED = ROOT / "benchmarks" / "results" / "engine"
PAGE = ROOT / "docs" / "engine.md"
IMAGE = ROOT / "docs" / "images" / "engine.svg"
TITLES = {peer.name: peer.title for peer in PEERS} | {"litert": "LiteRT", "sketch": "by hand"}
OTHERS = ("onnxruntime", "openvino", "executorch", "litert", "torchscript", "torch")
"""Engines of others."""
FEWER_BITS = ("cc-bfloat16", "cc-float16", "cc-int8")
"""Ours with matrices stored in fewer bits: no rivals of the others, who compute with 32, so told of apart."""
LOOKS = {"cc": (BRASS, "o"), "clang": (BRASS, "D"), "sketch": ("#2f6678", "x"), "onnxruntime": (WINE, "s"),
         "openvino": ("#4d6b3c", "v"), "executorch": ("#5b4a8a", "P"), "litert": ("#3f7d86", "p"),
         "torchscript": (SOFT, "<"), "torch": (SOFT, "^")}  # fmt: skip


def place(stored: Mapping[str, Any]) -> Path:
    """Where a run is stored: the last one on processors with vectors of its width."""
    STORED.mkdir(parents=True, exist_ok=True)
    return STORED / f"{stored['machine']['vectors'].lower()}.json"


def runs() -> list[dict[str, Any]]:
    """The last run on each kind of processor, that of most multiply-adds a second first."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(STORED.glob("*.json"))]
    return sorted(found, key=lambda run: -run["limit"]["macs_per_second"])


def title(row: Row) -> str:
    """A network's name for people."""
    return next(net.title for net in NETS if net.name == row["name"])


def duration(ns: float | None) -> str:
    """Nanoseconds with three digits, in the unit that suits."""
    if ns is None:
        return ""
    unit, value = ("ns", ns) if ns < 1e4 else ("µs", ns / 1e3)
    return f"{value:.0f} {unit}" if value >= 100 else f"{value:.1f} {unit}"


def shown(rows: Sequence[Row]) -> list[str]:
    """Peers of 32 bits that ran at least one network, in the page's order."""
    return [name for name in TITLES if name not in FEWER_BITS and any(name in row["peers"] for row in rows)]


def table(stored: Mapping[str, Any]) -> str:
    """Median time of a call, and the smallest in brackets."""
    rows, limit = stored["rows"], stored["limit"]
    names = shown(rows)
    out = [_heading(["one call", "limit", *(TITLES[name] for name in names)])]
    for row in rows:
        cells = [f"{duration(median_ns(row, n))} ({duration(least_ns(row, n))})" if n in row["peers"] else "—"
                 for n in names]  # fmt: skip
        net = next(net for net in NETS if net.name == row["name"])
        out.append(_line([f"{net.title}, {net.call}", duration(max(bounds_ns(row, limit))), *cells]))
    return "\n".join(out)


def _heading(cells: Sequence[str]) -> str:
    return f"{_line(cells)}\n{'|---' * len(cells)}|"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def ratios(rows: Sequence[Row]) -> str:
    """How many times as long the others take as our C."""
    names = [name for name in shown(rows) if name != OURS]
    out = [_heading(["times the time of ours, cc", *(TITLES[name] for name in names)])]
    for row in rows:
        out.append(_line([title(row), *(_times(ratio(row, name)) for name in names)]))
    return "\n".join(out)


def fewer_bits(rows: Sequence[Row]) -> str:
    """How fast and how exact our C is with matrices stored in fewer bits; empty where none was measured."""
    names = [name for name in FEWER_BITS if any(name in row["peers"] for row in rows)]
    if not names:
        return ""
    out = [_heading(["one call", TITLES[OURS], *(f"{TITLES[name]}: time, times as fast, error" for name in names)])]
    for row in rows:
        cells = []
        for name in names:
            slower = ratio(row, name)
            if slower is None:
                cells.append("—")
                continue
            error = row["peers"][name]["error"]
            cells.append(f"{duration(median_ns(row, name))}, {1 / slower:.2f}, {error:.1e}")
        if any(cell != "—" for cell in cells):
            out.append(_line([title(row), duration(median_ns(row, OURS)), *cells]))
    return "\n".join(out)


def fewer_bits_said(rows: Sequence[Row]) -> str:
    """How much faster fewer bits are, least and most, and how that stands beside others with floats."""
    said = []
    for name in FEWER_BITS:
        gains = {title(row): 1 / slower for row in rows if (slower := ratio(row, name)) is not None}
        if not gains:
            continue
        most = max(gains, key=gains.__getitem__)
        row = next(row for row in rows if title(row) == most)
        least = min(gains.values())
        told = f"{TITLES[name]}: {least:.2f} to {gains[most]:.2f} times as fast as floats, most the {most}"
        other = ratio(row, "onnxruntime", name)
        said.append(told + (f", {_times(other)} times as fast as ONNX Runtime with floats" if other else ""))
    return f"{'; '.join(said)}." if said else ""


def summary(rows: Sequence[Row]) -> str:
    """How our C stands against the fastest of the others, network by network."""
    found = [(title(row), fastest_other(row, OTHERS)) for row in rows]
    told = [f"{name} {_times(best[1])} times ({TITLES[best[0]]})" for name, best in found if best is not None]
    return f"Ours against the fastest other engine: {', '.join(told)}." if told else ""


def _times(value: float | None) -> str:
    return "—" if value is None else f"{value:.0f}" if value >= 20 else f"{value:.1f}" if value >= 3 else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "—" if value is None else f"{value:.0%}"


def makings(stored: Mapping[str, Any]) -> str:
    """What a call consists of, and how near each build comes to the limit."""
    rows, limit = stored["rows"], stored["limit"]
    names = [name for name in ("cc", "clang", "sketch") if any(name in row["peers"] for row in rows)]
    counted = [name for name in ("cc", "sketch") if any(name in row["instructions"] for row in rows)]
    heading = ["network", "weights", "multiply-adds", "bound by", *(f"limit reached, {TITLES[n]}" for n in names)]
    heading += [f"layer by layer, {TITLES[OURS]}"]
    heading += [f"instructions, {'by hand' if n == 'sketch' else 'ours'}" for n in counted]
    out = [_heading([*heading, "state, scratch", "error"])]
    for row in rows:
        arithmetic, memory = bounds_ns(row, limit)
        bound = "arithmetic" if arithmetic > memory else "reading"
        cells = [title(row), f"{row['weights']:,}", f"{row['macs']:,}", bound]
        cells += [_percent(share(row, limit, n)) for n in names]
        least = least_ns(row, OURS)
        cells += [_percent(None if least is None else layered_ns(row, limit) / least)]
        cells += [f"{row['instructions'][n]:,.0f}" if n in row["instructions"] else "—" for n in counted]
        cells += [f"{row['state_bytes']:,}, {row['scratch_bytes']:,} bytes" if "state_bytes" in row else "—"]
        cells += [f"{row['peers'][OURS]['error']:.1e}" if OURS in row["peers"] else "—"]
        out.append(_line(cells))
    return "\n".join(out)


def goals(stored: Mapping[str, Any]) -> str:
    """Every goal of every network: what was wanted, what was measured."""
    rows, limit = stored["rows"], stored["limit"]
    told = {row["name"]: verdicts(row, limit) for row in rows}
    out = []
    for goal, (met, missed, unknown) in tally(rows, limit).items():
        more = f", not measured for {unknown}" if unknown else ""
        out.append(f"- {goal}: held by {met}, missed by {missed}{more}")
    out += ["", _heading(["network", *(verdict.goal for verdict in told[rows[0]["name"]])])]
    for row in rows:
        out.append(_line([title(row), *(_judged(v.measured, v.wanted, v.holds) for v in told[row["name"]])]))
    return "\n".join(out)


def on_another(stored: Mapping[str, Any]) -> str:
    """A run on another processor: what it is, how fast ours is there, and its goals."""
    rows, limit, where = stored["rows"], stored["limit"], stored["machine"]
    times = ", ".join(f"{title(row)} {duration(median_ns(row, OURS))}" for row in rows)
    sizes = {"256 KB": 256 << 10, "6 MB": 6 << 20}
    caches = ", ".join(f"{bandwidth(limit, size) / 1e9:.0f} GB/s of {label}" for label, size in sizes.items())
    said = (
        f"{stored['date']}, {where['processor']} with {where['vectors']}: {limit['clock_hz'] / 1e9:.2f} GHz, "
        f"{limit['macs_per_second'] / 1e9:.0f} G multiply-adds a second, weights read and used at {caches}. "
        f"A call takes {times}. {summary(rows)}"
    )
    return "\n".join([said, "", goals(stored)])


def _judged(measured: str, wanted: str, holds: bool | None) -> str:
    if not wanted:
        return ""
    if holds is None:
        return f"{measured} (goal {wanted})"
    return f"{measured}, **{'holds' if holds else 'missed'}** (goal {wanted})"


def absent(rows: Sequence[Row]) -> list[str]:
    """What did not run, and why, each reason once."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row["refusal"]:
            found.setdefault(f"ours: {row['refusal']}", []).append(title(row))
        for name, reason in row["missing"].items():
            if not (row["refusal"] and name.split("-")[0] in ("cc", "clang")):
                found.setdefault(f"{TITLES[name]}: {reason}", []).append(title(row))
        if row["uncounted"]:
            found.setdefault(f"instructions: {row['uncounted']}", []).append(title(row))
    everywhere = len(rows)
    return [
        f"- {reason}" + ("" if len(nets) == everywhere else f" ({', '.join(nets)})") for reason, nets in found.items()
    ]


def page(all_runs: Sequence[Mapping[str, Any]]) -> str:
    """What stands between the markers of docs/engine.md: one run whole, of the others what differs by processor."""
    stored, *others = all_runs
    rows, limit, where = stored["rows"], stored["limit"], stored["machine"]
    tools = [*stored["compilers"].values(), *(f"{name} {number}" for name, number in stored["versions"].items())]
    reads = ", ".join(
        f"{bandwidth(limit, size) / 1e9:.0f} GB/s of {label}"
        for label, size in (("16 KB", 16 << 10), ("256 KB", 256 << 10), ("6 MB", 6 << 20), ("48 MB", 48 << 20))
    )
    out = [
        f"{stored['date']}, {where['processor']} with {where['vectors']}, one thread of {where['cores']} cores, "
        f"{'pinned to one' if where['pinned'] else 'not pinned'}; load {stored['load'][0]} at the start and "
        f"{stored['load'][1]} at the end, of which the benchmark is 1; {'; '.join(tools)}. {stored['rounds']} rounds.",
        "",
        f"The core: {limit['clock_hz'] / 1e9:.2f} GHz, {limit['macs_per_second'] / 1e9:.0f} G multiply-adds a second, "
        f"weights read and used at {reads}.",
        "",
        "![time of a call of seven networks, by engine, as a multiple of the core's limit](images/engine.svg)",
        "",
        "Median time of a call (smallest in brackets):",
        "",
        table(stored),
        "",
        ratios(rows),
        "",
        summary(rows),
        "",
        "### Against the limit",
        "",
        makings(stored),
        "",
        "### Goals",
        "",
        goals(stored),
    ]
    for other in others:
        out += ["", f"### Goals on a processor with {other['machine']['vectors']}", "", on_another(other)]
    out += ["", "### On boards' processors", "", on_boards()]
    fewer = fewer_bits(rows)
    if fewer:
        out += ["", "### In fewer bits", "", fewer_bits_said(rows), "", fewer]
    missing = absent(rows)
    if missing:
        out += ["", "### What did not run", "", *missing]
    return "\n".join([*out, ""])


def on_boards() -> str:
    """Instructions of a call on other processors by each compiler, with their goals and the load on a Daisy Seed."""
    stored = json.loads(engine_counts.STORED.read_text(encoding="utf-8"))
    counts, builds = stored["counts"], engine_counts.BUILDS
    tools = "; ".join(dict.fromkeys(stored["compilers"].values()))
    out = [
        f"Counted in an emulator ({tools}; gcc with -ffast-math); `benchmarks/engine_counts.py` counts, and a test "
        "fails when a count grows by 3 %. A goal holds if every compiler keeps it. The load is of a Cortex-M7 at 480 "
        "MHz that makes 48,000 samples a second: what the instructions of the first compiler take at best and at "
        "worst, with code and data in memory that answers at once.",
        "",
    ]
    by_machine = {name: [build for build in builds if build.machine == name] for name in ("cortex-m7", "aarch64")}
    heading = ["one call"]
    for machine, mine in by_machine.items():
        heading += [f"{_PROCESSORS[machine]}, {build.title}" for build in mine] + ["goal"]
    out.append(_heading([*heading, "load at 480 MHz"]))
    for net in engine_counts.COUNTED:
        cells = [f"{net.title}, {net.call}"]
        for mine in by_machine.values():
            made = [counts[build.key(net)]["instructions"] for build in mine]
            cells += [*(f"{number:,}" for number in made), _goal(max(made), engine_counts.goal(net, mine[0]))]
        out.append(_line([*cells, _load(net, counts[builds[0].key(net)])]))
    return "\n".join(out)


_PROCESSORS = {"cortex-m7": "Cortex-M7", "aarch64": "aarch64"}


def _load(net: Net, counts: Mapping[str, Any]) -> str:
    """Share of a Cortex-M7's time, where calls follow from samples."""
    samples = 2048 if net.name == "decoder" else net.block
    if samples == 1 and net.call != "a sample":
        return ""
    calls_per_second = 48_000 / samples
    low, high = (counts[end] * calls_per_second / engine_counts.BOARD_CLOCK_HZ for end in ("cycles_low", "cycles_high"))
    return f"{low:.0%} to {high:.0%}"


def _goal(instructions: int, most: float | None) -> str:
    if most is None:
        return ""
    return f"at most {most:,.0f}: {'holds' if instructions <= most else '**does not hold**'}"


def digest(stored: Mapping[str, Any]) -> str:
    """Of what the figure shows."""
    return hashlib.sha256(json.dumps([stored["rows"], stored["limit"]]).encode()).hexdigest()[:16]


def picture(stored: Mapping[str, Any]) -> str:
    """Every peer's smallest time as a multiple of the limit, a line for each network, as SVG that stands alone."""
    rows, limit = stored["rows"], stored["limit"]
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": "engine"}):
        chart, axes = _canvas(3.8)
        for name, (colour, marker) in LOOKS.items():
            reached = [(share(row, limit, name), -n) for n, row in enumerate(rows)]
            places = [(1 / part, line) for part, line in reached if part is not None]
            if places:
                hollow = name in ("clang", "torchscript")
                axes.plot(*zip(*places, strict=True), marker, color=colour, ms=6, mfc="none" if hollow else colour,
                          label=TITLES[name])  # fmt: skip
        axes.axvline(1, color=SOFT, lw=0.8)
        axes.set_xscale("log")
        axes.set_xticks([1, 10, 100, 1000], ["1", "10", "100", "1000"])
        axes.set_yticks([-n for n in range(len(rows))], [title(row) for row in rows])
        axes.set_xlabel("time of a call, times the core's limit")
        chart.legend(frameon=False, loc="outside lower center", ncols=4, fontsize=8, labelcolor=SOFT)
        text = str(_svg(chart, "Time of a call as a multiple of the core's limit, by network and engine"))
    return stand_alone(text, f'data-rows="{digest(stored)}"')


def filled(stored: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The page's text as it is, and as it should be."""
    old = PAGE.read_text(encoding="utf-8")
    return old, fill(old, "engine", page(stored))


def is_current(stored: Sequence[Mapping[str, Any]]) -> bool:
    """Whether page and figure say what is stored."""
    old, new = filled(stored)
    return old == new and IMAGE.is_file() and f'data-rows="{digest(stored[0])}"' in IMAGE.read_text(encoding="utf-8")


def fill_page(stored: Sequence[Mapping[str, Any]]) -> None:
    """Rewrite what stands between the page's markers."""
    PAGE.write_text(filled(stored)[1], encoding="utf-8")
    print(f"{PAGE.name} is written", file=sys.stderr)
