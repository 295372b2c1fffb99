"""Instructions of one call of each network on processors of boards, counted in an emulator, and held by a test.

    python benchmarks/engine_counts.py            count and store
    python benchmarks/engine_counts.py --check    exit 1 if a count has grown by more than 3 % over what is stored

Counts are of the compiler that pip brings, and of those that makers of boards use, where they are installed; what was
stored of one that is not here stays. With the same version of a compiler they are the same on every machine and run.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks")]

from engine_nets import NETS, Net, Recurrent  # noqa: E402

from pochette.boards.board import Machine  # noqa: E402
from pochette.boards.cycles import Mix, cycles  # noqa: E402
from pochette.engine.build import FREESTANDING, WARNINGS  # noqa: E402
from pochette.engine.compiled import Engine, compile_engine  # noqa: E402
from pochette.engine.elsewhere import EngineElsewhere  # noqa: E402
from pochette.engine.verify import PROCESSORS  # noqa: E402

STORED = ROOT / "benchmarks" / "results" / "engine-counts.json"
GROWTH = 0.03
BOARD_CLOCK_HZ = 480e6
CALLS = 8
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
"""At most so many instructions a call, whichever compiler it is."""
COUNTED = (TEN, *NETS)
Counts = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Build:
    """A compiler with its flags, and the processor it compiles for."""

    title: str
    machine: Machine
    command: tuple[str, ...] = ()
    """Up to the files; none: the compiler that pip brings, with the flags that every build has."""
    package: str = "ziglang"
    """What holds the compiler."""

    def version(self) -> str | None:
        """What counts depend on; none where the compiler is not installed."""
        if not self.command:
            return f"ziglang {importlib.metadata.version('ziglang')}"
        if shutil.which(self.command[0]) is None:
            return None
        told = subprocess.run([self.command[0], "--version"], capture_output=True, text=True, check=True)
        return told.stdout.splitlines()[0]

    def key(self, net: Net) -> str:
        """Under which a network's counts are stored."""
        return f"{net.name} on {self.machine}, {self.title}"


def _gcc(machine: Machine, program: str, level: str, *processor: str) -> Build:
    # -ffast-math as many vendors' projects have it; no C library, so that the count is of our C alone.
    command = (program, *processor, *WARNINGS, level, "-ffast-math", "-ffreestanding", *FREESTANDING)
    return Build(f"gcc {level}", machine, command, f"gcc-{program.removesuffix('-gcc')}")


_M7 = ("-mcpu=cortex-m7", "-mthumb", "-mfpu=fpv5-d16", "-mfloat-abi=hard")
BUILDS = (
    Build("clang", "cortex-m7"),
    _gcc("cortex-m7", "arm-none-eabi-gcc", "-O3", *_M7),
    _gcc("cortex-m7", "arm-none-eabi-gcc", "-Os", *_M7),
    Build("clang", "aarch64"),
    _gcc("aarch64", "aarch64-linux-gnu-gcc", "-O3", "-mcpu=cortex-a72"),
)


@lru_cache(maxsize=2)
def _engine(net: Net, board: str) -> Engine:
    """A network's C, written once for all that compile it one after the other."""
    return compile_engine(net.build(), (torch.zeros(net.shape),), board=board)


def count(net: Net, build: Build) -> dict[str, Any]:
    """Instructions of a call, on average over some, with the band of cycles that follows.

    Args:
        net: the network.
        build: compiler and processor.

    Returns:
        plain data.
    """
    engine = _engine(net, "host" if build.machine == "aarch64" else "daisy-seed")
    there = EngineElsewhere(engine, build.machine, counting=True, command=build.command)
    signal = net.signal()
    there.process(signal[0].reshape(net.shape))
    mix = sum((there.count(signal[1 + call].reshape(net.shape)) for call in range(CALLS)), Mix())
    band = cycles(mix, PROCESSORS[build.machine]) * (1.0 / CALLS)
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


def here(builds: Sequence[Build] = BUILDS) -> list[Build]:
    """Those whose compiler is installed."""
    return [build for build in builds if build.version() is not None]


def counted(builds: Sequence[Build]) -> Counts:
    """Every network by every build, `Build.key` to its counts."""
    return {build.key(net): count(net, build) for net in COUNTED for build in builds}


def grown(now: Counts, before: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What takes more than 3 % more instructions than it did, a sentence each."""
    found = []
    for name, counts in now.items():
        old = before.get(name, counts)["instructions"]
        if counts["instructions"] > old * (1.0 + GROWTH):
            found.append(f"{name}: {counts['instructions']} instructions a call, {old} before.")
    return found


def goal(net: Net, build: Build) -> float | None:
    """At most so many instructions."""
    return GOALS.get((net.name, build.machine))


def report(counts: Mapping[str, Mapping[str, Any]]) -> str:
    """A line for each count; an exclamation mark where it is over its goal."""
    lines = []
    for net in COUNTED:
        for build in BUILDS:
            made, most = counts.get(build.key(net)), goal(net, build)
            if made is not None:
                over = "" if most is None else f" of at most {most:,.0f}{' !' * (made['instructions'] > most)}"
                lines.append(f"{build.key(net)}: {made['instructions']:,}{over}")
    return "\n".join(lines)


def main() -> int:
    """Count; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with what is stored, and store nothing")
    asked = parser.parse_args()
    found = here()
    for absent in [build for build in BUILDS if build not in found]:
        print(f"{absent.command[0]} is not here (on Debian: apt install {absent.package})", file=sys.stderr)
    now = counted(found)
    stored = json.loads(STORED.read_text(encoding="utf-8")) if STORED.exists() else {"compilers": {}, "counts": {}}
    if asked.check:
        worse = grown(now, stored["counts"])
        print("\n".join(worse) or "No count has grown.")
        return int(bool(worse))
    versions = {f"{build.title} for {build.machine}": build.version() for build in found}
    known = {build.key(net) for net in COUNTED for build in BUILDS}
    counts = {name: made for name, made in {**stored["counts"], **now}.items() if name in known}
    document = {"compilers": {**stored["compilers"], **versions}, "counts": counts}
    STORED.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(report(counts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
