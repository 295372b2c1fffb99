"""What kind of sound a recording holds: the rule, the numbers in excerpts, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pochette.corpus.folder import FolderCorpus, lengthened
from pochette.corpus.labels import check_classes, labels_of
from pochette.corpus.vary import varied_batch
from pochette.errors import SoundError
from pochette.sound.audio import write_wav
from tests.corpus.sounds import HOP, RATE, tone


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["snap_vl1_rr2.flac", "snap_vl2.flac", "heel_1.wav", "heel_2.wav"], ["snap", "snap", "heel", "heel"]),
        (["3_george_0.flac", "3_lucas_7.flac", "7-a.wav", "7 b.wav"], ["3", "3", "7", "7"]),
        (["snap_1.wav", "snap_2.wav", "heel_1.wav"], ["snap", "snap", ""]),
        (["low/a_1.wav", "low/b_1.wav", "high/a_1.wav"], ["low", "low", "high"]),
        (["low/a/1.wav", "high/1.wav", "1.wav"], ["low/a", "high", ""]),
        (["one.wav", "two.wav"], ["", ""]),
        (["snap.wav", "snap.flac"], ["snap", "snap"]),
    ],
)
def test_the_rule(names: list[str], labels: list[str]) -> None:
    assert list(labels_of(names).values()) == labels


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> FolderCorpus:
    folder = tmp_path_factory.mktemp("kinds")
    for number, kind in enumerate(("low", "mid", "top")):
        for take in range(4):
            write_wav(folder / f"{kind}_{take}.wav", tone(200 * 2**number, 0.2 + 0.1 * take), RATE)
    return FolderCorpus.prepare(folder, RATE, HOP, cache_dir=tmp_path_factory.mktemp("cache"))


def test_excerpts_tell_the_class_of_their_sound(corpus: FolderCorpus) -> None:
    assert corpus.labels() == ("low", "mid", "top")
    for part in corpus.split(0.3, seed=0, by="sound"):
        assert part.labels() == corpus.labels()
        batch = part.excerpt_batch(np.random.default_rng(0), 16, 8)
        number, pitch = batch["class_number"], np.median(batch["f0_hz"], axis=1)
        assert number.shape == (16, 8) and (number == number[:, :1]).all() and len(set(number[:, 0])) > 1
        assert np.allclose(200 * 2 ** number[:, 0], pitch, rtol=0.03)
    for sound in corpus.sounds:
        (number,) = set(corpus.whole(sound)["class_number"][0])
        assert corpus.labels()[int(number)] == sound.label == sound.name.split("_")[0]


def test_classes_follow_excerpts_that_are_varied_or_lengthened(corpus: FolderCorpus) -> None:
    plain = corpus.excerpt_batch(np.random.default_rng(3), 6, 30)
    varied = varied_batch(corpus, np.random.default_rng(3), 6, 30, shift_semitones=2.0, gain_db=3.0)
    assert varied["class_number"].shape == (6, 30) and varied.keys() == plain.keys()
    whole = corpus.whole(corpus.sounds[-1])
    longer = lengthened(whole, 100, HOP)
    assert (longer["class_number"] == 2.0).all() and (longer["f0_hz"][0, 50:] == whole["f0_hz"][0, -1]).all()
    assert (longer["loudness_db"][0, -5:] == -80.0).all() and longer["audio"].shape == (1, 100 * HOP)
    assert not longer["audio"][0, 60 * HOP :].any()
    shorter = lengthened(whole, 5, HOP)
    assert all(np.array_equal(values, whole[name][:, : values.shape[1]]) for name, values in shorter.items())
    assert shorter["audio"].shape == (1, 5 * HOP) and shorter["confidence"].shape == (1, 5)


def test_without_two_kinds_there_are_no_classes(corpus: FolderCorpus, tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / "in").mkdir(exist_ok=True)
        write_wav(tmp_path / "in" / f"snap_{number}.wav", tone(300 + number, 0.2), RATE)
    alone = FolderCorpus.prepare(tmp_path / "in", RATE, HOP, cache_dir=tmp_path / "cache")
    assert alone.labels() == () and "class_number" not in alone.whole(alone.sounds[0])
    assert [sound.label for sound in alone.sounds] == ["snap", "snap"]


def test_a_model_of_classes_is_refused_where_there_are_none_or_others() -> None:
    check_classes((), 0, "x")
    check_classes(("a", "b"), 2, "x")
    check_classes(("a", "b"), 0, "x")
    with pytest.raises(SoundError, match="tell none") as refused:
        check_classes((), 3, "drums")
    assert refused.value.where == "drums" and "folder of their own" in refused.value.remedy
    with pytest.raises(SoundError, match="of 2: a, b") as refused:
        check_classes(("a", "b"), 3, "drums")
    assert refused.value.remedy == "Give --classes 2."
