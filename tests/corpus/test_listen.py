"""A first listening finds what is planted, and nothing in a clean folder."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pochette.corpus.listen import FindingKind, listen
from pochette.errors import SoundError
from pochette.sound.audio import FloatArray, write_wav
from tests.corpus.sounds import RATE, scale, tone


def kinds(folder: Path) -> set[tuple[str, str]]:
    return {(finding.name, finding.kind) for finding in listen(folder, excerpt_seconds=0.5).findings}


def test_a_clean_folder(tmp_path: Path) -> None:
    scale(tmp_path, range(60, 73, 4), seconds=1.2)
    found = listen(tmp_path)
    assert (found.count, found.usable, found.findings) == (8, 8, ())
    assert found.seconds == pytest.approx(9.6)
    assert found.sample_rates_hz == {RATE: 8}
    assert found.channels == {1: 8}
    assert found.voiced_share > 0.9
    assert found.pitch_range_midi == pytest.approx((60, 72), abs=0.2)
    assert found.suggestion == "ddsp"
    assert "8 of 8" in found.verdict
    assert "little" in found.verdict


@pytest.mark.parametrize(
    ("kind", "sound", "rate"),
    [
        ("clipping", np.clip(5 * tone(220), -1, 1), RATE),
        ("too loud", 8 * tone(220), RATE),
        ("short", tone(220, 0.2), RATE),
        ("low rate", tone(220, 1.0, 8000), 8000),
        ("offset", tone(220) + 0.1, RATE),
        ("quiet", tone(220, level=0.01), RATE),
        ("silent", np.zeros(RATE, np.float32), RATE),
        ("unreadable", np.full(RATE, np.nan, np.float32), RATE),
    ],
)
def test_each_fault_is_found_alone(tmp_path: Path, kind: FindingKind, sound: FloatArray, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", sound, rate, subtype="FLOAT")
    found = kinds(tmp_path)
    assert ("a.wav", kind) in found
    assert found <= {("a.wav", kind), ("a.wav", "clipping")}
    assert all(finding.what and finding.remedy for finding in listen(tmp_path).findings)


def test_twins_and_rubbish(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", tone(220), RATE)
    shutil.copy(tmp_path / "a.wav", tmp_path / "b.wav")
    (tmp_path / "c.wav").write_text("rubbish")
    (tmp_path / "d.wav").touch()
    assert kinds(tmp_path) == {("b.wav", "duplicate"), ("c.wav", "unreadable"), ("d.wav", "unreadable")}
    assert listen(tmp_path).usable == 1


def test_nothing_usable_is_said(tmp_path: Path) -> None:
    (tmp_path / "c.wav").write_text("rubbish")
    found = listen(tmp_path)
    assert found.usable == 0
    assert "None of the 1" in found.verdict
    assert found.pitch_range_midi is None
    assert found.loudness_range_db is None
    json.dumps(found.to_json())


def test_noise_suggests_no_pitched_model(tmp_path: Path) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(3 * RATE)
    write_wav(tmp_path / "noise.wav", np.asarray(noise, np.float32), RATE)
    found = listen(tmp_path)
    assert found.voiced_share < 0.05
    assert found.suggestion == "rave"
    assert "will not suit" in found.verdict and "`rave` does without" in found.verdict


def test_strokes_suggest_a_model_that_makes_them_in_one_piece(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(3):
        write_wav(tmp_path / f"{number}.wav", np.asarray(0.1 * rng.standard_normal(RATE // 2), np.float32), RATE)
    assert listen(tmp_path).suggestion == "wavegan"


def test_a_click_is_left_out(tmp_path: Path) -> None:
    write_wav(tmp_path / "click.wav", tone(500, 0.049), RATE)
    found = listen(tmp_path)
    assert found.usable == 0 and [item.kind for item in found.findings] == ["too short"]
    assert "0.05 s or more" in found.findings[0].remedy


def test_plain_data(tmp_path: Path) -> None:
    write_wav(tmp_path / "é.wav", tone(220), RATE)
    soundfile.write(tmp_path / "six.wav", np.repeat(tone(330)[:, None], 6, axis=1), RATE)
    found = listen(tmp_path)
    data = json.loads(json.dumps(found.to_json()))
    assert data["channels"] == {"1": 1, "6": 1}
    assert data["count"] == 2
    assert data["pitch_range_midi"] == list(found.pitch_range_midi or ())


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(SoundError, match="no such folder"):
        listen(tmp_path / "none")
    with pytest.raises(SoundError, match="no sound files"):
        listen(tmp_path)


def test_listening_is_quick(tmp_path: Path) -> None:
    """A tenth of the duration at most, even on a busy machine; told of every file."""
    write_wav(tmp_path / "long.wav", tone(220, 30.0, 48000), 48000)
    told: list[tuple[int, int, str]] = []
    start = time.process_time()
    listen(tmp_path, progress=lambda *news: told.append(news))
    assert time.process_time() - start < 3
    assert told == [(1, 1, "long.wav")]
