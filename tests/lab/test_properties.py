"""Properties of stored networks, what they are held against, and what the study's page says of it."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pochette.corpus.folder import FolderCorpus
from pochette.families import analyses, methods
from pochette.lab.execute import describe
from pochette.lab.experiment import Cut, Dense, Disturbed, Properties, Reduced, dense_steps, from_data, path, to_data
from pochette.lab.networks import Task
from pochette.lab.outcomes import ERROR, REACH, SPREAD, Network, reaches, spreads
from pochette.lab.properties import reference_of, studied
from pochette.lab.relations import SAME_SIZE, relations
from pochette.lab.relations_report import meaning, page, sentences
from pochette.lab.relations_report import to_data as as_data
from pochette.lab.report.property_names import outcome_called
from pochette.lab.store import Store
from pochette.lab.walk import perform
from pochette.models.ddsp import Ddsp
from pochette.train.loop import Training
from tests.corpora import write_notes
from tests.lab.tasks import dense, result

RECIPE = Ddsp(sample_rate_hz=8000, hidden=24, stack_width=20, stack_layers=1, partials=12, noise_bands=9)


def test_every_analysis_that_applies_gives_figures(tmp_path: Path) -> None:
    hop = RECIPE.build().hop_samples
    corpus = FolderCorpus.prepare(write_notes(tmp_path / "notes"), 8000, hop, cache_dir=tmp_path / "cache")
    whole = Dense(corpus.fingerprint, "ddsp", RECIPE, 4, Training(batch=2, excerpt_seconds=0.1, evaluate_steps=2))
    trained = perform(Task(whole), corpus)
    found = perform(Task(Properties(whole), {whole: trained.result}, trained.weights), corpus)
    assert found.result.error == trained.result.error and found.weights == b""
    figures = found.result.figures
    assert {"connectivity", "persistence", "spectrum", "redundancy"} <= {name.split(": ")[0] for name in figures}
    assert figures["connectivity: density"] == pytest.approx(1.0, abs=0.05)
    assert all(math.isfinite(value) for value in figures.values())
    again = perform(Task(Properties(whole), {whole: trained.result}, trained.weights), corpus)
    assert again.result.figures == figures


def reduced(seed: int, method: str = "rigl") -> Reduced:
    whole = dense(seed)
    return Reduced(Dense(whole.corpus, whole.model, whole.recipe, dense_steps(100), whole.training), method,
                   methods[method].keeping(0.25), 100)  # fmt: skip


def filled(folder: Path, networks: int = 12) -> Store:
    """Networks whose x goes with their error, and whose y is chance."""
    store, rng = Store(folder), np.random.default_rng(3)
    for seed in range(networks):
        small = reduced(seed)
        error = 2.0 + 0.1 * seed
        figures = {"a: x": float(seed**2), "a: y": float(rng.normal()), "a: z": math.inf}
        store.put(reference_of(small), result(2.0), b"")
        store.put(small, result(error, weights=100 + int(rng.integers(50))), b"")
        store.put(Properties(small), result(error, figures={k: v for k, v in figures.items() if v < 1e9}), b"")
    return store


def disturbed(store: Store, seeds: range, steps: int = 15) -> None:
    """Networks of a store disturbed, their noise as large as their seed."""
    for seed in seeds:
        figures = {"noise_area": float(seed), "cost_seconds": 1.0, "cost_steps": 2.0, "ends_error": 9.0,
                   "curvature_trace_error": 3.0, "curvature_trace": math.nan}  # fmt: skip
        known = {f"stability: {name}": value for name, value in figures.items() if math.isfinite(value)}
        store.put(Disturbed(reduced(seed), steps), result(2.0, figures=known), b"")


def test_stability_is_a_property_where_it_is_known_and_only_there(tmp_path: Path) -> None:
    store = filled(tmp_path)
    assert studied(store).undisturbed == [Disturbed(n.experiment) for n in studied(store).networks]
    assert studied(store).of_stability == ""
    disturbed(store, range(5))
    found = studied(store)
    assert not found.missing and len(found.networks) == 12, "who was not disturbed counts by what was read"
    seen = {n.experiment.parent.training.seed: dict(n.properties) for n in found.networks}  # type: ignore[union-attr]
    assert {seed: of.get("stability: noise_area") for seed, of in seen.items()} == {
        seed: float(seed) if seed < 5 else None for seed in range(12)
    }
    names = {name for of in seen.values() for name in of}
    assert names == {"a: x", "a: y", "stability: noise_area"}, "what it cost is no property, nor is an error"
    assert {item.parent.parent.training.seed for item in found.undisturbed} == set(range(5, 12))  # type: ignore[union-attr]
    assert "known of 5 of 12 networks" in found.of_stability and "15 steps" in found.of_stability


def test_a_network_that_was_only_disturbed_is_still_to_be_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(reduced(0), result(3.0), b"")
    disturbed(store, range(1))
    found = studied(store)
    assert found.missing == [Properties(reduced(0))] and not found.undisturbed and not found.networks


def test_branches_of_other_lengths_are_not_compared(tmp_path: Path) -> None:
    store = filled(tmp_path)
    disturbed(store, range(5))
    disturbed(store, range(4, 12), steps=50)
    known = {steps: studied(store, branch_steps=steps) for steps in (None, 15, 50, 7)}
    assert {steps: len(found.undisturbed) for steps, found in known.items()} == {None: 4, 15: 7, 50: 4, 7: 12}
    assert known[None].branch_steps == 50 and known[7].of_stability == ""


def test_what_lies_in_two_stores_is_brought_together(tmp_path: Path) -> None:
    one, two = filled(tmp_path / "one", 3), Store(tmp_path / "two")
    disturbed(two, range(3))
    found = studied(one, two)
    assert len(found.networks) == 3 and not found.undisturbed
    assert all("stability: noise_area" in network.properties for network in found.networks)


def test_networks_are_held_against_the_dense_model_of_the_whole_budget(tmp_path: Path) -> None:
    store = filled(tmp_path)
    missing = reduced(99)
    store.put(missing, result(3.0), b"")
    found = studied(store)
    assert len(found.networks) == 12 and found.missing == [Properties(missing)]
    assert sorted(item.outcomes[ERROR] for item in found.observations if ERROR in item.outcomes) == pytest.approx(
        [(2.0 + 0.1 * seed) / 2.0 for seed in range(12)]
    )
    assert {item.group for item in found.observations} == {"ddsp, values shared"}


def test_networks_are_ranked_among_those_of_their_own_kind(tmp_path: Path) -> None:
    """What removes units, holds weights at zero or shares values differs in most properties for no other reason."""
    store, whole = Store(tmp_path), result(2.0)
    for seed, saved in enumerate(({"macs_per_second": 0.5}, {"weights": 0.5}, {})):
        less = {name: type(getattr(whole, name))(share * getattr(whole, name)) for name, share in saved.items()}
        store.put(reference_of(reduced(seed)), whole, b"")
        for experiment in (reduced(seed), Properties(reduced(seed))):
            store.put(experiment, replace(whole, **less), b"")
    found = studied(store)
    assert sorted(item.group for item in found.observations if ERROR in item.outcomes) == [
        "ddsp, units removed", "ddsp, values shared", "ddsp, weights at zero"
    ]  # fmt: skip
    assert found.origin.startswith("3 networks (1 with units removed, 1 with values shared, 1 with weights at zero)")
    assert "from 3 dense ones of 1 models" in found.origin and "they flatter" in found.origin


def test_cuts_of_a_path_are_held_against_its_dense_model() -> None:
    whole = dense(3)
    last = path(whole, (0.5, 0.8), 3)[-1]
    assert reference_of(last) == whole and reference_of(reduced(1)).steps == 100


def test_written_read_and_told() -> None:
    experiment = Properties(reduced(1))
    assert from_data(to_data(experiment)) == experiment and "properties" in describe(experiment)


def test_the_page_says_what_is_found_and_nothing_more(tmp_path: Path) -> None:
    found = studied(filled(tmp_path))
    told = relations(found.observations)
    assert [item.name for item in told] == ["a: x", "a: y"] and told[0].correlation == pytest.approx(1.0)
    assert told[0].found and not told[1].found
    html = page(found.observations, told, "S <b>", ["one note"])
    assert "S &lt;b&gt;" in html and "one note" in html and not re.search(r'(src|href)="(?!data:|#)', html)
    assert html.count("<svg") == 2 and "<script" not in html
    assert any("high x (a) with high test error" in line for line in sentences(told))
    assert [line for line in sentences(told) if "y (a)" in line] == [
        "Not told from chance: 1 relation. With no outcome goes this property: y (a)."
    ]
    assert "a: x" not in " ".join(sentences(told)) and "<small>a: x</small>" in html, "identifiers are for the table"
    data = json.loads(json.dumps(as_data(found.observations, told, []), allow_nan=False))
    assert data["networks"] == 12 and len(data["relations"]) == 2
    assert (data["relations"][0]["name"], data["relations"][0]["called"]) == ("a: x", "x (a)")
    assert "too few" in sentences([])[0]
    # Where size cannot be held in a group, there is no number of it, and JSON holds none.
    unheld = replace(told[0], partial_by_group={"one": math.nan, "two": 0.5})
    data = json.loads(json.dumps(as_data(found.observations, [unheld], []), allow_nan=False))
    assert data["relations"][0]["partial_by_group"] == {"one": None, "two": 0.5}


def network(experiment: Reduced | Cut, weights: int, multiplier: float, x: float) -> Network:
    return Network(experiment, weights, 1000, multiplier, {"a: x": x})


def test_a_spread_is_that_of_one_reduction_under_several_seeds() -> None:
    networks = [network(reduced(seed), 100 + seed, math.exp(log), x=seed) for seed, log in enumerate((0.0, 0.1, 0.5))]
    networks += [network(reduced(seed, "set"), 100, 1.0, x=9.0) for seed in range(2)]
    (found,) = spreads(networks)
    assert found.group == "ddsp, units removed" and found.properties == {"a: x": 1.0}
    assert found.size == pytest.approx((math.log(100) + math.log(101) + math.log(102)) / 3)
    assert found.outcomes == {SPREAD: pytest.approx(math.sqrt((0.2**2 + 0.1**2 + 0.3**2) / 2))}


def test_a_reach_is_the_smallest_share_that_is_good_enough() -> None:
    cuts = path(dense(3), (0.5, 0.8, 0.9, 0.95), 3)
    costs = (0.99, 1.12, 1.09, 1.3)
    along = [network(cut, round(1000 * (1 - cut.removed)), cost, x=cost) for cut, cost in zip(cuts, costs, strict=True)]
    hopeless = [network(cut, round(1000 * (1 - cut.removed)), 2.0, x=0.0) for cut in path(dense(4), (0.5, 0.8), 3)]
    other = [network(path(dense(3), (0.5,), 3, criterion="random")[0], 500, 1.0, x=5.0)]
    found = reaches(along + hopeless + other)
    assert [item.outcomes for item in found] == [{REACH: pytest.approx(0.1)}, {REACH: 1.0}]
    assert [item.properties for item in found] == [{"a: x": 0.99}, {"a: x": 0.0}]


def test_where_size_cannot_be_held_fixed_the_page_and_the_data_say_why() -> None:
    """How far techniques go is held against the least reduced network, and those are all of one size."""
    names, networks = ("rigl", "set", "snip", "grasp", "magnitude"), []
    for number, name in enumerate(names):
        for keep, multiplier in ((0.5, 1.0), (0.1, 1.0 if number < 2 else 3.0)):
            technique = Reduced(reduced(0).parent, name, methods[name].keeping(keep), 100)
            networks.append(network(technique, round(1000 * keep), multiplier, x=float(number)))
    seen = reaches(networks)
    (told,) = relations(seen)
    assert told.outcome == REACH and math.isnan(told.partial) and told.unheld == SAME_SIZE
    html, data = page(seen, [told], "study", []), as_data(seen, [told], [])
    assert f"–<small>{SAME_SIZE}</small>" in html
    said = f"With {outcome_called(REACH)} no property has a figure with size held fixed: {SAME_SIZE}."
    assert said in html and said in data["sentences"]
    assert data["relations"][0]["unheld"] == SAME_SIZE and data["relations"][0]["partial"] is None


def test_properties_are_explained() -> None:
    assert "Hessian" in meaning("stability: curvature_largest") and meaning("stability: cost_steps") == ""
    assert "kernel alignment" in meaning("similarity: input_linear") and meaning("a: x") == ""
    assert all(meaning(f"{name}: {number}") for name, analysis in analyses.items() for number in analysis.words)
