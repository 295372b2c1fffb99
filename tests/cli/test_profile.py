"""The verb `profile`: what is counted of runs, models and instruments, and what it says of a board."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Verbs, document


def test_profile_of_a_run_a_model_and_an_instrument(verbs: Verbs, run: Path, instrument: Path) -> None:
    by_run = document(verbs("profile", run, "--json"))["profile"]
    by_model = document(verbs("profile", "ddsp", "--size", "tiny", "--json"))["profile"]
    by_file = document(verbs("profile", instrument, "--json"))["profile"]
    assert isinstance(by_run, dict) and isinstance(by_model, dict) and isinstance(by_file, dict)
    assert by_run["parameters"] == by_model["parameters"] == by_file["parameters"] > 0
    assert by_run["obtained"] == "counted"
    assert "MACs per second" in verbs("profile", run).out


@pytest.mark.slow
def test_profile_with_a_board_counts_and_judges(verbs: Verbs, run: Path) -> None:
    pytest.importorskip("unicorn")
    from pochette.engine.export import export
    from pochette.families import boards
    from pochette.lab.build import golden_curve
    from pochette.lab.fit import COUNTED_FRAMES, cost_on
    from pochette.lab.runs import read_run, trained_model

    said = verbs("profile", run, "--board", "daisy-seed")
    assert said.code == 0 and "emulated" in said.out and "Daisy Seed: it fits." in said.out
    stages = [line.split()[0] for line in said.err.splitlines() if "%" in line]
    assert [stage for stage in stages if stage in ("export", "compile", "count", "link")][:3] == [
        "export", "compile", "count",
    ], "what takes long says what it does"  # fmt: skip
    board = document(verbs("profile", run, "--board", "daisy-seed", "--json"))["board"]
    assert isinstance(board, dict) and board["verdict"]["fits"] is True
    cost: Any = board["cost"]
    assert cost["instructions_per_second"] > cost["network_instructions_per_second"] > 0
    # What `fit` counts of the same engine: two verbs do not judge it differently.
    model, ranges = trained_model(run)[0], read_run(run).ranges
    curve = golden_curve(model, ranges)[:COUNTED_FRAMES]
    counted, _ = cost_on(export(model, "fit"), boards["daisy-seed"], curve)
    assert cost["instructions_per_second"] == counted.instructions_per_second


def test_profile_tells_energy_as_what_it_is(verbs: Verbs, tmp_path: Path) -> None:
    pytest.importorskip("unicorn")
    asked = ("profile", "ddsp", "--size", "tiny", "--board", "daisy-seed")
    board: Any = document(verbs(*asked, "--json"))["board"]
    energy, instructions = board["energy"], board["cost"]["instructions_per_second"]
    assert (
        energy["estimated"] is True and 100 < energy["joules_low"] / instructions * 1e12 < energy["joules_high"] * 1e12
    )
    assert "estimated: counted instructions" in " ".join(verbs(*asked).out.split())
    meter = tmp_path / "meter.csv"
    meter.write_text("s,W\n0,0.4\n10,0.4\n")
    board = document(verbs(*asked, "--power-meter", meter, "--json"))["board"]
    assert board["energy"]["joules_low"] == pytest.approx(0.4) and board["energy"]["estimated"] is False
    bad = verbs(*asked, "--power-meter", tmp_path / "none.csv")
    assert bad.code == 1 and "count" not in bad.err, "it is refused before anything is counted"
    refused = verbs("profile", "ddsp", "--power-meter", meter)
    assert refused.code == 2 and "--board" in refused.err


def test_profile_counts_a_file_in_the_precision_that_is_asked_for(
    verbs: Verbs, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ziglang")
    from pochette.lab import cost

    made = document(verbs("export", run, "--precision", "int8", "--out", tmp_path, "--json"))
    counted: list[int] = []

    def count(source: Any, board: Any, curve: Any, tell: Any) -> cost.EngineCost:
        counted.append(cost.weight_bytes(source))
        return cost.EngineCost(board.name, ram_bytes=1)

    monkeypatch.setattr(cost, "count", count)
    for precision in ((), ("--precision", "int8"), ("--precision", "float32")):
        assert verbs("profile", str(made["instrument"]), "--board", "daisy-seed", *precision).code == 0
    own, int8, floats = counted
    assert own == int8 < 0.6 * floats
    refused = verbs("profile", run, "--precision", "int8")
    assert refused.code == 2 and "--board" in refused.err
