"""Put stored results into the documents: no figure of README.md or docs/results.md is typed by hand.

python benchmarks/publish.py          rewrite what stands between the markers
python benchmarks/publish.py --check  exit 1 if a document differs from the stored results
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from pochette.lab.result import MakeResult

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
MARKER = "<!-- figures: {} -->"


def stored() -> list[tuple[dict[str, Any], MakeResult]]:
    """All stored jobs, in the order of their file names."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    return [(data, MakeResult.from_json(data["result"])) for data in found if "result" in data]


def millions(value: float | None) -> str:
    return "not measured" if value is None else f"{value / 1e6:.1f} M"


def headline(result: MakeResult) -> str:
    """The README's number."""
    dense, small = result.dense, result.trimmed
    assert dense is not None and small is not None
    engine, closed = result.engine, result.gap_closed("trimmed")
    return (
        f"**{result.corpus.seconds / 60:.0f} minutes of {result.title.lower()} became a {result.board_title} "
        f"instrument in {result.minutes:.0f} minutes on two cores:** "
        f"{small.parameters:,} parameters instead of {dense.parameters:,}, "
        f"{result.macs_ratio:.1%} of the network's multiply-accumulates, held-out distance "
        f"{result.distance_ratio:.3f} times the dense network's ({closed:.0%} of the way from the corpus's mean "
        f"spectrum to the synthesiser's floor), "
        f"{millions(engine.instructions_per_second)} instructions per second of audio at "
        f"{result.sample_rate_hz // 1000} kHz, {(engine.ram_bytes or 0) / 1024:.0f} KB."
    )


def page(jobs: list[tuple[dict[str, Any], MakeResult]]) -> str:
    """docs/results.md's tables."""
    parts = []
    for data, result in jobs:
        machine = data["machine"]
        parts.append(f"## {result.title} for {result.board_title}\n")
        parts.append(
            f"{data['date']}, {machine['cpu']}, {machine['cores']} cores; {data['asked_minutes']:g} minutes asked, "
            f"{result.minutes:.1f} taken; seed {result.seed}. Held out: {', '.join(result.corpus.held_out)}.\n"
        )
        parts += ["| held-out distance | |", "|---|---|"]
        parts += [f"| {anchor.name}: {anchor.help} | {anchor.distance:.3f} |" for anchor in result.anchors]
        parts.append("")
        for row in ("dense", "trimmed"):
            closed = result.gap_closed(row)
            parts.append(
                f"- {row}: closes {closed:.1%} of the gap from the mean spectrum to the floor" if closed else ""
            )
        parts += ["", "| network | parameters | MAC/s | held-out loss | steps | seconds |", "|---|---|---|---|---|---|"]
        parts += [
            f"| {p.name} | {p.parameters:,} | {millions(p.network_macs_per_second)} | {p.held_out_loss:.3f} | "
            f"{p.steps} | {p.seconds:.0f} |"
            for p in result.trimming
        ]
        parts += ["", "| engine | before | after |", "|---|---|---|", *engine_rows(result), ""]
        parts += ["| golden vectors | largest error | |", "|---|---|---|"]
        for check in result.golden:
            error = "not run" if check.max_error is None else f"{check.max_error:.1e}"
            verdict = "passed" if check.passed else "not run" if check.passed is None else "FAILED"
            parts.append(f"| {check.engine}, {check.seconds_of_audio:.0f} s | {error} | {verdict} {check.note} |")
        if result.playing is not None:
            playing = result.playing
            parts.append(
                f"\nChromatic scale of {playing.notes} pitches: {playing.pitch_accuracy_50_cents:.1%} of sounding "
                f"frames within 50 cents (median {playing.median_pitch_error_cents:.1f} cents), loudness off by "
                f"{playing.median_loudness_error_db:.2f} dB in the median; heard by {playing.tracker}.\n"
            )
    return "\n".join(parts)


def engine_rows(result: MakeResult) -> list[str]:
    """Costs of the C engine, dense and trimmed."""
    e = result.engine

    def share(value: float | None) -> str:
        return "not measured" if value is None else f"{value:.1%}"

    def load(value: float | None) -> str:
        return "not measured" if value is None else f"{value:.2%} of real time"

    def own(factor: float | None, part: float | None) -> str:
        return "not measured" if factor is None or part is None else f"{part * factor:.3%} of real time"

    count = f"instructions per second of audio ({e.counted_for})"
    return [
        f"| {count} | {millions(e.instructions_per_second_before)} | {millions(e.instructions_per_second)} |",
        f"| the network's part of them | {millions(e.network_instructions_per_second_before)} | "
        f"{millions(e.network_instructions_per_second)} |",
        f"| CPU time on the host, whole | {load(e.host_real_time_factor_before)} | {load(e.host_real_time_factor)} |",
        f"| CPU time on the host, network | {own(e.host_real_time_factor_before, e.host_network_share_before)} | "
        f"{own(e.host_real_time_factor, e.host_network_share)} |",
        f"| the network's share of it | {share(e.host_network_share_before)} | {share(e.host_network_share)} |",
        f"| flash, RAM | | {(e.flash_bytes or 0):,} and {(e.ram_bytes or 0):,} bytes |",
    ]


def fill(text: str, name: str, content: str) -> str:
    """The text with what stands between the two markers of a name replaced."""
    start, end = MARKER.format(name), MARKER.format("end")
    return re.sub(f"(?s){re.escape(start)}.*?{re.escape(end)}", lambda _: f"{start}\n{content}\n{end}", text)


def main() -> int:
    jobs = stored()
    wanted = {"headline": headline(jobs[0][1]), "results": page(jobs)}
    differing = []
    for document in (ROOT / "README.md", ROOT / "docs" / "results.md"):
        old = document.read_text(encoding="utf-8")
        new = old
        for name, content in wanted.items():
            new = fill(new, name, content)
        if new != old:
            differing.append(document.name)
            if "--check" not in sys.argv:
                document.write_text(new, encoding="utf-8")
    print("differs: " + ", ".join(differing) if differing else "up to date")
    return 1 if differing and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
