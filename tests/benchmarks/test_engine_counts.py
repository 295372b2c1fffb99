"""Instructions of the benchmark's networks do not grow, and meet their goals where they did."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path[:0] = [str(BENCHMARKS)]

from engine_counts import BUILDS, COUNTED, STORED, Build, Net, count, goal, grown  # noqa: E402


@pytest.mark.slow
@pytest.mark.parametrize("build", BUILDS, ids=lambda build: f"{build.machine}, {build.title}")
@pytest.mark.parametrize("net", COUNTED, ids=lambda net: net.name)
def test_no_count_grows(net: Net, build: Build) -> None:
    pytest.importorskip("ziglang")
    pytest.importorskip("unicorn")
    stored, version = json.loads(STORED.read_text(encoding="utf-8")), build.version()
    if version is None:
        pytest.skip(f"needs the package {build.package}")
    of = stored["compilers"][f"{build.title} for {build.machine}"]
    if of != version:
        pytest.skip(f"the stored counts are of {of}, here is {version}")
    assert not grown({build.key(net): count(net, build)}, stored["counts"])


def test_stored_counts_meet_their_goals() -> None:
    counts = json.loads(STORED.read_text(encoding="utf-8"))["counts"]
    wanted = {build.key(net): goal(net, build) for net in COUNTED for build in BUILDS}
    assert counts.keys() == wanted.keys()
    assert not [name for name, most in wanted.items() if most and counts[name]["instructions"] > most]


def test_three_per_cent_more_are_told() -> None:
    before = {"a": {"instructions": 1000}, "b": {"instructions": 1000}}
    assert grown({"a": {"instructions": 1030}, "b": {"instructions": 900}}, before) == []
    assert grown({"a": {"instructions": 1031}, "c": {"instructions": 5}}, before) == [
        "a: 1031 instructions a call, 1000 before."
    ]
