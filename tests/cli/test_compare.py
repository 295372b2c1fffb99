"""`pochette compare` as a person gives it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from pochette.cli.comparing import Compare
from pochette.cli.console import Screen
from pochette.families import models
from pochette.lab.runs import sized
from tests.cli.conftest import Heard, Verbs

pytest.importorskip("torch")
FEW = ("--size", "tiny", "--sample-rate-hz", "8000", "--batch", "2", "--excerpt-seconds", "0.2", "--no-anchor")
STEPS = ("--steps", "4", "--stop-steps", "2", "--stops", "0.5", "0.8")


@pytest.mark.slow
def test_a_comparison_writes_page_and_csv_and_never_repeats(verbs: Verbs, sounds: Path, tmp_path: Path) -> None:
    asked = ("compare", sounds, *FEW, *STEPS, "--out", tmp_path / "out")
    said = verbs(*asked, "--seeds", 0, "--json")
    assert said.code == 0, said.all
    told = json.loads(said.out)
    assert (told["experiments"], told["computed"], told["found"], told["failed"]) == (5, 5, 0, {})
    assert "--seeds 0 1 2" in told["next"][0]
    rows = list(csv.DictReader((tmp_path / "out" / "results.csv").open()))
    assert [row["curve"] for row in rows] == ["dense", *2 * ["magnitude, local"], *2 * ["random, local"]]
    assert float(rows[0]["multiplier"]) == 1.0 and float(rows[2]["removed"]) >= 0.8
    assert "<!doctype html>" in (tmp_path / "out" / "comparison.html").read_text()
    more = json.loads(verbs(*asked, "--seeds", 0, 1, "--criteria", "magnitude", "--json").out)
    assert (more["computed"], more["found"]) == (3, 3)
    people = verbs(*asked, "--seeds", 0, "--workers", 2)
    assert people.code == 0 and "next: pochette compare" in people.out and "error per dense" in people.out
    assert "--workers 2" in " ".join(people.out.split())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--criteria", "magnitud"), "Did you mean magnitude"),
        (("--models", "ddps"), "Did you mean ddsp"),
        (("--size", "vast"), "no size 'vast'"),
        (("--stops", "0.8", "0.5"), "ascending"),
        (("--stops", "0.5", "1.5"), "--stops"),
        (("--stops", "0.5", "0.9999"), "larger --size"),
        (("--stops", "0.5", "1"), "--stops names 1; a stop is above 0 and below 1"),
        (("--stops", "0.99999", "--of", "operations"), "of the operations of ddsp cannot be removed"),
        (("--scalings", "operations"), "Add --scopes global"),
        (("--seeds", "1", "1"), "Name each thing once"),
        (("--seeds", "0", "-1"), "--seeds is -1"),
        (("--models", "ddsp", "ddsp"), "--models names something twice"),
        (("--out", ""), "--out names nothing"),
        (("--out=",), "--out names nothing"),
        (("--steps", "0"), "--steps"),
        (("--workers", "two"), "--workers"),
        (("--time-on", "raspberry-pi"), "--resources"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(
    verbs: Verbs, sounds: Path, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    said = verbs("compare", sounds, *FEW, *options, "--out", tmp_path / "out")
    assert said.code in (1, 2) and words in " ".join(said.err.split()), said.all
    assert not (tmp_path / "out").exists()


def test_a_folder_without_sounds_is_refused(verbs: Verbs, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    said = verbs("compare", tmp_path / "empty", *FEW, *STEPS, "--out", tmp_path / "out")
    assert said.code == 1 and "no sound files" in said.err and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_techniques_are_compared_and_never_repeated(verbs: Verbs, sounds: Path, tmp_path: Path, heard: Heard) -> None:
    asked = ("compare", sounds, *FEW[:-1], "--steps", "10", "--out", tmp_path / "out", "--methods")
    said = verbs(*asked, "magnitude", "quantise", "--seeds", 0, "--json")
    assert said.code == 0, said.all
    told = json.loads(said.out)
    assert (told["computed"], told["found"], told["refused"]) == (
        6,
        0,
        {},
    )  # an anchor, two dense, two small, an engine
    # Networks and engines are one stage, of which the engine is the last part.
    heard.check()
    assert len(heard.shares("compare")) == 7 and heard.shares("compare")[-3] < 1.0 == heard.shares("compare")[-1]
    assert "--methods magnitude quantise" in told["next"][0] and told["next"][0].endswith("--seeds 0 1 2")
    rows = list(csv.DictReader((tmp_path / "out" / "techniques.csv").open()))
    assert {row["saves"] for row in rows} == {"numbers", "bits"} and all(float(row["multiplier"]) > 0 for row in rows)
    assert all(float(row["anchor"]) > 0 for row in rows)
    page = (tmp_path / "out" / "techniques.html").read_text()
    assert "stands first" in page and "pochette compare" in page
    # One more that asks for too little: the others are there, and the reason is said.
    more = verbs(*asked, "magnitude", "quantise", "thinet", "--keep", "0.25", "0.0625", "--seeds", 0)
    assert more.code == 0 and "5 of them in the store already" not in more.out and "error per dense" in more.out
    again = json.loads(verbs(*asked, "magnitude", "--seeds", 0, "--json").out)
    assert again["computed"] == 0
    # Of a record that was damaged nobody waits for the end to hear; it is made again, and nothing else is.
    record = next(path for path in tmp_path.rglob("experiment.json") if '"method": "magnitude"' in path.read_text())
    record.write_text(record.read_text()[:40])
    mended = verbs(*asked, "magnitude", "--keep", "0.25", "0.0625", "--seeds", 0)
    assert mended.code == 0 and "1 record cannot be read, and is made again" in " ".join(mended.all.split())
    assert json.loads(record.read_text())["experiment"]["method"] == "magnitude"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--methods", "magnitud"), "Did you mean magnitude"),
        (("--methods", "rigl", "rigl"), "--methods names something twice"),
        (("--methods", "quantise", "--keep", "0.9"), "quantise cannot keep"),
        (("--methods", "all", "--keep", "2"), "--keep names 2"),
        (("--methods", "n-of-m", "--keep", "0"), "--keep names 0"),
        (("--methods", "cluster", "--keep", "nan"), "--keep names nan"),
        (("--methods", "rigl", "--steps", "0"), "--steps"),
        (("--methods", "rigl", "--seeds", "-1"), "--seeds is -1"),
        (("--methods", "rigl", "--keep", "0.2", "0.2"), "twice"),
    ],
)
def test_contests_that_cannot_be_are_refused(
    verbs: Verbs, sounds: Path, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    said = verbs("compare", sounds, *FEW[:-1], *options, "--out", tmp_path / "out")
    assert said.code in (1, 2) and words in " ".join(said.err.split()), said.all
    assert not (tmp_path / "out").exists()


def test_sounds_that_two_models_hear_at_two_rates_are_listened_to_with_one_share(
    sounds: Path, heard: Heard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POCHETTE_CACHE", str(tmp_path))
    recipes = {
        "ddsp": sized(models["ddsp"], "tiny", sample_rate_hz=16000),
        "slow": sized(models["ddsp"], "tiny", sample_rate_hz=8000),
    }
    screen = Screen()
    with screen.progress() as tell:
        corpora = Compare(sounds=sounds)._listen(recipes, screen, tell)
    assert corpora["ddsp"].fingerprint == corpora["slow"].fingerprint
    heard.check()
    assert heard.shares("listen") == pytest.approx([number / 10 for number in range(1, 11)])
