"""A corpus is prepared once, survives bad files and interruptions, and its features fit its samples."""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pochette.corpus import prepare as preparation
from pochette.corpus.cache import cache_root
from pochette.corpus.folder import FolderCorpus, take_of
from pochette.errors import SoundError
from pochette.sound.audio import read, write_wav
from pochette.sound.features import loudness_db
from tests.corpus.sounds import HOP, RATE, midi_hz, scale, tone

LONG_HOP = 1024


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    scale(tmp_path / "sounds", range(60, 63))
    return tmp_path / "sounds"


def prepare(folder: Path, cache: Path | None = None) -> FolderCorpus:
    return FolderCorpus.prepare(folder, RATE, HOP, cache or folder.parent / "cache")


def test_sounds_are_listed_with_their_notes(folder: Path) -> None:
    corpus = prepare(folder)
    assert [sound.name for sound in corpus.sounds] == sorted(path.name for path in folder.iterdir())
    assert [sound.pitch_midi for sound in corpus.sounds] == [60, 60, 61, 61, 62, 62]
    assert corpus.pitches() == (60, 61, 62)
    assert corpus.seconds == pytest.approx(6 * 0.6, abs=0.1)
    low, high = corpus.f0_range_hz() or (0, 0)
    assert low == pytest.approx(midi_hz(60), rel=0.003)
    assert high == pytest.approx(midi_hz(62), rel=0.003)


def test_whole_sounds_are_the_file(folder: Path) -> None:
    """Samples are the file's; feature i is that of the END of hop i."""
    corpus = prepare(folder)
    sound = corpus.sounds[0]
    whole = corpus.whole(sound)
    original = read(folder / sound.name, RATE)
    assert whole["audio"].shape == (1, sound.frames * HOP)
    assert (whole["audio"][0, : len(original)] == original).all()
    loudness = loudness_db(original, RATE, HOP)
    assert whole["loudness_db"][0] == pytest.approx(loudness[1 : sound.frames + 1], abs=1e-4)
    assert whole["f0_hz"].shape == whole["confidence"].shape == (1, sound.frames)


def test_excerpts_are_stretches_of_sounds(folder: Path) -> None:
    """Every excerpt is found in its sound, and its features at the same place, one frame later."""
    corpus = prepare(folder)
    batch = corpus.excerpt_batch(np.random.default_rng(0), 8, 20)
    assert batch["audio"].shape == (8, 20 * HOP)
    assert all(batch[name].shape == (8, 20) for name in ("f0_hz", "loudness_db", "confidence"))
    assert all(values.dtype == np.float32 for values in batch.values())
    for row in range(8):
        places = []
        for sound in corpus.sounds:
            whole = corpus.whole(sound)
            for start in range(sound.frames - 20 + 1):
                if (whole["audio"][0, start * HOP : (start + 20) * HOP] == batch["audio"][row]).all():
                    places.append((whole, start))
        assert places
        whole, start = places[0]
        assert (whole["loudness_db"][0, start : start + 20] == batch["loudness_db"][row]).all()


def test_features_are_of_the_end_of_each_hop(tmp_path: Path) -> None:
    """A click at sample 40 hops is loudest in frame 39, whose hop it ends."""
    sound = np.zeros(100 * HOP, np.float32)
    sound[10 * HOP : 90 * HOP] = 0.01 * np.random.default_rng(0).standard_normal(80 * HOP)
    sound[40 * HOP] = 1
    write_wav(tmp_path / "sounds" / "click.wav", sound, RATE)
    corpus = prepare(tmp_path / "sounds")
    whole = corpus.whole(corpus.sounds[0])
    assert whole["loudness_db"][0].argmax() == whole["audio"][0].argmax() // HOP - 1


def test_short_sounds_end_in_silence(folder: Path) -> None:
    corpus = prepare(folder)
    batch = corpus.excerpt_batch(np.random.default_rng(0), 4, 200)
    longest = max(sound.frames for sound in corpus.sounds)
    assert (batch["audio"][:, longest * HOP :] == 0).all()
    assert (batch["loudness_db"][:, longest:] == -80).all()
    assert (batch["confidence"][:, longest:] == 0).all()
    assert (batch["f0_hz"] > 200).all()


def test_chance_repeats_and_follows_duration(tmp_path: Path) -> None:
    write_wav(tmp_path / "sounds" / "long.wav", tone(220, 4.0), RATE)
    write_wav(tmp_path / "sounds" / "short.wav", tone(440, 1.0), RATE)
    corpus = prepare(tmp_path / "sounds")
    first, again = (corpus.excerpt_batch(np.random.default_rng(3), 200, 10) for _ in range(2))
    assert all((first[name] == again[name]).all() for name in first)
    assert np.mean(first["f0_hz"][:, 5] < 300) == pytest.approx(0.8, abs=0.1)


def test_silence_at_the_ends_is_cut(tmp_path: Path) -> None:
    """One second of silence on either side shrinks to 50 ms and what the loudness window smears."""
    silence = np.zeros(RATE, np.float32)
    write_wav(tmp_path / "sounds" / "a.wav", np.concatenate([silence, tone(220, 1.0), silence]), RATE)
    corpus = prepare(tmp_path / "sounds")
    assert 1.08 < corpus.seconds < 1.16
    whole = corpus.whole(corpus.sounds[0])["audio"][0]
    first = int(np.argmax(np.abs(whole) > 0.01)) / RATE
    assert 0.04 < first < 0.08


def test_the_second_time_is_free(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare(folder)

    def refuse(job: preparation.Job) -> None:
        raise AssertionError(f"{job.name} is analysed again")

    monkeypatch.setattr(preparation, "analyse", refuse)
    second = prepare(folder)
    assert (first.fingerprint, first.sounds) == (second.fingerprint, second.sounds)


def test_fingerprint_follows_contents_and_names(folder: Path) -> None:
    first = prepare(folder).fingerprint
    (folder / "060_p.wav").rename(folder / "060_q.wav")
    renamed = prepare(folder).fingerprint
    write_wav(folder / "060_q.wav", tone(261.6, 0.7), RATE)
    assert len({first, renamed, prepare(folder).fingerprint}) == 3
    moved = folder.parent / "elsewhere"
    shutil.copytree(folder, moved)
    assert prepare(moved).fingerprint == prepare(folder).fingerprint


def test_an_interruption_loses_one_file_at_most(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = preparation.analyse, []

    def interrupted(job: preparation.Job) -> None:
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(job.name)
        real(job)

    monkeypatch.setattr(preparation, "analyse", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(folder)
    rest: list[str] = []

    def resumed(job: preparation.Job) -> None:
        rest.append(job.name)
        real(job)

    monkeypatch.setattr(preparation, "analyse", resumed)
    corpus = prepare(folder)
    assert len(corpus) == 6
    assert sorted(seen + rest) == sorted(sound.name for sound in corpus.sounds)
    kept = list((folder.parent / "cache" / "corpus").iterdir())
    assert len(kept) == 1
    assert sorted(path.name for path in kept[0].iterdir()) == ["audio.npy", "frames.npy", "index.json"]


def test_a_damaged_store_is_made_again(folder: Path) -> None:
    first = prepare(folder)
    expected = first.whole(first.sounds[0])["audio"]
    store = next((folder.parent / "cache" / "corpus").iterdir())
    for name in ("audio.npy", "frames.npy", "index.json"):
        damaged = (store / name).read_bytes()[:300]
        (store / name).unlink()  # not in place: what is mapped must not shrink
        (store / name).write_bytes(damaged)
        again = prepare(folder)
        assert (again.whole(again.sounds[0])["audio"] == expected).all()


def test_a_full_disk_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(preparation, "analyse", full)
    with pytest.raises(SoundError, match="No space left") as caught:
        prepare(folder)
    assert "POCHETTE_CACHE" in caught.value.remedy


def test_another_process_may_finish_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes second finds its parts swept away and takes the store that is there."""
    first = prepare(folder)
    store = next((folder.parent / "cache" / "corpus").iterdir())
    hidden = store.rename(folder.parent / "hidden")
    real = preparation.join

    def overtaken(*arguments: object) -> None:
        hidden.rename(store)
        shutil.rmtree(store.with_name(f"{store.name}.parts"))
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(preparation, "join", overtaken)
    assert prepare(folder).sounds == first.sounds


def test_bad_files_are_left_out_and_named(folder: Path) -> None:
    (folder / "corrupt.wav").write_bytes(b"RIFFnothing")
    (folder / "empty.flac").touch()
    (folder / "notes.txt").write_text("not a sound")
    (folder / ".hidden.wav").write_bytes(b"")
    soundfile.write(folder / "nan.wav", np.full(1000, np.nan, np.float32), RATE, subtype="FLOAT")
    write_wav(folder / "silent.wav", np.zeros(RATE, np.float32), RATE)
    shutil.copy(folder / "060_f.wav", folder / "twin.wav")
    corpus = prepare(folder)
    assert len(corpus) == 6
    problems = {problem.name: problem for problem in corpus.problems}
    assert set(problems) == {"corrupt.wav", "empty.flac", "nan.wav", "silent.wav", "twin.wav"}
    assert all(problem.what and problem.remedy for problem in problems.values())
    assert "060_f.wav" in problems["twin.wav"].what


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    for make, words in (
        (lambda: None, "no such folder"),
        ((tmp_path / "x").mkdir, "no sound files"),
        (lambda: (tmp_path / "x" / "a.wav").write_bytes(b"zzz"), "None of the 1"),
    ):
        make()
        with pytest.raises(SoundError, match=words) as caught:
            prepare(tmp_path / "x")
        assert caught.value.remedy
    with pytest.raises(SoundError, match="not a folder"):
        prepare(tmp_path / "x" / "a.wav", tmp_path)


def test_odd_folders(tmp_path: Path) -> None:
    """Nested folders, names in any script, very long ones, and links that lead round in a circle."""
    sounds = tmp_path / "Klänge 音"
    for name in ("b/é.wav", "a/" + "n" * 200 + ".wav", "c.WAV"):
        write_wav(sounds / name, tone(200 + len(name), 0.3), RATE)
    os.symlink(sounds, sounds / "b" / "circle")
    os.symlink(tmp_path / "nowhere.wav", sounds / "dangling.wav")
    corpus = prepare(sounds)
    assert [sound.name for sound in corpus.sounds] == ["a/" + "n" * 200 + ".wav", "b/é.wav", "c.WAV"]
    assert [problem.name for problem in corpus.problems] == ["dangling.wav"]


def test_any_channels_and_rates(tmp_path: Path) -> None:
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    for rate, channels in ((8000, 1), (44100, 2), (192000, 6)):
        sound = np.repeat(tone(300, 0.5, rate)[:, None], channels, axis=1)
        soundfile.write(sounds / f"{rate}.wav", sound, rate)
    assert [sound.pitch_midi for sound in prepare(sounds).sounds] == [62, 62, 62]


def test_unwritable_cache_falls_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that is a file cannot hold folders, whoever asks."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("POCHETTE_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert cache_root(tmp_path / "file").parent == tmp_path
    monkeypatch.setenv("POCHETTE_CACHE", str(tmp_path / "mine"))
    assert cache_root() == tmp_path / "mine"


def test_one_hop_is_enough(tmp_path: Path) -> None:
    write_wav(tmp_path / "sounds" / "a.wav", tone(500, 0.06), RATE)
    corpus = FolderCorpus.prepare(tmp_path / "sounds", RATE, LONG_HOP, tmp_path / "cache")
    assert corpus.sounds[0].frames == 1
    assert corpus.excerpt_batch(np.random.default_rng(0), 2, 5)["audio"].shape == (2, 5 * LONG_HOP)


def test_a_click_is_no_sound(tmp_path: Path) -> None:
    for name, seconds in (("click", 0.049), ("stroke", 0.05)):
        write_wav(tmp_path / "sounds" / f"{name}.wav", tone(500, seconds), RATE)
    corpus = prepare(tmp_path / "sounds")
    assert [sound.name for sound in corpus.sounds] == ["stroke.wav"]
    (problem,) = corpus.problems
    assert problem.name == "click.wav" and "0.049 s" in problem.what and "0.05 s or more" in problem.remedy


def test_a_corpus_travels_between_processes(folder: Path) -> None:
    """Pickled, it carries the path of its arrays, not the arrays."""
    corpus = prepare(folder)
    corpus.whole(corpus.sounds[0])
    data = pickle.dumps(corpus)
    assert len(data) < 5000
    assert (pickle.loads(data).whole(corpus.sounds[1])["audio"] == corpus.whole(corpus.sounds[1])["audio"]).all()


def test_long_files_are_analysed_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of two seconds with context give the features of the whole."""
    notes = [tone(midi_hz(note), 1.1) for note in (60, 64, 67, 72, 60)]
    write_wav(tmp_path / "sounds" / "a.wav", np.concatenate(notes), RATE)
    whole = prepare(tmp_path / "sounds", tmp_path / "one")
    monkeypatch.setattr(preparation, "_CHUNK_SECONDS", 2.0)
    pieces = prepare(tmp_path / "sounds", tmp_path / "two")
    first, second = (corpus.whole(corpus.sounds[0]) for corpus in (whole, pieces))
    assert first["loudness_db"] == pytest.approx(second["loudness_db"], abs=1e-3)
    assert first["f0_hz"] == pytest.approx(second["f0_hz"], rel=1e-3)


@pytest.mark.slow
def test_two_processes_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scale(tmp_path / "sounds", range(50, 60), seconds=0.3)
    told: list[tuple[int, int, str]] = []
    together = FolderCorpus.prepare(
        tmp_path / "sounds", RATE, HOP, tmp_path / "two", progress=lambda *news: told.append(news)
    )
    monkeypatch.setattr(preparation, "_PARALLEL_FROM", 1000)
    alone = prepare(tmp_path / "sounds", tmp_path / "one")
    assert [number for number, _, _ in told] == list(range(1, 21))
    assert {total for _, total, _ in told} == {20}
    for sound in alone.sounds:
        assert all((alone.whole(sound)[name] == together.whole(sound)[name]).all() for name in alone.whole(sound))


@pytest.mark.parametrize(
    ("name", "take"),
    [("clap_vl1_rr2.flac", "rr2"), ("3_george_12.wav", "12"), ("a/b-take3.wav", "take3"), ("a/clap.wav", "a/clap")],
)
def test_takes_are_read_from_names(name: str, take: str) -> None:
    assert take_of(name) == take


def test_a_sound_far_beyond_full_scale_is_left_out(tmp_path: Path) -> None:
    import soundfile

    tone = np.sin(np.arange(16000) * 0.1).astype(np.float32)
    soundfile.write(tmp_path / "fine.wav", 0.5 * tone, 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "over.wav", 551 * tone, 16000, subtype="FLOAT")
    corpus = FolderCorpus.prepare(tmp_path, 16000, 64, cache_dir=tmp_path / "cache")
    assert [sound.name for sound in corpus.sounds] == ["fine.wav"]
    assert "551 times full scale" in corpus.problems[0].what
    assert "Turn it down by 55 dB" in corpus.problems[0].remedy
