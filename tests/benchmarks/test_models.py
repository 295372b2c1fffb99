"""What the models' page tells beside its figures: how loud clips are, what silence scores, what a first step takes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
RESULTS = BENCHMARKS / "results" / "models"
SPECTRAL = ("ddsp", "nsf", "parallel-wavenet", "rave", "sing", "sing-ae", "timbre-vae")


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])


@pytest.mark.parametrize(("amplitude", "says"), [(1.0, "−3.0 dBFS"), (1e-3, "hardly sounds"), (0.0, "silence, hardly")])
def test_a_clip_tells_its_level_and_whether_it_hardly_sounds(amplitude: float, says: str) -> None:
    import models_page

    assert models_page.level_said(np.full(100, 0.01, np.float32)).startswith("silence")
    said = models_page.level_said((amplitude * np.sin(np.arange(16000) / 5.0)).astype(np.float32))
    assert said.startswith(says) if amplitude in (0.0, 1.0) else said == f"−63 dBFS, {says}"


@pytest.mark.parametrize("name", SPECTRAL)
def test_silence_is_to_be_beaten_by_what_is_judged_by_spectra(name: str) -> None:
    verdict = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["verdict"]
    assert "silence" in verdict["to_beat"] and 0.2 < verdict["anchors"]["silence"] < 0.3


@pytest.mark.slow
def test_what_gansynth_computes_before_it_is_heard_is_within_its_goal() -> None:
    import models_first_step

    from pochette.models.gansynth import Gansynth

    stored = json.loads((RESULTS / "gansynth.json").read_text(encoding="utf-8"))["first_step"]
    recipe = Gansynth.sized("small", lowest_note=49, pitches=32, sample_rate_hz=16000)
    assert models_first_step.first_step(recipe) == stored["here"]
    for counted in stored.values():
        assert counted["needed_macs"] <= counted["step_macs"] <= 1.2 * counted["needed_macs"]
