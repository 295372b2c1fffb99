"""What the stored times say: ratios, shares of the limit, and which goals they meet."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine_nets import NETS

Row = Mapping[str, Any]
OURS = "cc"
"""The build that goals are about: the system's own compiler, fully optimised."""
EXACT = ("cc", "cc-os", "clang", "clang-os")
"""Builds of ours that compute with what the network has: 32-bit floats."""
MOST_ERROR = 3e-6
COMPILERS_APART = 0.10
NOISE = 0.05
"""What two builds of the same speed may differ by in a run."""


def median_ns(row: Row, peer: str) -> float | None:
    """Middle time of a call over the rounds; None if the peer did not run."""
    return float(statistics.median(row["peers"][peer]["ns"])) if peer in row["peers"] else None


def least_ns(row: Row, peer: str) -> float | None:
    """Smallest time of a call over the rounds."""
    return float(min(row["peers"][peer]["ns"])) if peer in row["peers"] else None


def ratio(row: Row, peer: str, to: str = OURS) -> float | None:
    """How many times as long a peer takes as another: the middle of the ratios within the rounds."""
    if peer not in row["peers"] or to not in row["peers"]:
        return None
    pairs = zip(row["peers"][peer]["ns"], row["peers"][to]["ns"], strict=True)
    return float(statistics.median(own / other for own, other in pairs))


def fastest_other(row: Row, others: Sequence[str]) -> tuple[str, float] | None:
    """The fastest of other engines and how many times as long it takes as ours; None if either did not run."""
    found = [(value, name) for name in others if (value := ratio(row, name)) is not None]
    return None if not found else (min(found)[1], min(found)[0])


def bandwidth(limit: Mapping[str, Any], size: int) -> float:
    """Bytes a second at which weights of a size can be read again and again.

    It is the best rate of any set at least as large: what a set too large for a cache can do, a smaller one can.
    """
    rates = [rate for swept, rate in limit["reads"] if swept >= size]
    return float(max(rates) if rates else min(rate for _, rate in limit["reads"]))


def bounds_ns(row: Row, limit: Mapping[str, Any]) -> tuple[float, float]:
    """Least time of a call for its arithmetic, and for reading its weights once."""
    size = 4 * row["weights"]
    return 1e9 * row["macs"] / limit["macs_per_second"], 1e9 * size / bandwidth(limit, size)


def layered_ns(row: Row, limit: Mapping[str, Any]) -> float:
    """Least time of a call whose layers wait for one another: of each the longer of the two, added up."""
    rate = bandwidth(limit, 4 * row["weights"])
    return sum(max(1e9 * macs / limit["macs_per_second"], 4e9 * weights / rate) for macs, weights in row["layers"])


def share(row: Row, limit: Mapping[str, Any], peer: str = OURS) -> float | None:
    """The limit's time as a share of the smallest measured."""
    least = least_ns(row, peer)
    return None if least is None else max(bounds_ns(row, limit)) / least


@dataclass(frozen=True)
class Verdict:
    """A goal and what was measured."""

    goal: str
    wanted: str
    measured: str
    holds: bool | None
    """None if it was not measured, or nothing is wanted."""


def verdicts(row: Row, limit: Mapping[str, Any]) -> list[Verdict]:
    """All goals of a network."""
    net = next(net for net in NETS if net.name == row["name"])
    clang, small = ratio(row, "clang"), ratio(row, "cc-os")
    eight = None if net.ratio_int8 is None else ratio(row, "onnxruntime", "cc-int8")
    errors = [peer["error"] for name, peer in row["peers"].items() if name in EXACT]
    error = max(errors) if OURS in row["peers"] else None
    apart = None if clang is None else max(clang, 1 / clang) - 1
    return [
        _verdict("times ONNX Runtime", f"{net.ratio:g}", ratio(row, "onnxruntime"), "{:.4g}", lambda x: x >= net.ratio),
        _verdict(
            "times ONNX Runtime, int8",
            "" if net.ratio_int8 is None else f"{net.ratio_int8:g}",
            eight,
            "{:.4g}",
            lambda x: net.ratio_int8 is not None and x >= net.ratio_int8,
        ),
        _verdict("of the limit", f"{net.share:.0%}", share(row, limit), "{:.0%}", lambda x: x >= net.share),
        _verdict("gcc and clang apart", f"{COMPILERS_APART:.0%}", apart, "{:.0%}", lambda x: x <= COMPILERS_APART),
        _verdict("-Os to -O3", f"1, {NOISE:.0%} of noise", small, "{:.2f}", lambda x: x <= 1 + NOISE),
        _verdict("error", f"{MOST_ERROR:.0e}", error, "{:.1e}", lambda x: x <= MOST_ERROR),
    ]


def _verdict(goal: str, wanted: str, value: float | None, form: str, holds: Callable[[float], bool]) -> Verdict:
    if value is None:
        return Verdict(goal, wanted, "not measured" if wanted else "", None)
    return Verdict(goal, wanted, form.format(value), holds(value))


def tally(rows: Sequence[Row], limit: Mapping[str, Any]) -> dict[str, tuple[int, int, int]]:
    """For each goal how many networks meet it, miss it, and were not measured."""
    found: dict[str, list[bool | None]] = {}
    for row in rows:
        for verdict in (verdict for verdict in verdicts(row, limit) if verdict.wanted):
            found.setdefault(verdict.goal, []).append(verdict.holds)
    return {goal: (held.count(True), held.count(False), held.count(None)) for goal, held in found.items()}
