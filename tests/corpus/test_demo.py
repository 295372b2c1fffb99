"""The demo instruments play in tune, stay finite, and are made once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pochette.corpus.demo import Kind, demo_sounds, note
from pochette.errors import SoundError
from pochette.sound.audio import read
from pochette.sound.features import loudness_db
from pochette.sound.pitch import pyin
from tests.corpus.sounds import midi_hz

KINDS: tuple[Kind, ...] = ("reed", "string", "plucked")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_note_is_in_tune(kind: Kind, cache: Path) -> None:
    """Median pitch within 10 cents of the name's; all samples finite and below full scale."""
    folder = demo_sounds(kind, cache)
    files = sorted(folder.iterdir())
    assert len(files) == 24
    for path in files:
        sound = read(path, 48000)
        assert 0.02 < np.abs(sound).max() < 0.99
        track = pyin(sound, 48000, 480)
        cents = 1200 * np.log2(track.f0_hz[track.voiced] / midi_hz(int(path.name[:3])))
        assert abs(np.median(cents)) < 10
        assert np.percentile(np.abs(cents), 95) < 40
        assert track.voiced.mean() > 0.85


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [16000, 44100])
def test_notes_repeat_at_any_rate(kind: Kind, rate: int) -> None:
    first, again = (note(kind, 62, True, "vibrato", sample_rate_hz=rate) for _ in range(2))
    assert (first == again).all()
    assert np.isfinite(first).all()
    assert len(first) == round(2.5 * rate)
    track = pyin(first, rate, rate // 100)
    assert np.median(1200 * np.log2(track.f0_hz[track.voiced] / midi_hz(62))) == pytest.approx(0, abs=10)


@pytest.mark.parametrize("kind", ["reed", "string"])
def test_crescendo_grows_and_vibrato_moves(kind: Kind) -> None:
    swell = loudness_db(note(kind, 62, True, "crescendo", sample_rate_hz=16000), 16000, 160)
    assert swell[210] - swell[60] > 5
    track = pyin(note(kind, 62, True, "vibrato", sample_rate_hz=16000), 16000, 160)
    cents = 1200 * np.log2(track.f0_hz[120:220] / midi_hz(62))
    assert 40 < np.ptp(cents) < 60


@pytest.mark.parametrize("kind", KINDS)
def test_loud_is_louder(kind: Kind) -> None:
    soft, loud = (note(kind, 60, is_loud, "steady", sample_rate_hz=16000) for is_loud in (False, True))
    assert loudness_db(loud, 16000, 160).max() > loudness_db(soft, 16000, 160).max() + 6


def test_a_folder_is_made_once(cache: Path) -> None:
    told: list[tuple[int, int, str]] = []
    folder = demo_sounds("plucked", cache, 16000, lambda *news: told.append(news))
    assert [number for number, _, _ in told] == list(range(1, 25))
    stamps = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert demo_sounds("plucked", cache, 16000) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == stamps
    assert [path.name for path in folder.parent.iterdir() if path.name.endswith(".tmp")] == []


def test_wrong_wishes(cache: Path) -> None:
    with pytest.raises(SoundError, match="theremin") as caught:
        demo_sounds("theremin", cache)  # type: ignore[arg-type]
    assert "reed" in caught.value.remedy
    with pytest.raises(SoundError, match="16000"):
        demo_sounds("reed", cache, 8000)
