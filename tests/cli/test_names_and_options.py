"""Names, options and facts of runs that cannot be: each is refused with the way out, in words and as JSON."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Verbs, refused


def test_unknown_names(verbs: Verbs, sounds: Path, run: Path, tmp_path: Path) -> None:
    assert refused(verbs("make", sounds, "--board", "daisy-sed", "--out", tmp_path / "a"), "daisy-seed")
    assert refused(verbs("make", sounds, "--model", "dsp", "--out", tmp_path / "a"), "ddsp")
    assert refused(verbs("make", sounds, "--size", "huge", "--out", tmp_path / "a"), "tiny")
    assert refused(verbs("train", "dsp", sounds), "ddsp")
    assert refused(verbs("train", "ddsp", sounds, "--size", "huge"), "tiny")
    assert refused(verbs("profile", "dsp"), "ddsp")
    assert refused(verbs("profile", tmp_path), "pochette train")
    assert refused(verbs("reduce", tmp_path), "pochette train")
    assert refused(verbs("reduce", run, "--method", "lotery"), "lottery")
    assert refused(verbs("reduce", run, "--criterion", "magnitud", "--steps", "2"), "magnitude")
    assert refused(verbs("export", run, "--shell", "wep"), "web")
    assert refused(verbs("export", tmp_path), "pochette train")
    assert not (tmp_path / "a").exists()


def test_a_damaged_run(verbs: Verbs, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    assert refused(verbs("reduce", tmp_path), "--out")
    (tmp_path / "run.json").write_text('{"schema": 99}')
    assert refused(verbs("export", tmp_path), "upgrade")
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ([], "not those of a run"),
        (None, "not those of a run"),
        ({"schema": 1}, "corpus, fingerprint"),
        ({"model": 3}, "model cannot be 3"),
        ({"pitch_range_hz": [1]}, "pitch_range_hz cannot be [1]"),
        ({"loudness_range_db": [0, -10]}, "loudness_range_db cannot be"),
        ({"sounds": "many"}, 'sounds cannot be "many"'),
        ({"seconds": None}, "seconds cannot be null"),
        ({"colour": "red"}, "colour unknown"),
        ({"model": "nope"}, "no model called 'nope'"),
        ({"recipe": {"hidden": -3}}, "hidden"),
    ],
)
def test_facts_of_a_run_that_cannot_be(verbs: Verbs, run: Path, tmp_path: Path, facts: Any, says: str) -> None:
    own = Path(shutil.copytree(run, tmp_path / "own"))
    whole = json.loads((own / "run.json").read_text())
    wrong = {**whole, **facts} if isinstance(facts, dict) and "schema" not in facts else facts
    (own / "run.json").write_text(json.dumps(wrong))
    assert refused(verbs("analyse", own), says)
    # Nor is it recommended, where another run lies beside it.
    shutil.copytree(run, tmp_path / "good")
    if "model called" not in says and says != "hidden":
        assert refused(verbs("analyse", tmp_path), str(tmp_path / "good"))


def test_options_that_mean_nothing_are_refused(verbs: Verbs, run: Path, sounds: Path, tmp_path: Path) -> None:
    assert refused(verbs("analyse", run, "--sounds", sounds), "--relations", code=2)
    assert refused(verbs("analyse", run, "--stability-steps", "7"), "--stability", code=2)
    assert refused(verbs("analyse", "--relations", tmp_path, "--sounds", tmp_path / "nosuch"), "no such folder")


def test_typing_errors(verbs: Verbs, sounds: Path) -> None:
    assert refused(verbs("lisen", "x"), "Did you mean listen", code=2)
    said = verbs("listen", "x", "--jsn")
    assert said.code == 2 and "--json" in said.err
    pytest.importorskip("torch")
    said = verbs("train", "ddsp", sounds, "--hiden", "3")
    assert said.code == 2 and "--hidden" in said.err


def test_errors_as_json(verbs: Verbs, tmp_path: Path) -> None:
    said = verbs("verify", tmp_path / "no.pochette", "--json")
    error = json.loads(said.out)["error"]
    assert said.code == 1 and error["kind"] == "InstrumentError"
    assert error["what"] and error["where"] and error["remedy"]
    said = verbs("verify", "--json", "--enginse", "c")
    assert said.code == 2 and json.loads(said.out)["error"]["kind"] == "UsageError"


def test_errors_of_usage_as_json_say_what_stderr_says(verbs: Verbs) -> None:
    for words, what, remedy in (
        (("verify", "x", "--enginse", "c"), "--enginse", "pochette verify --help"),
        (("verify",), "INSTRUMENT", "pochette verify --help"),
        (("fit", "run"), "--board", "pochette fit --help"),
        (("export", "run", "--precision", "int7"), "'int7'", "pochette export --help"),
        (("listen", "x", "--no-estimat"), "--no-estimat", "--no-estimate"),
    ):
        said = verbs(*words, "--json")
        error = json.loads(said.out)["error"]
        assert said.code == 2 and error["kind"] == "UsageError"
        assert what in error["what"] and remedy in error["remedy"], error
        assert what in said.err and "│" not in said.out
