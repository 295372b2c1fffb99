"""Which sounds are learnt and which are only judged by: whole notes, takes, sounds or stretches, never frames."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import TypeVar, get_args

import numpy as np

from pochette.corpus.folder import By, FolderCorpus, Sound
from pochette.errors import SoundError

Key = TypeVar("Key", bound=Hashable)

_STRETCH_SECONDS, _GUARD_SECONDS = 2.0, 0.1


def split(corpus: FolderCorpus, held_out: float, seed: int, by: By) -> tuple[FolderCorpus, FolderCorpus]:
    """Divide a corpus; see `FolderCorpus.split`.

    Args:
        corpus: what to divide.
        held_out: share of groups to hold out.
        seed: which ones.
        by: what a group is.

    Returns:
        (train, held).

    Raises:
        SoundError: there is too little to divide.
        ValueError: held_out is no share, or `by` is unknown.
    """
    if not 0 < held_out < 1:
        raise ValueError(f"held_out is a share between 0 and 1, not {held_out}")
    if by not in get_args(By):
        raise ValueError(f"by is one of {', '.join(get_args(By))}, not {by!r}")
    rng = np.random.default_rng(seed)
    if len(corpus) <= 2:
        return _by_stretch(corpus, held_out, rng)
    if by == "pitch" and len(corpus.pitches()) >= 4:
        notes = sorted(_choose(corpus.pitches()[1:-1], held_out, rng, of=len(corpus.pitches())))
        note = f"held out by pitch: MIDI {', '.join(map(str, notes))}"
        return _divide(corpus, lambda sound: sound.pitch_midi in notes, note)
    takes = sorted({sound.take for sound in corpus.sounds})
    if by == "take" and 2 <= len(takes) < len(corpus):
        kept = _choose(tuple(takes), held_out, rng)
        return _divide(corpus, lambda sound: sound.take in kept, f"held out by take: {', '.join(sorted(kept))}")
    names = _choose(tuple(sound.name for sound in corpus.sounds), held_out, rng)
    reason = {"pitch": " (fewer than 4 pitches)", "take": " (names tell no takes apart)", "sound": ""}[by]
    return _divide(corpus, lambda sound: sound.name in names, f"held out by sound{reason}: {len(names)} sounds")


def _choose(keys: tuple[Key, ...], share: float, rng: np.random.Generator, of: int = 0) -> set[Key]:
    """A share of the keys (of `of` of them, if that is more), at least one and not all."""
    count = min(max(1, round(share * (of or len(keys)))), len(keys) if of else len(keys) - 1)
    return {keys[int(index)] for index in rng.permutation(len(keys))[:count]}


def _divide(corpus: FolderCorpus, is_held: Callable[[Sound], bool], note: str) -> tuple[FolderCorpus, FolderCorpus]:
    train = tuple(sound for sound in corpus.sounds if not is_held(sound))
    held = tuple(sound for sound in corpus.sounds if is_held(sound))
    return corpus.part(train, note), corpus.part(held, note)


def _by_stretch(corpus: FolderCorpus, held_out: float, rng: np.random.Generator) -> tuple[FolderCorpus, FolderCorpus]:
    """Hold out stretches of 2 s or more (less of shorter sounds), with a gap to what is learnt."""
    per_second = corpus.sample_rate_hz / corpus.hop_samples
    longest = max(sound.frames for sound in corpus.sounds)
    stretch = max(1, min(round(_STRETCH_SECONDS * per_second), longest // 4))
    guard = min(int(np.ceil(_GUARD_SECONDS * per_second)), stretch // 4)
    cells = [(sound, start) for sound in corpus.sounds for start in range(0, sound.frames - stretch + 1, stretch)]
    if len(cells) < 2:
        raise SoundError(
            f"There are only {corpus.seconds:.2f} s of sound: too little to hold any of it out.",
            where=str(corpus.folder),
            remedy="Add sounds, or longer ones.",
        )
    chosen = _choose(tuple(range(len(cells))), held_out, rng)
    train: list[Sound] = []
    held: list[Sound] = []
    for sound in corpus.sounds:
        marks = [index in chosen for index, (owner, _) in enumerate(cells) if owner is sound] or [False]
        train += _runs(sound, marks, False, stretch=stretch, guard=guard, per_second=per_second)
        held += _runs(sound, marks, True, stretch=stretch, guard=0, per_second=per_second)
    note = f"held out by stretches of {stretch / per_second:.2f} s (one or two sounds)"
    return corpus.part(tuple(train), note), corpus.part(tuple(held), note)


def _runs(sound: Sound, marks: list[bool], wanted: bool, *, stretch: int, guard: int, per_second: float) -> list[Sound]:
    """Neighbouring stretches that carry the wanted mark, joined; `guard` frames are lost where they meet others."""
    runs, first = [], None
    for index in range(len(marks) + 1):
        inside = index < len(marks) and marks[index] == wanted
        if inside and first is None:
            first = index
        elif not inside and first is not None:
            start = first * stretch + (guard if first else 0)
            stop = sound.frames if index == len(marks) else index * stretch - guard
            runs.append(_cut(sound, start, stop, per_second))
            first = None
    return runs


def _cut(sound: Sound, start: int, stop: int, per_second: float) -> Sound:
    """Frames start to stop of a sound."""
    return replace(
        sound,
        name=f"{sound.name}@{start / per_second:.2f}",
        seconds=(stop - start) / per_second,
        frames=stop - start,
        first_hop=sound.first_hop + start,
        first_frame=sound.first_frame + start,
    )
