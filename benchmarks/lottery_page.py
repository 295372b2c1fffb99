"""Put the stored lottery into docs/lottery.md, its figures and its CSV; nothing of them is typed by hand.

    python benchmarks/lottery_page.py            rewrite page, figures and results/lottery.csv from what is stored
    python benchmarks/lottery_page.py --check    exit 1 if one of them differs from what is stored
    python benchmarks/lottery_page.py --facts    gather sounds, split, anchors and dates first (needs the recordings)

A store that is filled in part gives a page that says what is missing.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks")]

import lottery_claims  # noqa: E402
import lottery_cost  # noqa: E402
import lottery_facts  # noqa: E402
from lottery import (  # noqa: E402
    CONTROL_STOPS,
    PARTS,
    RECIPES,
    STEPS,
    STOPS,
    STORE,
    TRAINING,
    comparisons,
)
from lottery_claims import CONTROLS, SEEDS_FOR_AN_INTERVAL, below_zero, differences, is_ours, lines, multipliers, told  # noqa: E402
from lottery_text import SEEDS, Stored, arithmetic_behind, narrower, number, of_width, table, training_behind, way  # noqa: E402
from publish import fill, millions  # noqa: E402
from speed import stand_alone  # noqa: E402

from pochette.lab.compare import Point, Row, points_of, rows_of, spread, to_csv  # noqa: E402
from pochette.lab.compare_report import AXES, figure, sentences  # noqa: E402
from pochette.lab.experiment import CAP, Anchor, Dense, Experiment  # noqa: E402
from pochette.lab.judge import TEST_SECONDS  # noqa: E402
from pochette.lab.store import Result, Store  # noqa: E402
from pochette.reduce.choosing import SWITCH  # noqa: E402

PAGE = ROOT / "docs" / "lottery.md"
CSV = ROOT / "benchmarks" / "results" / "lottery.csv"
IMAGES = ROOT / "docs" / "images"
DRAWN = {
    "criteria": "error multiplier against weights removed, by what chooses the units",
    "controls": "error multiplier against weights removed, beside the controls",
}
"""Figures of a model; one of all curves would be a thicket."""
BAR = 0.15
"""How far below its anchor a dense error should be for multipliers to mean something."""
ERRORS = {
    "ddsp": "multi-scale spectral distance (Engel et al. 2020, eq. 5)",
    "sing-ae": "log-spectral distance of the resynthesised sound",
    "wavenet": "bits per sample of 256 mu-law codes",
}
ANCHORS = {
    "ddsp": "mean spectrum: one average sound played by the same synthesiser with the same pitch and loudness",
    "sing-ae": "median spectrum: the best constant answer",
    "wavenet": "previous code: a table of what follows each code",
}
OTHER_ANCHORS = {
    "nearest frame": "the training frame nearest in pitch and loudness",
    "histogram": "how often each code comes, nothing of the past",
    "linear prediction": "a weighted sum of the samples before, its error logistic with a width that follows it",
}
REWINDS = {
    "learning_rate": "survivors go on from their trained weights and the learning rate starts anew",
    "weights": "survivors start again from their weights early in dense training",
    "init": "survivors start again from their first weights",
}
TRIED_NOTE = "A setting that is chosen by the errors it is then judged by flatters itself. These were tried first:"


# -- what is stored ----------------------------------------------------------------------------------------------------


def planned(facts: Mapping[str, Any], model: str) -> dict[str, list[Experiment]]:
    """The experiments of a model, part by part, each in the first part that wants it."""
    seen: set[Experiment] = set()
    parts = {}
    for part in PARTS:
        crossed = comparisons(model, facts["models"][model]["fingerprint"], SEEDS, part)
        wanted = dict.fromkeys(experiment for comparison in crossed for experiment in comparison.experiments())
        parts[part] = [experiment for experiment in wanted if experiment not in seen]
        seen |= set(wanted)
    return parts


def dense_of(results: Stored, model: str) -> list[Result]:
    """Results of a model's dense networks, one a seed."""
    return [result for e, result in results.items() if isinstance(e, Dense) and e.model == model]


# -- parts of the page -------------------------------------------------------------------------------------------------


def about(facts: Mapping[str, Any], results: Stored) -> list[str]:
    """Corpus, split, sizes, budgets, machine and date."""
    any_model = facts["models"][next(iter(RECIPES))]
    machines = sorted({result.machine for result in results.values()}) or ["not yet computed"]
    days = facts["computed"]
    when = "" if days is None else ", " + " to ".join(dict.fromkeys((days["first"], days["last"])))
    versions = ", ".join(f"{name} {value}" for name, value in facts["versions"].items())
    out = [
        f"**Sounds**: `{facts['sounds']}`, {any_model['sounds']} recordings, {any_model['seconds'] / 60:.1f} minutes, "
        f"at {any_model['sample_rate_hz']} Hz. **Seeds**: {', '.join(map(str, SEEDS))}, each with its own dense model. "
        f"**Machine**: {', '.join(machines)}, one thread an experiment{when}; {versions}.",
        "",
    ]
    rows = []
    for model in RECIPES:
        known, (steps, stop_steps), training = facts["models"][model], STEPS[model], TRAINING[model]
        dense = dense_of(results, model)
        size = f"{dense[0].weights:,}" if dense else "not yet computed"
        macs = millions(dense[0].macs_per_second) if dense else "not yet computed"
        rows.append([
            model, size, macs, f"{steps:,} + {stop_steps:,} a stop",
            f"{training.batch} of {training.excerpt_seconds:g} s, {training.learning_rate:g}",
            lottery_facts.varied(training),
            f"{known['training']} / {known['looks']} / {len(known['test'])}",
            f"by {known['split_by']}: " + ", ".join(name.rsplit(".", 1)[0] for name in known["test"])
            + f"; {known['test_excerpts']} excerpts of {TEST_SECONDS:g} s",
        ])  # fmt: skip
    heading = ["model", "parameters", "MAC/s", "training steps", "batch, learning rate", "varied by"]
    return out + table([*heading, "training / looks / test sounds", "test sounds"], rows)


def reading(rows: Sequence[Row], behind: Mapping[str, int]) -> list[str]:
    """What a multiplier does not mean, with this comparison's own numbers."""
    longest = []
    for model in RECIPES:
        steps, stop_steps = STEPS[model]
        longest.append(f"{model} {steps + len(STOPS) * stop_steps:,} steps at {STOPS[-1]:.0%} after {steps:,} dense")
    capped = [r for r in rows if r.control == "scratch_compute"]
    most = max((behind[r.signature] for r in capped), default=None)
    found = f" (the longest here had {most:,} steps)" if most else ""
    shortest, widest = (pick(t.excerpt_seconds for t in TRAINING.values()) for pick in (min, max))
    rewind = comparisons(next(iter(RECIPES)), "", SEEDS, PARTS[0])[0].rewind
    return [
        "- A stop goes on from the stop before, so its network has had more training in all than the dense one: "
        f"{'; '.join(longest)}. A multiplier below 1 says that the smaller network is better than the dense one *as "
        "trained here*, not that removal made it so: a dense network trained as long is not among the controls.",
        "- `scratch, same compute` trains as many steps as cost the dense training's arithmetic, but at most "
        f"{CAP:g} times its steps{found}; of a network that is many times smaller that is a fraction of the "
        "arithmetic, and fewer steps than lie behind a late stop. `reinit` has the stop's shape and one stop's steps.",
        f"- Budgets are small: minutes of sound, excerpts of {shortest:g} to {widest:g} s, and training that ends "
        "after a counted number of steps, not when it no longer helps. A dense network that has learnt little has "
        "little to lose: read a multiplier beside its anchors and the skill that was kept.",
        f"- At a stop {REWINDS[rewind]}. Shares removed are of learnt numbers, and at least what the column says; "
        "MAC/s count the synthesiser too, which cannot be trimmed.",
        f"- `global then local` is `global` until {SWITCH:.0%} of the weights are left: till then the same networks.",
        "- Skill kept is (anchor - error) / (anchor - dense error): 1 is as good as dense, 0 as bad as the anchor.",
        "- Intervals are Student's at 95 % over seeds: they say what other seeds would give on these sounds, nothing "
        "of other sounds. Many are shown and none is widened for that.",
        "- Every error is the model's own loss on test sounds that neither training nor its looks touched. Which "
        "criterion is called the best of all is chosen on that same error, which flatters it.",
        "",
    ]


def anchors_of(facts: Mapping[str, Any], results: Stored, model: str) -> list[str]:
    """Dense error beside its anchors, and whether it passes the bar."""
    dense = dense_of(results, model)
    anchor = next((r.error for e, r in results.items() if isinstance(e, Anchor) and e.model == model), None)
    rows = [[f"dense ({len(dense)} seed{'s' if len(dense) > 1 else ''})", number(spread([r.error for r in dense])), ""]]
    marks = {} if anchor is None else {ANCHORS[model]: anchor}
    marks |= {f"{name}: {OTHER_ANCHORS[name]}": error for name, error in facts["models"][model]["anchors"].items()
              if name in OTHER_ANCHORS}  # fmt: skip
    mean = spread([r.error for r in dense]).mean
    for name, error in marks.items():
        below = 1.0 - mean / error
        rows.append([name, f"{error:.3f}", f"{abs(below):.1%} {'below' if below >= 0 else 'above'} it"])
    out = table([f"test error: {ERRORS[model]}", "", "the dense error is"], rows)
    if anchor is None:
        return [*out, "The anchor of skill is not yet computed.", ""]
    below = 1.0 - mean / anchor
    verdict = "passes" if below >= BAR else "**does not pass**: multipliers of this model say little"
    out += [f"Skill is measured from the first of these anchors; the dense error lies {below:.1%} below it, which "
            f"{verdict} (the bar is {BAR:.0%}).", ""]  # fmt: skip
    if model == "wavenet":
        out += ["These anchors are of the whole test sounds, the model's bits of the excerpts.", ""]
    return out


def grids(points: Sequence[Point]) -> list[str]:
    """Multiplier, skill and MAC/s left, a line a method and a column a stop."""
    at = {(point.curve, point.asked_removed): point for point in points}
    curves = list(dict.fromkeys(point.curve for point in points if point.curve != "dense"))
    views: dict[str, Callable[[Point], str]] = {
        "Error multiplier, mean [interval] over seeds:": lambda p: number(p.multiplier),
        "Skill kept:": lambda p: number(p.skill),
        "MAC/s left, mean over seeds:": lambda p: millions(p.macs_per_second.mean),
    }
    out = []
    for title, view in views.items():
        rows = [[curve, *(view(at[curve, stop]) if (curve, stop) in at else "" for stop in STOPS)] for curve in curves]
        out += [title, "", *table(["removed", *(f"{stop:.0%}" for stop in STOPS)], rows)]
    return out


def against_controls(
    rows: Sequence[Row], model: str, behind: Mapping[str, int], cost: Mapping[str, float]
) -> list[str]:  # fmt: skip
    """Magnitude, local, beside networks that owe it nothing, seed by seed."""
    ours, out = "magnitude, local", []

    def trained(curve: str, stop: float) -> str:
        own = [r.signature for r in rows if (r.model, r.curve, r.asked_removed) == (model, curve, stop)]
        if not own:
            return ""
        steps, share = (sum(of[s] for s in own) / len(own) for of in (behind, cost))
        return f"{steps:,.0f}; {share:.2g}"

    for stop in CONTROL_STOPS:
        mine = multipliers(rows, model, (), ours, stop)
        for control in ("random, local", *CONTROLS):
            theirs = multipliers(rows, model, (), control, stop)
            both = differences(mine, theirs)
            out.append([
                f"{stop:.0%}", control, trained(control, stop), trained(ours, stop),
                number(spread([*theirs.values()])) if theirs else "not yet computed",
                told(spread(both), sign=True) if both else "", _compared(both),
            ])  # fmt: skip
    heading = ["removed", "control", "behind it", "behind the trimmed", "its multiplier", f"{ours} less control"]
    said = (
        f"Against the controls ({ours} at the same stop). Behind a network are the steps that its weights were trained "
        "for, and their arithmetic, of the dense training's: a verdict holds for what each was given."
    )
    return [said, "", *table([*heading, "trimmed is"], out)]


def _compared(both: Sequence[float]) -> str:
    if not both:
        return "not measured"
    found = spread(both)
    if found.seeds < SEEDS_FOR_AN_INTERVAL:
        return "too few seeds"
    return {"holds": "better", "does not hold": "worse"}.get(below_zero(found), "not told apart")


def of_model(facts: Mapping[str, Any], results: Stored, rows: Sequence[Row], model: str) -> list[str]:
    """All about one model."""
    own = [row for row in rows if row.model == model]
    behind, cost = training_behind(results), arithmetic_behind(results)
    if not own:
        return [f"### {model}", "", "Not yet computed.", ""]
    points = points_of(own)
    out = [f"### {model}", "", *anchors_of(facts, results, model)]
    if any(point.curve != "dense" for point in points):
        for part, title in DRAWN.items():
            if shown_of(points, model, part):
                out += [f"![{model}: {title}](images/{image(model, part).name})", ""]
        out += [*grids(points), *of_layers(facts, model), *against_controls(own, model, behind, cost)]
        out += [*of_width(points, points_of(rows_of(narrower(facts, model))))]
    return out


def of_layers(facts: Mapping[str, Any], model: str) -> list[str]:
    """How narrow layers become where each loses its share, and what that does."""
    heading, rows = lottery_facts.left(facts, model)
    return (
        ["What ranking within each layer leaves of them:", "", *table(heading, rows), lottery_claims.WHY[model], ""]
        if rows
        else []
    )


def missing(facts: Mapping[str, Any], results: Stored) -> list[str]:
    """What was asked for and is not there."""
    rows, lacking = [], []
    for part in PARTS:
        cells = [part]
        for model in RECIPES:
            wanted = planned(facts, model)[part]
            lacks = [experiment for experiment in wanted if experiment not in results]
            cells.append(f"{len(wanted) - len(lacks)} of {len(wanted)}")
            ways = dict.fromkeys(way(experiment) for experiment in lacks)
            if ways:
                lacking.append(f"- {model}, {part}: {'; '.join(ways)}")
        rows.append(cells)
    out = table(["experiments stored", *RECIPES], rows)
    return [*out, "Not yet computed, in whole or for some seeds or stops:" if lacking else "Nothing is missing.", "",
            *lacking, *([""] if lacking else [])]  # fmt: skip


def _listed(sentence: str) -> str:
    """A sentence as an item of a list, and what it lists as items below it."""
    head, stay, rest = sentence.partition(" stay ")
    return f"- {head}{stay.rstrip()}\n  - " + rest.replace("; ", ";\n  - ") if "; " in rest else f"- {sentence}"


def content(facts: Mapping[str, Any], results: Stored) -> str:
    """All that stands between the markers."""
    rows = rows_of(results)
    out = [*about(facts, results), "## How to read it", "", *reading(rows, training_behind(results))]
    few = lottery_cost.narrower_rows(facts)
    found = sentences(points_of(rows))
    out += ["## What was found", "", *(_listed(sentence) for sentence in found or ["Nothing yet."]), ""]
    claimed = [[line.claim, line.theirs, line.model, line.here, _strong(line.verdict)]
               for line in lines([*rows, *few], list(RECIPES), STOPS, sorted({row.model for row in few}))]  # fmt: skip
    out += ["## Which published claims hold", "",
            "Esling et al. 2020 (DAFx-20, arXiv 2007.16170), beside these models, sounds and budgets, which are not "
            "theirs: one small corpus, short trainings, smaller networks. The verdict follows from the intervals by "
            "the rule in `benchmarks/lottery_claims.py`: *open* means that these seeds decide neither way.", "",
            *table(["claim", "theirs", "model", "here", "verdict"], claimed)]  # fmt: skip
    out += lottery_cost.chapter(facts, rows)
    out += ["## Model by model", ""]
    for model in RECIPES:
        out += of_model(facts, results, rows, model)
    out += ["## Settings tried before", "", TRIED_NOTE, "", *table(*lottery_facts.tried())]
    out += ["## What is stored", "", *missing(facts, results)]
    return "\n".join(out).rstrip() + "\n"


def _strong(verdict: str) -> str:
    return f"**{verdict}**" if verdict in ("holds", "does not hold") else verdict


# -- files -------------------------------------------------------------------------------------------------------------


def image(model: str, part: str) -> Path:
    """Where a figure is kept."""
    return IMAGES / f"lottery-{model}-{part}.svg"


def shown_of(points: Sequence[Point], model: str, part: str) -> list[Point]:
    """What a figure shows, the dense model first; empty if there would be nothing but that."""
    beside = ("magnitude, local", "random, local", *CONTROLS)
    shown = [
        point
        for point in points
        if point.model == model
        and not point.timed_on
        and (point.curve in beside if part == "controls" else is_ours(point.curve))
    ]
    if not shown or (part == "controls" and {point.curve for point in shown} <= {beside[0]}):
        return []
    return [*(point for point in points if point.model == model and point.curve == "dense"), *shown]


def svg(shown: Sequence[Point], model: str) -> str:
    """A figure that stands alone, with a digest of what it shows."""
    return stand_alone(str(figure(shown, AXES[0], model)), f'data-points="{digest(shown)}"')


def digest(shown: Sequence[Point]) -> str:
    """Of what a figure shows: drawing libraries differ in the last digit of a path, data do not."""
    own = [(p.curve, p.removed.mean, p.multiplier) for p in shown]
    text = "\n".join(f"{curve} {removed:.6g} {m.mean:.6g} {m.low:.6g} {m.high:.6g}" for curve, removed, m in own)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def load(facts: Mapping[str, Any]) -> Stored:
    """Results of what is asked for now; others in the store are of other settings and stay out."""
    wanted = [e for model in RECIPES for part in planned(facts, model).values() for e in part]
    return Store(STORE).results(wanted)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 if a document differs from what is stored")
    parser.add_argument("--facts", action="store_true", help="gather sounds, split, anchors and dates anew")
    asked = parser.parse_args()
    if asked.facts:
        lottery_facts.write()
    facts = lottery_facts.stored()
    if facts is None:
        print("There are no facts yet: python benchmarks/lottery_page.py --facts, where the recordings are.")
        return 1
    results = load(facts)
    rows = rows_of(results)
    every, points = to_csv([*rows, *lottery_cost.others(facts)]), points_of(rows)
    page = fill(PAGE.read_text(encoding="utf-8"), "lottery", content(facts, results))
    differing = [path.name for path, text in ((PAGE, page), (CSV, every)) if _read(path) != text]
    drawn = {image(model, part): (shown_of(points, model, part), model) for model in RECIPES for part in DRAWN}
    stale = [path for path, (shown, _) in drawn.items() if shown and digest(shown) not in _read(path)]
    if not asked.check:
        PAGE.write_text(page, encoding="utf-8")
        CSV.write_text(every, encoding="utf-8")
        for path in stale:
            path.write_text(svg(*drawn[path]), encoding="utf-8")
    differing += [path.name for path in stale]
    print("differs: " + ", ".join(differing) if differing else "up to date")
    return int(bool(differing) and asked.check)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


if __name__ == "__main__":
    sys.exit(main())
