"""What a musician does to a note, turned into the engine's control frames.

An engine reads one row of controls per frame: so much pitch, so much loudness, and its own knobs. A `Voice` makes those
rows from a key, a velocity and a `Performance` (bend, wheel, pedal, knobs), which all voices of a player share. The
controls named `pitch_hz`, `loudness_db` and `velocity` are played; every other control is a knob.

The web page plays by the same rules in JavaScript; its constants are written from `CONSTANTS` and `PATCH` here, and a
test holds the two to the same sound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from pochette.control import Control
from pochette.engine.runner import FloatArray, Runner

PITCH, LOUDNESS, VELOCITY = "pitch_hz", "loudness_db", "velocity"
PLAYED = (PITCH, LOUDNESS, VELOCITY)
"""Controls that a key plays."""

PATCH: tuple[Control, ...] = (
    Control("attack_s", "s", 0.002, 2.0, 0.01, "logarithmic", "how long a note takes to swell"),
    Control("release_s", "s", 0.02, 5.0, 0.3, "logarithmic", "how long a note takes to fall by 60 dB when let go"),
    Control("vibrato_depth_cents", "cents", 0.0, 100.0, 0.0, "linear", "how far the pitch sways"),
    Control("vibrato_rate_hz", "Hz", 2.0, 9.0, 5.5, "linear", "how fast the pitch sways"),
    Control("dynamics_db", "dB", 0.0, 48.0, 24.0, "linear", "how much louder the hardest touch is than the softest"),
    Control("tuning_hz", "Hz", 415.0, 466.0, 440.0, "linear", "pitch of the A above middle C"),
    Control("glide_s", "s", 0.0, 1.0, 0.06, "linear", "how long a slur takes from note to note (one voice only)"),
    Control("volume", "", 0.0, 1.0, 1.0, "linear", "output level"),
)
"""Knobs that every instrument has, whatever its engine."""

CONSTANTS: dict[str, float] = {
    "SILENCE_DB": -80.0,  # this loudness, or less, means silence
    "SILENCE": 1e-4,  # the same as an amplitude
    "QUIET_S": 0.02,  # an ended voice rests once it has been silent for this long
    "LINGER_S": 1.5,  # an engine that never falls silent is faded this long after its envelope has ended
    "FADE_S": 0.005,  # short enough to steal a voice unheard, long enough not to click
    "SMOOTH_S": 0.01,  # time constant that turns a controller's steps into a curve
    "MEZZO": 80 / 127,  # the velocity at which loudness has its default
    "VELOCITIES": 127.0,  # the hardest touch, where an engine is told of it
    "BEND_SEMITONES": 2.0,
    "WHEEL_CENTS": 50.0,  # vibrato depth that the mod wheel adds
    "VIBRATO_DELAY_S": 0.2,
    "VIBRATO_SWELL_S": 0.3,
    "RELEASE_DB": 60.0,  # fall that release_s speaks of
    "KNEE": 0.7,  # live players round off what is louder than this, so that chords do not crackle
}
"""Numbers of the musical logic, shared with the page."""


@dataclass
class Performance:
    """What a player's hands and feet are doing now, common to all voices."""

    controls: tuple[Control, ...]
    """The engine's."""
    bend: float = 0.0
    """-1 to 1."""
    wheel: float = 0.0
    """0 to 1."""
    expression: float = 1.0
    """0 to 1."""
    sustain: bool = False
    values: dict[str, float] = field(default_factory=dict)
    """Knob and patch values by name."""

    def __post_init__(self) -> None:
        self.declared = {control.name: control for control in (*self.controls, *PATCH)}
        self.values = {name: control.default for name, control in self.declared.items()} | self.values

    @property
    def knobs(self) -> list[Control]:
        """The engine's controls that are turned, not played, in their order."""
        return [control for control in self.controls if control.name not in PLAYED]

    def set(self, name: str, value: float) -> None:
        """Turn a knob to a value in its unit; unknown names are ignored, values are clamped."""
        if name in self.declared:
            self.values[name] = self.declared[name].clamp(value)

    def loudness_db(self, velocity: float) -> float:
        """Loudness relative to the default at a velocity of 0 to 1."""
        return self.values["dynamics_db"] * (velocity - CONSTANTS["MEZZO"])

    def expression_db(self) -> float:
        """Tell what the expression pedal adds: 40 log10, as General MIDI recommends; silence at zero."""
        return 40 * math.log10(max(self.expression, 1e-4))


class Voice:
    """One runner and the note that it plays.

    Args:
        runner: a voice of the engine.
        performance: shared with the other voices.
        pitch_range_hz: notes outside are moved by octaves into it, where the engine knows how to sound.
        lead_samples: of silence, which the engine begins every sound with; made at once when a note begins.
    """

    def __init__(
        self,
        runner: Runner,
        performance: Performance,
        pitch_range_hz: tuple[float, float] | None,
        lead_samples: int = 0,
    ) -> None:
        self.runner, self.performance = runner, performance
        self.pitch_range_hz, self.lead_samples = pitch_range_hz, lead_samples
        self.controls = performance.controls
        self.frame_s = runner.hop_samples / runner.sample_rate_hz
        self.smoothing = 1 - math.exp(-self.frame_s / CONSTANTS["SMOOTH_S"])
        self.fade_samples = max(1, round(CONSTANTS["FADE_S"] * runner.sample_rate_hz))
        loudness = next((control for control in self.controls if control.name == LOUDNESS), None)
        self.has_loudness = loudness is not None
        self.has_velocity = any(control.name == VELOCITY for control in self.controls)
        self.default_db = loudness.default if loudness else 0.0
        self.floor_db = max(loudness.low if loudness else -math.inf, CONSTANTS["SILENCE_DB"])
        self.active = self.key_down = self.released = False
        self.note, self.velocity, self.age = -1, 0.0, 0
        self.pending = self.stopping = False
        self.gain = self.target_gain = 0.0
        self.lead_left = 0

    def play(self, note: int, velocity: float, age: int) -> None:
        """Start a note, fading out first whatever sounds.

        Args:
            note: MIDI number.
            velocity: 0 to 1.
            age: a number that grows with every note, to find the oldest.
        """
        self.note, self.velocity, self.age = note, velocity, age
        self.key_down, self.released = True, False
        if self.active:
            self.pending, self.target_gain = True, 0.0
        else:
            self._begin()

    def slur(self, note: int) -> None:
        """Glide to another note without a new attack."""
        self.note, self.key_down, self.released = note, True, False
        self.glide_to = self._folded(note)
        self.glide_frames = max(1, round(self.performance.values["glide_s"] / self.frame_s))

    def let_go(self) -> None:
        """Lift the key; the pedal may still hold the note."""
        self.key_down = False
        self.pedal()

    def pedal(self) -> None:
        """Release the note if neither key nor pedal holds it."""
        self.released = self.released or not (self.key_down or self.performance.sustain)

    def stop(self) -> None:
        """Fade to silence now."""
        self.pending, self.stopping, self.target_gain = False, True, 0.0
        self.key_down, self.released = False, True

    def add_to(self, audio: FloatArray) -> None:
        """Add the voice's next samples to a buffer."""
        position = 0
        while self.active and position < len(audio):
            if self.frame_left == 0:
                self._next_frame()
            if self.lead_left:
                self.runner.process(self.row, self.lead_left)
                self.lead_left = 0
            samples = min(self.frame_left, len(audio) - position)
            piece = self.runner.process(self.row, samples) * self._gains(samples)
            self.frame_left -= samples
            audio[position : position + samples] += piece
            position += samples
            self._rest_if_done(piece)

    def _begin(self) -> None:
        self.runner.reset()
        self.active, self.pending, self.stopping = True, False, False
        self.semitone = self.glide_to = self._folded(self.note)
        self.glide_frames = 0
        self.attack, self.release_db, self.time_s, self.vibrato_phase = 0.0, 0.0, 0.0, 0.0
        self.frame_left, self.quiet_samples, self.ended_samples = 0, 0, 0
        self.lead_left = self.lead_samples
        self.bend, self.expression_db = self.performance.bend, self.performance.expression_db()
        self.smoothed = np.array([self.performance.values[control.name] for control in self.controls], np.float64)
        self.row: FloatArray = np.zeros(len(self.controls), np.float32)
        self.gain = self.target_gain = 0.0 if not self.has_loudness else 1.0

    def _next_frame(self) -> None:
        """Work out the row of controls that the frame about to begin will read."""
        relative_db = self._relative_db()
        played = {
            PITCH: self._pitch_hz(),
            LOUDNESS: self.default_db + relative_db,
            VELOCITY: CONSTANTS["VELOCITIES"] * self.velocity,
        }
        for index, control in enumerate(self.controls):
            target = self.performance.values[control.name]
            self.smoothed[index] += self.smoothing * (target - self.smoothed[index])
            self.row[index] = control.clamp(played.get(control.name, float(self.smoothed[index])))
        if not (self.has_loudness or self.pending or self.stopping):
            self.target_gain = 10 ** (relative_db / 20)
        if self.released and played[LOUDNESS] <= self.floor_db:
            self.ended_samples += self.runner.hop_samples
        self.frame_left = self.runner.hop_samples
        self.time_s += self.frame_s

    def _relative_db(self) -> float:
        """Touch, envelope and expression, relative to the control's default."""
        values = self.performance.values
        self.attack = min(1.0, self.attack + self.frame_s / values["attack_s"])
        if self.released:
            self.release_db -= CONSTANTS["RELEASE_DB"] * self.frame_s / values["release_s"]
        self.expression_db += self.smoothing * (self.performance.expression_db() - self.expression_db)
        envelope_db = 20 * math.log10(max(self.attack, 1e-4)) + self.release_db
        # An engine that is told how hard a key was struck plays so itself.
        touch_db = 0.0 if self.has_velocity else self.performance.loudness_db(self.velocity)
        return touch_db + envelope_db + self.expression_db

    def _pitch_hz(self) -> float:
        """Note, glide, bend and vibrato."""
        values = self.performance.values
        if self.glide_frames > 0:
            self.semitone += (self.glide_to - self.semitone) / self.glide_frames
            self.glide_frames -= 1
        self.bend += self.smoothing * (self.performance.bend - self.bend)
        swell = min(max((self.time_s - CONSTANTS["VIBRATO_DELAY_S"]) / CONSTANTS["VIBRATO_SWELL_S"], 0.0), 1.0)
        depth_cents = values["vibrato_depth_cents"] + self.performance.wheel * CONSTANTS["WHEEL_CENTS"]
        self.vibrato_phase = (self.vibrato_phase + values["vibrato_rate_hz"] * self.frame_s) % 1.0
        vibrato = swell * depth_cents / 100 * math.sin(2 * math.pi * self.vibrato_phase)
        semitone = self.semitone + self.bend * CONSTANTS["BEND_SEMITONES"] + vibrato
        return float(values["tuning_hz"] * 2 ** ((semitone - 69) / 12))

    def _folded(self, note: float) -> float:
        """Move a note by octaves into the range that the engine was made for."""
        if self.pitch_range_hz is None:
            return note
        low, high = (69 + 12 * math.log2(hz / 440) for hz in self.pitch_range_hz)
        while note > high + 0.5:
            note -= 12
        while note < low - 0.5:
            note += 12
        return note

    def _gains(self, samples: int) -> FloatArray | np.float32:
        """Output gain of each sample, moving towards its target no faster than a fade."""
        distance = self.target_gain - self.gain
        if distance == 0:
            return np.float32(self.gain)
        travel = np.minimum(np.arange(1, samples + 1) / self.fade_samples, abs(distance))
        gains = self.gain + math.copysign(1.0, distance) * travel
        self.gain = float(gains[-1])
        return np.asarray(gains, np.float32)

    def _rest_if_done(self, piece: FloatArray) -> None:
        """Stop running once nothing more can be heard, or play the note that waited for the fade."""
        if self.target_gain == 0 and self.gain <= 1e-9 and (self.pending or self.stopping):
            self.active = False
            if self.pending:
                self._begin()
            return
        if self.ended_samples == 0:
            return
        quiet = float(np.abs(piece).max()) < CONSTANTS["SILENCE"]
        self.quiet_samples = self.quiet_samples + len(piece) if quiet else 0
        rate = self.runner.sample_rate_hz
        if self.quiet_samples >= CONSTANTS["QUIET_S"] * rate:
            self.active = False
        elif self.ended_samples > CONSTANTS["LINGER_S"] * rate and not self.pending:
            self.stop()
