"""A corpus: a folder of sounds as excerpts with pitch and loudness, split so that what is held out was never heard.

Samples and features lie memory-mapped in the cache (`prepare.py`), so a corpus larger than memory trains.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pochette.corpus import prepare as preparation
from pochette.corpus.labels import labels_of
from pochette.corpus.prepare import Progress
from pochette.sound.audio import Array, FloatArray
from pochette.sound.features import LOUDNESS_FLOOR_DB

Start = Literal["anywhere", "beginning"]
"""Where an excerpt starts in its sound."""
By = Literal["pitch", "take", "sound"]
"""What is held out as a whole: every sound of a pitch, every sound of a take, or single sounds."""

_TAKE = re.compile(r"(?:^|[_\-. ])((?:rr|take|tk|t)?\d+)$", re.IGNORECASE)


@dataclass(frozen=True)
class Sound:
    """One sound of a corpus, or a stretch of one."""

    name: str
    """Path relative to the folder; a stretch adds "@" and its start in seconds."""
    seconds: float
    frames: int
    """Hops it lasts: frames * hop_samples samples."""
    pitch_midi: int | None
    """The one note it plays, rounded; None if it has no pitch or several."""
    take: str
    """What the file's name ends with, if that is a number ("3", "rr2"), else the whole name without suffix."""
    first_hop: int
    """Where its samples start in the store, in hops."""
    first_frame: int
    """Where its features start in the store; it has frames + 1 of them."""
    label: str = ""
    """What kind of sound it is, read off its name by the rule of `corpus.labels`; empty if that tells nothing."""


@dataclass(frozen=True)
class Problem:
    """Why a file was left out."""

    name: str
    what: str
    remedy: str


class _Store:
    """The arrays on disk, opened on first use and again in whichever process asks."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[type[_Store], tuple[Path]]:
        return (_Store, (self.path,))

    @cached_property
    def audio(self) -> FloatArray:
        """(samples,) of all sounds, one after the other."""
        return np.asanyarray(np.load(self.path / "audio.npy", mmap_mode="r"))

    @cached_property
    def frames(self) -> FloatArray:
        """(3, frames): f0 in Hz, loudness in dB, confidence."""
        return np.asanyarray(np.load(self.path / "frames.npy", mmap_mode="r"))


@dataclass(frozen=True, eq=False)
class FolderCorpus:
    """Sounds of one folder at one rate and hop, or a part of them after `split`."""

    folder: Path
    sample_rate_hz: int
    hop_samples: int
    fingerprint: str
    """Hash of names and contents of all files; a part of a corpus keeps the whole's."""
    sounds: tuple[Sound, ...]
    problems: tuple[Problem, ...] = ()
    """Files that were left out, and why."""
    split_note: str = ""
    """How this part was made, in words."""
    classes: tuple[str, ...] = ()
    """Labels of the whole corpus, which a part keeps, so that a class has one number in all parts; see `labels`."""
    _store: _Store = field(default_factory=lambda: _Store(Path()), repr=False)

    @classmethod
    def prepare(
        cls,
        folder: Path,
        sample_rate_hz: int,
        hop_samples: int,
        cache_dir: Path | None = None,
        progress: Progress | None = None,
    ) -> FolderCorpus:
        """Read and analyse a folder, or find that this was done already.

        Args:
            folder: searched recursively for sound files; of one laid out like NSynth pitches and instruments are read.
            sample_rate_hz: rate that a model wants.
            hop_samples: samples from feature frame to feature frame.
            cache_dir: where the analysis is kept; None for the user's cache (see `cache_root`).
            progress: called after every file with (done, total, name).

        Returns:
            the corpus; files that cannot be used are in its `problems`.

        Raises:
            SoundError: no such folder, no sound files in it, none of them usable, or no room for the analysis.
            ToolError: soundfile or soxr is not installed.
        """
        folder = Path(folder)
        store, fingerprint = preparation.store(folder, sample_rate_hz, hop_samples, cache_dir, progress)
        index = json.loads((store / "index.json").read_text(encoding="utf-8"))
        problems = tuple(Problem(**entry) for entry in index["problems"])
        arrays = _Store(store)
        sounds = _sounds(index["sounds"], arrays, hop_samples / sample_rate_hz)
        classes = tuple(sorted({sound.label for sound in sounds}))
        known = classes if len(classes) > 1 and "" not in classes else ()
        corpus = cls(folder, sample_rate_hz, hop_samples, fingerprint, sounds, problems, "", known, arrays)
        from pochette.corpus import nsynth

        return nsynth.as_told(corpus) if nsynth.is_nsynth(folder) else corpus

    def __len__(self) -> int:
        return len(self.sounds)

    @property
    def seconds(self) -> float:
        """Length of all sounds together."""
        return sum(sound.seconds for sound in self.sounds)

    def pitches(self) -> tuple[int, ...]:
        """Notes that are played, as MIDI numbers, ascending, each once."""
        return tuple(sorted({sound.pitch_midi for sound in self.sounds if sound.pitch_midi is not None}))

    def labels(self) -> tuple[str, ...]:
        """The classes of the corpus, sorted: a sound's "class_number" in excerpts is its label's place here.

        Returns:
            at least two labels; none if the names tell no two apart, or leave a sound without one.
        """
        return self.classes

    def f0_range_hz(self) -> tuple[float, float] | None:
        """Lowest and highest pitch heard (1st and 99th percentile of voiced frames), Hz; None if nothing is voiced."""
        voiced = []
        for sound in self.sounds:
            f0, _, confidence = self._features(sound)
            voiced.append(f0[confidence > 0.5])
        heard = np.concatenate(voiced)
        return (float(np.percentile(heard, 1)), float(np.percentile(heard, 99))) if len(heard) else None

    def loudness_range_db(self) -> tuple[float, float]:
        """Softest and loudest moments (5th and 95th percentile of frames), dB."""
        heard = np.concatenate([self._features(sound)[1] for sound in self.sounds])
        return float(np.percentile(heard, 5)), float(np.percentile(heard, 95))

    def split(self, held_out: float = 0.15, seed: int = 0, by: By = "pitch") -> tuple[FolderCorpus, FolderCorpus]:
        """Set sounds aside that training never hears.

        By pitch, whole notes are held out with all their dynamics and takes, never the lowest or the highest, so that
        they lie between notes that were learnt. With fewer than 4 pitches (or takes, by take: 2) single sounds are
        held out; with one or two sounds, stretches of time, 0.1 s apart from what is learnt.

        Args:
            held_out: share of groups to hold out, 0 to 1 exclusive; at least one group is, and one is not.
            seed: which ones.
            by: "pitch", "take" or "sound".

        Returns:
            (train, held); `split_note` of both says how.

        Raises:
            SoundError: there is one sound and it is too short to divide.
            ValueError: held_out is not a share, or `by` is unknown.
        """
        from pochette.corpus.split import split

        return split(self, held_out, seed, by)

    def part(self, sounds: tuple[Sound, ...], note: str) -> FolderCorpus:
        """Some of the sounds as a corpus of their own.

        Args:
            sounds: which.
            note: how they were chosen.

        Returns:
            a view; nothing is copied.
        """
        return replace(self, sounds=sounds, split_note=note)

    def excerpt_batch(
        self, rng: np.random.Generator, batch: int, frames: int, start: Start = "anywhere"
    ) -> dict[str, FloatArray]:
        """Random excerpts: every second of the corpus equally likely, or every sound, from its beginning.

        A control frame describes the END of its hop, as a player that hears its controls before it sounds needs:
        features [i] are those centred on sample (start + i + 1) * hop of the sound.

        Args:
            rng: where chance comes from.
            batch: how many.
            frames: length of each in hops. Shorter sounds end in silence: loudness -80 dB, confidence 0, pitch held.
            start: anywhere in their sounds, or where these begin.

        Returns:
            "audio" (batch, frames * hop_samples); "f0_hz", "loudness_db", "confidence" (batch, frames); of a corpus
            with `labels` also "class_number" (batch, frames), the same in all frames.
        """
        if start == "beginning":
            chosen = rng.integers(0, len(self.sounds), size=batch)
        else:
            ends = np.cumsum([sound.frames for sound in self.sounds])
            chosen = np.searchsorted(ends, rng.integers(0, ends[-1], size=batch), side="right")
        out = self._silence(batch, frames)
        for row, index in enumerate(chosen):
            sound = self.sounds[int(index)]
            first = 0 if start == "beginning" else int(rng.integers(0, max(0, sound.frames - frames) + 1))
            self._fill_row(out, row, sound, first, min(frames, sound.frames))
        return out

    def whole(self, sound: Sound) -> dict[str, FloatArray]:
        """One whole sound as a batch of one.

        Args:
            sound: one of `sounds`.

        Returns:
            as `excerpt_batch`, with batch 1 and frames `sound.frames`.
        """
        out = self._silence(1, sound.frames)
        self._fill_row(out, 0, sound, 0, sound.frames)
        return out

    def _features(self, sound: Sound) -> Array:
        return self._store.frames[:, sound.first_frame : sound.first_frame + sound.frames + 1]

    def _fill_row(self, out: dict[str, FloatArray], row: int, sound: Sound, start: int, count: int) -> None:
        hop, first = self.hop_samples, sound.first_hop + start
        out["audio"][row, : count * hop] = self._store.audio[first * hop : (first + count) * hop]
        features = self._features(sound)[:, start + 1 : start + 1 + count]
        for name, values in zip(("f0_hz", "loudness_db", "confidence"), features, strict=True):
            out[name][row, :count] = values
        out["f0_hz"][row, count:] = features[0, -1]
        if self.classes:
            out["class_number"][row] = self.classes.index(sound.label)

    def _silence(self, batch: int, frames: int) -> dict[str, FloatArray]:
        silent = {
            "audio": np.zeros((batch, frames * self.hop_samples), np.float32),
            "f0_hz": np.zeros((batch, frames), np.float32),
            "loudness_db": np.full((batch, frames), LOUDNESS_FLOOR_DB, np.float32),
            "confidence": np.zeros((batch, frames), np.float32),
        }
        return silent | ({"class_number": np.zeros((batch, frames), np.float32)} if self.classes else {})


def lengthened(excerpt: dict[str, FloatArray], frames: int, hop_samples: int) -> dict[str, FloatArray]:
    """An excerpt cut, or followed by silence at the pitch it ended with, to a length.

    Args:
        excerpt: as `FolderCorpus.whole` gives it, or part of it.
        frames: length in hops.
        hop_samples: of the corpus.

    Returns:
        the same names, (batch, frames) and, of the audio, (batch, frames * hop_samples).
    """
    out = {}
    for name, values in excerpt.items():
        length = frames * (hop_samples if name == "audio" else 1)
        missing = max(0, length - values.shape[1])
        if name in ("f0_hz", "class_number"):
            out[name] = np.pad(values[:, :length], ((0, 0), (0, missing)), "edge")
        else:
            floor = LOUDNESS_FLOOR_DB if name == "loudness_db" else 0.0
            out[name] = np.pad(values[:, :length], ((0, 0), (0, missing)), constant_values=floor)
    return out


def _sounds(entries: list[dict[str, Any]], store: _Store, hop_seconds: float) -> tuple[Sound, ...]:
    """What the index of a store lists, each with its place there and its note."""
    sounds, hops = [], 0
    labels = labels_of([entry["name"] for entry in entries])
    for number, entry in enumerate(entries):
        name, frames = entry["name"], entry["frames"]
        f0, _, confidence = store.frames[:, hops + number : hops + number + frames + 1]
        note, seconds = _note(f0, confidence), frames * hop_seconds
        places = {"first_hop": hops, "first_frame": hops + number}
        sounds.append(Sound(name, seconds, frames, note, take_of(name), **places, label=labels[name]))
        hops += frames
    return tuple(sounds)


def take_of(name: str) -> str:
    """The key of a recording's take: the number its name ends with, else the whole name.

    Args:
        name: relative path of the file.

    Returns:
        "rr2" for "claps/clap_vl1_rr2.flac"; "clap" for "clap.wav".
    """
    stem = name.rsplit(".", 1)[0]
    found = _TAKE.search(stem.rsplit("/", 1)[-1])
    return found[1].lower() if found else stem


def _note(f0_hz: Array, confidence: Array) -> int | None:
    """The MIDI note of a sound that plays one: a third of it is voiced, and most of that lies within a semitone."""
    voiced = f0_hz[confidence > 0.5]
    if len(voiced) * 3 < len(f0_hz) or not len(voiced):
        return None
    midi = 69 + 12 * np.log2(voiced / 440.0)
    middle = float(np.median(midi))
    return round(middle) if np.mean(np.abs(midi - middle) < 1.0) > 0.6 else None
