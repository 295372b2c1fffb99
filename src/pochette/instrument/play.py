"""An instrument played live: MIDI or the terminal's keyboard in, the sound card out.

The sound card asks for audio in a thread of its own. That thread alone touches the voices; everything else reaches them
through a queue of messages. PortAudio and the MIDI driver are imported only when a sound is to be made.
"""

from __future__ import annotations

import contextlib
import queue
import select
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import mido
import numpy as np

from pochette.engine.runner import FloatArray
from pochette.errors import ToolError
from pochette.instrument.file import EngineKind, Instrument
from pochette.instrument.midi import message_of
from pochette.instrument.polyphony import Message, Polyphony
from pochette.instrument.voice import CONSTANTS

TERMINAL_KEYS = "awsedftgyhujkolp;"
"""A piano octave and a bit on the letters of an English keyboard, upwards from C."""
TERMINAL_NOTE_S = 0.4
"""A terminal does not tell when a key is let go: its notes last this long."""
_INSTALL = "Install it with: apt-get install libportaudio2 && pip install 'pochette[play]'"


class LivePlayer:
    """What the sound card calls: messages in through a queue, audio out, and how hard the work was.

    Args:
        player: the voices; belongs to the audio thread from now on.
    """

    def __init__(self, player: Polyphony) -> None:
        self.player = player
        self.xruns = 0
        """How often the sound card came too early or too late."""
        self.failure = ""
        """Why the engine stopped; silence is played since."""
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._loads: deque[float] = deque(maxlen=200)

    def send(self, message: Message) -> None:
        """Hand over a message from any thread; it takes effect with the next block."""
        self._messages.put(message)

    def fill(self, frames: int) -> FloatArray:
        """Make the next block.

        Args:
            frames: samples wanted.

        Returns:
            (frames,), within full scale; silence once the engine has failed.
        """
        began = time.perf_counter()
        if self.failure:
            return np.zeros(frames, np.float32)
        try:
            while not self._messages.empty():
                self.player.apply(self._messages.get_nowait())
            audio = softened(self.player.render(frames))
        except Exception as error:  # an exception in the audio thread would end the stream without a word
            self.failure = str(error)
            return np.zeros(frames, np.float32)
        self._loads.append((time.perf_counter() - began) * self.player.sample_rate_hz / max(frames, 1))
        return audio

    @property
    def load(self) -> float:
        """Mean share of the time at hand that the last blocks took; above 1 the sound breaks."""
        return sum(self._loads) / len(self._loads) if self._loads else 0.0

    @property
    def peak_load(self) -> float:
        """Worst of the last blocks."""
        return max(self._loads, default=0.0)


def softened(audio: FloatArray) -> FloatArray:
    """Round off what would exceed full scale, above a knee; what is not a number becomes silence.

    Args:
        audio: any samples.

    Returns:
        samples within -1 to 1, unchanged below the knee.
    """
    knee = CONSTANTS["KNEE"]
    finite = np.nan_to_num(audio, nan=0.0, posinf=0.0, neginf=0.0)
    loud = np.abs(finite)
    rounded = knee + (1 - knee) * np.tanh((loud - knee) / (1 - knee))
    return np.asarray(np.where(loud > knee, np.copysign(rounded, finite), finite), np.float32)


def play(
    instrument: Instrument,
    *,
    engine: EngineKind = "wasm",
    trust: bool = False,
    voices: int = 4,
    mono: bool = False,
    midi_port: str = "",
    device: str | int | None = None,
    block_samples: int = 256,
    tell: Callable[[str], None] = print,
    seconds: float = float("inf"),
) -> LivePlayer:
    """Play until Ctrl-C.

    Args:
        instrument: what is played.
        engine: "wasm" or "c".
        trust: allow "c" for a file that was not built here.
        voices: how many notes sound at once.
        mono: one voice that slurs.
        midi_port: part of the name of the MIDI input; the first one if empty.
        device: sound card, as sounddevice names it; the default one if None.
        block_samples: samples that the sound card asks for at once; fewer answer sooner and need more speed.
        tell: where to say what is going on.
        seconds: stop by itself after this long.

    Returns:
        the player, with its load and count of xruns.

    Raises:
        ToolError: there is no PortAudio, no sound card, or no MIDI port of that name.
        InstrumentError: the engine cannot be run.
    """
    live = LivePlayer(Polyphony(instrument, voices, engine=engine, trust=trust, mono=mono))
    stream = _stream(live, instrument.sample_rate_hz, device, block_samples)
    with contextlib.ExitStack() as stack:
        has_midi = stack.enter_context(midi_input(midi_port, live.send, tell))
        stack.enter_context(stream)
        tell(f"{instrument.title or instrument.name} plays; Ctrl-C ends.")
        with contextlib.suppress(KeyboardInterrupt):
            _until(time.monotonic() + seconds, live, tell, keyboard=not has_midi)
        live.send(Message("panic"))
        time.sleep(2 * block_samples / instrument.sample_rate_hz + 0.02)
    tell(f"load {live.load:.0%}, at worst {live.peak_load:.0%} of the time at hand; {live.xruns} xruns")
    return live


def _stream(live: LivePlayer, sample_rate_hz: int, device: str | int | None, block_samples: int) -> Any:
    """A sound card that asks a player for its blocks, not yet started."""
    sound = _sounddevice()

    def callback(out: Any, frames: int, _: Any, status: Any) -> None:
        live.xruns += bool(status)
        out[:, 0] = live.fill(frames)

    try:
        return sound.OutputStream(
            samplerate=sample_rate_hz,
            blocksize=block_samples,
            channels=1,
            dtype="float32",
            device=device,
            latency="low",
            callback=callback,
        )
    except (sound.PortAudioError, ValueError) as error:
        raise ToolError(
            f"No sound card plays {sample_rate_hz} Hz: {error}",
            remedy="Choose another with --device; `python -m sounddevice` lists them.",
        ) from error


@contextlib.contextmanager
def midi_input(port: str, send: Callable[[Message], None], tell: Callable[[str], None]) -> Iterator[bool]:
    """Open a MIDI input while the context lasts.

    Args:
        port: part of the port's name; the first port if empty.
        send: called with every act, from the driver's thread.
        tell: where to say which port was opened, or why none.

    Yields:
        whether a port is open.

    Raises:
        ToolError: a port was named and there is none of that name.
    """
    try:
        names = list(mido.get_input_names())
    # python-rtmidi raises SystemError where the system has no MIDI at all.
    except (ImportError, OSError, SystemError, RuntimeError) as error:
        names = []
        tell(f"MIDI is not available ({error}); pip install 'pochette[play]' brings the driver.")
    chosen = next((name for name in names if port.lower() in name.lower()), None)
    if chosen is None:
        if port:
            raise ToolError(
                f"There is no MIDI input called {port!r}.",
                remedy=f"Known inputs: {', '.join(names)}." if names else "Plug one in, or leave --midi-port out.",
            )
        tell("No MIDI input was found.")
        yield False
        return

    def heard(message: Any) -> None:
        if (act := message_of(message)) is not None:
            send(act)

    with mido.open_input(chosen, callback=heard):
        tell(f"Listening to {chosen}.")
        yield True


def _until(deadline_s: float, live: LivePlayer, tell: Callable[[str], None], keyboard: bool) -> None:
    """Wait, and meanwhile play what is typed if there is no MIDI."""
    with contextlib.ExitStack() as stack:
        typed = stack.enter_context(_typed_keys()) if keyboard else None
        if typed:
            tell(f"Play with the letters {TERMINAL_KEYS}.")
        sounding: dict[int, float] = {}
        while (now := time.monotonic()) < deadline_s and not live.failure:
            for key in typed() if typed else "":
                if key in TERMINAL_KEYS:
                    note = 60 + TERMINAL_KEYS.index(key)
                    sounding[note] = now + TERMINAL_NOTE_S
                    live.send(Message("note_on", note, 100))
            for note in [note for note, end_s in sounding.items() if end_s <= now]:
                live.send(Message("note_off", note))
                del sounding[note]
            time.sleep(0.01)
    if live.failure:
        raise ToolError(f"The engine stopped: {live.failure}", remedy="Build the instrument again.")


@contextlib.contextmanager
def _typed_keys() -> Iterator[Callable[[], str] | None]:
    """Read what is typed into the terminal, key by key; None if there is no such terminal."""
    try:
        import termios
        import tty

        before = termios.tcgetattr(sys.stdin)
    except (ImportError, OSError, ValueError, termios.error):
        yield None
        return
    try:
        tty.setcbreak(sys.stdin)
        yield lambda: sys.stdin.read(1) if select.select([sys.stdin], [], [], 0)[0] else ""
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _sounddevice() -> Any:
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise ToolError(f"The sound card cannot be reached: {error}.", remedy=_INSTALL) from error
    return sounddevice
