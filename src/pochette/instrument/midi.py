"""MIDI files, read into what a player does and when; and a small one written for tests and evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mido

from pochette.errors import SoundError
from pochette.instrument.polyphony import Message

FILE_LIMIT_BYTES = 16 << 20
LENGTH_LIMIT_S = 3600.0
PERCUSSION_CHANNEL = 9
"""Channel 10, counted from 0: drums by custom, whose note numbers are no pitches."""


@dataclass(frozen=True)
class Score:
    """What is played, and when."""

    events: tuple[tuple[float, Message], ...]
    """(seconds, message), in order."""
    notes: int
    """How many notes are struck."""
    seconds: float
    """Until the last message."""
    left_out: int = 0
    """Notes of the percussion channel, which are not played if there are others."""


def read_midi(path: Path) -> Score:
    """Read a MIDI file: all tracks together, tempo changes followed.

    Args:
        path: a standard MIDI file of type 0 or 1.

    Returns:
        the score.

    Raises:
        SoundError: missing, damaged, without notes, or absurdly long.
    """
    path = Path(path)
    events, seconds = [], 0.0
    for message in _messages(path):
        seconds += max(message.time, 0.0)
        if seconds > LENGTH_LIMIT_S:
            raise SoundError(
                f"The MIDI file lasts more than {LENGTH_LIMIT_S / 60:.0f} minutes.",
                where=str(path),
                remedy="Cut it into shorter pieces.",
            )
        if (act := message_of(message)) is not None:
            events.append((seconds, getattr(message, "channel", 0), act))
    struck = [channel for _, channel, act in events if act.kind == "note_on" and act.value > 0]
    if not struck:
        raise SoundError(
            "The MIDI file has no notes.", where=str(path), remedy="Choose one in which something is played."
        )
    drums = struck.count(PERCUSSION_CHANNEL)
    left_out = drums if drums < len(struck) else 0
    kept = tuple((at, act) for at, channel, act in events if not left_out or channel != PERCUSSION_CHANNEL)
    return Score(kept, len(struck) - left_out, kept[-1][0], left_out)


def message_of(message: Any) -> Message | None:
    """Read a player's act from a mido message.

    Args:
        message: as mido reads it from a file or a port.

    Returns:
        the act; None for messages that no instrument heeds (clock, system exclusive, programme...).
    """
    match message.type:
        case "note_on" | "note_off":
            return Message(message.type, message.note, message.velocity)
        case "control_change":
            return Message("control_change", message.control, message.value)
        case "pitchwheel":
            return Message("pitch_bend", value=message.pitch / 8192)
    return None


def scale_midi(
    path: Path, notes: Sequence[int] = range(60, 73), *, velocity: int = 96, note_s: float = 0.5, gap_s: float = 0.1
) -> Path:
    """Write a MIDI file of single notes, one after the other: a chromatic octave if not told otherwise.

    Args:
        path: the file to write.
        notes: MIDI numbers, 0 to 127.
        velocity: how hard they are struck, 1 to 127.
        note_s: how long each is held.
        gap_s: silence after each.

    Returns:
        the path.

    Raises:
        SoundError: the file cannot be written.
    """
    file, track = mido.MidiFile(ticks_per_beat=480), mido.MidiTrack()
    file.tracks.append(track)
    held, gap = (mido.second2tick(seconds, 480, 500_000) for seconds in (note_s, gap_s))
    for index, note in enumerate(notes):
        track.append(mido.Message("note_on", note=note, velocity=velocity, time=gap if index else 0))
        track.append(mido.Message("note_off", note=note, velocity=0, time=held))
    try:
        file.save(str(path))
    except OSError as error:
        raise SoundError(
            f"The MIDI file cannot be written: {error.strerror}.",
            where=str(path),
            remedy="Choose a folder that exists and that you may write to.",
        ) from error
    return Path(path)


def _reason(error: Exception) -> str:
    """Why, in words even where the parser gives none."""
    if isinstance(error, EOFError):
        return "it is cut short"
    return str(error).strip().rstrip(".") or type(error).__name__


def _messages(path: Path) -> list[Any]:
    """All messages of all tracks, in order, their `time` in seconds since the one before."""
    if path.exists() and not path.is_file():
        raise SoundError(
            f"This is {'a folder' if path.is_dir() else 'a device or a pipe'}, not a MIDI file.",
            where=str(path),
            remedy="Name a MIDI file.",
        )
    try:
        if path.stat().st_size > FILE_LIMIT_BYTES:
            raise SoundError(
                f"The MIDI file is larger than {FILE_LIMIT_BYTES >> 20} MiB.",
                where=str(path),
                remedy="Check that this is a MIDI file.",
            )
    except OSError as error:
        raise SoundError(
            f"The MIDI file cannot be read: {error.strerror}.", where=str(path), remedy="Check its name."
        ) from error
    try:
        file = mido.MidiFile(str(path))
        if file.ticks_per_beat <= 0:
            raise ValueError("it counts time in film frames, not in beats")
        return list(file)
    except Exception as error:  # mido's parser raises whatever it trips over: EOFError, IndexError, KeyError...
        raise SoundError(
            f"This is no MIDI file that can be read: {_reason(error)}.",
            where=str(path),
            remedy="Export it again as a standard MIDI file of type 0 or 1.",
        ) from error
