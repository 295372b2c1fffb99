"""Several voices played as one instrument: who plays which note, and what MIDI controllers mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pochette.engine.runner import FloatArray, Runner
from pochette.instrument.file import EngineKind, Instrument
from pochette.instrument.voice import CONSTANTS, Performance, Voice

PATCH_CCS: dict[int, str] = {
    5: "glide_s",
    7: "volume",
    72: "release_s",
    73: "attack_s",
    76: "vibrato_rate_hz",
    77: "vibrato_depth_cents",
}
"""MIDI controllers of the knobs that every instrument has, as General MIDI 2 numbers them."""
KNOB_CCS: tuple[int, ...] = (*range(20, 32), *range(102, 120))
"""MIDI controllers of the engine's own knobs, in their declared order."""
CC_WHEEL, CC_EXPRESSION, CC_SUSTAIN, CC_SOUND_OFF, CC_RESET, CC_NOTES_OFF = 1, 11, 64, 120, 121, 123


@dataclass(frozen=True)
class Message:
    """One act of a player."""

    kind: Literal["note_on", "note_off", "control_change", "pitch_bend", "set", "panic"]
    number: int = 0
    """Note or controller, 0 to 127."""
    value: float = 0.0
    """Velocity or controller value, 0 to 127; bend, -1 to 1; a knob's value in its unit."""
    name: str = ""
    """The knob that is set."""


class Polyphony:
    """An instrument in the hands of a player.

    Args:
        instrument: what is played.
        voices: how many notes sound at once, at least 1.
        engine: "wasm" or "c"; see `Instrument.runner`.
        trust: see `Instrument.runner`.
        runner_factory: makes the runners instead (an emulator, a model in torch).
        mono: one voice that slurs from note to note.

    Raises:
        InstrumentError: the engine cannot be run.
    """

    def __init__(
        self,
        instrument: Instrument,
        voices: int = 4,
        *,
        engine: EngineKind = "wasm",
        trust: bool = False,
        runner_factory: Callable[[], Runner] | None = None,
        mono: bool = False,
    ) -> None:
        make = runner_factory or (lambda: instrument.runner(engine, trust))
        of_notes = instrument.pitch_range_hz, instrument.source.lead_samples
        self.performance = Performance(instrument.source.controls)
        self.mono = mono
        # A sound that is one piece has the pitch that it began with.
        self._slurs = mono and instrument.source.sound_frames is None
        self.voices = [Voice(make(), self.performance, *of_notes) for _ in range(1 if mono else max(voices, 1))]
        self.sample_rate_hz = instrument.sample_rate_hz
        self.stolen_notes = 0
        self._age = 0
        self._keys: list[int] = []
        self._volume = self.performance.values["volume"] ** 2

    @property
    def active_voices(self) -> int:
        """How many voices are running."""
        return sum(voice.active for voice in self.voices)

    def apply(self, message: Message) -> None:
        """Do what a message says."""
        match message.kind:
            case "note_on" if message.value > 0:
                self.note_on(message.number, message.value)
            case "note_on" | "note_off":
                self.note_off(message.number)
            case "control_change":
                self.control_change(message.number, message.value)
            case "pitch_bend":
                self.performance.bend = min(max(message.value, -1.0), 1.0)
            case "set":
                self.performance.set(message.name, message.value)
            case "panic":
                self.panic()

    def note_on(self, note: int, velocity: float = 100) -> None:
        """Play a note, stealing a voice if none is free: the oldest released one, or else the oldest.

        Args:
            note: MIDI number.
            velocity: 1 to 127.
        """
        slurred = self._slurs and bool(self._keys) and self.voices[0].active
        self._keys = [key for key in self._keys if key != note] + [note]
        if slurred:
            self.voices[0].slur(note)
            return
        self._age += 1
        for voice in self.voices:
            if voice.note == note and voice.key_down:
                voice.let_go()
        voice = min(self.voices, key=lambda voice: (voice.active, not voice.released, voice.age))
        self.stolen_notes += voice.active and not voice.released
        voice.play(note, min(max(velocity / 127, 0.0), 1.0), self._age)

    def note_off(self, note: int) -> None:
        """Let a key go; in mono, the last key still held sounds again.

        Args:
            note: MIDI number.
        """
        self._keys = [key for key in self._keys if key != note]
        if self._slurs and self._keys and self.voices[0].note == note:
            self.voices[0].slur(self._keys[-1])
            return
        for voice in self.voices:
            if voice.note == note and voice.key_down:
                voice.let_go()

    def control_change(self, number: int, value: float) -> None:
        """Turn a MIDI controller.

        Args:
            number: 0 to 127; see `PATCH_CCS` and `KNOB_CCS` for the knobs.
            value: 0 to 127.
        """
        hands, position = self.performance, min(max(value / 127, 0.0), 1.0)
        knobs = {cc: control.name for cc, control in zip(KNOB_CCS, hands.knobs, strict=False)}
        if name := {**knobs, **PATCH_CCS}.get(number):
            hands.set(name, hands.declared[name].from_knob(position))
        elif number == CC_WHEEL:
            hands.wheel = position
        elif number == CC_EXPRESSION:
            hands.expression = position
        elif number == CC_SUSTAIN:
            self.sustain(value >= 64)
        elif number == CC_RESET:
            hands.bend, hands.wheel, hands.expression = 0.0, 0.0, 1.0
            self.sustain(False)
        elif number == CC_NOTES_OFF:
            self.all_notes_off()
        elif number == CC_SOUND_OFF:
            self.panic()

    def sustain(self, down: bool) -> None:
        """Press or lift the sustain pedal."""
        self.performance.sustain = down
        for voice in self.voices:
            voice.pedal()

    def set_control(self, name: str, value: float) -> None:
        """Turn a knob to a value in its unit (clamped); names that the instrument lacks are ignored."""
        self.performance.set(name, value)

    def all_notes_off(self) -> None:
        """Let all keys go; notes fade as they were told to."""
        self._keys = []
        for voice in self.voices:
            voice.let_go()

    def panic(self) -> None:
        """Silence within a few milliseconds."""
        self._keys = []
        self.performance.sustain = False
        for voice in self.voices:
            voice.stop()

    def render(self, samples: int) -> FloatArray:
        """Make the next samples of all voices together.

        Args:
            samples: how many.

        Returns:
            (samples,), full scale 1, not clipped.
        """
        audio = np.zeros(samples, np.float32)
        for voice in self.voices:
            voice.add_to(audio)
        target = self.performance.values["volume"] ** 2
        step = 1 / (CONSTANTS["FADE_S"] * self.sample_rate_hz)
        travel = np.minimum(np.arange(1, samples + 1) * step, abs(target - self._volume))
        gains = self._volume + (travel if target > self._volume else -travel)
        if samples:
            self._volume = float(gains[-1])
        return np.asarray(audio * gains, np.float32)
