"""What a run kept before, during and after its reduction, in order, and how the page shows each property by it."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from pochette.families import analyses, methods
from pochette.lab import course_report
from pochette.lab.report.property_names import NAMES, called
from pochette.lab.runs import Run
from pochette.lab.stages import Stage, notes_on, stages_of
from pochette.models.ddsp import Ddsp, DdspModel
from pochette.recipe import to_json
from pochette.reduce.methods.gradual import Gradual
from pochette.reduce.sparse.weights import density, effective, weights_of
from pochette.train.loop import Training
from pochette.train.session import MOMENTS, Session, load_model
from tests.corpora import notes_corpus

RECIPE = Ddsp(hidden=12, stack_width=8, stack_layers=1, partials=6, noise_bands=5)
TRAINING = Training(batch=2, excerpt_seconds=0.1, evaluate_steps=2)


def walked(folder: Path, corpora: Any, moments: tuple[float, ...]) -> DdspModel:
    torch.manual_seed(0)
    session = Session(folder, *corpora, TRAINING, seconds=float("inf"), steps=40, moments=moments)
    technique = Gradual(keep=0.2, every=1, end=1.0, regrow=False)
    model = technique.apply(RECIPE.build(), session)[-1].model
    assert isinstance(model, DdspModel)
    return model


def facts(folder: Path, reduction: dict[str, Any] | None) -> Path:
    Run(
        model="ddsp",
        recipe=to_json(RECIPE),
        corpus="",
        fingerprint="",
        seed=0,
        training=asdict(TRAINING),
        pitch_range_hz=None,
        loudness_range_db=(-60.0, 0.0),
        reduction=reduction,
    ).write(folder)
    return folder


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return notes_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def gradual(corpora: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dense network of 16 steps, and one of which every step of another 24 takes weights away."""
    folder = tmp_path_factory.mktemp("gradual")
    walked(folder, corpora, MOMENTS)
    return facts(folder, {"method": "gradual"})


def test_moments_of_a_training_show_how_weights_went(gradual: Path) -> None:
    stages = stages_of(gradual)
    assert list(stages) == ["dense", *(f"round-1 at {percent} %" for percent in (25, 50, 75)), "round-1"]
    kept, rows, first = [], [], None
    for name, path in stages.items():
        model, about = load_model(path)
        rows.append(Stage.of(name, model, about, first))
        first = first or rows[0]
        weights = effective(weights_of(model)).values()
        kept.append(density({name: tensor != 0 for name, tensor in enumerate(weights)}))  # type: ignore[arg-type]
    assert [row.share_kept for row in rows] == pytest.approx(kept) and kept[0] == 1.0
    # The schedule of Zhu & Gupta 2017, counted from the first removal on; 24 steps, so up to two off it.
    for number, share in enumerate(MOMENTS, start=1):
        on_it = [0.2 + 0.8 * (1.0 - share + late / 24) ** 3 for late in (-1, 2)]
        assert on_it[0] - 0.02 <= kept[number] <= on_it[1] + 0.02, (share, kept)
    assert kept[-1] == pytest.approx(0.2, abs=0.02) and [row.steps for row in rows] == [16, 6, 12, 18, 24]
    assert all(row.held_out_error is not None and row.held_out_error > 0 for row in rows)
    assert [row.finished for row in rows] == [True, False, False, False, True]
    assert notes_on(gradual, stages) == []


def test_a_training_ends_to_the_bit_where_it_would_if_nobody_had_looked(
    gradual: Path, corpora: Any, tmp_path: Path
) -> None:
    alone = walked(tmp_path, corpora, ()).state_dict()
    looked = load_model(gradual / "round-1.safetensors")[0].state_dict()
    assert all(torch.equal(looked[path], tensor) for path, tensor in alone.items())
    facts(tmp_path, {"method": "gradual"})
    assert "no moment of that training was kept" in notes_on(tmp_path, stages_of(tmp_path))[0]


def test_an_earlier_reduction_stands_first_unless_the_whole_network_was_taken(gradual: Path, tmp_path: Path) -> None:
    outer = Path(shutil.copytree(gradual, tmp_path / "outer"))
    inner = facts(outer / "lottery-x", {"method": "lottery"})
    shutil.copy(outer / "round-1.safetensors", inner / "dense.safetensors")
    shutil.copy(outer / "round-1.safetensors", inner / "round-1.safetensors")
    stages = stages_of(inner)
    assert list(stages)[:2] == ["gradual: dense", "gradual: round-1 at 25 %"]
    assert list(stages)[-2:] == ["dense", "round-1"] and len(stages) == 6, (
        "what one left and the next began with is one"
    )
    assert "it left" in notes_on(inner, stages)[0]
    shutil.copy(outer / "dense.safetensors", inner / "dense.safetensors")
    assert list(stages_of(inner)) == ["dense", "round-1"]


def test_methods_that_work_while_a_network_trains_are_known_by_where_they_stand() -> None:
    inside = {name for name, method in methods.items() if method.axes.in_training}
    assert {"gradual", "rigl", "set", "snfs", "quantise"} <= inside
    assert not {"lottery", "magnitude", "obd", "snip", "low-rank"} & inside


def course(*values: float | None) -> dict[str, Any]:
    rows = []
    for number, value in enumerate(values):
        properties = {"x: same": 3.0, **({} if value is None else {"x: y": value})}
        rows.append({"share_kept": 0.5**number, "held_out_error": 1.0 + number, "properties": properties})
    return {"course": rows}


def test_each_property_that_changes_is_drawn_over_the_share_kept() -> None:
    found = course(4.0, None, 2.0)
    (panel,), still = course_report.panels(found, "x")
    assert panel[:2] == ("y (x)", "x: y") and still == ["same (x)"]
    assert all(f">{text}<" in panel[2] for text in ("100\u202f%", "50.0\u202f%", "25.0\u202f%", "weights kept"))
    error = course_report.error_panel(found)
    assert error is not None and error[0] == "loss on held-out sound"
    # One network has nothing to be held against.
    assert course_report.panels(course(4.0), "x") == ([], []) and course_report.error_panel(course(4.0)) is None


def test_every_number_of_every_analysis_has_a_name_of_its_own() -> None:
    identifiers = {f"{name}: {number}" for name, analysis in analyses.items() for number in analysis.words}
    assert identifiers <= NAMES.keys()
    assert len(set(NAMES.values())) == len(NAMES), "two properties under one name cannot be told apart"
    assert called("somebodys: new_number") == "new number (somebodys)"
