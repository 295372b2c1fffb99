import math

import numpy as np
import pytest

from pochette.control import Control
from pochette.engine.runner import FloatArray
from pochette.engine.source import EngineSource
from pochette.instrument import Instrument, Message, Polyphony
from pochette.instrument.voice import PATCH
from tests.instrument.bench import toy_instrument

RATE, HOP = 48000, 48


class Scribe:
    """A runner that writes down the rows it is given and sounds while its loudness is above silence."""

    kind, sample_rate_hz, hop_samples, n_controls, latency_samples = "torch", RATE, HOP, 3, 0

    def __init__(self, hum: float = 0.0) -> None:
        self.rows: list[FloatArray] = []
        self.hum = hum
        self.reset()

    def reset(self) -> None:
        self.position = 0

    def process(self, controls: FloatArray, samples: int) -> FloatArray:
        if self.position == 0:
            self.rows.append(controls.copy())
        self.position = (self.position + samples) % HOP
        return np.full(samples, self.hum + (0.1 if self.rows[-1][1] > -80 else 0.0), np.float32)


CONTROLS = (
    Control("pitch_hz", "Hz", 50, 4000, 440, "logarithmic"),
    Control("loudness_db", "dB", -80, 0, -20),
    Control("bright", "", 0, 10, 2),
)


def player(
    voices: int = 1, mono: bool = False, pitch_range: tuple[float, float] | None = (50, 4000), hum: float = 0
) -> tuple[Polyphony, list[Scribe]]:
    source = EngineSource("scribe", {}, CONTROLS, RATE, HOP, 0)
    nothing = np.zeros(0, np.float32)
    instrument = Instrument("scribe", source, b"", {}, nothing, nothing, pitch_range_hz=pitch_range)
    scribes: list[Scribe] = []

    def make() -> Scribe:
        scribes.append(Scribe(hum))
        return scribes[-1]

    return Polyphony(instrument, voices, runner_factory=make, mono=mono), scribes


def rows(scribe: Scribe) -> FloatArray:
    return np.array(scribe.rows)


def test_a_note_has_its_equal_tempered_pitch() -> None:
    for note, hz in ((69, 440.0), (60, 261.6256), (81, 880.0)):
        played, scribes = player()
        played.note_on(note)
        played.render(480)
        assert rows(scribes[0])[:, 0] == pytest.approx(hz, rel=1e-6)


def test_tuning_moves_the_a() -> None:
    played, scribes = player()
    played.set_control("tuning_hz", 442)
    played.note_on(69)
    played.render(480)
    assert rows(scribes[0])[-1, 0] == pytest.approx(442)


def test_velocity_spans_the_dynamics_around_the_default() -> None:
    level = {}
    for velocity in (1, 80, 127):
        played, scribes = player()
        played.note_on(69, velocity)
        played.render(4800)
        level[velocity] = rows(scribes[0])[-1, 1]
    assert level[80] == pytest.approx(-20, abs=1e-4)
    assert level[127] - level[1] == pytest.approx(24 * 126 / 127, abs=1e-4)


def test_the_attack_rises_and_the_release_falls_60_db_in_its_time() -> None:
    played, scribes = player()
    played.set_control("attack_s", 0.1)
    played.set_control("release_s", 0.5)
    played.note_on(69, 80)
    played.render(RATE // 2)
    played.note_off(69)
    played.render(RATE // 2)
    loudness = rows(scribes[0])[:, 1]
    attack, after = loudness[:100], loudness[500:]
    assert (np.diff(attack) > 0).all() and attack[99] == pytest.approx(-20, abs=1e-3)
    assert attack[49] == pytest.approx(-20 + 20 * math.log10(0.5), abs=1e-3)
    assert after[249] == pytest.approx(-20 - 30, abs=0.2) and (np.diff(after) <= 0).all()


def test_an_ended_silent_voice_stops_running() -> None:
    played, scribes = player()
    played.note_on(69)
    played.render(4800)
    played.note_off(69)
    played.render(2 * RATE)
    assert played.active_voices == 0
    count = len(scribes[0].rows)
    assert not played.render(RATE).any() and len(scribes[0].rows) == count


def test_an_engine_that_hums_for_ever_is_faded() -> None:
    played, _ = player(hum=0.05)
    played.note_on(69)
    played.note_off(69)
    audio = played.render(4 * RATE)
    assert played.active_voices == 0 and audio[-1] == 0
    assert np.abs(np.diff(audio[RATE:])).max() < 0.01


def test_bend_wheel_expression_and_knobs() -> None:
    played, scribes = player()
    played.note_on(69, 80)
    played.apply(Message("pitch_bend", value=1.0))
    played.apply(Message("control_change", 20, 127))
    played.apply(Message("control_change", 11, 64))
    played.render(RATE // 5)
    row = rows(scribes[0])[-1]
    assert row[0] == pytest.approx(440 * 2 ** (2 / 12), rel=1e-4)
    assert row[2] == pytest.approx(10, abs=1e-3)
    assert row[1] == pytest.approx(-20 + 40 * math.log10(64 / 127), abs=0.01)
    played.apply(Message("control_change", 121, 0))
    played.apply(Message("control_change", 1, 127))
    played.render(RATE)
    cents = 1200 * np.log2(rows(scribes[0])[-500:, 0] / 440)
    assert cents.max() == pytest.approx(50, abs=0.5) and cents.min() == pytest.approx(-50, abs=0.5)


def test_a_controllers_steps_become_a_curve() -> None:
    played, scribes = player()
    played.note_on(69)
    played.render(480)
    played.apply(Message("control_change", 20, 127))
    played.render(4800)
    assert np.abs(np.diff(rows(scribes[0])[:, 2])).max() < 1


def test_sustain_holds_until_it_is_lifted() -> None:
    played, _ = player()
    played.apply(Message("control_change", 64, 127))
    played.note_on(69)
    played.note_off(69)
    played.render(2 * RATE)
    assert played.active_voices == 1
    played.apply(Message("control_change", 64, 0))
    played.render(2 * RATE)
    assert played.active_voices == 0


def test_the_oldest_released_voice_is_stolen_first_then_the_oldest() -> None:
    played, _ = player(voices=3)
    for note in (60, 64, 67):
        played.note_on(note)
        played.render(480)
    played.note_off(64)
    played.note_on(72)
    assert [voice.note for voice in played.voices] == [60, 72, 67] and played.stolen_notes == 0
    played.note_on(74)
    assert [voice.note for voice in played.voices] == [74, 72, 67] and played.stolen_notes == 1


def test_stealing_does_not_click_and_the_new_note_sounds() -> None:
    fresh = Polyphony(toy_instrument(), voices=1)
    fresh.note_on(48, 127)
    own_steps = np.abs(np.diff(fresh.render(RATE // 2))).max()  # the toy does not smooth its loudness
    played = Polyphony(toy_instrument(), voices=1)
    played.note_on(45, 127)
    before = played.render(RATE // 2 + 90)
    played.note_on(48, 127)
    audio = np.concatenate([before[-1:], played.render(RATE // 2)])
    assert np.abs(np.diff(audio)).max() <= 1.01 * own_steps
    assert np.abs(audio[RATE // 4 :]).max() > 0.5


def test_a_note_let_go_while_it_waits_for_a_voice_does_not_hang() -> None:
    played, _ = player()
    played.note_on(60)
    played.render(480)
    played.note_on(64)
    played.note_off(64)
    played.render(2 * RATE)
    assert played.active_voices == 0


def test_mono_slurs_and_returns_to_the_held_key() -> None:
    played, scribes = player(mono=True)
    played.note_on(60)
    played.render(RATE // 10)
    played.note_on(72)
    played.render(RATE // 5)
    played.note_off(72)
    played.render(RATE // 5)
    curve = rows(scribes[0])
    assert curve[99, 0] == pytest.approx(261.63, rel=1e-4)
    assert 261.7 < curve[130, 0] < 523
    assert curve[280, 0] == pytest.approx(523.25, rel=1e-4) and curve[-1, 0] == pytest.approx(261.63, rel=1e-4)
    assert (curve[100:, 1] > -20).all()


def test_notes_outside_the_range_move_by_octaves() -> None:
    played, scribes = player(pitch_range=(200, 800))
    played.note_on(21)
    played.render(48)
    assert rows(scribes[0])[-1, 0] == pytest.approx(220)


def test_blocks_of_any_length_give_the_same_sound() -> None:
    def play(block: int) -> FloatArray:
        played = Polyphony(toy_instrument(), voices=2)
        played.note_on(60)
        played.note_on(67)
        return np.concatenate([played.render(min(block, 9600 - at)) for at in range(0, 9600, block)])

    whole = play(9600)
    for block in (1000, 127, 48):
        assert np.abs(play(block) - whole).max() < 1e-6


def test_panic_is_quick_and_absurd_messages_do_no_harm() -> None:
    played, _ = player(voices=2)
    for message in (
        Message("note_on", 200, 900),
        Message("note_off", 3),
        Message("control_change", 99, 5),
        Message("pitch_bend", value=40),
        Message("set", name="nothing", value=1),
        Message("set", name="bright", value=math.nan),
    ):
        played.apply(message)
    assert np.isfinite(played.render(4800)).all()
    played.panic()
    played.render(480)
    assert played.active_voices == 0


def test_an_engine_without_loudness_gets_its_envelope_outside() -> None:
    source = EngineSource("scribe", {}, (CONTROLS[0], CONTROLS[2], CONTROLS[2]), RATE, HOP, 0)
    nothing = np.zeros(0, np.float32)
    played = Polyphony(Instrument("s", source, b"", {}, nothing, nothing), 1, runner_factory=lambda: Scribe(0.1))
    played.note_on(69, 80)
    held = played.render(RATE // 2)
    played.note_off(69)
    released = played.render(2 * RATE)
    assert held[-1] == pytest.approx(0.2, abs=0.01) and released[RATE // 4] < 0.01
    assert played.active_voices == 0


class Late(Scribe):
    """One that is silent for three frames after it was reset, and then goes on as often as it was asked."""

    def reset(self) -> None:
        super().reset()
        self.made = 0

    def process(self, controls: FloatArray, samples: int) -> FloatArray:
        super().process(controls, samples)
        self.made += samples
        return np.where(np.arange(self.made - samples, self.made) < 3 * HOP, 0.0, 0.5).astype(np.float32)


def test_a_note_that_begins_with_silence_is_heard_at_once() -> None:
    late: list[Late] = []

    def make() -> Late:
        late.append(Late())
        return late[-1]

    source = EngineSource("late", {}, CONTROLS, RATE, HOP, 3 * HOP, lead_samples=3 * HOP)
    nothing = np.zeros(0, np.float32)
    played = Polyphony(Instrument("late", source, b"", {}, nothing, nothing), 1, runner_factory=make)
    played.note_on(69)
    assert (played.render(2 * HOP) == 0.5).all() and late[0].made == 5 * HOP
    # Another note takes the voice after a fade of 5 ms, and is heard at once too.
    played.note_on(70)
    stolen = played.render(10 * HOP)
    assert abs(stolen[5 * HOP - 1]) < 1e-9 and (stolen[5 * HOP :] == 0.5).all()
    assert late[0].made == 8 * HOP
    # So is one that is let go within what was once a silence.
    played.panic()
    played.render(RATE)
    played.note_on(69)
    played.note_off(69)
    assert played.render(HOP).any()


def test_a_sound_of_one_piece_is_struck_anew_and_not_slurred() -> None:
    nothing = np.zeros(0, np.float32)
    pitches = {}
    for frames in (None, 10**6):
        scribe = Scribe()
        source = EngineSource("piece", {}, CONTROLS, RATE, HOP, 0, sound_frames=frames)
        instrument = Instrument("piece", source, b"", {}, nothing, nothing)
        played = Polyphony(instrument, 1, runner_factory=lambda: scribe, mono=True)  # noqa: B023
        played.note_on(69)
        played.render(480)
        played.note_on(81)
        scribe.rows.clear()
        played.render(RATE // 10)
        pitches[frames] = rows(scribe)[:, 0]
    # A slur glides from one to the other; a struck note fades the old one out, and is at its own pitch at once.
    assert ((pitches[None] > 450) & (pitches[None] < 870)).any()
    assert set(np.round(pitches[10**6])) == {440, 880}


def test_an_engine_that_knows_touch_is_told_of_it() -> None:
    controls = (CONTROLS[0], Control("velocity", "", 0, 127, 100), CONTROLS[2])
    source = EngineSource("struck", {}, controls, RATE, HOP, 0)
    nothing = np.zeros(0, np.float32)
    sounds = {}
    for velocity in (20, 127):
        scribe = Scribe(0.1)
        played = Polyphony(Instrument("s", source, b"", {}, nothing, nothing), 1, runner_factory=lambda: scribe)  # noqa: B023
        played.note_on(69, velocity)
        sounds[velocity] = played.render(RATE // 2)
        assert rows(scribe)[:, 1] == pytest.approx(velocity)
        assert [knob.name for knob in played.performance.knobs] == ["bright"]
    # Neither is it made louder or softer besides.
    assert np.array_equal(sounds[20], sounds[127])


def test_patch_names_do_not_collide_with_each_other() -> None:
    assert len({control.name for control in PATCH}) == len(PATCH)
