"""`pochette analyse` over whole comparisons."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Verbs
from tests.lab.test_properties import filled


def test_a_study_of_a_comparison(verbs: Verbs, tmp_path: Path) -> None:
    filled(tmp_path / "out" / "store")
    said = verbs("analyse", "--relations", tmp_path / "out", "--json")
    assert said.code == 0, said.all
    told = json.loads(said.out)
    assert told["networks"] == 12 and told["relations"][0]["name"] == "a: x"
    assert (tmp_path / "out" / "relations.html").is_file() and "pochette compare" in told["next"][0]
    people = verbs("analyse", "--relations", tmp_path / "out")
    assert people.code == 0 and "a: x" in people.out and "relations.html" in people.out
    assert "rate of 5.0 %" in " ".join(people.out.split()) and "\\u" not in people.out


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
