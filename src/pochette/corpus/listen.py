"""A first listening: what a folder holds, what is wrong with it, which model suits it, before hours are spent on it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pochette.corpus.prepare import (
    LEAST_SECONDS,
    SILENCE_DB,
    SILENT_REMEDY,
    TOO_LOUD,
    TOO_SHORT_REMEDY,
    Progress,
    digest,
    find_sounds,
)
from pochette.errors import SoundError
from pochette.sound.audio import Array, SoundInfo, probe, read_blocks
from pochette.sound.features import loudness_db
from pochette.sound.pitch import yin

FindingKind = Literal[
    "unreadable", "silent", "too short", "duplicate", "clipping", "too loud", "short", "low rate", "offset", "quiet"
]
"""What can be wrong with a file. The first four mean that a corpus leaves it out."""

_PITCHED_SHARE = 0.6
"""Of the sounding time that has one clear pitch, from which on a model that is played by pitch suits."""
_ONE_SHOT_SECONDS = 2.0
"""Of the middle sound; shorter ones are strokes, to be made anew in one piece."""
_HOP_SECONDS = 0.05
_FULL_SCALE, _CLIPPED_RUN = 0.999, 4
_LOW_RATE_HZ, _OFFSET, _QUIET_DB = 16000, 0.02, -40.0


@dataclass(frozen=True)
class Finding:
    """Something wrong with one file."""

    name: str
    """Path relative to the folder."""
    kind: FindingKind
    what: str
    remedy: str


@dataclass(frozen=True)
class Listening:
    """What was found in a folder."""

    folder: str
    count: int
    """Sound files, usable or not."""
    usable: int
    """Files that a corpus would take."""
    seconds: float
    """Length of the usable ones together."""
    sample_rates_hz: dict[int, int]
    """How many files have which rate."""
    channels: dict[int, int]
    """How many files have how many channels."""
    findings: tuple[Finding, ...]
    voiced_share: float
    """Share of sounding frames that have a pitch, 0 to 1."""
    pitch_range_midi: tuple[float, float] | None
    """Lowest and highest pitch (2nd and 98th percentile of voiced frames); None without any."""
    loudness_range_db: tuple[float, float] | None
    """Softest and loudest (5th and 95th percentile of sounding frames); None if all is silent."""
    suggestion: str
    """Name of a model that suits."""
    verdict: str
    """One or two sentences for a person."""

    def to_json(self) -> dict[str, Any]:
        """Plain data with the same names; counts become texts' keys."""
        data = dataclasses.asdict(self)
        for name in ("sample_rates_hz", "channels"):
            data[name] = {str(key): value for key, value in data[name].items()}
        data["findings"] = list(data["findings"])
        for name in ("pitch_range_midi", "loudness_range_db"):
            data[name] = list(data[name]) if data[name] is not None else None
        return data


@dataclass(frozen=True)
class _Heard:
    """One file, heard through."""

    seconds: float
    peak: float
    offset: float
    clipped: int
    """Runs of full-scale samples."""
    loudness: Array
    f0_hz: Array
    """Of voiced, sounding frames only."""


def listen(folder: Path, excerpt_seconds: float = 1.0, progress: Progress | None = None) -> Listening:
    """Hear a folder through once: every file decoded, its level, faults and pitch noted every 50 ms.

    Clipping is looked for in the mono mix at the file's own rate.

    Args:
        folder: searched recursively.
        excerpt_seconds: shorter sounds are pointed out; they can be used, padded with silence.
        progress: called after every file with (done, total, name).

    Returns:
        what was found.

    Raises:
        SoundError: no such folder, or no sound files in it.
        ToolError: soundfile or soxr is not installed.
    """
    folder = Path(folder)
    paths = find_sounds(folder)
    infos: list[SoundInfo] = []
    findings: list[Finding] = []
    heard: list[_Heard] = []
    first: dict[str, str] = {}
    for done, path in enumerate(paths, start=1):
        name = path.relative_to(folder).as_posix()
        try:
            infos.append(probe(path))
            twin = first.setdefault(digest(path), name)
            if twin != name:
                findings.append(Finding(name, "duplicate", f"The same file as {twin}.", "Keep one of the two."))
                continue
            sound = _hear(path, infos[-1].sample_rate_hz)
            faults = _faults(name, sound, infos[-1], excerpt_seconds)
            findings += faults
            if sound.peak <= TOO_LOUD and not any(fault.kind in ("silent", "too short") for fault in faults):
                heard.append(sound)
        except SoundError as error:
            findings.append(Finding(name, "unreadable", error.what, error.remedy))
        finally:
            if progress:
                progress(done, len(paths), name)
    return _summary(folder, len(paths), infos, findings, heard)


def _hear(path: Path, rate: int) -> _Heard:
    hop = max(1, round(_HOP_SECONDS * rate))
    samples, total, peak, clipped = 0, 0.0, 0.0, 0
    loudness, f0 = [], []
    for block in read_blocks(path, rate):
        samples += len(block)
        total += float(block.sum(dtype=np.float64))
        peak = max(peak, float(np.max(np.abs(block))))
        clipped += _runs(np.abs(block) >= _FULL_SCALE)
        level, track = loudness_db(block, rate, hop), yin(block, rate, hop)
        loudness.append(level)
        f0.append(track.f0_hz[track.voiced & (level > SILENCE_DB)])
    return _Heard(samples / rate, peak, total / samples, clipped, np.concatenate(loudness), np.concatenate(f0))


def _runs(mask: Array) -> int:
    """How many runs of at least _CLIPPED_RUN true values there are."""
    if not mask.any():
        return 0
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return int(np.sum(edges[1::2] - edges[::2] >= _CLIPPED_RUN))


def _faults(name: str, sound: _Heard, info: SoundInfo, excerpt_seconds: float) -> list[Finding]:
    loudest = float(sound.loudness.max())
    if loudest <= SILENCE_DB:
        what = f"Silent: nowhere louder than {SILENCE_DB:.0f} dB."
        return [Finding(name, "silent", what, SILENT_REMEDY)]
    if sound.seconds < LEAST_SECONDS:
        what = f"Lasts {sound.seconds:.2g} s, and is left out."
        return [Finding(name, "too short", what, TOO_SHORT_REMEDY)]
    checks: tuple[tuple[bool, FindingKind, str, str], ...] = (
        (sound.clipped > 0, "clipping", f"Clipped {sound.clipped} times.", "Record it again at a lower level."),
        (
            sound.peak > 1.001,
            "too loud",
            f"Reaches {sound.peak:.2f} times full scale" + (", and is left out." if sound.peak > TOO_LOUD else "."),
            f"Turn it down by {20 * np.log10(max(sound.peak, 1)):.1f} dB.",
        ),
        (
            sound.seconds < excerpt_seconds,
            "short",
            f"Lasts {sound.seconds:.2f} s, shorter than an excerpt of {excerpt_seconds:g} s.",
            f"Train with excerpts of {max(0.05, np.floor(sound.seconds * 20) / 20):.2f} s, or add longer sounds.",
        ),
        (
            info.sample_rate_hz < _LOW_RATE_HZ,
            "low rate",
            f"Stored at {info.sample_rate_hz} Hz: nothing above {info.sample_rate_hz // 2} Hz is in it.",
            f"Train at {info.sample_rate_hz} Hz, or record at 44100 Hz or more.",
        ),
        (
            abs(sound.offset) > _OFFSET,
            "offset",
            f"Direct current: its mean is {sound.offset:+.3f} of full scale.",
            "Remove the offset in an audio editor (high-pass at 20 Hz).",
        ),
        (
            loudest < _QUIET_DB,
            "quiet",
            f"Very quiet: at most {loudest:.0f} dB.",
            f"Turn it up by {-loudest - 12:.0f} dB.",
        ),
    )
    return [Finding(name, kind, what, remedy) for wrong, kind, what, remedy in checks if wrong]


def _summary(
    folder: Path, count: int, infos: list[SoundInfo], findings: list[Finding], heard: list[_Heard]
) -> Listening:
    levels = np.concatenate([np.zeros(0)] + [sound.loudness for sound in heard])
    sounding = levels[levels > SILENCE_DB]
    f0 = np.concatenate([np.zeros(0)] + [sound.f0_hz for sound in heard])
    voiced = len(f0) / len(sounding) if len(sounding) else 0.0
    midi = _percentiles(69 + 12 * np.log2(f0 / 440.0), 2, 98)
    seconds = sum(sound.seconds for sound in heard)
    lengths = [sound.seconds for sound in heard]
    one_shot = bool(lengths) and float(np.median(lengths)) < _ONE_SHOT_SECONDS
    suggestion = "ddsp" if voiced > _PITCHED_SHARE else "wavegan" if one_shot else "rave"
    return Listening(
        folder=str(folder),
        count=count,
        usable=len(heard),
        seconds=seconds,
        sample_rates_hz=dict(Counter(info.sample_rate_hz for info in infos)),
        channels=dict(Counter(info.channels for info in infos)),
        findings=tuple(findings),
        voiced_share=voiced,
        pitch_range_midi=midi if voiced > 0.05 else None,
        loudness_range_db=_percentiles(sounding, 5, 95),
        suggestion=suggestion,
        verdict=_verdict(count, len(heard), seconds, voiced, suggestion),
    )


def _percentiles(values: Array, low: float, high: float) -> tuple[float, float] | None:
    return (float(np.percentile(values, low)), float(np.percentile(values, high))) if len(values) else None


def _verdict(count: int, usable: int, seconds: float, voiced: float, suggestion: str) -> str:
    if not usable:
        return f"None of the {count} sounds can be used; see what each needs."
    length = f"{seconds / 60:.1f} minutes" if seconds >= 60 else f"{seconds:.1f} seconds"
    use = f"{usable} of {count} sounds can be used, {length}"
    amount = "" if seconds >= 60 else " That is little: a minute or more of varied playing learns better."
    if voiced > _PITCHED_SHARE:
        return f"{use}; {voiced:.0%} of it has one clear pitch, which `{suggestion}` plays.{amount}"
    return (
        f"{use}; only {voiced:.0%} of it has one clear pitch, so a model that is played by pitch will not suit: "
        f"`{suggestion}` does without.{amount}"
    )
