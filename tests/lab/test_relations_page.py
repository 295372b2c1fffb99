"""The study's benchmark: what could not be disturbed is kept with its reason, until it can be."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import relations
from pochette.lab.experiment import Disturbed, Properties, name_of
from tests.lab.test_properties import reduced


def test_reasons_are_kept_until_a_network_can_be_disturbed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relations, "LEFT_OUT", tmp_path / "left-out.json")
    one, two = (Disturbed(reduced(seed)) for seed in (1, 2))
    relations.note([], {one: "Not finite.", two: "ValueError: no (see /somewhere/failure.txt)"})
    relations.note([], {Properties(reduced(3)): "is no disturbance"})
    assert relations.left_out() == {name_of(one): "Not finite.", name_of(two): "ValueError: no"}
    relations.note([one], {})
    assert relations.left_out() == {name_of(two): "ValueError: no"}
    assert [relations.seed_of(item) for item in (one, two)] == [1, 2]
