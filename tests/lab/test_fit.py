"""The largest network that keeps every budget: found by counting, told with its factor where there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pochette.boards.board import Demand
from pochette.boards.cycles import Band
from pochette.engine.export import export
from pochette.families import boards
from pochette.lab import fit
from pochette.lab.build import Ranges, golden_curve
from pochette.lab.cost import EngineCost, weight_bytes
from pochette.lab.fit import plan
from pochette.lab.trials import PRECISIONS, Notes, Plan, Trial
from pochette.models.ddsp import Ddsp, DdspModel

RANGES = Ranges((110.0, 880.0), (-60.0, -10.0))


def tell(*_: Any) -> None:
    """Says nothing."""


@pytest.fixture(scope="module")
def model() -> DdspModel:
    torch.manual_seed(0)
    return Ddsp.sized("tiny", hidden=48, partials=12, noise_bands=9).build().eval()


def counted_by_parameters(limit: int) -> Any:
    """A board that bears so many bytes of source weights and looks at nothing else."""

    def cost_on(source: Any, board: Any, curve: Any) -> tuple[EngineCost, dict[str, float]]:
        return EngineCost(board.name), {"RAM": weight_bytes(source) / limit, "cycles": 0.1}

    return cost_on


def test_the_border_is_found(model: DdspModel, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = weight_bytes(export(model, "fit"))
    monkeypatch.setattr(fit, "cost_on", counted_by_parameters(whole // 3))
    planned = plan(model, boards["daisy-seed"], RANGES, tell, precisions=("float32",))
    (chosen,) = planned.contenders
    assert chosen.fits and chosen.shares["RAM"] > 0.85
    larger = [trial for trial in planned.trials if trial.keep > chosen.keep]
    assert larger and not any(trial.fits for trial in larger)
    # Nothing between the largest that fits and the smallest that does not was left untried for long.
    assert larger[-1].keep / chosen.keep < 1.35
    assert [trial.keep for trial in planned.trials] == sorted((t.keep for t in planned.trials), reverse=True)


def test_what_fits_whole_is_counted_once(model: DdspModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "cost_on", counted_by_parameters(10**9))
    planned = plan(model, boards["daisy-seed"], RANGES, tell)
    assert len(planned.trials) == 1 and planned.contenders[0].keep == 1.0


def test_where_nothing_fits_the_budget_and_its_factor_are_told(
    model: DdspModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "cost_on", counted_by_parameters(100))
    planned = plan(model, boards["daisy-seed"], RANGES, tell)
    # Whole and as small as can be, in every precision.
    assert not planned.contenders and len(planned.trials) == 2 * len(PRECISIONS)
    nearest = min(planned.trials, key=lambda trial: trial.shares["RAM"])
    assert nearest.precision == "int8" and nearest.keep < 1
    assert f"{nearest.shares['RAM']:.3g} times the RAM" in planned.broken()
    assert f"takes {planned.trials[0].shares['RAM']:.3g} times" in planned.broken()
    assert "Daisy Seed" in planned.broken() and "of its network in int8" in planned.broken()


def test_fewer_bits_are_tried_where_floats_would_be_trimmed(model: DdspModel, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = weight_bytes(export(model, "fit"))
    monkeypatch.setattr(fit, "cost_on", counted_by_parameters(round(0.6 * whole)))
    planned = plan(model, boards["daisy-seed"], RANGES, tell)
    by = {trial.precision: trial for trial in planned.contenders}
    # Half the bits, and all of the network fits: nothing less exact need be tried.
    assert list(by) == ["float32", "float16"] and by["float32"].keep < 0.7 and by["float16"].keep == 1.0
    assert {trial.precision for trial in planned.trials} == {"float32", "float16"}
    monkeypatch.setattr(fit, "cost_on", counted_by_parameters(round(0.32 * whole)))
    planned = plan(model, boards["daisy-seed"], RANGES, tell)
    keeps = [trial.keep for trial in planned.contenders]
    assert [trial.precision for trial in planned.contenders][0::2] == ["float32", "int8"] and keeps == sorted(keeps)
    # Of two that are as small, the more exact one is followed.
    assert "bfloat16" not in {trial.precision for trial in planned.contenders}
    assert sum(trial.precision == "bfloat16" for trial in planned.trials) == 2


def test_contenders_are_the_largest_of_each_precision() -> None:
    cost, fits = EngineCost("daisy-seed"), {"RAM": 0.9}
    floats = Trial(0.3, 300, fits, cost, "float32")
    bytes_ = Trial(0.9, 900, fits, cost, "int8")
    broken = Trial(0.95, 950, {"RAM": 1.1}, cost, "int8")
    assert Plan("A board", (floats, broken, bytes_)).contenders == (floats, bytes_)
    smaller = Trial(0.2, 200, fits, cost, "int8")
    assert Plan("A board", (floats, smaller)).contenders == (floats,), "fewer units and fewer bits"


def test_what_was_counted_before_a_stop_is_not_counted_again(
    model: DdspModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at its fourth trial, the search goes on with that one, and finds what one that was not stopped finds."""
    whole = weight_bytes(export(model, "fit"))
    count, counted = counted_by_parameters(round(0.6 * whole)), []

    def cost_on(source: Any, board: Any, curve: Any) -> Any:
        counted.append(source)
        if len(counted) == 4:
            raise KeyboardInterrupt
        return count(source, board, curve)

    monkeypatch.setattr(fit, "cost_on", cost_on)
    with pytest.raises(KeyboardInterrupt):
        plan(model, boards["daisy-seed"], RANGES, tell, notes=Notes(tmp_path / "fit.json", "it"))
    gone_on = plan(model, boards["daisy-seed"], RANGES, tell, notes=Notes(tmp_path / "fit.json", "it"))
    assert len(counted) == len(gone_on.trials) + 1
    assert gone_on == plan(model, boards["daisy-seed"], RANGES, tell)


def test_the_first_budget_to_break_is_the_worst() -> None:
    cost = EngineCost("daisy-seed")
    whole = Trial(1.0, 1000, {"RAM": 2.0, "cycles": 9.0}, cost)
    least = Trial(0.1, 100, {"RAM": 1.5, "cycles": 0.5}, cost)
    assert Plan("A board", (whole, least)).broken() == (
        "The whole model takes 9 times the cycles that A board allows; with 10.0% of its network it still takes 1.5 "
        "times the RAM."
    )


def test_shares_and_verdict_agree() -> None:
    daisy = boards["daisy-seed"]
    assert daisy.flash_bytes is not None
    demand = Demand(1000, daisy.ram_bytes // 2, 48_000, 1e8, Band(1e8, 2 * 0.7 * 480e6))
    shares = daisy.shares(demand)
    small = pytest.approx(1000 / daisy.flash_bytes)
    assert shares == {"RAM": 0.5, "flash": small, "cycles": pytest.approx(2.0), "block": pytest.approx(2.0)}
    assert daisy.fits(demand).fits is all(share <= 1 for share in shares.values()) is False
    assert "cycles" not in daisy.shares(replace(demand, instructions_per_second=None))


def test_a_small_engine_is_proven_on_its_board(model: DdspModel) -> None:
    """Counted, compiled and played where the board's own code runs: the whole way, for one network."""
    pytest.importorskip("ziglang")
    pytest.importorskip("unicorn")
    from pochette.lab.build import build_instrument

    board = boards["rp2350"]
    cost, shares = fit.cost_on(build_instrument(model, "small", RANGES).source, board, golden_curve(model, RANGES)[:8])
    assert set(shares) == {"RAM", "flash", "cycles", "block"} and 0 < shares["flash"] < 1
    assert cost.cycles_per_second_low is not None and cost.cycles_per_second_high is not None
    assert 0 < cost.cycles_per_second_low < cost.cycles_per_second_high
    instrument = build_instrument(model, "small", RANGES)
    short = replace(
        instrument,
        golden_controls=instrument.golden_controls[:40],
        golden_audio=instrument.golden_audio[: 40 * model.hop_samples],
    )
    assert fit.prove(short, board).passed
    broken = replace(short, golden_audio=short.golden_audio + 0.01)
    assert not fit.prove(broken, board).passed
