"""The main job on real recordings: an alto saxophone for a Daisy Seed, its figures stored as data.

    python benchmarks/make_sax.py [--sounds DIR] [--minutes 15] [--board daisy-seed]

Writes `results/NAME-BOARD.json` beside this file: everything the job measured, with machine and date. `publish.py`
makes the figures of README.md and docs/results.md from it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
import tempfile
from pathlib import Path

from pochette.lab.make import Make, make

HERE = Path(__file__).resolve().parent
SOUNDS = HERE.parents[1] / "shared" / "sounds" / "alto-sax"


def machine() -> dict[str, str]:
    """What the figures were obtained on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return {
        "cpu": model,
        "cores": str(os.cpu_count()),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sounds", type=Path, default=SOUNDS, help="folder of recordings")
    parser.add_argument("--minutes", type=float, default=15.0, help="wall time of the whole job")
    parser.add_argument("--board", default="daisy-seed", help="machine it is made for")
    parser.add_argument("--out", type=Path, help="folder for the instrument; a temporary one by default")
    asked = parser.parse_args()
    if not asked.sounds.is_dir():
        print(f"skipped: there are no recordings at {asked.sounds}", file=sys.stderr)
        return 0
    out = asked.out or Path(tempfile.mkdtemp(prefix="pochette-bench-"))

    def tell(stage: str, share: float, line: str) -> None:
        print(f"{stage} {share:.0%} {line}", file=sys.stderr)

    made = make(Make(asked.sounds, board=asked.board, minutes=asked.minutes, out=out), tell)
    stored = {
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "asked_minutes": asked.minutes,
        "result": made.result.to_json(),
    }
    path = HERE / "results" / f"{asked.sounds.resolve().name}-{asked.board}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(stored, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
