"""The engine benchmark: its networks are what it says, its harness times them, and its page says what is stored."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = {"gru32": 3_393, "gru64": 12_929, "lstm40": 6_921, "ddsp": 1_647_744, "wavenet": 13_801,
           "wavenet-small": 841, "decoder": 142_864}  # fmt: skip


@pytest.fixture(scope="module")
def bench() -> Iterator[Any]:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import engine

    yield engine
    sys.path.remove(str(ROOT / "benchmarks"))


@pytest.mark.parametrize("name", WEIGHTS)
def test_networks_have_the_published_sizes_and_carry_their_state_on(bench: Any, name: str) -> None:
    net = next(net for net in bench.NETS if net.name == name)
    module = net.build()
    assert sum(parameter.numel() for parameter in module.parameters()) == WEIGHTS[name]
    first, second = (torch.from_numpy(row).reshape(net.shape) for row in net.signal()[:2])
    with torch.no_grad():
        expected, *states = module.step(second, *module.step(first, *module.states())[1:])
        module(first)
        assert torch.equal(module(second), expected)
        assert all(map(torch.equal, module.states(), states))
        module.reset()
        assert not any(state.any() for state in module.states())


def test_streamed_in_blocks_a_network_makes_what_it_makes_of_the_whole(bench: Any) -> None:
    net = next(net for net in bench.NETS if net.name == "wavenet-small")
    module = net.build()
    x = torch.from_numpy(net.signal()[:3]).reshape(1, 1, -1)
    with torch.no_grad():
        whole, *_ = module.step(x, *module.states())
        parts = torch.cat([module(part) for part in x.split(net.block, -1)], -1)
    torch.testing.assert_close(parts, whole)


def test_fewer_bits_are_told_of_apart(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "counts", lambda made, sketches: ({}, "not asked for"))
    monkeypatch.setattr(bench, "BATCH_S", 0.001)
    peers = {peer.name: peer for peer in bench.PEERS if peer.name in ("cc", "cc-int8", "cc-float16")}
    rows = [bench.row_of(net, peers, 2, None) for net in bench.NETS if net.name in ("gru32", "wavenet-small")]
    assert 1e-5 < rows[0]["peers"]["cc-int8"]["error"] < 1e-3
    assert "none of its matrices" in rows[1]["missing"]["cc-int8"]
    told = bench.fewer_bits(rows)
    assert "ours, int8" in told and "ours, bfloat16" not in told and len(told.splitlines()) == 3
    from engine_page import fewer_bits_said, ratio

    gain = f"{1 / ratio(rows[0], 'cc-int8'):.2f}"
    assert f"ours, int8: {gain} to {gain} times as fast as floats, most the GRU 32" in fewer_bits_said(rows)
    assert fewer_bits_said(rows[1:]) == ""
    assert bench.fewer_bits(rows[1:]) == "" and "int8" not in bench.table({"rows": rows, "limit": _LIMIT})


_LIMIT = {"macs_per_second": 1e11, "reads": [[1e9, 1e11]]}


def test_the_harness_compares_and_times_in_turns(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "counts", lambda made, sketches: ({}, "not asked for"))
    monkeypatch.setattr(bench, "BATCH_S", 0.001)
    peers = {peer.name: peer for peer in bench.PEERS if peer.name in ("cc", "torch")}
    row = bench.row_of(bench.NETS[0], peers, 2, None)
    assert row["refusal"] == "" and row["missing"] == {}
    assert row["peers"]["torch"]["error"] == 0.0 and row["peers"]["cc"]["error"] < 3e-6
    assert all(len(peer["ns"]) == 2 and min(peer["ns"]) > 1 for peer in row["peers"].values())
    json.dumps(row, allow_nan=False)


def test_what_is_not_installed_is_named_with_its_remedy(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import engine_build
    import engine_peers

    monkeypatch.setattr(engine_peers, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    peers = {peer.name: peer for peer in bench.PEERS if peer.name in ("onnxruntime", "openvino")}
    found, missing = bench.runners_of(bench.candidate(bench.NETS[0]), peers)
    assert found == {} and all("pip install" in reason for reason in missing.values())
    with pytest.raises(engine_build.MissingError, match="apt install"):
        engine_build.compiler("cc")
    with pytest.raises(engine_build.MissingError, match="valgrind"):
        engine_build.instructions({}, bench.NETS[0], 1)


def test_a_converter_that_is_not_there_is_a_reason_not_a_failure(bench: Any) -> None:
    peer = bench.litert_peer(Path("/nowhere/python"))
    found, missing = bench.runners_of(bench.candidate(bench.NETS[0]), {"litert": peer})
    assert found == {} and "cannot be run" in missing["litert"]


def test_goals_are_judged_by_the_data(bench: Any) -> None:
    import engine_goals

    limit = {"macs_per_second": 100e9, "reads": [[8192, 400e9], [16384, 300e9], [32768, 320e9]]}
    assert engine_goals.bandwidth(limit, 8193) == 320e9
    assert engine_goals.bandwidth(limit, 10**9) == 300e9
    row = {"name": "gru32", "macs": 3200, "weights": 3393, "layers": [[3168, 100], [32, 3293]], "peers": {
        "cc": {"ns": [100.0, 50.0, 60.0], "error": 1e-6},
        "clang": {"ns": [100.0, 70.0, 80.0], "error": 1e-6},
        "onnxruntime": {"ns": [4000.0, 3000.0, 4200.0], "error": 1e-6},
    }}  # fmt: skip
    assert engine_goals.ratio(row, "onnxruntime") == 60.0
    assert engine_goals.fastest_other(row, ("torch", "onnxruntime")) == ("onnxruntime", 60.0)
    assert engine_goals.share(row, limit) == pytest.approx(4 * 3393 / 320 / 50)
    assert engine_goals.layered_ns(row, limit) == pytest.approx(3168 / 100 + 4 * 3293 / 320)
    assert [verdict.holds for verdict in engine_goals.verdicts(row, limit)] == [True, None, True, False, None, True]
    assert [verdict.holds for verdict in engine_goals.verdicts({**row, "peers": {}}, limit)] == [None] * 6


def test_the_page_and_its_figure_are_the_stored_measurements(bench: Any) -> None:
    assert bench.is_current(bench.runs())
