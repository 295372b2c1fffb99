"""From the command line to an instrument of hits: sounds without a pitch, of several kinds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pochette.instrument import load
from pochette.instrument.wav import write_wav
from tests.cli.conftest import Verbs


@pytest.fixture(scope="module")
def hits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two kinds of hit, six takes of each."""
    folder = tmp_path_factory.mktemp("kit") / "kit"
    folder.mkdir()
    t = np.arange(1600) / 16000
    for take in range(6):
        noise = np.random.default_rng(take).standard_normal(len(t))
        write_wav(folder / f"clap_{take}.wav", (0.2 * noise * np.exp(-40 * t)).astype(np.float32), 16000)
        boom = 0.6 * np.sin(2 * np.pi * (60 + take) * t) * np.exp(-20 * t)
        write_wav(folder / f"kick_{take}.wav", boom.astype(np.float32), 16000)
    return folder


def test_classes_that_do_not_fit_the_sounds_leave_the_folder_free(verbs: Verbs, hits: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    train = ("train", "wavegan", hits, "--size", "tiny", "--steps", "2", "--batch", "2", "--out", tmp_path / "run")
    said = verbs(*train, "--classes", "3")
    assert said.code == 1 and "tells 3 classes apart" in said.err and "--classes 2" in said.err
    assert not (tmp_path / "run" / "run.json").exists()
    assert verbs(*train, "--classes", "2").code == 0
    said = verbs("profile", tmp_path / "run", "--json")
    counted = json.loads(said.out)
    assert said.code == 0 and "class_number" not in said.err
    assert json.dumps(counted).count("model.network.layers.2") and "critic" not in said.out


@pytest.mark.usefixtures("beginning_emulated")
@pytest.mark.slow
def test_make_of_hits(verbs: Verbs, hits: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("ziglang")
    arguments = ("make", hits, "--model", "wavegan", "--size", "tiny", "--steps", "8", "--sample-rate-hz", "16000")
    said = verbs(*arguments, "--out", tmp_path / "out", "--json")
    assert said.code == 0, said.all
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert [anchor["name"] for anchor in result["anchors"]] == [
        "silence", "white noise", "untrained", "recordings", "dense", "trimmed",
    ]  # fmt: skip
    assert set(result["metrics"]) == {"coverage", "nearest_learnt_db", "nearest_of_its_own_db"}
    assert result["playing"] is None and result["latency_samples"] == 0
    assert all(check["passed"] is not False for check in result["golden"])
    dense, *_, trimmed = result["trimming"]
    assert trimmed["network_macs_per_second"] < 0.2 * dense["network_macs_per_second"]
    report = (tmp_path / "out" / "report.html").read_text()
    assert "crowds of both are compared" in report and "drawn, beside" in report
    instrument = load(tmp_path / "out" / "kit.pochette")
    assert instrument.pitch_range_hz is None and np.abs(instrument.golden_audio[:1024]).max() > 0.0
