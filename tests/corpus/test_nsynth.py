"""The layout of NSynth: what the index says is believed, and every way in which it can be broken is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pochette.corpus.folder import FolderCorpus
from pochette.corpus.nsynth import is_nsynth, read_index
from pochette.errors import SoundError
from pochette.sound.audio import write_wav

RATE, HOP = 16000, 512
INSTRUMENTS = ("flute_synthetic_000", "guitar_acoustic_014", "organ_electronic_028")


def entry(instrument: str, pitch: int, velocity: int) -> dict[str, Any]:
    """One entry, with the fields of the published files."""
    family, source, _ = instrument.split("_")
    return {
        "note": 1000 + pitch,
        "note_str": f"{instrument}-{pitch:03d}-{velocity:03d}",
        "instrument": INSTRUMENTS.index(instrument),
        "instrument_str": instrument,
        "pitch": pitch,
        "velocity": velocity,
        "sample_rate": RATE,
        "qualities": [0] * 10,
        "qualities_str": [],
        "instrument_family": 2,
        "instrument_family_str": family,
        "instrument_source": 0,
        "instrument_source_str": source,
    }


def write_set(folder: Path, without: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
    """Three instruments of two notes each, in a form that analysis would take for another pitch: an octave too high."""
    (folder / "audio").mkdir(parents=True)
    entries = {}
    t = np.arange(RATE // 2) / RATE
    for number, instrument in enumerate(INSTRUMENTS):
        for pitch in (50 + number, 60 + number):
            about = entry(instrument, pitch, 75)
            entries[about["note_str"]] = about
            if about["note_str"] not in without:
                f0 = 2 * 440.0 * 2 ** ((pitch - 69) / 12)
                tone = 0.3 * np.sin(2 * np.pi * f0 * t) * np.exp(-2 * t)
                write_wav(folder / "audio" / f"{about['note_str']}.wav", tone.astype(np.float32), RATE)
    write_index(folder, entries)
    return entries


def write_index(folder: Path, entries: Any) -> None:
    (folder / "examples.json").write_text(json.dumps(entries))


def prepared(folder: Path) -> FolderCorpus:
    return FolderCorpus.prepare(folder, RATE, HOP, cache_dir=folder.parent / "cache")


def test_a_set_is_found_like_any_folder_and_told_of_as_its_index_says(tmp_path: Path) -> None:
    folder = tmp_path / "nsynth-tiny"
    entries = write_set(folder)
    assert is_nsynth(folder) and not is_nsynth(folder / "audio") and not is_nsynth(tmp_path)
    corpus = prepared(folder)
    assert not corpus.problems and len(corpus) == 6
    for sound in corpus.sounds:
        about = entries[sound.name.removeprefix("audio/").removesuffix(".wav")]
        assert (sound.pitch_midi, sound.take) == (about["pitch"], about["instrument_str"])
    assert corpus.pitches() == (50, 51, 52, 60, 61, 62)
    # The same sounds without the index: pitches are heard, an octave higher.
    (folder / "examples.json").rename(folder / "other.json")
    assert prepared(folder).pitches() == (62, 63, 64, 72, 73, 74)


def test_takes_are_instruments_so_that_held_out_ones_were_never_heard(tmp_path: Path) -> None:
    write_set(tmp_path / "set")
    training, held = prepared(tmp_path / "set").split(0.3, 0, "take")
    assert len(held) == 2 and len({sound.take for sound in held.sounds}) == 1
    assert not {sound.take for sound in held.sounds} & {sound.take for sound in training.sounds}


def test_what_either_side_lacks_is_a_problem_and_the_rest_is_used(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    missing = "flute_synthetic_000-050-075"
    entries = write_set(folder, without=(missing,))
    stranger = "guitar_acoustic_014-061-075"
    del entries[stranger]
    broken = "organ_electronic_028-052-075"
    (folder / "audio" / f"{broken}.wav").write_bytes(b"RIFF, or so it says")
    write_index(folder, entries)
    corpus = prepared(folder)
    assert len(corpus) == 3
    assert {problem.name: problem.what.split(".")[0] for problem in corpus.problems}.keys() == {
        f"audio/{missing}.wav",
        f"audio/{stranger}.wav",
        f"audio/{broken}.wav",
    }
    told = {problem.name: problem for problem in corpus.problems}
    assert "there is no such file" in told[f"audio/{missing}.wav"].what and told[f"audio/{missing}.wav"].remedy
    assert "No entry" in told[f"audio/{stranger}.wav"].what


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"pitch": None}, "Its pitch is None"),
        ({"pitch": 128}, "Its pitch is 128"),
        ({"pitch": True}, "Its pitch is True"),
        ({"velocity": "loud"}, "Its velocity is 'loud'"),
        ({"instrument_str": ""}, "no name"),
        ({"note_str": "another"}, "another name than its own, 'another'"),
    ],
)
def test_an_entry_that_says_nothing_usable_is_named(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    entries = write_set(tmp_path / "set")
    name = next(iter(entries))
    entries[name] |= change
    entries["nothing"] = 3  # type: ignore[assignment]
    write_index(tmp_path / "set", entries)
    notes, problems = read_index(tmp_path / "set")
    assert len(notes) == 5 and name not in notes
    assert [problem.name for problem in problems] == [f"examples.json: {name}", "examples.json: nothing"]
    assert says in problems[0].what and "no object" in problems[1].what and all(p.remedy for p in problems)


@pytest.mark.parametrize(
    ("text", "says"),
    [("{", "cannot be read"), ("[1]", "no object of notes"), ("{}", "no usable note"), ('{"a": {}}', "no usable note")],
)
def test_an_index_that_cannot_be_used_is_refused(tmp_path: Path, text: str, says: str) -> None:
    write_set(tmp_path / "set")
    (tmp_path / "set" / "examples.json").write_text(text)
    with pytest.raises(SoundError, match=says) as caught:
        prepared(tmp_path / "set")
    assert "examples.json" in str(caught.value.where) and caught.value.remedy
    (tmp_path / "set" / "examples.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SoundError, match="cannot be read"):
        prepared(tmp_path / "set")


def test_an_index_of_other_sounds_is_refused(tmp_path: Path) -> None:
    write_set(tmp_path / "set")
    other = entry(INSTRUMENTS[0], 90, 100)
    write_index(tmp_path / "set", {other["note_str"]: other})
    with pytest.raises(SoundError, match="None of the 1 notes"):
        prepared(tmp_path / "set")
