"""Stability of a run: what the verb keeps, takes over, and says where recordings are gone."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pochette.cli import main
from pochette.lab import analyse
from pochette.lab.runs import read_run, trained_model
from pochette.lab.stability import of_run
from pochette.lab.stability.apart import Apart
from pochette.lab.stability.flatness import Flatness
from pochette.lab.stability.interpolation import Line
from pochette.lab.stability.of_run import Stabilities, masks_of, moved, sounds_of
from pochette.lab.stability.sensitivity import Curve
from pochette.lab.stability.summary import Effort, Stability
from pochette.lab.stability.way import Way
from pochette.lab.stability_report import barriers_in_words, section
from pochette.measure.subject import Limit
from pochette.reduce.sparse.weights import weights_of
from pochette.train.loop import Training
from tests.corpora import write_notes

SMALL = ["--hidden", "8", "--stack-width", "6", "--partials", "6", "--noise-bands", "5", "--sample-rate-hz", "8000"]
FOUND = Stability(
    curvature=Flatness(3.0, -1.0, 5.0, 0.5, 100, 30),
    noise=Curve((0.02, 0.04, 0.08), (-5.6, -4.6, -3.6), (0.1, 0.2, 0.4), (0.2, 0.3, 0.5)),
    bits=Curve((8, 4, 2), (-8.0, -4.0, -2.0), (0.1, 0.5, 2.0), (0.1, 0.5, 2.0)),
    unit="dB",
    line=Line((0.0, 0.5, 1.0), (2.0, 3.5, 4.0)),
    loss_unit="",
    line_db=Line((0.0, 0.5, 1.0), (8.0, 7.0, 8.0)),
    apart=Apart(1.5, 20.0),
    way=Way(travelled=1.2, norm=10.0, apart=1.5, start_error=4.0, end_error=3.0),
    steps=3,
    seconds=1.0,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dense network of eleven steps, kept after the second too, and one round on top of it."""
    folder = tmp_path_factory.mktemp("run")
    sounds = write_notes(folder / "notes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POCHETTE_CACHE", str(folder / "cache"))
        told = ["--size", "tiny", "--steps", "11", "--out", str(folder / "run"), *SMALL]
        assert main(["train", "ddsp", str(sounds), *told]) == 0
        assert main(["reduce", str(folder / "run"), "--method", "magnitude", "--keep", "0.3", "--steps", "2",
                     "--rounds", "1"]) == 0  # fmt: skip
    return folder


@pytest.fixture
def place(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the reduction's folder, to write into."""
    monkeypatch.setenv("POCHETTE_CACHE", str(trained / "cache"))
    reduced = next((trained / "run").glob("magnitude-*"))
    return Path(shutil.copytree(reduced, tmp_path / "reduced"))


def test_figures_follow_from_the_curves() -> None:
    figures = FOUND.figures
    assert (figures["barrier_over_mean"], figures["barrier_over_line"]) == (1.0, 0.5)
    assert (figures["ends_error"], figures["ends_apart"]) == (3.0, 2.0)
    assert (figures["barrier_db_over_mean"], figures["barrier_db_over_line"]) == (0.0, 0.0)
    assert figures["noise_area"] == pytest.approx((0.15 + 0.3) / 2)
    assert figures["bits_area"] == pytest.approx((4 * 0.3 + 2 * 1.25) / 6)


def test_barriers_are_said_by_both_definitions() -> None:
    way, loss, distance = barriers_in_words(FOUND.to_json())
    assert "travelled 1.2" in way and "1.5 apart: 1.2 times" in way and "from 4 to 3" in way
    assert "end at 2 and 4, halfway it is 3.500, and it is highest at an end" in loss
    assert "1 over the mean of the ends (Frankle et al. 2020)" in loss and "0.500 over the line between them" in loss
    assert loss.endswith("16.7\u202f% of the ends' mean error.")
    assert "in dB" in distance and distance.endswith("so both lie in one valley.")
    assert barriers_in_words({"left_out": "no sound"}) == []


@pytest.mark.parametrize(
    ("way", "why"),
    [
        (Way(travelled=0.1, norm=10.0, apart=0.01, start_error=4.0, end_error=3.0), "moved the weights by 0.01 of"),
        # Measured: four steps on a network of thirty, which look like one valley.
        (Way(travelled=0.48, norm=13.8, apart=0.38, start_error=12.22, end_error=11.84), "moved the weights by 0.035"),
        (Way(travelled=1.2, norm=10.0, apart=0.3, start_error=4.0, end_error=3.99), "hardly fell, from 4 to 3.99"),
        (Way(travelled=1.2, norm=10.0, apart=0.3, start_error=4.0, end_error=4.8), "hardly fell, from 4 to 4.8"),
        (Way(travelled=1.2, norm=10.0, apart=0.3, start_error=4.0, end_error=3.9), ""),
        (Way(travelled=1.2, norm=10.0, apart=0.3, start_error=-4.0, end_error=-4.8), ""),
    ],
)
def test_branches_that_hardly_trained_are_said_to_tell_nothing(way: Way, why: str) -> None:
    told = {**replace(FOUND, way=way).to_json(), "moved": [], "of": {}}
    said, page = barriers_in_words(told), section({"stability": {"dense": told}})
    assert page is not None and page["rounds"][0]["short"] == told["way"]["too_short"]
    valley = "both lie in one valley" in said[-1]
    if why:
        assert said[0] == told["way"]["too_short"] and why in said[0] and said[0].startswith("Too short to tell")
        assert not valley, "what hardly trained is no good news"
    else:
        assert told["way"]["too_short"] == "" and valley and "Too short" not in " ".join(said)


def test_an_older_finding_without_its_way_is_shown_on() -> None:
    told = {name: value for name, value in FOUND.to_json().items() if name != "way"}
    assert len(barriers_in_words(told)) == 2


def test_the_way_of_two_branches_is_measured_where_weights_live() -> None:
    fork, one, other = ({"a": torch.tensor([3.0, 4.0, x])} for x in (0.0, 9.0, 9.0))
    one["a"][0], other["a"][1] = 6.0, 8.0
    way = Way.of(fork, (one, other), (2.0, 1.0, 0.5), {"a": torch.tensor([True, True, False])})
    assert (way.norm, way.travelled, way.apart) == (5.0, 3.5, 5.0)
    assert way.apart_per_travelled == pytest.approx(10 / 7) and way.improvement == pytest.approx(0.625)


def test_the_page_shows_both_ends_the_middle_and_every_round() -> None:
    told = {**FOUND.to_json(), "moved": [], "of": {}}
    shown = section({"stability": {"dense": told, "round-2": told, "round-1": {"left_out": "It is silent."}}})
    assert shown is not None and shown["left_out"] == ["round-1: It is silent."]
    assert [item["name"] for item in shown["rounds"]] == ["dense", "round-2"]
    for figure in shown["rounds"][0]["lines"]:
        assert all(text in figure for text in ("halfway", "one branch", "the other", "alpha"))
    assert all(f">{text}<" in shown["bits"] for text in ("8", "4", "2", "dense", "round-2"))
    assert ">0.08<" in shown["noise"] and section({"rounds": {}}) is None


def test_masks_are_where_weights_are_not_zero(place: Path) -> None:
    dense, reduced = (of_run.load_model(place / f"{name}.safetensors")[0] for name in ("dense", "round-1"))
    masks = masks_of(reduced)
    assert masks_of(dense) is None and masks is not None
    alive = sum(int(mask.sum()) for mask in masks.values()) / sum(mask.numel() for mask in masks.values())
    assert alive == pytest.approx(0.3, abs=0.01)


def test_weights_are_held_against_the_first_ones(place: Path) -> None:
    """Adam's first step moves every weight by its learning rate: from other first weights it would be far further."""
    run, learns = read_run(place), Training().learning_rate
    early, end = moved(place, run)
    size = sum(weight.parameter.numel() for weight in weights_of(trained_model(place)[0]).values())
    step = learns * math.sqrt(size)
    assert (early["when"], end["when"]) == (0.1, 1.0)
    assert 0.3 * step < early["distance"] < 2.5 * step < end["distance"] < 11 * step
    assert 0.0 <= early["signs_changed"] < end["signs_changed"] < 0.2
    assert end["distance_to_end"] == 0.0 < early["distance_to_end"] < end["distance"] + early["distance"]
    (place / "dense-early.safetensors").unlink()
    assert moved(place, run) == [end]


def faked(interrupt_at: int | None = None) -> tuple[Callable[..., Stability], list[dict[str, Any]]]:
    """In the place of `stability_of`: answers at once, or is interrupted."""
    asked: list[dict[str, Any]] = []

    def found(*_: Any, **told: Any) -> Stability:
        asked.append(told)
        if len(asked) == interrupt_at:
            raise KeyboardInterrupt
        return FOUND

    return found, asked


@pytest.mark.slow
def test_who_stops_keeps_the_finished_networks(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read = analyse.analysed(place, Limit(samples=40, points=10))
    monkeypatch.setattr(analyse, "analysed", lambda *_, **__: {**read})
    stopping, _ = faked(interrupt_at=2)
    monkeypatch.setattr(of_run, "stability_of", stopping)
    command = ["analyse", str(place), "--stability", "--json"]
    assert main(command) == 130
    said = capsys.readouterr()
    assert "Go on with the same command" in said.out and "Traceback" not in said.err
    kept = json.loads((place / "analysis.json").read_text())
    assert list(kept["stability"]) == ["dense"]
    assert "Between two branches of dense" in (place / "analysis.html").read_text()
    going_on, asked = faked()
    monkeypatch.setattr(of_run, "stability_of", going_on)
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(asked) == 1 and asked[0]["masks"] is not None, "only the reduced one was left to do, and it is masked"
    assert list(found["stability"]) == ["dense", "round-1"]
    assert found["stability"]["dense"] == kept["stability"]["dense"]
    # Asked without it, what was found is shown on.
    assert main(["analyse", str(place), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stability"] == found["stability"]
    assert main([*command, "--stability-steps", "7"]) == 0
    assert len(asked) == 3, "more steps are another question"
    capsys.readouterr()
    shutil.copy(place / "dense.safetensors", place / "round-1.safetensors")
    assert main([*command, "--stability-steps", "7"]) == 0
    assert len(asked) == 4, "another network too"


def test_who_stops_in_the_first_network_keeps_what_was_read(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read = analyse.analysed(place, Limit(samples=40, points=10))
    monkeypatch.setattr(analyse, "analysed", lambda *_, **__: {**read})
    stopping, _ = faked(interrupt_at=1)
    monkeypatch.setattr(of_run, "stability_of", stopping)
    assert main(["analyse", str(place), "--stability", "--out", str(tmp_path / "out")]) == 130
    capsys.readouterr()
    kept = json.loads((tmp_path / "out" / "analysis.json").read_text())
    assert kept["stability"] == {} and kept["rounds"] == json.loads(json.dumps(read["rounds"]))


@pytest.mark.slow
def test_a_run_is_disturbed(place: Path) -> None:
    """The real thing, on the smallest of networks."""
    effort = Effort(excerpts=1, hessian_draws=2, noise=(0.02, 0.2), noise_draws=1, bits=(8, 3), points=3)
    asked, heard = Stabilities(place, ("dense", "round-1"), steps=2, effort=effort), list[float]()
    found = dict(asked.found(sounds_of(place, "--stability"), {}, lambda _, share, what: heard.append(share)))
    assert found.keys() == {"dense", "round-1"} and heard == sorted(heard) and heard[0] == 0.0
    dense, reduced = found.values()
    assert dense["line"]["shares"] == [0.0, 0.5, 1.0] or dense["line"]["shares"] == (0.0, 0.5, 1.0)
    assert reduced["figures"]["branches_distance"] < dense["figures"]["branches_distance"], "fewer weights move"
    assert len(dense["moved"]) == 2 and reduced["moved"] == []
    assert json.loads(json.dumps(found, allow_nan=False))["dense"]["of"] == dense["of"]


def test_gone_recordings_are_named_before_anything_is_computed(
    trained: Path, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = trained / "hidden"
    (trained / "notes").rename(hidden)
    try:
        assert main(["analyse", str(place), "--stability", "--json"]) == 1
    finally:
        hidden.rename(trained / "notes")
    error = json.loads(capsys.readouterr().out)["error"]
    assert str(trained / "notes") in error["where"] and "Without --stability" in error["remedy"]
    assert not (place / "analysis.json").exists()


def test_a_question_without_a_run_or_a_step_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["analyse", "--relations", str(tmp_path), "--stability"]) == 2
    assert main(["analyse", str(tmp_path), "--stability", "--stability-steps", "0"]) == 2
    assert "--stability-steps is 0" in capsys.readouterr().err
