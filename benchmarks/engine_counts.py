"""Instructions of one call of each network on processors of boards, counted in an emulator, and held by a test.

    python benchmarks/engine_counts.py            count and store
    python benchmarks/engine_counts.py --check    exit 1 if a count has grown by more than 3 % over what is stored

Counts are of the compiler that pip brings; they are the same on every machine and run.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks")]

from engine_nets import NETS, Net, Recurrent  # noqa: E402

from pochette.boards.board import Machine  # noqa: E402
from pochette.boards.cycles import Mix, cycles  # noqa: E402
from pochette.engine.compiled import compile_engine  # noqa: E402
from pochette.engine.elsewhere import EngineElsewhere  # noqa: E402
from pochette.engine.verify import PROCESSORS  # noqa: E402

STORED = ROOT / "benchmarks" / "results" / "engine-counts.json"
GROWTH = 0.03
BOARD_CLOCK_HZ = 480e6
CALLS = 8
MACHINES: tuple[Machine, ...] = ("cortex-m7", "aarch64")
TEN = Net("gru10", "GRU 10", lambda: Recurrent("gru", 1, 10), (1, 1, 1), "a sample", 64, 0, 0)
GOALS: dict[tuple[str, str], float] = {
    ("gru10", "cortex-m7"): 2050,
    ("gru32", "cortex-m7"): 11_000,
    ("gru64", "cortex-m7"): 35_700,
    ("lstm40", "cortex-m7"): 21_600,
    ("wavenet-small", "cortex-m7"): 4050 * 64,
    ("decoder", "cortex-m7"): 1400 * 2048,
    ("wavenet", "aarch64"): 505_000,
}
"""At most so many instructions a call."""
COUNTED = (TEN, *NETS)


def compiler() -> str:
    """What counts depend on."""
    return f"ziglang {importlib.metadata.version('ziglang')}"


def count(net: Net, machine: Machine) -> dict[str, Any]:
    """Instructions of a call, on average over some, with the band of cycles that follows.

    Args:
        net: the network.
        machine: the processor.

    Returns:
        plain data.
    """
    board = "host" if machine == "aarch64" else "daisy-seed"
    engine = compile_engine(net.build(), (torch.zeros(net.shape),), board=board)
    there = EngineElsewhere(engine, machine, counting=True)
    signal = net.signal()
    there.process(signal[0].reshape(net.shape))
    mix = sum((there.count(signal[1 + call].reshape(net.shape)) for call in range(CALLS)), Mix())
    band = cycles(mix, PROCESSORS[machine]) * (1.0 / CALLS)
    return {
        "instructions": round(mix.instructions / CALLS),
        "loads": round(mix.loads / CALLS),
        "arithmetic": round(mix.arithmetic / CALLS),
        "divisions": round(mix.divisions / CALLS),
        "cycles_low": round(band.low),
        "cycles_high": round(band.high),
        "weight_bytes": engine.weight_bytes,
        "state_bytes": engine.state_bytes,
    }


def counted(nets: tuple[Net, ...] = COUNTED) -> dict[str, dict[str, Any]]:
    """Every network on every processor, "NET on MACHINE" to its counts."""
    return {f"{net.name} on {machine}": count(net, machine) for net in nets for machine in MACHINES}


def grown(now: dict[str, dict[str, Any]], before: dict[str, dict[str, Any]]) -> list[str]:
    """What takes more than 3 % more instructions than it did, a sentence each."""
    found = []
    for name, counts in now.items():
        old = before.get(name, counts)["instructions"]
        if counts["instructions"] > old * (1.0 + GROWTH):
            found.append(f"{name}: {counts['instructions']} instructions a call, {old} before.")
    return found


def main() -> int:
    """Count; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with what is stored, and store nothing")
    asked = parser.parse_args()
    now = counted()
    if asked.check:
        worse = grown(now, json.loads(STORED.read_text(encoding="utf-8"))["counts"])
        print("\n".join(worse) or "No count has grown.")
        return int(bool(worse))
    document = {"compiler": compiler(), "counts": now}
    STORED.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    for name, counts in now.items():
        net, _, machine = name.partition(" on ")
        goal = GOALS.get((net, machine))
        verdict = "" if goal is None else f" of at most {goal:,.0f}" + ("" if counts["instructions"] <= goal else " !")
        print(f"{name}: {counts['instructions']:,}{verdict}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
