"""The built-in demo corpora: 24 notes of an instrument that exists only as equations, made on first use.

They let anyone try the whole way from sounds to instrument without owning a recording, and they are free of rights.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from pochette.corpus.cache import cache_root
from pochette.corpus.prepare import Progress
from pochette.corpus.waveguides import bowed, plucked, reed
from pochette.errors import SoundError
from pochette.recipe import signature
from pochette.sound.audio import Array, FloatArray, write_wav

Kind = Literal["reed", "string", "plucked"]
"""Instruments: a reed pipe, a bowed string, a plucked string."""

Articulation = Literal["steady", "vibrato", "crescendo", "diminuendo"]

DEMO_VERSION = 1
"""Raised when the same call would make other sounds."""

_MODELS: dict[str, Callable[[float, Array, int, np.random.Generator], tuple[Array, float]]] = {
    "reed": reed,
    "string": bowed,
    "plucked": plucked,
}
_LOWEST = {"reed": 50, "string": 55, "plucked": 45}
_NOTES, _SECONDS, _STEP_SEMITONES = 12, 2.5, 2
_RANGE_DB = 24.0
_PEAK = 0.7


def demo_sounds(
    kind: Kind = "reed",
    cache_dir: Path | None = None,
    sample_rate_hz: int = 48000,
    progress: Progress | None = None,
) -> Path:
    """The folder of a demo corpus: 12 notes a whole tone apart, soft and loud, steady, swelling or with vibrato.

    A plucked string is steady or has vibrato: nobody can swell it.

    Names say what was asked for: `062_loud_vibrato.wav` is MIDI note 62. The same call makes the same samples.

    Args:
        kind: "reed", "string" or "plucked".
        cache_dir: where it is kept; None for the user's cache.
        sample_rate_hz: rate of the files, at least 16 kHz.
        progress: called after every note with (done, total, name).

    Returns:
        a folder of 24 WAV files, 2.5 s each.

    Raises:
        SoundError: there is no such instrument, or the rate is too low for it.
    """
    if kind not in get_args(Kind):
        raise SoundError(
            f"There is no demo instrument called {kind!r}.", remedy=f"Choose one of {', '.join(get_args(Kind))}."
        )
    if sample_rate_hz < 16000:
        raise SoundError(f"Demo sounds need 16000 Hz or more, not {sample_rate_hz}.", remedy="Ask for 16000 or 48000.")
    folder = cache_root(cache_dir) / "demo" / f"{kind}-{signature(kind, sample_rate_hz, DEMO_VERSION)}"
    if folder.is_dir():
        return folder
    temporary = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    plan = _plan(kind)
    for done, (midi, dynamic, articulation) in enumerate(plan, start=1):
        name = f"{midi:03d}_{dynamic}_{articulation}.wav"
        audio = note(kind, midi, dynamic == "loud", articulation, sample_rate_hz=sample_rate_hz)
        write_wav(temporary / name, audio, sample_rate_hz)
        if progress:
            progress(done, len(plan), name)
    try:
        os.rename(temporary, folder)
    except OSError:
        # Another process made it first, which is as good.
        shutil.rmtree(temporary, ignore_errors=True)
        if not folder.is_dir():
            raise
    return folder


def _plan(kind: Kind) -> list[tuple[int, str, Articulation]]:
    """Every note soft and loud; articulations take turns so that each meets low and high notes."""
    articulations: tuple[Articulation, ...] = ("steady", "vibrato") if kind == "plucked" else get_args(Articulation)
    count = len(articulations)
    plan: list[tuple[int, str, Articulation]] = []
    for index in range(_NOTES):
        midi = _LOWEST[kind] + index * _STEP_SEMITONES
        plan.append((midi, "soft", articulations[index % count]))
        plan.append((midi, "loud", articulations[(index + count // 2) % count]))
    return plan


def note(kind: Kind, midi: int, loud: bool, articulation: Articulation, *, sample_rate_hz: int) -> FloatArray:
    """One note of a demo instrument.

    Args:
        kind: "reed", "string" or "plucked".
        midi: which note.
        loud: whether it is played loud.
        articulation: its course.
        sample_rate_hz: rate of the answer.

    Returns:
        (samples,), below full scale; pitch within 3 cents of equal temperament at A = 440 Hz, around it with vibrato.
    """
    rng = np.random.default_rng([DEMO_VERSION, list(_MODELS).index(kind), midi, int(loud)])
    samples = round(_SECONDS * sample_rate_hz)
    seconds = np.arange(samples) / sample_rate_hz
    strength = _strength(seconds, loud, articulation)
    f0 = 440.0 * 2 ** ((midi - 69) / 12)
    # A tenth longer than needed: warping to the exact pitch may read faster than it was simulated.
    longer = np.interp(np.arange(int(samples * 1.1)) / sample_rate_hz, seconds, strength)
    raw, simulated = _MODELS[kind](f0, longer, sample_rate_hz, rng)
    depth = 25.0 if articulation == "vibrato" else 0.0
    cents = depth * np.clip((seconds - 0.4) / 0.6, 0, 1) * np.sin(2 * np.pi * 5.3 * seconds)
    sound = _warped(raw, f0 / simulated * 2 ** (cents / 1200))
    if kind == "plucked":
        sound = sound * 10 ** ((strength[0] - 1) * _RANGE_DB / 20)
    else:
        sound = _radiated(sound, strength, sample_rate_hz)
    fade = np.clip((_SECONDS - 0.02 - seconds) / 0.1, 0, 1)
    return (_PEAK * sound * fade).astype(np.float32)


def _strength(seconds: Array, loud: bool, articulation: Articulation) -> Array:
    """How hard the player works over time, 0 to 1."""
    low, high = (0.45, 1.0) if loud else (0.05, 0.55)
    course = seconds / _SECONDS
    if articulation == "crescendo":
        return np.asarray(low + (high - low) * course)
    if articulation == "diminuendo":
        return np.asarray(high - (high - low) * course)
    return np.full(len(seconds), 0.85 * high + 0.15 * low)


def _warped(sound: Array, speed: Array) -> Array:
    """Read a sound at a changing speed, 1 being as it is: cubic interpolation."""
    from scipy.interpolate import CubicSpline

    position = np.concatenate([[0.0], np.cumsum(speed[:-1])])
    return np.asarray(CubicSpline(np.arange(len(sound)), sound)(np.minimum(position, len(sound) - 1)))


def _radiated(sound: Array, strength: Array, sample_rate_hz: int) -> Array:
    """What leaves the instrument: no direct current, and softer means darker as well as quieter."""
    from scipy.signal import butter, sosfilt

    open_air = sosfilt(butter(2, 60, "highpass", fs=sample_rate_hz, output="sos"), sound)
    dark = sosfilt(butter(1, 700, fs=sample_rate_hz, output="sos"), open_air)
    bright = 0.6 * open_air
    mixed = dark + (bright - dark) * np.clip(strength, 0, 1)
    middle = slice(len(sound) // 5, len(sound) * 4 // 5)
    level = 10 ** ((strength - 1) * _RANGE_DB / 20)
    return np.asarray(mixed / np.max(np.abs(mixed[middle])) * level)
