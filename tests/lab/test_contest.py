"""Contests: what is crossed and measured, who is on the front, who wins, and what the page says of it."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from pochette.errors import RecipeError
from pochette.families import methods, models
from pochette.lab.compare import Spread
from pochette.lab.contest import (
    Contest,
    Entry,
    Point,
    Row,
    able,
    engines,
    front,
    in_budget,
    kind_of,
    likely_engines,
    points_of,
    rows_of,
    to_csv,
)
from pochette.lab.contest_report import Told, missing, page
from pochette.lab.contest_words import careful, sentences, skills, spending
from pochette.lab.experiment import Dense, Engine, Experiment, Reduced
from pochette.lab.networks import SPENT, STATE, STORED
from pochette.lab.reducing import COUNTED, TIMED
from pochette.lab.standings import comparable, detectable, standings
from pochette.lab.store import Result
from pochette.models.ddsp import Ddsp
from pochette.train.loop import Training
from tests.lab.tasks import result

ENTRY = Entry(Ddsp.sized("tiny"), "0123456789ab", 100, Training())
CONTEST = Contest({"ddsp": ENTRY}, ("lottery", "magnitude", "quantise", "rigl"), seeds=(0, 1))


def network(error: float, weights: int = 1000, macs: float = 1e6, stored: float = 4000.0) -> Result:
    return result(error, weights, macs_per_second=macs, steps=60, figures={STORED: stored, STATE: 100.0, SPENT: 12.0})


def results(contest: Contest) -> dict[Experiment, Result]:
    """Made-up results: the lottery halves the work, others what is stored."""
    made: dict[Experiment, Result] = {}
    for experiment in contest.experiments():
        if isinstance(experiment, Dense):
            made[experiment] = replace(network(2.0), steps=100)
        elif isinstance(experiment, Reduced):
            units = experiment.method == "lottery"
            zero = experiment.method in ("magnitude", "rigl")
            error = {"lottery": 2.2, "magnitude": 2.1, "quantise": 2.0, "rigl": 2.4}[experiment.method]
            made[experiment] = network(
                error + 0.01 * experiment.parent.training.seed, 250 if units or zero else 1000,
                5e5 if units else 1e6, 1000.0,
            )  # fmt: skip
    return made


def test_every_network_once_beside_its_dense_model() -> None:
    crossed = CONTEST.experiments()
    assert len(crossed) == len(set(crossed)) == 2 * (1 + 4 * 2)
    reduced = [e for e in crossed if isinstance(e, Reduced)]
    assert {e.parent.steps for e in reduced} == {40} and {e.steps for e in reduced} == {100}
    assert {round(e.options.keep, 4) for e in reduced} == {0.25, 0.0625}
    first = [getattr(e, "parent", e).training.seed for e in crossed]
    assert first == sorted(first)  # a whole seed before the next


def test_engines_are_foreseen_where_shapes_change() -> None:
    crossed = CONTEST.experiments()
    foreseen = likely_engines(crossed)
    assert set(foreseen) == set(engines(results(CONTEST))) and len(foreseen) == len(set(foreseen)) == 2 * (1 + 2)
    assert likely_engines([e for e in crossed if isinstance(e, Dense)]) == []


@pytest.mark.parametrize("changes", [{"methods": ()}, {"keeps": (0.25, 0.25)}, {"seeds": ()}, {"entries": {}}])
def test_nothing_and_things_twice_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=next(iter(changes))):
        replace(CONTEST, **changes).experiments()


@pytest.mark.parametrize("name", methods.names())
@pytest.mark.parametrize("keep", [1 / 4, 1 / 16])
def test_every_technique_can_be_asked_for_the_usual_ratios(name: str, keep: float) -> None:
    assert methods[name].keeping(keep).keep == pytest.approx(keep)


def test_who_cannot_keep_so_much_says_so() -> None:
    assert set(able(("quantise", "lottery"), (1 / 4, 0.9))) == {"quantise"}


def test_periods_suit_the_budget() -> None:
    assert in_budget(methods["rigl"](), 400).every == 20
    assert in_budget(methods["lottery"](), 400) == methods["lottery"]()


def test_engines_are_measured_where_shapes_differ() -> None:
    wanted = engines(results(CONTEST))
    assert len(wanted) == len(set(wanted)) == 2 + 4
    assert all(isinstance(e.parent, Dense) or e.parent.method == "lottery" for e in wanted)


def test_rows_are_said_beside_the_dense_model_of_the_whole_budget() -> None:
    found = results(CONTEST)
    cut = CONTEST.asked("ddsp", "lottery", 0.25, 1)
    timed = {Engine(CONTEST.whole("ddsp", 1)): 0.4, Engine(cut): 0.1}
    for engine, seconds in timed.items():
        found[engine] = result(figures={TIMED: seconds, COUNTED: 1e6 * seconds})
    rows = {(r.method, r.keep, r.seed): r for r in rows_of(found)}
    assert len(rows) == 16
    own = rows["lottery", 0.25, 1]
    assert own.multiplier == pytest.approx(2.21 / 2.0) and own.saves == "work" and own.operations == 0.5
    assert own.engine_time == pytest.approx(0.25) and own.engine_instructions == pytest.approx(0.25)
    assert own.step_time == pytest.approx((12.0 / 60) / (12.0 / 100)) and own.stored_bytes == 0.25
    assert rows["lottery", 0.25, 0].engine_time is None  # not measured
    assert rows["magnitude", 0.25, 0].engine_time == 1.0 and rows["magnitude", 0.25, 0].saves == "numbers"
    bits = rows["quantise", 0.25, 0]
    assert bits.saves == "bits" and bits.engine_time is None and bits.engine_instructions is None  # another engine
    assert to_csv(list(rows.values())).count("\n") == 17


def test_kinds_of_models() -> None:
    said = {name: kind_of(models[name].sized("tiny").build()) for name in ("ddsp", "wavenet", "sing-ae", "wavegan")}
    assert said == {
        "ddsp": "played by features of sound", "wavenet": "sample by sample", "sing-ae": "auto-encoders",
        "wavegan": "adversarial",
    }  # fmt: skip


def point(cost: float, error: float) -> Point:
    figure = {name: Spread(cost, cost, cost, 1) for name in ("weights", "operations", "stored_bytes", "state_bytes")}
    nothing = dict.fromkeys(("skill", "engine_time", "engine_instructions", "step_time"))
    return Point("m", "k", f"{cost}-{error}", "work", 0.25, Spread(error, error, error, 1), **figure, **nothing)


@pytest.mark.parametrize("seed", range(20))
def test_fronts_against_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    drawn = [point(*pair) for pair in rng.integers(1, 7, size=(12, 2)).astype(float).tolist()]
    found = {(p.operations.mean, p.multiplier.mean) for p in front(drawn, "operations")}
    places = {(p.operations.mean, p.multiplier.mean) for p in drawn}
    brute = {p for p in places if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in places)}
    assert found == brute
    assert front(drawn, "engine_time") == []


def row(method: str, multiplier: float, model: str = "m", seed: int = 0, **changes: Any) -> Row:
    made = Row(
        model, "k", method, "work", 0.25, seed, multiplier, multiplier, None, None, *([0.25] * 4),
        None, None, None, 1, "x",
    )  # fmt: skip
    return replace(made, **changes)


def test_ranks_by_hand() -> None:
    """Three blocks of two models; the third has no c. Seeds are averaged before models."""
    rows = [row("a", 1.0), row("b", 2.0), row("c", 3.0), row("a", 2.0, seed=1), row("b", 1.0, seed=1),
            row("c", 4.0, seed=1), row("a", 1.0, "n"), row("b", 1.5, "n")]  # fmt: skip
    found = {item.method: item for item in standings(rows, "work", 0.25)}
    assert list(found) == ["a", "b", "c"]
    assert all(item.beaten is not None for item in found.values())
    assert found["a"].beaten.mean == pytest.approx((0.75 + 1.0) / 2)
    assert found["b"].beaten.mean == pytest.approx((0.75 + 0.0) / 2)
    assert found["c"].beaten.mean == 0.0 and found["c"].beaten.seeds == 1
    assert (found["c"].models, found["c"].runs, found["a"].models, found["a"].runs) == (1, 2, 2, 3)
    assert found["a"].behind is None and found["c"].behind is not None
    assert found["c"].behind.mean == pytest.approx((3.0 * 2.0) ** 0.5)
    assert standings(rows, "bits", 0.25) == [] == standings(rows, "work", 0.5)


def test_who_was_there_for_few_models_does_not_stand_first() -> None:
    rows = [row(m, e, f"m{i}") for m, e in (("a", 1.0), ("b", 1.1)) for i in range(3)]
    rows += [row("rare", 0.5, f"m{i}") for i in range(2)]
    assert [item.method for item in standings(rows, "work", 0.25)] == ["a", "b", "rare"]
    rows.append(row("rare", 0.5, "m2"))
    assert [item.method for item in standings(rows, "work", 0.25)] == ["rare", "a", "b"]
    assert "3 runs, of one seed" in sentences(rows)[0]
    assert "of one seed" not in sentences([*rows, *(row(m, 1.0, "m0", 1) for m in ("rare", "a", "b"))])[0]


def test_a_tie_is_half_a_win_and_few_blocks_tell_nobody_apart() -> None:
    tie = standings([row("a", 1.0), row("b", 1.0)], "work", 0.25)
    assert [item.beaten.mean for item in tie] == [0.5, 0.5]
    apart = [row(m, e, seed=s) for (m, e), s in itertools.product((("a", 1.0), ("b", 1.5)), range(3))]
    assert standings(apart, "work", 0.25)[1].told_apart
    assert not standings(apart[:2] + apart[3:5], "work", 0.25)[1].told_apart
    crossing = [row("a", 1.0), row("b", 1.1), row("a", 1.2, seed=1), row("b", 1.1, seed=1), row("a", 1, seed=2),
                row("b", 1.1, seed=2)]  # fmt: skip
    assert not standings(crossing, "work", 0.25)[1].told_apart


def test_probabilities_are_corrected_for_all_pairs() -> None:
    """Against Student's test of a library, and Holm's steps by hand."""
    logs = {"a": [0.0, 0.0, 0.0, 0.0], "b": [0.10, 0.11, 0.09, 0.10], "c": [0.2, 0.1, 0.3, 0.2]}
    rows = [row(m, math.exp(v), f"m{i}") for m, values in logs.items() for i, v in enumerate(values)]
    raw = {pair: stats.ttest_rel(logs[pair[0]], logs[pair[1]]).pvalue for pair in (("a", "b"), ("a", "c"), ("b", "c"))}
    assert raw["a", "b"] < raw["a", "c"] < raw["b", "c"]
    first, second, third = standings(rows, "work", 0.25)
    assert first.probability is None and second.method == "b"
    assert second.probability == pytest.approx(3 * raw["a", "b"]) and second.told_apart
    assert third.probability == pytest.approx(2 * raw["a", "c"])


def test_seeds_of_one_model_do_not_tell_for_others() -> None:
    rows = [row(m, e, model, s) for m, e in (("a", 1.0), ("b", 1.5)) for model in ("m", "n") for s in range(5)]
    assert not standings(rows, "work", 0.25)[1].told_apart  # ten runs, but two models
    assert standings([r for r in rows if r.model == "m"], "work", 0.25)[1].told_apart


def test_who_left_something_else_is_not_ranked_but_listed() -> None:
    rows = [row("a", 1.0), row("b", 1.1), row("c", 1.2), row("little", 0.9, weights=0.01, operations=0.01),
            row("much", 0.5, weights=0.3, operations=0.6)]  # fmt: skip
    same, other = comparable(rows, "work", 0.25)
    assert [r.method for r in same] == ["a", "b", "c"] and [r.method for r in other] == ["little", "much"]
    assert [item.method for item in standings(rows, "work", 0.25)] == ["a", "b", "c"]
    html = told([row("filters", 1.0), row("thinet", 0.9, weights=0.01)])
    assert "Kept something else" in html and "thinet on m, seed 0" in html
    bits = [row("q", 1.0, saves="bits", stored_bytes=0.28), row("c", 0.9, saves="bits", stored_bytes=0.56)]
    assert [r.method for r in comparable(bits, "bits", 0.25)[1]] == ["c"]


def test_skill_is_told_beside_multipliers_and_where_there_is_hardly_any() -> None:
    crossed = replace(CONTEST, seeds=(0,))
    anchor = crossed.anchors()
    assert len(anchor) == 1
    for error, said in ((4.0, "50.0"), (2.1, "hardly better"), (1.9, "no better than its anchor")):
        rows = rows_of({**results(crossed), anchor[0]: result(error)})
        assert any(said in line for line in skills(rows)), skills(rows)
        own = next(r for r in rows if r.method == "lottery")
        assert own.skill == (pytest.approx((error - 2.2) / (error - 2.0)) if error > 2.0 else None)
    worse = rows_of({**results(crossed), anchor[0]: result(2.3)})
    assert "2 of 8 reduced networks are worse" in skills(worse)[0]  # rigl's two
    assert "no anchor" in skills(rows_of(results(crossed)))[0]


def test_a_dense_run_that_was_slowed_does_not_make_its_seeds_techniques_cheap() -> None:
    crossed = replace(CONTEST, seeds=(0, 1, 2))
    found = results(crossed)
    slow = crossed.whole("ddsp", 1)
    figures = {**found[slow].figures, SPENT: 10.0 * found[slow].figures[SPENT]}
    found[slow] = replace(found[slow], figures=figures)
    steps = {r.seed: r.step_time for r in rows_of(found) if (r.method, r.keep) == ("lottery", 0.25)}
    assert len(steps) == 3 and len(set(steps.values())) == 1


def test_intervals_of_costs_are_of_logarithms_and_stay_above_nothing() -> None:
    rows = [replace(row("a", 1.0, seed=seed), engine_time=time) for seed, time in enumerate((0.1, 0.1, 0.9))]
    made = points_of(rows)[0].engine_time
    assert made is not None and made.mean == pytest.approx(0.009 ** (1 / 3)) and 0.0 < made.low < made.mean


def test_a_difference_of_what_is_detectable_is_told_apart_and_a_smaller_one_is_not() -> None:
    noise = (0.99, 1.0, 1.01, 1.005)

    def ranked(factor: float) -> Any:
        rows = [row("a", 1.0, seed=seed) for seed in range(4)]
        rows += [row("b", factor * noise[seed], seed=seed) for seed in range(4)]
        return standings(rows, "work", 0.25)

    needed = detectable(ranked(1.2))
    assert needed is not None and needed == pytest.approx(detectable(ranked(1.5)))
    middle = float(np.exp(np.mean(np.log(noise))))
    assert ranked(1.001 * needed / middle)[1].told_apart and not ranked(0.999 * needed / middle)[1].told_apart


def test_what_techniques_cost_and_whose_dense_model_learnt_little_is_said() -> None:
    rows = [replace(row(name, 1.0, seed=seed), step_time=cost) for seed in (0, 1)
            for name, cost in (("a", 1.0), ("b", 1.1), ("c", 4.0))]  # fmt: skip
    assert "1.10 times" in spending(points_of(rows)) and "c 4, b 1.10" in spending(points_of(rows))
    assert spending(points_of([row("a", 1.0)])) == ""
    poor = replace(row("a", 1.0, "poor"), anchor=1.05)
    assert "Of poor the dense model" in careful([poor, replace(row("a", 1.0, "good"), anchor=2.0)])
    assert careful([replace(poor, anchor=2.0)]) == ""


def test_times_of_two_machines_are_not_compared() -> None:
    found = results(CONTEST)
    cut = CONTEST.asked("ddsp", "lottery", 0.25, 1)
    for network, machine in ((CONTEST.whole("ddsp", 1), "one"), (cut, "other")):
        found[Engine(network)] = replace(result(figures={TIMED: 0.1, COUNTED: 1e6}), machine=machine)
    own = next(r for r in rows_of(found) if (r.method, r.keep, r.seed) == ("lottery", 0.25, 1))
    assert own.engine_time is None and own.engine_instructions == 1.0


def test_reasons_why_networks_are_missing_are_counted_apart() -> None:
    rows = [row("a", 1.0, "ddsp"), row("b", 1.0, "ddsp")]
    asked = Told("T", "S", "C", {}, (), 1.0, {"ddsp": {"c to 0.25": "no", "engine of a to 0.25": "no"}}, 1, 3,
                 (0.25, 0.0625), (0, 1))  # fmt: skip
    assert asked.wanted == 12
    assert missing(rows, asked) == ["2 refused", "6 where 6.2\u202f% is kept, which is not begun", "2 not computed yet"]


def told(rows: list[Row], refused: Mapping[str, Mapping[str, str]] | None = None) -> str:
    return page(
        rows, Told("T <b>", "S", "C", {"ddsp": 100}, ("M",), 1.5, refused or {}, 1, 10, (0.25, 0.0625), range(5))
    )


def test_the_page_stands_alone_and_says_what_is_missing() -> None:
    rows = rows_of(results(CONTEST))
    html = told(rows, {"ddsp": {"thinet to 0.25": "<i>no</i>"}})
    assert "T &lt;b&gt;" in html and "&lt;i&gt;no" in html and "<script" not in html
    assert not re.search(r'(src|href)="(?!data:|#)', html)
    assert "84 of 100 networks are not there: 5 refused; 79 not computed yet" in html
    assert html.count("<svg") == 6
    assert told(rows) == told(rows)
    lines = sentences(rows)
    assert any("quantise stands first" in line and "nobody else was asked" in line for line in lines)
    assert any("magnitude stands first" in line and "tell it apart from nobody" in line for line in lines)
    assert len(points_of(rows)) == 8
