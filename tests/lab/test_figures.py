"""What `pochette list models` tells is what the graphs say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pochette.families import models
from pochette.lab import figures
from pochette.models.ddsp import Ddsp

ALL = [(name, size) for name in models.names() for size in figures.SIZES]


def test_every_model_has_figures_at_both_sizes() -> None:
    for name in models.names():
        assert tuple(figures.figures_of(name)) == figures.SIZES, name


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), ALL)
def test_the_file_says_what_the_graph_says(name: str, size: str) -> None:
    """Where this fails: python -m pochette.lab.figures."""
    assert figures.figures_of(name)[size] == figures.counted(models[name].sized(size))


def test_what_is_not_in_the_file_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = json.loads(figures.STORED.read_text(encoding="utf-8"))
    stored = whole["ddsp"]
    stored["small"]["signature"] = "that of another recipe"
    stored["small"]["parameters"] = stored["paper"]["parameters"] = 1
    monkeypatch.setattr(figures, "STORED", tmp_path / "figures.json")
    figures.STORED.write_text(json.dumps({"ddsp": stored}), encoding="utf-8")
    monkeypatch.setattr(Ddsp, "SIZES", {"small": {"hidden": 8}, "paper": Ddsp.SIZES["paper"]})
    said: list[str] = []
    found = figures.figures_of("ddsp", said.append)
    assert said == ["ddsp small"]
    assert found["paper"]["parameters"] == 1 and 1 < found["small"]["parameters"] < 270_000
