"""Crowds of sounds: standings against cases that are known, what `make` says of them, and an engine's own crowd."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pochette.corpus.folder import FolderCorpus
from pochette.engine.export import export
from pochette.lab import unpaired
from pochette.lab.evaluate import distance_to_held_out, engine_to_held_out, evaluate
from pochette.lab.report import page
from pochette.lab.report.view import sentences
from pochette.lab.result import Anchor
from pochette.models.wavegan import Wavegan, WaveganModel
from pochette.sound.audio import write_wav
from tests.lab.fakes import full_result

RATE = 8000
RECIPE = Wavegan.sized("tiny", sample_rate_hz=RATE, classes=2)
Corpora = tuple[FolderCorpus, FolderCorpus]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Corpora:
    """Two kinds of burst, twelve of each, no two alike."""
    folder = tmp_path_factory.mktemp("bursts")
    t = np.arange(RATE // 8) / RATE
    for take in range(12):
        rng = np.random.default_rng(take)
        hiss = rng.standard_normal(len(t)) * np.exp(-(15 + take) * t) * 0.2
        hum = np.sin(2 * np.pi * (150 + 20 * take) * t) * np.exp(-(10 + take) * t) * 0.5
        for kind, sound in (("hiss", hiss), ("hum", hum)):
            write_wav(folder / f"{kind}_{take}.wav", sound.astype(np.float32), RATE)
    corpus = FolderCorpus.prepare(folder, RATE, RECIPE.build().hop_samples, cache_dir=tmp_path_factory.mktemp("cache"))
    return corpus.split(0.4, seed=0, by="sound")


class Parrot(WaveganModel):
    """Makes what it is given, one recording after the other."""

    recordings: Tensor

    def generate(self, note: Tensor) -> Tensor:
        return self.recordings[torch.arange(len(note)) % len(self.recordings)]


def parrot(recordings: Tensor) -> Parrot:
    torch.manual_seed(0)
    model = Parrot(RECIPE)
    model.recordings = recordings
    return model


def test_recordings_are_heard_as_they_are_learnt(corpora: Corpora) -> None:
    model = RECIPE.build()
    audio, classes = unpaired.recorded(model, corpora[0])
    assert audio.shape == (len(corpora[0]), RECIPE.slice_samples) and classes is not None
    assert torch.allclose(audio.abs().amax(dim=1), torch.ones(len(audio)))
    assert [corpora[0].labels()[int(n)] for n in classes[:, 0]] == [s.name.split("_")[0] for s in corpora[0].sounds]


def test_standings_tell_a_parrot_from_a_maker_and_both_from_noise(corpora: Corpora) -> None:
    training, held_out = corpora
    model = RECIPE.build()
    learnt, kept = unpaired.recorded(model, training)[0], unpaired.recorded(model, held_out)[0]
    found = unpaired.standings({"parrot": parrot(learnt), "knower": parrot(kept)}, training, held_out)
    assert found["parrot"].to_training == pytest.approx(0.0, abs=1e-4)
    assert found["parrot"].discrepancy < 0.15 and found["parrot"].coverage > 0.8
    assert found["knower"].coverage == 1.0 and found["knower"].to_training > 0.5  # type: ignore[operator]
    assert abs(found["recordings"].discrepancy) < 0.1 and found["recordings"].to_training is None
    assert 0.8 < found["recordings"].coverage <= 1.0
    for mark in ("silence", "white noise", "untrained"):
        assert found[mark].discrepancy > found["parrot"].discrepancy + 0.3, mark
        assert found[mark].coverage < found["parrot"].coverage
    assert found["silence"].to_itself == 0.0
    again = unpaired.standings({"parrot": parrot(learnt)}, training, held_out)
    assert again["white noise"] == found["white noise"] and again["recordings"] == found["recordings"]


def test_coverage_is_counted_by_hand() -> None:
    # Six recordings a unit apart: the fifth neighbour of the ends is 5 away, of those beside them 4, of the middle 3.
    reference = torch.arange(6.0)[:, None]
    assert unpaired.coverage(torch.tensor([[-5.0]]), reference) == pytest.approx(1 / 6)
    assert unpaired.coverage(torch.tensor([[8.0]]), reference) == pytest.approx(2 / 6)
    assert unpaired.coverage(torch.tensor([[8.0], [-3.0]]), reference) == pytest.approx(4 / 6)
    assert unpaired.coverage(torch.tensor([[100.0]]), reference) == 0.0


def test_a_crowd_stands_where_its_points_do() -> None:
    reference, crowd = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [4.0], [4.5]])
    found = unpaired.standing(crowd, reference, torch.tensor([[1.5], [9.0]]))
    assert found.to_training == pytest.approx((0.5 + 2.5 + 3.0) / 3)
    assert found.to_itself == pytest.approx((3.0 + 0.5 + 0.5) / 3)


def test_an_evaluation_of_crowds_has_marks_sounds_and_measures(corpora: Corpora, tmp_path: Path) -> None:
    pytest.importorskip("ziglang")
    torch.manual_seed(1)
    model = RECIPE.build().eval()
    with torch.no_grad():
        model.network.layers[-1].weight.mul_(50.0)  # type: ignore[operator, union-attr]
    found = evaluate({"dense": model, "trimmed": model}, *corpora)
    assert set(found.distance) == {"recordings", "silence", "white noise", "untrained", "dense", "trimmed"}
    assert found.distance["dense"] == found.distance["trimmed"] == distance_to_held_out(model, corpora[1])
    assert found.reference.shape == found.made["dense"].shape == (8, RECIPE.slice_samples)
    assert set(found.metrics) == {"coverage", "nearest_learnt_db", "nearest_of_its_own_db"}
    assert "recordings" not in found.metrics["nearest_learnt_db"]
    engine = engine_to_held_out(export(model, "crowd"), model, corpora[1])
    assert engine == pytest.approx(found.distance["dense"], abs=1e-4)


def test_the_report_reads_crowds_between_nothing_learnt_and_recordings() -> None:
    marks = {"silence": 1.2, "untrained": 1.0, "recordings": 0.0, "dense": 0.2, "trimmed": 0.4}
    result = replace(full_result(), anchors=tuple(Anchor(*mark) for mark in marks.items()), playing=None)
    assert result.ends == ("untrained", "recordings")
    assert result.gap_closed("trimmed") == pytest.approx(0.6) and result.distance_ratio == pytest.approx(2.0)
    assert "from a network that learnt nothing to other recordings of the same kind" in sentences(result)[0]
    text = page(result, [])
    assert "average tone" not in text and "crowds of both are compared" in text
    assert "of the gap from nothing learnt to recordings closed" in text
    by_chance = replace(result, anchors=(*result.anchors[:3], Anchor("dense", 0.01), Anchor("trimmed", -0.01)))
    assert by_chance.distance_ratio is None and "was not measured" in sentences(by_chance)[1]
    assert full_result().ends == ("mean spectrum", "floor")
