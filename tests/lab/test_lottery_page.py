"""The lottery's page: its verdicts follow from intervals, a store filled in part is told as such, and page is data."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest

from pochette.lab.compare import Row, Spread, points_of
from pochette.lab.experiment import Anchor, Cut, Dense, Experiment, ancestors_of
from pochette.lab.store import Result

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
MODEL = "ddsp"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """The modules of benchmarks/, which are no package."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import lottery_claims
    import lottery_cost
    import lottery_page

    yield {"claims": lottery_claims, "cost": lottery_cost, "page": lottery_page}


def row(curve: str, stop: float, seed: int, multiplier: float, model: str = MODEL) -> Row:
    return Row(
        model, seed, curve, "", "", "trim", "", "", stop, stop, 1, 1.0, 4, multiplier, 1.0, multiplier, None, 1, 1.0,
        1.0, "here", "", f"{model}{curve}{stop}{seed}",
    )  # fmt: skip


def rows(curve: str, at: Mapping[float, Sequence[float]], model: str = MODEL) -> list[Row]:
    return [row(curve, stop, seed, m, model) for stop, found in at.items() for seed, m in enumerate(found)]


def verdict(scripts: dict[str, ModuleType], given: list[Row], start: str, models: tuple[str, ...] = (MODEL,)) -> Any:
    lines = scripts["claims"].lines(given, models, (0.5, 0.8, 0.95, 0.99))
    return next(line for line in lines if line.claim.startswith(start))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ((0.90, 0.90, 0.90), "holds"),
        ((0.95, 0.951, 0.952), "does not hold"),
        ((0.88, 0.91, 0.94), "open"),  # mean 0.91, Student's half width 4.303 * 0.03 / sqrt(3) = 0.0745
        ((0.90, 0.90), "too few seeds"),
        ((), "not measured"),
    ],
)
def test_a_bound_is_judged_by_its_interval(
    scripts: dict[str, ModuleType], found: tuple[float, ...], expected: str
) -> None:
    line = verdict(scripts, rows("information, global", {0.8: found}), "trimming by information, global: at 80 %")
    assert line.verdict == expected
    if expected == "open":
        assert line.here == "0.910 [0.835, 0.985], 3 seeds"


def test_other_sizes_are_told_of_beside_the_papers_claims_alone(scripts: dict[str, ModuleType]) -> None:
    few = f"{MODEL}, narrower"
    given = [*rows("information, global", {0.8: (0.8, 0.8, 0.8), 0.95: (0.9, 0.9, 0.9)}, few)]
    told = [line for line in scripts["claims"].lines(given, [MODEL], (0.8, 0.95), [few]) if line.model == few]
    assert [line.verdict for line in told] == ["holds", "holds", "holds"]
    assert not any(line.claim.startswith("our bound") for line in told)


def test_a_claim_on_many_stops_needs_them_all(scripts: dict[str, ModuleType]) -> None:
    start = "trimming by information, global: no loss"
    good = {0.5: (0.9, 0.9, 0.9), 0.8: (0.91, 0.91, 0.91), 0.95: (0.97, 0.97, 0.97)}
    assert verdict(scripts, rows("information, global", good), start).verdict == "holds"
    assert "at 95%, the worst of 3" in verdict(scripts, rows("information, global", good), start).here
    one_bad = {**good, 0.8: (1.1, 1.1, 1.1)}
    assert verdict(scripts, rows("information, global", one_bad), start).verdict == "does not hold"
    del good[0.5]
    assert verdict(scripts, rows("information, global", good), start).verdict == "not measured"


def test_ways_are_compared_seed_by_seed(scripts: dict[str, ModuleType]) -> None:
    """Seeds that differ by more than the ways do not hide that one way is always better."""
    local = {0.5: (1.0, 1.2, 1.4), 0.8: (1.0, 1.2, 1.4)}
    everywhere = {stop: [m - 0.05 for m in found] for stop, found in local.items()}
    given = rows("magnitude, local", local) + rows("magnitude, global", everywhere)
    assert verdict(scripts, given, "ranking globally beats").verdict == "holds"
    swapped = rows("magnitude, global", local) + rows("magnitude, local", everywhere)
    assert verdict(scripts, swapped, "ranking globally beats").verdict == "does not hold"
    same = rows("magnitude, global", local) + rows("magnitude, local", local)
    assert verdict(scripts, same, "ranking globally beats").verdict == "open"


def test_controls_and_lots_are_not_the_best_of_our_criteria(scripts: dict[str, ModuleType]) -> None:
    given = rows("reinit", {0.95: (0.5,) * 3}) + rows("random, local", {0.95: (0.6,) * 3})
    given += rows("magnitude, local", {0.95: (1.3,) * 3}) + rows("gradient, local", {0.95: (1.2,) * 3})
    line = verdict(scripts, given, "our bound: the best of all criteria at 95 %")
    assert line.verdict == "does not hold"
    assert line.here == "1.200 [1.200, 1.200], 3 seeds (gradient, local; lots drawn 0.600)"


def test_the_mean_of_the_models_needs_every_model(scripts: dict[str, ModuleType]) -> None:
    claims = scripts["claims"]
    given = rows("information, global", {0.8: (0.8, 0.9)}) + rows("information, global", {0.8: (1.0,)}, "wavenet")
    found = claims.multipliers(given, claims.ALL, (MODEL, "wavenet"), "information, global", 0.8)
    assert found == pytest.approx({0: 0.9})


def test_best_at_a_stop(scripts: dict[str, ModuleType]) -> None:
    start = "trimming by information, global: 80 % is its best"
    at = {0.5: (1.0,) * 3, 0.8: (0.9,) * 3, 0.95: (1.1,) * 3, 0.99: (1.2,) * 3}
    assert verdict(scripts, rows("information, global", at), start).verdict == "holds"
    at |= {0.95: (0.7,) * 3}
    assert verdict(scripts, rows("information, global", at), start).verdict == "does not hold"


def test_ranking_per_operation_is_held_against_every_other_way(scripts: dict[str, ModuleType]) -> None:
    """Seed by seed, stop by stop; beside each difference stands how many operations it was had with."""
    ours = {0.5: (1.0, 1.1, 1.2), 0.8: (1.0, 1.1, 1.2), 0.9: (1.0, 1.1, 1.3)}
    given = [replace(r, macs_per_second=0.5) for r in rows("magnitude, global, per operation", ours)]
    given += rows("magnitude, local", {0.5: (1.2, 1.3, 1.4), 0.8: (0.9, 1.0, 1.1), 0.9: (1.1, 1.1, 1.1)})
    given += rows("magnitude, global", {0.5: (2.0,)})
    text = "\n".join(scripts["cost"].chapter(facts(scripts["page"]), given))
    assert "- ddsp: **better** than magnitude, local at 50%; **worse** than magnitude, local at 80%; of 1 other" in text
    assert "| -0.200 [-0.200, -0.200], 3 seeds: better; 0.50 of its MAC/s |" in text
    assert "| ddsp | -1.000, 1 seed: too few seeds; 0.50 of its MAC/s |  |" in text
    assert "nsf, cut to shares of its operations: not yet computed." in text


def test_a_curve_is_read_between_its_points(scripts: dict[str, ModuleType]) -> None:
    """At the same operations: halfway between 1 and 4 million lie 2 million."""
    line = [(1e6, 1.3), (4e6, 1.1), (8e6, 1.0)]
    between = scripts["cost"].between
    assert between(line, 2e6) == pytest.approx(1.2) and between(line, 4e6) == pytest.approx(1.1)
    assert between(line, 0.9e6) is None and between(line, 9e6) is None and between([], 1e6) is None
    ours = [replace(r, macs_per_second=2e6) for r in rows("magnitude, global, per operation", {0.95: (1.0, 1.1, 1.2)})]
    theirs = [
        replace(r, macs_per_second=4e6 if r.asked_removed == 0.95 else 1e6)
        for r in rows("magnitude, local", {0.95: (1.2, 1.3, 1.4), 0.99: (1.4, 1.5, 1.6)})
    ]
    text = "\n".join(scripts["cost"].chapter(facts(scripts["page"]), [*ours, *theirs]))
    assert "-0.300 [-0.300, -0.300], 3 seeds: better |" in text


# -- the page ----------------------------------------------------------------------------------------------------------


def facts(page: ModuleType) -> dict[str, Any]:
    one = {
        "fingerprint": "0" * 12, "sample_rate_hz": 16000, "sounds": 9, "seconds": 60.0, "split_by": "pitch",
        "training": 6, "looks": 1, "test": ["a.flac", "b.flac"], "test_seconds": 9.0, "test_excerpts": 9, "anchors": {},
    }  # fmt: skip
    return {
        "sounds": "made-up",
        "computed": None,
        "machine": {},
        "versions": {"torch": "0"},
        "models": {model: dict(one) for model in page.RECIPES},
    }


def result(error: float) -> Result:
    return Result(error, 100, 1e6, 400, 10, "d", 1.0, 0.1, "a machine", "0")


def test_an_empty_store_is_told_as_such(scripts: dict[str, ModuleType]) -> None:
    page = scripts["page"]
    text = page.content(facts(page), {})
    assert text.count("Not yet computed.") == len(page.RECIPES)
    assert "**holds**" not in text and "**does not hold**" not in text
    assert "ddsp, published: information, global; information, global then local" in text


def test_a_store_filled_in_part_is_told_stop_by_stop(scripts: dict[str, ModuleType]) -> None:
    page = scripts["page"]
    known = facts(page)
    wanted = page.planned(known, MODEL)["magnitude"]
    dense = next(e for e in wanted if isinstance(e, Dense) and e.training.seed == 0)
    cut = next(e for e in wanted if isinstance(e, Cut) and e.parent == dense and e.criterion == "magnitude")
    stored: dict[Experiment, Result] = {
        next(e for e in wanted if isinstance(e, Anchor)): result(10.0),
        dense: result(8.0),
        cut: replace(result(9.0), weights=50, macs_per_second=4e5),
    }
    text = page.content(known, stored)
    assert "the dense error lies 20.0% below it, which passes (the bar is 15%)" in text
    # 9 / 8, (10 - 9) / (10 - 8), and nothing at later stops.
    assert "| magnitude, local | 1.125 (1 seed) |  |" in text
    assert "| magnitude, local | 0.500 (1 seed) |  |" in text
    assert "| magnitude, local | 0.4 M |  |" in text
    assert "**holds**" not in text
    assert f"| magnitude | 3 of {len(wanted)} |" in text


def test_a_dense_model_near_its_anchor_does_not_pass(scripts: dict[str, ModuleType]) -> None:
    page = scripts["page"]
    known = facts(page)
    wanted = [*page.planned(known, MODEL)["magnitude"], *page.planned(known, MODEL)["random"]]
    dense, anchor = (next(e for e in wanted if isinstance(e, kind)) for kind in (Dense, Anchor))
    text = page.content(known, {anchor: result(10.0), dense: result(9.0)})
    assert "10.0% below it, which **does not pass**" in text


def test_the_training_behind_a_stop_is_that_of_its_whole_chain(scripts: dict[str, ModuleType]) -> None:
    page = scripts["page"]
    wanted = [*page.planned(facts(page), MODEL)["magnitude"], *page.planned(facts(page), MODEL)["random"]]
    cuts = [e for e in wanted if isinstance(e, Cut) and e.criterion == "magnitude"]
    third = next(e for e in cuts if isinstance(e.parent, Cut) and isinstance(e.parent.parent, Dense))
    second, dense = ancestors_of(third)
    chain = {third: result(1.0), second: result(1.0), dense: replace(result(1.0), steps=500)}
    assert max(page.training_behind(chain).values()) == 520
    costs = {**chain, third: replace(result(1.0), macs_per_second=chain[dense].macs_per_second / 4)}
    assert sorted(page.arithmetic_behind(costs).values()) == pytest.approx([1.0, 1 + 10 / 500, 1 + 12.5 / 500])


def test_a_figure_stands_alone_and_knows_what_it_shows(scripts: dict[str, ModuleType]) -> None:
    page = scripts["page"]
    given = rows("dense", {0.0: (1.0,)}) + rows("magnitude, local", {0.5: (1.1,)}) + rows("reinit", {0.5: (1.3,)})
    points = points_of(given)
    assert [point.curve for point in page.shown_of(points, MODEL, "criteria")] == ["dense", "magnitude, local"]
    assert {point.curve for point in page.shown_of(points, MODEL, "controls")} == {
        "dense",
        "magnitude, local",
        "reinit",
    }
    assert page.shown_of(points, "wavenet", "criteria") == []
    shown = page.shown_of(points, MODEL, "controls")
    root = ElementTree.fromstring(page.svg(shown, MODEL))
    assert root.tag == "{http://www.w3.org/2000/svg}svg" and root.get("data-points") == page.digest(shown)
    assert page.digest(shown) != page.digest(points_of([*given[:-1], replace(given[-1], multiplier=1.31)]))


def test_numbers_say_how_many_seeds(scripts: dict[str, ModuleType]) -> None:
    number = scripts["page"].number
    assert number(Spread(1.0, 0.9, 1.1, 3)) == "1.000 [0.900, 1.100]"
    assert number(Spread(1.0, 0.9, 1.1, 2)) == "1.000 [0.900, 1.100] (2 seeds)"
    assert number(Spread(1.0, 1.0, 1.0, 1)) == "1.000 (1 seed)"


# -- what is stored ----------------------------------------------------------------------------------------------------


def checked(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, f"benchmarks/{script}", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.skipif(not (RESULTS / "lottery" / "results").is_dir(), reason="no stored lottery: benchmarks/lottery.py")
def test_the_page_is_the_stored_lottery() -> None:
    check = checked("lottery_page.py")
    assert check.returncode == 0, check.stdout + check.stderr


@pytest.mark.slow
@pytest.mark.skipif(not (RESULTS / "speed.json").is_file(), reason="no stored times: benchmarks/speed.py")
def test_the_page_is_the_stored_speed() -> None:
    check = checked("speed.py")
    assert check.returncode == 0, check.stdout + check.stderr


@pytest.mark.skipif(not (RESULTS / "speed.json").is_file(), reason="no stored times: benchmarks/speed.py")
def test_time_falls_with_trimming_and_not_with_masking() -> None:
    found = json.loads((RESULTS / "speed.json").read_text(encoding="utf-8"))["rows"]
    dense = found[0]["seconds"]
    last = {r["removal"]: r["seconds"] for r in found if r["asked_removed"] == 0.99}
    for form, factor in (("torch", 0.7), ("c", 0.2), ("c network", 0.1)):
        assert last["trimmed"][form]["cpu"] < factor * dense[form]["cpu"]
        assert last["masked"][form]["cpu"] > 0.8 * dense[form]["cpu"]
