"""Options of what is named on the command line stand beside the verb's own, and none has the name of another."""

from __future__ import annotations

import pytest

from pochette.cli import parse
from pochette.families import methods, models

pytest.importorskip("torch")


@pytest.mark.parametrize("name", methods.names())
def test_every_method_can_be_given(name: str) -> None:
    verb = parse(("reduce", "run", "--method", name, "--steps", "7"))
    assert vars(verb)["method"] == name and vars(verb)["steps"] == 7
    assert type(vars(verb)["reduction"]) is methods[name]


@pytest.mark.parametrize("name", models.names())
def test_every_model_can_be_given(name: str) -> None:
    verb = parse(("train", name, "sounds", "--steps", "7"))
    assert vars(verb)["steps"] == 7 and type(vars(verb)["recipe"]) is models[name]
