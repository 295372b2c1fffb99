"""One file adds a model: every verb and every contract finds it, and no other line changes."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")

import pochette.models
from pochette.families import models
from tests.cli.conftest import Verbs
from tests.contracts import model_checks
from tests.corpora import write_notes

FILE = '''"""A reed: eight harmonics that a small recurrent layer mixes."""

from dataclasses import dataclass

import torch
from torch import nn

from pochette.control import Control
from pochette.families import models
from pochette.layers.synthesis import harmonics
from pochette.models.model import Model
from pochette.sound.losses import MultiScaleSpectral


@models.member("small-reed")
@dataclass(frozen=True)
class SmallReed:
    """Eight harmonics that a small recurrent layer mixes by pitch and loudness."""

    hidden: int = 8
    sample_rate_hz: int = 16000

    def build(self):
        return SmallReedModel(self)


class SmallReedModel(Model):
    features = ("f0_hz", "loudness_db")

    def __init__(self, recipe):
        super().__init__()
        self.recipe, self.sample_rate_hz = recipe, recipe.sample_rate_hz
        self.hop_samples = self.latency_samples = recipe.sample_rate_hz // 250
        pitch = Control("pitch_hz", "Hz", 30.0, 0.4 * recipe.sample_rate_hz, 220.0, "logarithmic")
        self.controls = (pitch, Control("loudness_db", "dB", -80.0, 0.0, -20.0))
        self.network = nn.GRU(2, recipe.hidden, batch_first=True)
        self.head = nn.Linear(recipe.hidden, 8)
        self.distance = MultiScaleSpectral(recipe.sample_rate_hz)

    def initial_state(self, batch, generator=None):
        sizes = {"hidden": (batch, self.network.hidden_size), "f0": (batch,), "amplitudes": (batch, 8)}
        phase = torch.zeros(batch, dtype=torch.int64, device=self.device)
        return {name: torch.zeros(size, device=self.device) for name, size in sizes.items()} | {"phase": phase}

    def advance(self, controls, state):
        f0, loudness = controls[..., 0], controls[..., 1:]
        features = torch.cat([torch.log2(f0[..., None] / 440.0), loudness / 80.0 + 1.0], dim=-1)
        made, hidden = self.network(features, state["hidden"][None])
        amplitudes = torch.sigmoid(self.head(made)) * torch.exp(loudness * 0.115)
        before = (state["f0"], state["amplitudes"], state["phase"])
        audio, phase = harmonics(f0, amplitudes, *before, self.hop_samples, self.sample_rate_hz)
        return audio, {"hidden": hidden[0], "f0": f0[:, -1], "amplitudes": amplitudes[:, -1], "phase": phase}

    def loss(self, excerpt, generator=None):
        return self.distance(self(self.controls_of(excerpt)), excerpt["audio"])
'''


@pytest.fixture
def one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The file, lying where the family looks for its members."""
    folder = tmp_path / "members"
    folder.mkdir()
    (folder / "small_reed.py").write_text(FILE, encoding="utf-8")
    assert len(FILE.splitlines()) < 60
    monkeypatch.setattr(pochette.models, "__path__", [*pochette.models.__path__, str(folder)])
    monkeypatch.setattr(models, "_loaded", False)
    yield "small-reed"
    models.remove("small-reed")
    sys.modules.pop("pochette.models.small_reed", None)


@pytest.mark.usefixtures("beginning_emulated")
@pytest.mark.slow
def test_every_verb_finds_a_model_of_one_file(one_file: str, verbs: Verbs, tmp_path: Path) -> None:
    sounds = write_notes(tmp_path / "notes")
    run, made = tmp_path / "run", tmp_path / "made"
    few = ("--steps", "6", "--out")
    assert one_file in json.loads(verbs("list", "models", "--json").out)["models"]
    assert verbs("profile", one_file, "--board", "daisy-seed").code == 0
    assert verbs("train", one_file, sounds, *few, run).code == 0
    assert verbs("reduce", run, "--keep", "0.4", "--steps", "6").code == 0
    assert verbs("export", run, "--shell", "c", "--out", tmp_path / "exported").code == 0
    said = verbs("make", sounds, "--model", one_file, "--board", "daisy-seed", *few, made, "--sample-rate-hz", "16000")
    assert said.code == 0, said.all
    assert (made / "report.html").stat().st_size > 10_000
    assert verbs("verify", next(made.glob("*.pochette"))).code == 0


@pytest.mark.slow
def test_every_contract_finds_a_model_of_one_file(one_file: str, tmp_path: Path) -> None:
    recipe = models[one_file]()
    checks = [check for name, check in vars(model_checks).items() if name.startswith("check_")]
    assert len(checks) > 10
    for check in checks:
        wanted = inspect.signature(check).parameters
        if check not in (model_checks.check_silence, model_checks.check_overfits):  # a minute of each
            check(*(recipe, tmp_path)[: 2 if "folder" in wanted else 1])
