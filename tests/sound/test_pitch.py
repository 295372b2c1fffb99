"""Three trackers find known pitches, admit to noise, and agree with the names of real recordings."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pochette.sound.audio import Array, FloatArray, read
from pochette.sound.boersma import boersma, normalised_autocorrelation
from pochette.sound.pitch import PitchTrack, pyin, yin

SAX = Path(__file__).resolve().parents[2] / ".." / "shared" / "sounds" / "alto-sax"
RATE, HOP = 48000, 480
TRACKERS = pytest.mark.parametrize("tracker", [yin, pyin, boersma])
Tracker = Callable[[FloatArray, int, int], PitchTrack]


def tone(f0_hz: float, harmonics: range, vibrato_cents: float = 0.0, seconds: float = 1.0) -> tuple[FloatArray, Array]:
    """A sum of partials falling as 1 / k, and its pitch at every sample."""
    t = np.arange(round(seconds * RATE)) / RATE
    f0 = f0_hz * 2 ** (vibrato_cents / 1200 * np.sin(2 * np.pi * 6 * t))
    phase = 2 * np.pi * np.cumsum(f0) / RATE
    sound = sum((np.sin(k * phase + k * k) / k for k in harmonics if k * f0_hz < 20000), np.zeros(len(t)))
    return np.asarray(0.3 * sound, np.float32), f0


def cents(track: PitchTrack, f0: Array) -> Array:
    """Absolute error of each frame away from the edges."""
    frames = np.minimum(np.arange(len(track.f0_hz)) * HOP, len(f0) - 1)
    return np.asarray(np.abs(1200 * np.log2(track.f0_hz / f0[frames])))[10:-10]


@TRACKERS
@pytest.mark.parametrize("f0_hz", [45.0, 82.4, 221.3, 440.0, 987.7, 1500.0])
@pytest.mark.parametrize("harmonics", [range(1, 2), range(1, 30)], ids=["sine", "harmonic"])
def test_steady_tones_within_5_cents(tracker: Tracker, f0_hz: float, harmonics: range) -> None:
    sound, f0 = tone(f0_hz, harmonics)
    track = tracker(sound, RATE, HOP)
    assert len(track.f0_hz) == len(track.confidence) == len(sound) // HOP + 1
    assert cents(track, f0).max() < 5
    assert track.voiced[10:-10].all()


@TRACKERS
@pytest.mark.parametrize("f0_hz", [82.4, 221.3, 440.0])
def test_missing_fundamentals_are_heard(tracker: Tracker, f0_hz: float) -> None:
    """Partials 3 to 11 alone still have the pitch of the first."""
    sound, f0 = tone(f0_hz, range(3, 12))
    assert np.percentile(cents(tracker(sound, RATE, HOP), f0), 95) < 5


@TRACKERS
@pytest.mark.parametrize("f0_hz", [110.0, 440.0, 987.7])
def test_vibrato_is_followed(tracker: Tracker, f0_hz: float) -> None:
    """50 cents either way, six times a second: every frame within 7 cents of where it is."""
    sound, f0 = tone(f0_hz, range(1, 20), vibrato_cents=50)
    assert cents(tracker(sound, RATE, HOP), f0).max() < 7


@TRACKERS
def test_noise_and_silence_have_no_pitch(tracker: Tracker) -> None:
    noise = np.asarray(0.1 * np.random.default_rng(0).standard_normal(RATE), np.float32)
    assert tracker(noise, RATE, HOP).voiced.mean() < 0.02
    quiet = tracker(np.zeros(RATE, np.float32), RATE, HOP)
    assert not quiet.voiced.any()
    assert np.isfinite(quiet.f0_hz).all()


@TRACKERS
@pytest.mark.parametrize("samples", [0, 1, 10, 1000])
def test_tiny_sounds(tracker: Tracker, samples: int) -> None:
    track = tracker(np.ones(samples, np.float32), RATE, HOP)
    assert len(track.f0_hz) == samples // HOP + 1
    assert np.isfinite(track.f0_hz).all()


@TRACKERS
@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 192000])
def test_any_rate_and_hop(tracker: Tracker, rate: int) -> None:
    t = np.arange(rate) / rate
    sound = np.asarray(0.3 * (np.sin(2 * np.pi * 330 * t) + np.sin(4 * np.pi * 330 * t)), np.float32)
    for hop in (64, rate // 20):
        track = tracker(sound, rate, hop)
        assert len(track.f0_hz) == rate // hop + 1
        middle = track.f0_hz[len(track.f0_hz) // 5 : -len(track.f0_hz) // 5]
        assert np.abs(1200 * np.log2(middle / 330)).max() < 5


@pytest.mark.parametrize("tracker", [pyin, boersma])
def test_a_pause_is_bridged(tracker: Tracker) -> None:
    """Between two notes with noise between them, pitch moves from one to the other and confidence falls."""
    noise = np.asarray(0.003 * np.random.default_rng(1).standard_normal(RATE // 2), np.float32)
    sound = np.concatenate([tone(220, range(1, 9))[0], noise, tone(330, range(1, 9))[0]])
    track = tracker(sound, RATE, HOP)
    assert not track.voiced[110:140].any()
    assert ((track.f0_hz[110:140] > 218) & (track.f0_hz[110:140] < 333)).all()
    assert (np.diff(track.f0_hz[110:140]) >= 0).all()


def test_a_slur_is_a_leap() -> None:
    """Two notes an octave apart without a gap: no voiced frame lies between them."""
    track = pyin(np.concatenate([tone(220, range(1, 9))[0], tone(440, range(1, 9))[0]]), RATE, HOP)
    between = track.voiced & (track.f0_hz > 230) & (track.f0_hz < 420)
    assert not between.any()


def test_autocorrelation_of_a_period_is_one() -> None:
    """The window's fading is divided out: a periodic frame resembles itself fully at its period."""
    frames = np.sin(2 * np.pi * np.arange(2000) / 100)[None]
    curve = normalised_autocorrelation(frames, 400)
    assert curve[0, [0, 100, 200, 300]] == pytest.approx(1, abs=0.01)
    assert curve[0, 50] == pytest.approx(-1, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("tracker", [yin, pyin, boersma])
def test_real_saxophone(tracker: Tracker) -> None:
    """At least 99 % of confident frames lie within 50 cents of the note in the file's name (a3 sounds at 440 Hz)."""
    if not SAX.is_dir():
        pytest.skip(f"no recordings at {SAX}")
    steps = {"c": 0, "db": 1, "d": 2, "eb": 3, "e": 4, "f": 5, "gb": 6, "g": 7, "ab": 8, "a": 9, "bb": 10, "b": 11}
    right = confident = frames = 0
    for path in sorted(SAX.glob("*.flac")):
        name, octave = re.match(r"([a-g]b?)(\d)_", path.name).groups()  # type: ignore[union-attr]
        f0 = 440 * 2 ** ((12 * (int(octave) + 2) + steps[name] - 69) / 12)
        track = tracker(read(path, RATE), RATE, HOP)
        right += int(np.sum(track.voiced & (np.abs(1200 * np.log2(track.f0_hz / f0)) < 50)))
        confident += int(track.voiced.sum())
        frames += len(track.f0_hz)
    assert right >= 0.99 * confident
    assert confident >= 0.9 * frames
