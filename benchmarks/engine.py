"""How fast the generated C is: seven networks, our builds, PyTorch, other runtimes and the core's own limit.

    python benchmarks/engine.py                       measure, store results/engine/, rewrite docs/engine.md
    python benchmarks/engine.py --nets gru32 --rounds 5 --peers cc onnxruntime     less of it; stores nothing
    python benchmarks/engine.py --page                only rewrite the page and its figure from what is stored
    python benchmarks/engine.py --check               exit 1 if they differ from what is stored

All peers of a network are timed in turns, round after round, on one core, warm, each round in the other order; ratios
are taken within a round, so that what slows the machine for a while slows both. `--litert PYTHON` adds LiteRT, whose
converter wants an environment of its own; `--sketches FOLDER` adds programs written by hand, where there are such. What
is not installed is left out and named.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks")]

from engine_build import MissingError, Native, best_of, instructions, limits, pin, vectors, version_of  # noqa: E402
from engine_litert import litert_peer, litert_version  # noqa: E402
from engine_nets import NETS, FloatArray, Net  # noqa: E402
from engine_page import IMAGE, PAGE, fewer_bits, fill_page, is_current, picture, place, runs, table  # noqa: E402
from engine_peers import PEERS, Candidate, Eager, Peer, Runner, versions  # noqa: E402
from engine_sketches import sketch_peer, sketch_sources  # noqa: E402

from pochette.engine.compiled import Engine, compile_engine  # noqa: E402
from pochette.errors import PochetteError  # noqa: E402
from pochette.lab.judge import machine  # noqa: E402
from pochette.measure.profile import profile  # noqa: E402

ROUNDS = 160
BATCH_S = 0.001
"""Time of one peer's turn, as short as the tries of the program that measures the core's limit: what slows the machine
for a while slows neither's smallest time."""


def candidate(net: Net) -> Candidate:
    """A network made ready for all peers."""
    module = net.build()
    with torch.no_grad():
        shape = tuple(module(torch.zeros(net.shape)).shape)
    module.reset()
    engine: Engine | None
    try:
        engine, refusal = compile_engine(module, (torch.zeros(net.shape),)), ""
    except PochetteError as error:
        engine, refusal = None, error.what
    return Candidate(net, module, engine, refusal, shape)


def runners_of(made: Candidate, peers: Mapping[str, Peer]) -> tuple[dict[str, Runner], dict[str, str]]:
    """What can run a network, and of the others why they cannot."""
    found: dict[str, Runner] = {}
    missing: dict[str, str] = {}
    for name, peer in peers.items():
        try:
            found[name] = peer.prepare(made)
        except MissingError as reason:
            missing[name] = str(reason)
        except PochetteError as error:
            missing[name] = error.what
    return found, missing


def error_of(made: FloatArray, reference: FloatArray) -> float:
    """Largest difference, relative to the largest value; not a number if any value is none."""
    return float(np.abs(made - reference).max() / np.abs(reference).max())


def times(runners: Mapping[str, Runner], rounds: int) -> dict[str, list[float]]:
    """Nanoseconds of a call for every peer in every round, all in turns."""
    calls = {}
    for name, runner in runners.items():
        runner.seconds(2)
        calls[name] = max(1, round(BATCH_S * 3 / max(runner.seconds(3), 1e-9)))
        # Three calls tell little of those that take nanoseconds.
        calls[name] = max(1, round(BATCH_S * calls[name] / runner.seconds(calls[name])))
    taken: dict[str, list[float]] = {name: [] for name in runners}
    for number in range(rounds):
        for name in list(runners)[:: -1 if number % 2 else 1]:
            runner = runners[name]
            if isinstance(runner, Native):
                runner.settle(number)
            runner.seconds(calls[name])  # so that what the others left in the caches is gone
            taken[name].append(round(1e9 * runner.seconds(calls[name]) / calls[name], 2))
    return taken


def counts(made: Candidate, sketches: Path | None) -> tuple[dict[str, float], str]:
    """Instructions of a call, ours and the sketch's, and why there are none."""
    found: dict[str, float] = {}
    try:
        if made.engine is not None:
            found["cc"] = instructions(made.sources(), made.net, made.out_floats)
        if sketches is not None:
            files, flags = sketch_sources(sketches, made, lanes=8)
            found["sketch"] = instructions(files, made.net, made.out_floats, flags)
    except (MissingError, PochetteError) as reason:
        return found, str(reason)
    return found, ""


def row_of(net: Net, peers: Mapping[str, Peer], rounds: int, sketches: Path | None) -> dict[str, Any]:
    """All there is to know of one network, as plain data."""
    made = candidate(net)
    reference = Eager(made).outputs()
    runners, missing = runners_of(made, peers)
    errors = {name: error_of(runner.outputs(), reference) for name, runner in runners.items()}
    for name in [name for name, error in errors.items() if not np.isfinite(error)]:
        missing[name] = "its output is not a number"
        del runners[name]
    taken = times(runners, rounds)
    counted, uncounted = counts(made, sketches)
    engine = made.engine
    sizes = {} if engine is None else {"state_bytes": engine.state_bytes, "scratch_bytes": engine.scratch_bytes}
    counted_on_graph = profile(made.module, (torch.zeros(net.shape),), reach=False)
    return {
        "name": net.name,
        "macs": counted_on_graph.macs,
        "layers": [[layer.cost.macs, layer.parameters] for layer in counted_on_graph.layers if layer.cost.macs],
        "weights": sum(parameter.numel() for parameter in made.module.parameters()),
        **sizes,
        "refusal": made.refusal,
        "missing": missing,
        "instructions": counted,
        "uncounted": uncounted,
        "peers": {name: {"error": float(f"{errors[name]:.2g}"), "ns": taken[name]} for name in runners},
    }


def measure(nets: Sequence[Net], peers: Mapping[str, Peer], rounds: int, sketches: Path | None) -> dict[str, Any]:
    """Everything, as plain data."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # as the loop in C does for the others
    cores = os.cpu_count()
    start = os.getloadavg()[0]
    core = pin()
    sizes = [4 * sum(parameter.numel() for parameter in net.build().parameters()) for net in nets]
    before = limits(sizes)
    rows = []
    for net in nets:
        rows.append(row_of(net, peers, rounds, sketches))
        print(table({"rows": rows[-1:], "limit": before}), fewer_bits(rows[-1:]), sep="\n", file=sys.stderr, flush=True)
    compilers = {}
    for name in ("cc", "clang"):
        try:
            compilers[name] = version_of(name)
        except MissingError:
            continue
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": {
            "processor": machine(),
            "vectors": vectors(),
            "cores": cores,
            "system": platform.system(),
            "pinned": core is not None,
        },
        "load": [round(start, 2), round(os.getloadavg()[0], 2)],
        "compilers": compilers,
        "versions": versions(peers),
        "rounds": rounds,
        "limit": best_of(before, limits(sizes)),
        "rows": rows,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", choices=[net.name for net in NETS], help="only these")
    parser.add_argument("--peers", nargs="+", choices=[peer.name for peer in PEERS], help="only these")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns of every peer")
    parser.add_argument("--litert", type=Path, metavar="PYTHON", help="a Python with litert-torch, for one peer more")
    parser.add_argument("--sketches", type=Path, help="folder of programs written by hand, as one peer more")
    parser.add_argument("--page", action="store_true", help="only rewrite the page")
    parser.add_argument("--check", action="store_true", help="exit 1 if the page differs from the stored results")
    asked = parser.parse_args()
    if asked.rounds < 1:
        parser.error("--rounds is a number of turns; give 1 or more")
    if not (asked.page or asked.check):
        nets = [net for net in NETS if asked.nets is None or net.name in asked.nets]
        extra: dict[str, str] = {}
        peers = {peer.name: peer for peer in PEERS if asked.peers is None or peer.name in asked.peers}
        if asked.litert is not None:
            peers["litert"] = litert_peer(asked.litert)
            extra = litert_version(asked.litert)
        if asked.sketches is not None:
            peers["sketch"] = sketch_peer(asked.sketches)
        try:
            found = measure(nets, peers, asked.rounds, asked.sketches)
        except MissingError as reason:
            print(f"The benchmark cannot run: {reason}.", file=sys.stderr)
            return 1
        found["versions"] |= extra
        if asked.nets or asked.peers:
            print("Not stored: only a part was asked for.", file=sys.stderr)
            return 0
        place(found).write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    stored = runs()
    if not stored:
        print("Nothing is stored yet: run python benchmarks/engine.py", file=sys.stderr)
        return 1
    if asked.check:
        current = is_current(stored)
        print("up to date" if current else f"differs: {PAGE.name} or {IMAGE.name}")
        return int(not current)
    fill_page(stored)
    IMAGE.write_text(picture(stored[0]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
