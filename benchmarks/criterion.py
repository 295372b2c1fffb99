"""Similarity and redundancy, criteria that came from the analyses, against magnitude and what else there is.

    python benchmarks/criterion.py [--models ddsp ...] [--workers 1]     trim by each, seed by seed, on one budget
    python benchmarks/criterion.py --page                                only write docs/criterion.md
    python benchmarks/criterion.py --check                               exit 1 if that differs from what is stored

Every experiment is stored under benchmarks/results/criterion and never repeated.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks")]

from lottery_text import number, table  # noqa: E402
from pages import put  # noqa: E402
from techniques import MODELS, SOUNDS, corpus_of, tell  # noqa: E402

from pochette.lab.compare import Comparison, Row, points_of, rows_of, spread  # noqa: E402
from pochette.lab.execute import run  # noqa: E402
from pochette.lab.experiment import Disturbed, Properties, root_of  # noqa: E402
from pochette.lab.store import Result, Store  # noqa: E402
from pochette.lab.workers import workers_of  # noqa: E402

STORE = ROOT / "benchmarks" / "results" / "criterion"
PAGE = ROOT / "docs" / "criterion.md"
NAMES = ("ddsp", "sing-ae", "timbre-vae")
NEW, OLD = ("similarity", "redundancy"), "magnitude"
CRITERIA = (*NEW, OLD, "activation", "random")
STOPS = (0.5, 0.8, 0.95)
SEEDS = (0, 1, 2)
STOP_SHARE = 0.25
"""Training after each cut, as a share of that of the dense model."""


def comparison(name: str, fingerprint: str) -> Comparison:
    """What is crossed for one model; it is trained as in the contest of techniques."""
    recipe, training, steps = MODELS[name]
    return Comparison(
        fingerprint,
        {name: recipe},
        steps,
        round(STOP_SHARE * steps),
        criteria=CRITERIA,
        stops=STOPS,
        seeds=SEEDS,
        anchor=False,
        training=training,
    )


def text() -> str:
    """The page."""
    store = Store(STORE)
    results = store.results(store.experiments())
    rows = [row for row in rows_of(results) if row.criterion]
    lines = [
        "# Properties as criteria",
        "",
        "Two analyses made criteria. `similarity` keeps a layer arranged as what it reads: among the networks that"
        " techniques made small, alignment with the input goes with the error, though not the same way in every model"
        " ([relations.html](relations.html) has how, in each model). `redundancy` keeps what of a unit no linear"
        " function of the others explains, times the weights that read it. Each model is trained dense, cut three times"
        f" along one path and trained for {STOP_SHARE:.0%} of the dense steps after each cut; figures are test error"
        " per that of the dense model of the same seed, mean and 95 % interval; about one such interval of a difference"
        " in twenty leaves zero by chance alone, and none is corrected for their number. Made by"
        " `benchmarks/criterion.py` from stored results.",
        "",
    ]
    for model in dict.fromkeys(row.model for row in rows):
        own = [row for row in rows if row.model == model]
        points = {(p.curve.partition(",")[0], p.asked_removed): p.multiplier for p in points_of(own)}
        cells = [[f"`{name}`", *(number(points.get((name, stop))) for stop in STOPS)] for name in CRITERIA]
        lines += [f"## {model}", "", *table(["criterion", *(f"{stop:.0%} removed" for stop in STOPS)], cells)]
        lines += [line for new in NEW for line in (verdict(own, new), "")]
    trained = [result for item, result in results.items() if not isinstance(item, Properties | Disturbed)]
    lines += [where(trained), ""]
    return "\n".join(lines)


def verdict(rows: list[Row], new: str) -> str:
    """Whether a new criterion and the old are told apart, stop by stop, by differences within seeds."""
    told = []
    for stop in STOPS:
        known = {(row.criterion, row.seed): row.multiplier for row in rows if row.asked_removed == stop}
        apart = [known[new, seed] - known[OLD, seed] for seed in SEEDS if {(new, seed), (OLD, seed)} <= set(known)]
        if len(apart) < len(SEEDS):
            told.append(f"at {stop:.0%} not all seeds are there")
            continue
        found = spread(apart)
        said = "better" if found.high < 0 else "worse" if found.low > 0 else "not told apart"
        told.append(f"at {stop:.0%} {said} ({found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}])")
    return f"`{new}` against `{OLD}`, seed by seed: {'; '.join(told)}."


def where(results: list[Result]) -> str:
    """On what machine, and for how long."""
    machines = ", ".join(sorted({result.machine for result in results})) or "nowhere yet"
    minutes = sum(result.training_seconds for result in results) / 60
    return f"{len(results)} networks, {minutes:.0f} minutes of training on one core each of {machines}."


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--workers", default="1")
    parser.add_argument("--page", action="store_true", help="train nothing")
    parser.add_argument("--check", action="store_true", help="train nothing, write nothing")
    asked = parser.parse_args()
    if not (asked.page or asked.check) and SOUNDS.is_dir():
        store, corpora = Store(STORE), {name: corpus_of(MODELS[name][0]) for name in asked.models}
        wanted = [e for name in asked.models for e in comparison(name, corpora[name].fingerprint).experiments()]
        with workers_of(asked.workers) as workers:
            run(store.missing(wanted), store, lambda e: corpora[root_of(e).model], workers, report=tell)
    return put(PAGE, text(), check=asked.check)


if __name__ == "__main__":
    sys.exit(main())
