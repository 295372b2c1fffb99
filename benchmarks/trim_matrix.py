"""Structured trimming of many networks, by pochette and by Torch-Pruning, held against the same independent answers.

    python benchmarks/trim_matrix.py           trim, store results/trim-matrix.json, rewrite docs/trimming.md
    python benchmarks/trim_matrix.py --page    only rewrite the page from what is stored
    python benchmarks/trim_matrix.py --check   exit 1 if the page differs from what is stored

Torch-Pruning (pip install torch-pruning) is no dependency: where it is absent its column stays empty. Each network is
trimmed in a process of its own, with a time limit; the networks and the judge are those of tests/graph.
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from publish import fill  # noqa: E402
from tests.graph import oracle  # noqa: E402
from tests.graph.networks import GROUPS, NOTHING, Case  # noqa: E402

STORED = ROOT / "benchmarks" / "results" / "trim-matrix.json"
PAGE = ROOT / "docs" / "trimming.md"
KEEP = 0.5
LIMIT_S = 60.0
HEADS = {"nn.MultiheadAttention": ("attention",), "transformer encoder layer": ("block.self_attn",),
         "multi-head attention by hand": ("queries", "keys", "values")}  # fmt: skip
"""What Torch-Pruning must be told: layers that serve two heads."""
Row = dict[str, Any]
Group = dict[str, list[Case]]


def by_pochette(case: Case) -> Row:
    from pochette.errors import ReductionError
    from pochette.reduce import trim

    try:
        smaller = trim(case.network(), case.example(), keep=KEEP)
    except ReductionError as refusal:
        return {"answer": "refused", "detail": refusal.what}
    row = judged(case, smaller)
    if case.whole and row["answer"] == "wrong output" and smaller.trim_report.not_exact:
        row["answer"] = "said inexact"
    return row


def by_torch_pruning(case: Case) -> Row:
    """With its defaults and L1 magnitude; told which layers make the output and which have heads."""
    import torch_pruning

    network = case.network()
    ignored = [part for name, part in network.named_modules() if name.rpartition(".")[2].startswith("head")]
    before = oracle.shapes(network)
    try:
        pruner = torch_pruning.pruner.BasePruner(
            network, case.example(), importance=torch_pruning.importance.MagnitudeImportance(p=1),
            pruning_ratio=1 - KEEP, ignored_layers=ignored,
            num_heads={network.get_submodule(name): 2 for name in HEADS.get(case.name, ())},
        )  # fmt: skip
        pruner.step()
        oracle.outputs(network, case.example())
    except Exception as error:
        damaged = oracle.shapes(network) != before
        return {"answer": "error", "detail": type(error).__name__ + (", model left half cut" if damaged else "")}
    return judged(case, network)


def judged(case: Case, smaller: torch.nn.Module) -> Row:
    verdict = oracle.judge(case, smaller, KEEP)
    row: Row = {"answer": verdict.answer, "detail": verdict.detail}
    if verdict.error == verdict.error:
        row["error"] = float(f"{verdict.error:.2g}")
    return row


def is_right(case: Case, row: Row) -> bool:
    """Exact at the ratio asked for; where nothing can be removed exactly, nothing is, or the tool says so."""
    if case in NOTHING:
        return row["answer"] in ("refused", "nothing removed")
    if case.whole:
        return row["answer"] in ("exact", "refused", "nothing removed", "said inexact")
    return row["answer"] == "exact"


def guarded(trim: Callable[[Case], Row], case: Case) -> Row:
    """In a process of its own: neither an endless loop nor a crash of a tool ends the benchmark."""
    receiving, sending = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_in_child, args=(trim, case, sending))
    started = time.perf_counter()
    process.start()
    sending.close()
    try:
        row: Row = receiving.recv() if receiving.poll(LIMIT_S) else {"answer": "error", "detail": "time limit"}
    except EOFError:
        row = {"answer": "error", "detail": "the process died"}
    process.kill()
    process.join()
    return {**row, "right": is_right(case, row), "seconds": round(time.perf_counter() - started, 2)}


def _in_child(trim: Callable[[Case], Row], case: Case, sending: Any) -> None:
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    warnings.simplefilter("ignore")
    try:
        row = trim(case)
    except Exception as error:
        row = {"answer": "error", "detail": type(error).__name__}
    sending.send(row)


def measure() -> dict[str, Any]:
    torch.set_num_threads(1)
    tools: dict[str, Callable[[Case], Row]] = {}
    if find_spec("pochette.reduce"):
        tools["pochette"] = by_pochette
    if find_spec("torch_pruning"):
        tools["torch-pruning"] = by_torch_pruning
    else:
        print("skipped: Torch-Pruning is not installed (pip install torch-pruning)", file=sys.stderr)
    for trim in tools.values():
        trim(GROUPS["Convolutions"][0])  # children inherit what the first call of a process loads
    rows = []
    for group, cases in {**GROUPS, "Nothing to trim": NOTHING}.items():
        for case in cases:
            row = {"group": group, "name": case.name, "norms": case.norms, "whole": case.whole}
            row |= {tool: guarded(trim, case) for tool, trim in tools.items()}
            rows.append(row)
            print(case.name, *(f"{tool}: {row[tool]['answer']} {row[tool]['detail']}" for tool in tools), sep="; ")
    return {
        "date": datetime.date.today().isoformat(),
        "machine": {"processor": _processor(), "cores": os.cpu_count()},
        "keep": KEEP,
        "bound": oracle.BOUND,
        "versions": {name: _version(name) for name in ("pochette", "torch", "torch-pruning")},
        "rows": rows,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else "unknown"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def page(stored: dict[str, Any]) -> str:
    """The tables of docs/trimming.md."""
    rows = stored["rows"]
    tools = [tool for tool in ("pochette", "torch-pruning") if tool in rows[0]]
    titles = [f"{tool} {stored['versions'][tool]}" for tool in tools]
    made = f"{stored['date']}, {stored['machine']['processor']}, torch {stored['versions']['torch']}"
    lines = [f"{made}; keep {stored['keep']:.0%} of every hidden width; {len(rows)} networks.", ""]
    lines += [f"| | {' | '.join(titles)} |", "|---" * (len(tools) + 1) + "|"]
    totals = [sum(row[tool]["right"] for row in rows) for tool in tools]
    lines.append(f"| **right** | {' | '.join(f'**{total} of {len(rows)}**' for total in totals)} |")
    counts = [Counter(_class(row[tool]) for row in rows) for tool in tools]
    for answer in dict.fromkeys(a for count in counts for a, _ in count.most_common()):
        lines.append(f"| {answer} | {' | '.join(str(count[answer]) for count in counts)} |")
    for group in dict.fromkeys(row["group"] for row in rows):
        lines += ["", f"### {group}", "", f"| network | {' | '.join(tools)} |", "|---" * (len(tools) + 1) + "|"]
        for row in (row for row in rows if row["group"] == group):
            note = " (a norm runs over the channels)" if row["norms"] else f" ({row['whole']})" if row["whole"] else ""
            lines.append(f"| {row['name']}{note} | {' | '.join(_cell(row[tool]) for tool in tools)} |")
    return "\n".join(lines)


def _class(row: Row) -> str:
    return (
        f"{row['answer']}{'' if row['right'] or row['answer'] not in ('nothing removed', 'refused') else ', wrongly'}"
    )


def _cell(row: Row) -> str:
    detail = "" if row["answer"] == "refused" else row.get("detail", "")
    if row["answer"] in ("exact", "wrong output") and "error" in row:
        detail = detail or (f"{row['error']:.0e}" if row["error"] else "to the bit")
    text = f"{_class(row)}{f': {detail}' if detail else ''}".replace("|", "/")
    return text if row["right"] else f"**{text}**"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", action="store_true", help="only rewrite the page")
    parser.add_argument("--check", action="store_true", help="exit 1 if the page differs from the stored results")
    asked = parser.parse_args()
    if not (asked.page or asked.check):
        STORED.write_text(json.dumps(measure(), indent=1) + "\n", encoding="utf-8")
    old = PAGE.read_text(encoding="utf-8")
    new = fill(old, "trim-matrix", page(json.loads(STORED.read_text(encoding="utf-8"))))
    if asked.check:
        print("up to date" if new == old else f"differs: {PAGE.name}")
        return int(new != old)
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
