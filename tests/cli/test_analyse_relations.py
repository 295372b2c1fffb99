"""`pochette analyse` over whole comparisons."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from safetensors.torch import save as pack

from pochette.corpus.folder import FolderCorpus
from pochette.errors import RunError
from pochette.lab import disturbing
from pochette.lab.experiment import Cut, Dense, Disturbed, Properties, path
from pochette.lab.networks import under
from pochette.lab.store import Store
from pochette.models.ddsp import Ddsp
from pochette.train.loop import Training
from tests.cli.conftest import Verbs
from tests.lab.tasks import result
from tests.lab.test_properties import filled


def test_a_study_of_a_comparison(verbs: Verbs, tmp_path: Path) -> None:
    filled(tmp_path / "out" / "store")
    said = verbs("analyse", "--relations", tmp_path / "out", "--json")
    assert said.code == 0, said.all
    told = json.loads(said.out)
    assert told["networks"] == 12 and told["relations"][0]["name"] == "a: x"
    assert (tmp_path / "out" / "relations.html").is_file() and "pochette compare" in told["next"][0]
    people = verbs("analyse", "--relations", tmp_path / "out")
    assert people.code == 0 and "x (a)" in people.out and "relations.html" in people.out
    assert "rate of 5.0 %" in " ".join(people.out.split()) and "\\u" not in people.out


@pytest.mark.slow
def test_the_published_study_can_be_made_by_anyone(verbs: Verbs, tmp_path: Path) -> None:
    """The stores that docs/relations.html is made of, whose sounds and weights are not at hand."""
    published = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
    stores = [published / name for name in ("techniques", "criterion")]
    said = verbs("analyse", "--relations", *stores, "--out", tmp_path, "--json")
    assert said.code == 0, said.all
    told = json.loads(said.out)
    assert told["networks"] >= 200
    page = (published.parents[1] / "docs" / "relations.html").read_text(encoding="utf-8")
    assert told["sentences"][0] in page


def test_a_study_of_several(verbs: Verbs, tmp_path: Path) -> None:
    filled(tmp_path / "one", 12)
    filled(tmp_path / "two", 15)  # the first 12 are the same networks
    said = verbs("analyse", "--relations", tmp_path / "one", tmp_path / "two", "--out", tmp_path / "both", "--json")
    assert said.code == 0, said.all
    assert json.loads(said.out)["networks"] == 15 and (tmp_path / "both" / "relations.html").is_file()
    said = verbs("analyse", "--relations", tmp_path / "one", tmp_path)
    assert said.code == 1 and "no comparison here" in said.err


@pytest.mark.parametrize("options", [(), ("run", "--relations", "store")])
def test_one_thing_is_analysed(verbs: Verbs, options: tuple[str, ...]) -> None:
    said = verbs("analyse", *options)
    assert said.code == 2 and "a run, or comparisons" in said.err


def test_where_there_is_no_comparison(verbs: Verbs, tmp_path: Path) -> None:
    said = verbs("analyse", "--relations", tmp_path)
    assert said.code == 1 and "no comparison here" in said.err and "pochette compare" in said.err


def untrained(folder: Path, sounds: Path, seeds: range) -> list[Cut]:
    """Cuts with their weights and with properties that are made up; nobody has disturbed them."""
    recipe = Ddsp.sized("tiny", sample_rate_hz=8000, partials=10, noise_bands=5)
    model, store, cuts = recipe.build(), Store(folder), list[Cut]()
    print_of = FolderCorpus.prepare(sounds, model.sample_rate_hz, model.hop_samples).fingerprint
    weights = pack(under("model/", {name: tensor.contiguous() for name, tensor in model.state_dict().items()}))
    for seed in seeds:
        whole = Dense(print_of, "ddsp", recipe, 10, Training(seed=seed, batch=2, excerpt_seconds=0.2))
        (cut,) = path(whole, (0.5,), 3)
        store.put(whole, result(2.0), b"")
        store.put(cut, result(2.0 + seed, weights=100 + seed % 3), weights)
        store.put(Properties(cut), result(2.0 + seed, figures={"a: x": float(seed)}), b"")
        cuts.append(cut)
    return cuts


def test_networks_are_disturbed_when_that_is_asked(
    verbs: Verbs, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts, asked = untrained(tmp_path / "store", sounds, range(6)), list[tuple[int, int]]()

    def made_up(_: Any, __: Any, training: Training, steps: int, **___: Any) -> Any:
        asked.append((training.seed, steps))
        if training.seed == 5:
            raise RunError("The change by 2 bits is nan.", remedy="Ask for less disturbance.")
        return SimpleNamespace(figures={"noise_area": float(training.seed), "cost_seconds": 1.0})

    monkeypatch.setattr(disturbing, "stability_of", made_up)
    said = verbs("analyse", "--relations", tmp_path, "--sounds", sounds, "--json")
    assert said.code == 0 and not asked, "it costs much, and is done only when asked for"
    assert "6 networks were not disturbed" in " ".join(json.loads(said.out)["notes"])
    said = verbs("analyse", "--relations", tmp_path, "--sounds", sounds, "--stability", "--json")
    assert said.code == 0, said.all
    told = json.loads(said.out)
    assert sorted(asked) == [(seed, 15) for seed in range(6)], "one that cannot be disturbed ends no other"
    assert {relation["name"]: relation["experiments"] for relation in told["relations"]} == {
        "a: x": 6, "stability: noise_area": 5,
    }  # fmt: skip
    notes = " ".join(told["notes"])
    assert "Stability is known of 5 of 6 networks, made from " in notes
    assert "Networks that could not be disturbed: 1. The change by 2 bits is nan. Ask for less disturbance." in notes
    assert "networks were not disturbed" not in notes, "that it was not tried would not be true"
    page = (tmp_path / "relations.html").read_text()
    assert "The change by 2 bits is nan." in page and "change of the sound under noise on the weights" in page
    asked.clear()
    verbs("analyse", "--relations", tmp_path, "--sounds", sounds, "--stability")
    assert asked == [(5, 15)], "what is kept is not done again"
    verbs("analyse", "--relations", tmp_path, "--sounds", sounds, "--stability", "--stability-steps", "3")
    assert sorted(asked[1:]) == [(seed, 3) for seed in range(6)]
    assert Store(tmp_path / "store").has(Disturbed(cuts[0], 3))


def test_networks_cannot_be_disturbed_without_their_sounds(verbs: Verbs, tmp_path: Path) -> None:
    filled(tmp_path / "store")
    said = verbs("analyse", "--relations", tmp_path, "--stability")
    assert said.code == 2 and "needs their recordings" in said.err and "--sounds" in said.err
    said = verbs("analyse", "--relations", tmp_path, "--stability-steps", "3")
    assert said.code == 2 and "--stability" in said.err
