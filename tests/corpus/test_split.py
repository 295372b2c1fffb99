"""What is held out was never learnt: no note, take, sound or stretch is on both sides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pochette.corpus.folder import By, FolderCorpus, Sound
from pochette.errors import SoundError
from pochette.sound.audio import write_wav
from tests.corpus.sounds import HOP, RATE, scale, tone


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> FolderCorpus:
    base = tmp_path_factory.mktemp("split")
    scale(base / "sounds", range(60, 70), ("p_1", "f_1", "p_2", "f_2"), seconds=0.3)
    return FolderCorpus.prepare(base / "sounds", RATE, HOP, base / "cache")


def span(sound: Sound) -> set[int]:
    return set(range(sound.first_hop, sound.first_hop + sound.frames))


def assert_apart(train: FolderCorpus, held: FolderCorpus) -> None:
    """Both have something, and they share no hop of the store."""
    assert train.sounds
    assert held.sounds
    learnt = set().union(*(span(sound) for sound in train.sounds))
    assert learnt.isdisjoint(set().union(*(span(sound) for sound in held.sounds)))
    assert train.split_note == held.split_note != ""
    assert train.fingerprint == held.fingerprint


@pytest.mark.parametrize("seed", range(20))
def test_by_pitch_whole_inner_notes_are_held_out(corpus: FolderCorpus, seed: int) -> None:
    train, held = corpus.split(0.2, seed)
    assert_apart(train, held)
    assert set(train.pitches()).isdisjoint(held.pitches())
    assert len(held.pitches()) == 2
    assert len(held) == 8
    assert {60, 69} <= set(train.pitches())
    assert len(train) + len(held) == len(corpus)


@pytest.mark.parametrize("by", ["pitch", "take", "sound"])
def test_seeds_repeat_and_differ(corpus: FolderCorpus, by: By) -> None:
    def held(seed: int) -> set[str]:
        return {sound.name for sound in corpus.split(0.3, seed, by)[1].sounds}

    assert held(4) == held(4)
    assert len({frozenset(held(seed)) for seed in range(8)}) > 1


def test_by_take(corpus: FolderCorpus) -> None:
    train, held = corpus.split(0.15, 0, "take")
    assert_apart(train, held)
    assert {sound.take for sound in train.sounds}.isdisjoint({sound.take for sound in held.sounds})
    assert len(held) == 20


def test_by_sound(corpus: FolderCorpus) -> None:
    train, held = corpus.split(0.25, 0, "sound")
    assert_apart(train, held)
    assert len(held) == 10


@pytest.mark.parametrize("held_out", [0.001, 0.5, 0.999])
@pytest.mark.parametrize("by", ["pitch", "take", "sound"])
def test_neither_side_is_ever_empty(corpus: FolderCorpus, held_out: float, by: By) -> None:
    assert_apart(*corpus.split(held_out, 0, by))


def test_few_pitches_fall_back_to_sounds(corpus: FolderCorpus) -> None:
    three = corpus.part(tuple(sound for sound in corpus.sounds if sound.pitch_midi in (60, 61, 62)), "")
    train, held = three.split()
    assert_apart(train, held)
    assert "fewer than 4 pitches" in held.split_note
    unnamed = corpus.part(tuple(sound for sound in corpus.sounds if sound.take == "1"), "")
    assert "no takes" in unnamed.split(by="take")[1].split_note


@pytest.mark.parametrize("held_out", [0.15, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(5))
def test_one_sound_is_cut_into_stretches(tmp_path: Path, held_out: float, seed: int) -> None:
    """Held-out stretches last 2 s and lie 0.1 s from what is learnt, beyond the reach of any feature's window."""
    write_wav(tmp_path / "sounds" / "long.wav", tone(220, 15.0), RATE)
    corpus = FolderCorpus.prepare(tmp_path / "sounds", RATE, HOP, tmp_path / "cache")
    train, held = corpus.split(held_out, seed)
    assert_apart(train, held)
    assert min(sound.seconds for sound in held.sounds) >= 2
    learnt = np.array(sorted(set().union(*(span(sound) for sound in train.sounds))))
    for sound in held.sounds:
        for hop in (sound.first_hop, sound.first_hop + sound.frames - 1):
            assert np.abs(learnt - hop).min() * HOP / RATE >= 0.1
    batch = held.excerpt_batch(np.random.default_rng(0), 3, 100)
    assert np.abs(batch["f0_hz"][:, 5:-5] / 220 - 1).max() < 0.01
    assert train.whole(train.sounds[0])["audio"].shape[1] == train.sounds[0].frames * HOP


def test_too_little_to_divide(tmp_path: Path) -> None:
    write_wav(tmp_path / "sounds" / "tiny.wav", tone(500, 0.06), RATE)
    corpus = FolderCorpus.prepare(tmp_path / "sounds", RATE, 1024, tmp_path / "cache")
    with pytest.raises(SoundError, match="too little") as caught:
        corpus.split()
    assert "Add sounds" in caught.value.remedy


def test_wrong_arguments(corpus: FolderCorpus) -> None:
    with pytest.raises(ValueError, match="share"):
        corpus.split(0.0)
    with pytest.raises(ValueError, match="pitch, take, sound"):
        corpus.split(by="frame")  # type: ignore[arg-type]
