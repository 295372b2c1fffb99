"""A varied excerpt is the recording played faster and louder, and its features say so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pochette.corpus.folder import FolderCorpus
from pochette.corpus.vary import varied_batch
from pochette.sound.audio import FloatArray, write_wav
from pochette.sound.features import loudness_db
from tests.corpus.sounds import HOP, RATE, scale, tone

FRAMES = 60


def prepare(folder: Path) -> FolderCorpus:
    return FolderCorpus.prepare(folder / "sounds", RATE, HOP, folder / "cache")


def strongest_hz(audio: FloatArray) -> float:
    """Frequency of the largest peak of a windowed spectrum, between its bins."""
    spectrum = np.log(np.abs(np.fft.rfft(audio * np.hanning(len(audio)))) + 1e-9)
    peak = int(spectrum.argmax())
    before, here, after = spectrum[peak - 1 : peak + 2]
    return (peak + 0.5 * (before - after) / (before - 2 * here + after)) * RATE / len(audio)


def test_without_variation_it_is_the_plain_excerpt(tmp_path: Path) -> None:
    scale(tmp_path / "sounds", range(60, 63))
    corpus = prepare(tmp_path)
    plain = corpus.excerpt_batch(np.random.default_rng(5), 4, FRAMES)
    varied = varied_batch(corpus, np.random.default_rng(5), 4, FRAMES, shift_semitones=0.0, gain_db=0.0)
    assert all((plain[name] == varied[name]).all() for name in plain)


def test_the_pitch_that_is_named_is_the_pitch_that_sounds(tmp_path: Path) -> None:
    write_wav(tmp_path / "sounds" / "a.wav", 0.2 * np.sin(np.arange(4 * RATE) * 2 * np.pi * 300 / RATE), RATE)
    batch = varied_batch(prepare(tmp_path), np.random.default_rng(0), 16, FRAMES, shift_semitones=5.0, gain_db=0.0)
    assert batch["audio"].shape == (16, FRAMES * HOP)
    assert all(values.dtype == np.float32 for values in batch.values())
    named = np.median(batch["f0_hz"], axis=1)
    heard = [strongest_hz(row) for row in batch["audio"]]
    assert 1200 * np.log2(named / heard) == pytest.approx(0, abs=8)
    # The draws fill the range, evenly in semitones.
    moved = 12 * np.log2(named / 300)
    assert moved.min() < -2 < 2 < moved.max()
    assert np.abs(moved).max() <= 5.05


def test_where_only_notes_are_known_pitches_move_by_whole_semitones(tmp_path: Path) -> None:
    write_wav(tmp_path / "sounds" / "a.wav", 0.2 * np.sin(np.arange(4 * RATE) * 2 * np.pi * 440 / RATE), RATE)
    batch = varied_batch(
        prepare(tmp_path), np.random.default_rng(0), 24, FRAMES, shift_semitones=2.5, gain_db=0.0, whole_semitones=True
    )
    moved = [12 * np.log2(strongest_hz(row) / 440) for row in batch["audio"]]
    assert moved == pytest.approx(np.rint(moved), abs=0.08)
    assert {int(steps) for steps in np.rint(moved)} == {-2, -1, 0, 1, 2}


def test_level_and_loudness_move_together(tmp_path: Path) -> None:
    write_wav(tmp_path / "sounds" / "a.wav", 0.1 * tone(440, 3.0), RATE)
    corpus = prepare(tmp_path)
    batch = varied_batch(corpus, np.random.default_rng(1), 12, FRAMES, shift_semitones=2.0, gain_db=9.0)
    levels = []
    for row in range(12):
        measured = loudness_db(batch["audio"][row], RATE, HOP)[1 : FRAMES + 1]
        middle = slice(15, FRAMES - 15)
        # What A-weighting makes of the shift is left out, on purpose.
        assert np.abs(measured[middle] - batch["loudness_db"][row][middle]).max() < 1.0
        levels.append(measured[middle].mean())
    assert np.ptp(levels) > 8


def test_nothing_exceeds_full_scale_and_silence_stays(tmp_path: Path) -> None:
    write_wav(tmp_path / "sounds" / "loud.wav", 0.95 * np.sign(tone(200, 1.0)), RATE)
    corpus = prepare(tmp_path)
    batch = varied_batch(corpus, np.random.default_rng(2), 8, 400, shift_semitones=3.0, gain_db=20.0)
    # Resampling a square wave rings a little before the gain is bounded by what came of it.
    assert np.abs(batch["audio"]).max() <= 1.0 + 1e-6
    assert (batch["audio"][:, -HOP:] == 0).all()
    assert (batch["loudness_db"][:, -1] == -80).all()
    assert np.isfinite(batch["f0_hz"]).all()


def test_features_stay_with_the_sound_they_describe(tmp_path: Path) -> None:
    """Where a click ends a hop, that frame is the loudest, whatever the speed."""
    sound = np.zeros(300 * HOP, np.float32)
    sound[:] = 0.001 * np.random.default_rng(0).standard_normal(len(sound))
    sound[150 * HOP] = 1
    write_wav(tmp_path / "sounds" / "click.wav", sound, RATE)
    corpus = prepare(tmp_path)
    asked = 0
    for seed in range(8):
        batch = varied_batch(corpus, np.random.default_rng(seed), 1, 230, shift_semitones=6.0, gain_db=0.0)
        where = int(np.abs(batch["audio"][0]).argmax())
        # The click may lie outside the excerpt.
        if np.abs(batch["audio"][0]).max() > 0.3:
            asked += 1
            assert abs(int(batch["loudness_db"][0].argmax()) - (where / HOP - 1)) <= 1.5
    assert asked >= 3
