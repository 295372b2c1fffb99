"""A comparison: what it crosses, what its figures mean, and what its page and CSV say."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from pochette.errors import RecipeError
from pochette.lab.compare import Comparison, Row, points_of, rows_of, spread, to_csv
from pochette.lab.compare_report import CLAIMS, UNKNOWN_SKILL, page, sentences
from pochette.lab.experiment import Anchor, Control, Cut, Dense, Disturbed, Experiment, Properties, Timing
from pochette.lab.store import Result
from pochette.models.ddsp import Ddsp
from tests.lab.tasks import result


def comparison(**changes: object) -> Comparison:
    asked = Comparison(
        "0123456789ab", {"ddsp": Ddsp.sized("tiny")}, steps=10, stop_steps=3, stops=(0.5, 0.8), seeds=(0, 1, 2)
    )
    return dataclasses.replace(asked, **changes)  # type: ignore[arg-type]


def made_up(asked: Comparison, **errors: float) -> dict[Experiment, Result]:
    """Results in which a seed's dense error is 1 + seed / 10, and a cut's that times its criterion's factor."""
    results: dict[Experiment, Result] = {}
    for experiment in asked.experiments():
        if isinstance(experiment, Anchor):
            results[experiment] = result(4.0)
        elif isinstance(experiment, Dense):
            results[experiment] = result(1 + experiment.training.seed / 10, 1000)
        elif isinstance(experiment, Cut):
            seed = experiment_seed(experiment)
            factor = errors[experiment.criterion] * (1 + experiment.removed * seed / 50)
            left = round(1000 * (1 - experiment.removed))
            results[experiment] = result((1 + seed / 10) * factor, left, macs_per_second=1e3 * left)
        else:
            results[experiment] = result(3.0, 200)
    return results


def experiment_seed(cut: Cut) -> int:
    parent = cut.parent
    return parent.training.seed if isinstance(parent, Dense) else experiment_seed(parent)


def test_everything_is_crossed_with_everything() -> None:
    asked = comparison(removals=("trim", "mask"), scopes=("local", "global"), controls=("reinit",), machines=("pi",))
    experiments = asked.experiments()
    count = {kind: sum(isinstance(e, kind) for e in experiments) for kind in (Anchor, Dense, Cut, Control, Timing)}
    # 3 seeds; 2 criteria x 2 scopes x 2 removals x 2 stops; controls at the stops of the first of each.
    assert count == {Anchor: 1, Dense: 3, Cut: 48, Control: 6, Timing: 57}
    assert len(set(experiments)) == len(experiments)
    seen: set[Experiment] = set()
    for experiment in experiments:
        assert getattr(experiment, "parent", None) in seen | {None}
        seen.add(experiment)


def test_a_larger_comparison_contains_the_smaller() -> None:
    small, large = comparison(), comparison(seeds=(0, 1, 2, 3), stops=(0.5, 0.8, 0.9), criteria=("random", "magnitude"))
    assert set(small.experiments()) < set(large.experiments())


@pytest.mark.parametrize("changes", [{"seeds": ()}, {"seeds": (1, 1)}, {"stops": (0.8, 0.5)}, {"criteria": ()}])
def test_nonsense_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(RecipeError):
        comparison(**changes).experiments()


def test_figures_are_relative_to_the_dense_model_of_the_same_seed() -> None:
    asked = comparison()
    rows = rows_of(made_up(asked, magnitude=1.5, random=2.0))
    assert len(rows) == 15
    for row in rows:
        factor = {"": 1.0, "magnitude": 1.5, "random": 2.0}[row.criterion]
        drift = 1 + row.asked_removed * row.seed / 50 if row.criterion else 1.0
        dense = 1 + row.seed / 10
        assert row.dense_error == dense and row.multiplier == pytest.approx(factor * drift)
        assert row.removed == pytest.approx(row.asked_removed)
        assert row.skill == pytest.approx((4 - dense * factor * drift) / (4 - dense))


def test_what_was_read_in_a_network_is_no_second_network() -> None:
    results = made_up(comparison(anchor=False), magnitude=1.5, random=2.0)
    read = {kind(e): r for e, r in results.items() if isinstance(e, Cut) for kind in (Properties, Disturbed)}
    assert read and rows_of({**results, **read}) == rows_of(results)


def test_no_skill_is_claimed_of_a_model_worse_than_the_mean_sound() -> None:
    results = made_up(comparison(), magnitude=1.5, random=2.0)
    worse = {e: dataclasses.replace(r, error=0.5) if isinstance(e, Anchor) else r for e, r in results.items()}
    assert all(row.skill is None for row in rows_of(worse))


def test_intervals_are_students() -> None:
    three = spread([1.0, 2.0, 4.0])
    # t(0.975; 2) = 4.302653 from tables; the standard deviation of 1, 2, 4 is sqrt(7/3).
    half = 4.302653 * np.sqrt(7 / 3) / np.sqrt(3)
    assert three.mean == pytest.approx(7 / 3)
    assert (three.low, three.high) == pytest.approx((7 / 3 - half, 7 / 3 + half), rel=1e-6)
    assert three.kind == "95 % interval"
    two, one = spread([1.0, 2.0]), spread([5.0])
    assert (two.low, two.high, two.kind) == (1.0, 2.0, "range of two seeds")
    assert (one.low, one.mean, one.high, one.kind) == (5.0, 5.0, 5.0, "one seed")


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = sum(abs(s.mean) <= s.high - s.mean for s in (spread(list(rng.standard_normal(3))) for _ in range(2000)))
    assert 0.93 < hits / 2000 < 0.97


def test_seeds_become_points_whatever_machine_they_ran_on() -> None:
    rows = rows_of(made_up(comparison(), magnitude=1.5, random=2.0))
    mixed = [dataclasses.replace(row, machine=f"machine {row.seed}", inference_seconds=row.seed + 1.0) for row in rows]
    points = points_of(mixed)
    assert [(p.curve, p.asked_removed, p.multiplier.seeds) for p in points] == [
        ("dense", 0.0, 3), ("magnitude, local", 0.5, 3), ("magnitude, local", 0.8, 3), ("random, local", 0.5, 3),
        ("random, local", 0.8, 3),
    ]  # fmt: skip
    assert points[0].machines == ("machine 0", "machine 1", "machine 2")
    assert (points[0].inference_seconds.mean, points[0].inference_seconds.high) == (1.0, 3.0)


def test_the_csv_has_every_digit_of_every_row() -> None:
    rows = rows_of(made_up(comparison(anchor=False), magnitude=1.5, random=2.0))
    read = list(csv.DictReader(io.StringIO(to_csv(rows))))
    assert list(read[0]) == [field.name for field in dataclasses.fields(Row)]
    assert [float(line["multiplier"]) for line in read] == [row.multiplier for row in rows]
    assert {line["skill"] for line in read} == {""}


# -- the page ----------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Refuses what is not closed, and collects what a page asks of the network."""

    VOID = frozenset({"meta", "link", "br", "img", "input", "path", "use", "line", "rect", "circle"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.counts: dict[str, int] = {}
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        assert all(name != "style" for name, _ in attrs), "inline style"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def page_of(asked: Comparison, results: dict[Experiment, Result], failed: dict[str, str] | None = None) -> str:
    points = points_of(rows_of(results))
    return page(asked, points, failed or {}, "<script>alert(1)</script>", "Ten sounds.", "pochette compare sounds")


def test_one_page_that_asks_the_network_for_nothing() -> None:
    asked = comparison()
    text = page_of(asked, made_up(asked, magnitude=1.02, random=1.4))
    read = Page(text)
    assert all(link.startswith(("#", "data:")) for link in read.links)
    assert read.counts["figure"] == 4 and text.count('class="plot"') == 4
    assert "<script" not in text
    for words in ("weights removed", "multiply-accumulates per second", "bytes of weights", "seconds of work"):
        assert f"error multiplier against {words}" in text
    assert "Student’s 95 % interval over 3 seeds" in text


def test_every_point_is_in_the_table() -> None:
    asked = comparison()
    results = made_up(asked, magnitude=1.02, random=1.4)
    text = page_of(asked, results)
    body = text[text.index("<tbody>") : text.index("</tbody>")]
    assert body.count("<tr>") == len(points_of(rows_of(results))) == 5
    assert re.search(r"random, local.*?<b>1\.41.*?random, local.*?<b>1\.42", body, re.S)


def test_shares_of_operations_are_called_so() -> None:
    asked = comparison(of="operations")
    results = made_up(asked, magnitude=1.02, random=1.4)
    told = " ".join(sentences(points_of(rows_of(results))))
    assert told.count(" removed") == told.count(" of the operations removed") > 1
    text = page_of(asked, results)
    assert "2 stops by operations" in text and text.count("of operations</small>") == 4
    assert "multiply-accumulates that learnt weights take part in" in text
    rows = list(csv.DictReader(io.StringIO(to_csv(rows_of(results)))))
    assert {row["of"] for row in rows if row["curve"] != "dense"} == {"operations"}


def test_few_seeds_are_called_few() -> None:
    one, two = comparison(seeds=(0,)), comparison(seeds=(0, 1))
    assert "only one seed" in page_of(one, made_up(one, magnitude=1.02, random=1.4))
    assert "range of two seeds" in page_of(two, made_up(two, magnitude=1.02, random=1.4))


def test_claims_are_called_claims() -> None:
    asked = comparison()
    text = page_of(asked, made_up(asked, magnitude=1.02, random=1.4))
    assert "claimed in print" in text and all(claim.how in text for claim in CLAIMS)


def test_what_failed_is_listed() -> None:
    asked = comparison()
    text = page_of(asked, made_up(asked, magnitude=1.02, random=1.4), {"ddsp, seed 1": "No room for <that>."})
    assert "No room for &lt;that&gt;." in text and "1 experiment gave no result" in text


def test_a_page_without_any_result_is_a_page() -> None:
    text = page_of(comparison(), {}, {"ddsp, seed 0": "The disk was full."})
    read = Page(text)
    assert "The disk was full." in text and read.counts["h1"] == 1 and 'class="plot"' not in text


@pytest.mark.parametrize(
    ("errors", "seeds", "verdict"),
    [
        ({"magnitude": 1.02, "random": 1.4}, (0, 1, 2), "the criterion is better"),
        ({"magnitude": 1.4, "random": 1.02}, (0, 1, 2), "lots drawn are better"),
        ({"magnitude": 1.021, "random": 1.02}, (0, 1, 2), "do not tell them apart"),
        ({"magnitude": 1.02, "random": 1.4}, (0, 1), "too few seeds"),
    ],
)
def test_sentences_say_no_more_than_seeds_can(errors: dict[str, float], seeds: tuple[int, ...], verdict: str) -> None:
    asked = comparison(seeds=seeds)
    told = sentences(points_of(rows_of(made_up(asked, **errors))))
    assert verdict in told[1]


def test_no_multiplier_is_judged_without_its_skill() -> None:
    """On seed 0 an error of 1.02 is 99.3 % of the way from the mean sound's 4 to the dense 1; from 1.025 it is 20 %."""
    good = comparison(seeds=(0,))
    told = sentences(points_of(rows_of(made_up(good, magnitude=1.02, random=1.4))))
    assert "magnitude, local up to 80.0\u202f% removed (99.3\u202f% of the skill kept)" in told[0]
    assert "1.02 times the dense error (99.3\u202f% of the skill kept) by magnitude" in told[1]
    assert "1.40 (86.7\u202f% of the skill kept) by lots drawn" in told[1]
    poor = made_up(good, magnitude=1.02, random=1.4)
    poor = {e: dataclasses.replace(r, error=1.025) if isinstance(e, Anchor) else r for e, r in poor.items()}
    told = sentences(points_of(rows_of(poor)))
    assert "(20.0\u202f% of the skill kept)" in told[0] and "of the skill kept) by magnitude" in told[1]


@pytest.mark.parametrize("anchor", [None, 0.5])
def test_skill_that_nobody_knows_is_said_to_be_unknown(anchor: float | None) -> None:
    """Without the mean sound's error, or with a dense model that is no better than it."""
    asked = comparison(seeds=(0, 1, 2), anchor=anchor is not None)
    results = {
        experiment: dataclasses.replace(known, error=anchor) if isinstance(experiment, Anchor) else known
        for experiment, known in made_up(asked, magnitude=1.02, random=1.4).items()
    }
    told = sentences(points_of(rows_of(results)))
    assert told[0] == f"ddsp: {UNKNOWN_SKILL}"
    assert len(told) > 2 and not any("skill" in sentence for sentence in told[1:])
    assert "may then mean that nothing was learnt" in page_of(asked, results)


def test_seeds_without_skill_are_counted() -> None:
    asked = comparison()
    results = {
        experiment: dataclasses.replace(known, error=1.05) if isinstance(experiment, Anchor) else known
        for experiment, known in made_up(asked, magnitude=1.02, random=1.4).items()
    }
    assert "of the skill kept in 1 of 3 seeds" in sentences(points_of(rows_of(results)))[0]


def test_reach_ends_at_the_first_stop_that_is_worse() -> None:
    asked = comparison(stops=(0.5, 0.8, 0.9), criteria=("magnitude",))
    results = made_up(asked, magnitude=1.0)
    for experiment, known in results.items():
        if isinstance(experiment, Cut) and experiment.removed == 0.8:
            results[experiment] = dataclasses.replace(known, error=9.0)
    assert "magnitude, local up to 50.0" in sentences(points_of(rows_of(results)))[0]
