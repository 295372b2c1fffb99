"""`pochette analyse`: every round of a run, as a page that stands alone and as data."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from pochette.cli import main
from pochette.lab.analyse import DATA, analysed, kept
from pochette.train.checkpoint import load, save
from tests.corpora import write_notes


@pytest.mark.slow
def test_a_run_is_analysed(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POCHETTE_CACHE", str(tmp_path / "cache"))
    run = tmp_path / "run"
    sounds = write_notes(tmp_path / "notes")
    told = ["--steps", "2", "--hidden", "12", "--stack-width", "8", "--partials", "6", "--noise-bands", "9"]
    assert main(["train", "ddsp", str(sounds), "--size", "tiny", "--out", str(run), *told]) == 0
    capsys.readouterr()
    assert main(["analyse", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["rounds"]) == ["dense"] and found["next"]
    dense = found["rounds"]["dense"]
    assert dense["connectivity"]["numbers"]["effective_density"] == 1.0
    assert dense["information-plane"]["numbers"]["input_nats"] >= 0
    assert json.loads((run / "analysis.json").read_text())["rounds"] == found["rounds"]
    page = (run / "analysis.html").read_text()
    assert page.count("<svg") >= 5 and "http-equiv" in page
    assert "src=" not in page and '<link rel="stylesheet' not in page and "<script" not in page

    # Progress never falls, and has no gap; with the recordings gone as well, where much is left out.
    for folder in (sounds, tmp_path / "elsewhere"):
        if folder != sounds:
            sounds.rename(folder)
        shares: list[float] = []
        again = analysed(run, told=lambda stage, share, what, shares=shares: shares.append(share))
        assert ("left_out" in again["rounds"]["dense"]["dimension"]) == (folder != sounds)
        assert shares[0] == 0.0 and shares[-1] == 1.0 and shares == sorted(shares)
        assert max(after - before for before, after in pairwise(shares)) <= 0.25

    # What is no number is named, and so is a place that cannot be written, before anything is computed.
    (tmp_path / "out" / "analysis.html").mkdir(parents=True)
    assert main(["analyse", str(run), "--out", str(tmp_path / "out"), "--json"]) == 1
    assert "cannot be written" in capsys.readouterr().out
    tensors, facts = load(run / "dense.safetensors")
    name = next(name for name in tensors if name.endswith("gru.weight_hh_l0"))
    tensors[name][0, 0] = float("nan")
    save(run / "dense.safetensors", tensors, facts)
    assert main(["analyse", str(run), "--json"]) == 1
    assert "not numbers, or infinite: network.gru.weight_hh_l0" in capsys.readouterr().out


def test_what_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyse", str(tmp_path), "--json"]) == 1
    assert "pochette train" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "[]", '{"stability": []}', '{"stability": {"dense": 3}}'])
def test_what_somebody_else_left_there_is_not_taken_for_an_analysis(text: str, tmp_path: Path) -> None:
    (tmp_path / DATA).write_text(text)
    assert kept(tmp_path) == {}
    (tmp_path / DATA).write_text('{"stability": {"dense": {}}}')
    assert kept(tmp_path) == {"stability": {"dense": {}}}
