"""The layout of the NSynth data set (Engel et al. 2017): a folder with `examples.json` and the notes below `audio/`.

    {"bass_acoustic_000-024-075": {"note_str": "bass_acoustic_000-024-075", "instrument_str": "bass_acoustic_000",
                                   "pitch": 24, "velocity": 75, "sample_rate": 16000, ...}, ...}

What the file says of a note stands above what analysis finds: its pitch is the one that was played, and its take and
its label are its instrument, so that holding out takes holds out instruments, as the data set's own parts do. Each of
these (train, valid, test) is a folder of its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pochette.corpus.folder import FolderCorpus, Problem, Sound
from pochette.errors import SoundError

INDEX = "examples.json"
AUDIO = "audio"
_REMEDY = "Unpack the part of the data set again: its folder holds examples.json and audio/."


@dataclass(frozen=True)
class Note:
    """What the index says of one note."""

    name: str
    """As its file is called, without suffix: FAMILY_SOURCE_INSTRUMENT-PITCH-VELOCITY."""
    instrument: str
    """Family, source and number."""
    pitch_midi: int
    velocity: int
    """25, 50, 75, 100 or 127 in the published set."""


def is_nsynth(folder: Path) -> bool:
    """Whether a folder is laid out like a part of the data set."""
    return (Path(folder) / INDEX).is_file() and (Path(folder) / AUDIO).is_dir()


def read_index(folder: Path) -> tuple[dict[str, Note], list[Problem]]:
    """What the index of a part says.

    Args:
        folder: that holds `examples.json`.

    Returns:
        notes by name; and entries that say nothing usable.

    Raises:
        SoundError: there is no index, it cannot be read, or it lists no note.
    """
    path = Path(folder) / INDEX
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SoundError(f"The index of notes cannot be read: {error}.", where=str(path), remedy=_REMEDY) from error
    if not isinstance(entries, dict):
        raise SoundError("The index of notes is no object of notes by name.", where=str(path), remedy=_REMEDY)
    notes, problems = {}, []
    for name, entry in entries.items():
        wrong = _wrong(name, entry)
        if wrong:
            problems.append(Problem(f"{INDEX}: {name}", wrong, _REMEDY))
        else:
            notes[name] = Note(name, entry["instrument_str"], entry["pitch"], entry["velocity"])
    if not notes:
        raise SoundError(f"The index lists no usable note among {len(entries)}.", where=str(path), remedy=_REMEDY)
    return notes, problems


def _wrong(name: str, entry: Any) -> str:
    """What an entry lacks; nothing if it is whole."""
    if not isinstance(entry, dict):
        return "The entry is no object."
    if entry.get("note_str") != name:
        return f"It stands under another name than its own, {entry.get('note_str')!r}."
    instrument = entry.get("instrument_str")
    if not isinstance(instrument, str) or not instrument:
        return f"Its instrument_str is {instrument!r}, no name."
    for key in ("pitch", "velocity"):
        number = entry.get(key)
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= 127:
            return f"Its {key} is {number!r}, no whole number from 0 to 127."
    return ""


def as_told(corpus: FolderCorpus) -> FolderCorpus:
    """A prepared folder of the layout with what its index says: each sound's pitch, and its instrument as its take.

    Args:
        corpus: all sounds of the folder.

    Returns:
        the sounds that the index lists; what either side lacks is among the problems.

    Raises:
        SoundError: the index cannot be read, or nothing that it lists is there.
    """
    notes, problems = read_index(corpus.folder)
    told: list[Sound] = []
    for sound in corpus.sounds:
        note = notes.get(_note_of(sound.name))
        if note is None:
            what = f"No entry of {INDEX} speaks of it."
            problems.append(Problem(sound.name, what, "Take it out of the folder, or add its entry."))
        else:
            told.append(replace(sound, pitch_midi=note.pitch_midi, take=note.instrument, label=note.instrument))
    # What is there and cannot be used has its own problem already.
    there = {_note_of(sound.name) for sound in corpus.sounds} | {_note_of(found.name) for found in corpus.problems}
    problems += [
        Problem(f"{AUDIO}/{name}.wav", f"{INDEX} lists it, and there is no such file.", _REMEDY)
        for name in notes
        if name not in there
    ]
    if not told:
        raise SoundError(
            f"None of the {len(notes)} notes of {INDEX} is there.", where=str(corpus.folder), remedy=_REMEDY
        )
    instruments = tuple(sorted({sound.label for sound in told}))
    known = instruments if len(instruments) > 1 else ()
    return replace(corpus, sounds=tuple(told), problems=(*corpus.problems, *problems), classes=known)


def _note_of(name: str) -> str:
    """The note that a file below `audio/` should be."""
    return name.removeprefix(f"{AUDIO}/").rsplit(".", 1)[0]
