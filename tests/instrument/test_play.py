import contextlib
import sys
import threading
import time
import types
from typing import Any, ClassVar

import mido
import numpy as np
import pytest

from pochette.errors import ToolError
from pochette.instrument import Message, Polyphony
from pochette.instrument.play import LivePlayer, midi_input, play
from tests.instrument.bench import toy_instrument


def test_messages_take_effect_with_the_next_block_and_load_is_measured() -> None:
    live = LivePlayer(Polyphony(toy_instrument(), 2))
    assert not live.fill(256).any()
    live.send(Message("note_on", 69, 100))
    assert np.abs(live.fill(4800)).max() > 0.3
    assert 0 < live.load <= live.peak_load


def test_a_failing_engine_is_silent_and_says_why() -> None:
    live = LivePlayer(Polyphony(toy_instrument(), 1))
    live.player.voices[0].runner.process = lambda *_: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    live.send(Message("note_on", 69, 100))
    assert not live.fill(256).any() and "division" in live.failure
    assert not live.fill(256).any()


class FakeStream:
    """A sound card that asks for ten blocks as soon as it is started."""

    played: ClassVar[list[np.ndarray]] = []

    def __init__(self, callback: Any, blocksize: int, samplerate: int, **_: Any) -> None:
        self.callback, self.blocksize = callback, blocksize
        if samplerate > 96000:
            raise ValueError("Invalid sample rate")

    def __enter__(self) -> None:
        for status in [False] * 9 + [True]:
            out = np.ones((self.blocksize, 1), np.float32)
            self.callback(out, self.blocksize, None, status)
            self.played.append(out)

    def __exit__(self, *_: Any) -> None:
        pass


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = types.ModuleType("sounddevice")
    fake.OutputStream = FakeStream  # type: ignore[attr-defined]
    fake.PortAudioError = RuntimeError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    monkeypatch.setattr(mido, "get_input_names", list)


def test_a_sound_card_is_fed_and_xruns_are_counted(card: None) -> None:
    said: list[str] = []
    live = play(toy_instrument(), tell=said.append, seconds=0.05)
    assert live.xruns == 1 and len(FakeStream.played) >= 10
    assert any("No MIDI input" in line for line in said) and "1 xruns" in said[-1]


def test_ctrl_c_ends_quietly(card: None, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, wait = iter([KeyboardInterrupt()]), time.sleep

    def sleep(seconds: float) -> None:
        # The sandbox's clock thread sleeps by the same function; only a person's thread is interrupted.
        if threading.current_thread() is not threading.main_thread():
            wait(seconds)
            return
        with contextlib.suppress(StopIteration):
            raise next(calls)

    monkeypatch.setattr("pochette.instrument.play.time.sleep", sleep)
    assert play(toy_instrument(), tell=lambda _: None).xruns == 1


def test_no_portaudio_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(ToolError, match="apt-get install libportaudio2"):
        play(toy_instrument())


def test_midi_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Message] = []

    @contextlib.contextmanager
    def opened(name: str, callback: Any) -> Any:
        callback(mido.Message("note_on", note=60, velocity=9))
        callback(mido.Message("clock"))
        yield

    monkeypatch.setattr(mido, "get_input_names", lambda: ["Through", "Keystation 49"])
    monkeypatch.setattr(mido, "open_input", opened)
    with midi_input("keysta", heard.append, print) as found:
        assert found and heard == [Message("note_on", 60, 9)]
    with pytest.raises(ToolError, match="Keystation"), midi_input("Moog", heard.append, print):
        pass

    def none() -> list[str]:
        raise SystemError("no ALSA sequencer")

    monkeypatch.setattr(mido, "get_input_names", none)
    with midi_input("", heard.append, print) as found:
        assert not found
