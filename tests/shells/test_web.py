import base64
import hashlib
import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pochette.control import Control
from pochette.engine.build import compile_wasm
from pochette.engine.runner import FloatArray
from pochette.instrument import Message, Polyphony, perform
from pochette.instrument.midi import Score
from pochette.shells.web import page, write
from tests.instrument.bench import toy_instrument, toy_with_knobs
from tests.shells.browser import Browser

RATE = 48000


def test_the_page_needs_nothing_from_outside() -> None:
    text = page(toy_instrument())
    assert len(text) < 120_000
    assert not re.search(r"""(src|href)=(?!['"]?data:)""", text)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)


def test_names_from_the_file_cannot_break_out_of_the_page() -> None:
    evil = "</script><script>alert(1)</script>{{wasm}}\"'"
    control = replace(toy_with_knobs().source.controls[2], help=evil, unit="<b>")
    controls = (*toy_with_knobs().source.controls[:2], control, *toy_with_knobs().source.controls[3:])
    text = page(replace(toy_with_knobs(), title=evil, source=replace(toy_with_knobs().source, controls=controls)))
    assert "<script>alert" not in text and text.count("<script") == 3
    config = text.split('id="config">')[1].split("</script>")[0]
    assert json.loads(config)["controls"][2]["help"] == evil


def test_same_instrument_same_page(tmp_path: Path) -> None:
    first = write(toy_instrument(), tmp_path / "a").read_bytes()
    assert write(toy_instrument(), tmp_path / "b").read_bytes() == first


def pitch_hz(audio: FloatArray) -> float:
    """The strongest partial, to a fraction of a bin."""
    spectrum = np.log(np.abs(np.fft.rfft(audio * np.hanning(len(audio)), 8 * len(audio))) + 1e-9)
    peak = int(spectrum.argmax())
    left, top, right = spectrum[peak - 1 : peak + 2]
    return float((peak + 0.5 * (left - right) / (left - 2 * top + right)) * RATE / (8 * len(audio)))


def cents(hz: float, wanted_hz: float) -> float:
    return abs(1200 * np.log2(hz / wanted_hz))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    path = write(toy_with_knobs(), tmp_path_factory.mktemp("web"))
    with Browser(path.as_uri()) as opened:
        yield opened
        assert opened.complaints() == []
        assert all(url.startswith(("file:", "data:")) for url in opened.requests())


@pytest.fixture
def silent(browser: Browser) -> Browser:
    browser.evaluate("pochette.start()")
    browser.evaluate("pochette.panic()")
    browser.evaluate("pochette.send({kind: 'control_change', number: 121})")
    time.sleep(0.1)
    return browser


@pytest.mark.system
def test_the_first_key_wakes_it_and_sounds_its_pitch(browser: Browser, tmp_path: Path) -> None:
    assert browser.evaluate("document.getElementById('state').textContent") == "asleep"
    browser.key("keyDown", "KeyH", "h")
    browser.wait_for("document.body.classList.contains('awake')")
    audio = browser.audio("pochette.capture(0.6)")
    assert cents(pitch_hz(audio[9600:]), 440) < 20
    browser.wait_for("document.getElementById('load').textContent.includes('%')")
    assert browser.screenshot(tmp_path / "page.png").stat().st_size > 50_000
    browser.key("keyUp", "KeyH", "h")
    time.sleep(1.0)
    assert np.abs(browser.audio("pochette.capture(0.1)")).max() < 1e-3


@pytest.mark.system
def test_the_drawn_piano_is_played_with_touch_by_height(silent: Browser) -> None:
    peaks = []
    for depth in (0.1, 0.95):
        x, y = silent.place("#key-72", depth)
        x += -12 if depth < 0.5 else 0  # beside the black key
        silent.mouse("mousePressed", x, y)
        audio = silent.audio("pochette.capture(0.4)")
        silent.mouse("mouseReleased", x, y)
        assert cents(pitch_hz(audio[9600:]), 523.25) < 20
        peaks.append(np.abs(audio[9600:]).max())
        time.sleep(0.9)
    assert peaks[1] > 1.15 * peaks[0]


@pytest.mark.system
def test_octave_keys_midi_bend_and_sustain(silent: Browser) -> None:
    silent.key("keyDown", "KeyZ", "z")
    silent.key("keyUp", "KeyZ", "z")
    silent.key("keyDown", "KeyH", "h")
    assert cents(pitch_hz(silent.audio("pochette.capture(0.5)")[9600:]), 220) < 20
    silent.key("keyUp", "KeyH", "h")
    silent.key("keyDown", "ArrowRight")
    time.sleep(0.8)
    for message in ([0xB0, 64, 127], [0x90, 69, 100], [0x80, 69, 0], [0xE0, 127, 127]):
        silent.evaluate(f"pochette.midi({message})")
    audio = silent.audio("pochette.capture(0.5)")
    assert cents(pitch_hz(audio[9600:]), 440 * 2 ** (2 / 12)) < 20
    for message in ([0xB0, 64, 0], [0xE0, 0, 64]):
        silent.evaluate(f"pochette.midi({message})")
    time.sleep(1.0)
    assert np.abs(silent.audio("pochette.capture(0.1)")).max() < 1e-3


@pytest.mark.system
def test_a_key_held_while_the_window_loses_focus_does_not_hang(silent: Browser) -> None:
    silent.key("keyDown", "KeyG", "g")
    time.sleep(0.2)
    silent.evaluate("dispatchEvent(new Event('blur'))")
    time.sleep(1.2)
    assert np.abs(silent.audio("pochette.capture(0.1)")).max() < 1e-3
    silent.key("keyUp", "KeyG", "g")


@pytest.mark.system
def test_knobs_turn_by_mouse_wheel_and_keys_and_reset(silent: Browser) -> None:
    def value() -> float:
        return float(silent.evaluate("document.querySelector('[aria-label=body]').getAttribute('aria-valuenow')"))

    x, y = silent.place("[aria-label=body] .dial")
    silent.mouse("mousePressed", x, y)
    silent.mouse("mouseMoved", x, y - 50, buttons=1)
    silent.mouse("mouseReleased", x, y - 50)
    dragged = value()
    assert dragged == pytest.approx(0.65, abs=0.01)
    silent.call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=-100)
    silent.wait_for(f"document.querySelector('[aria-label=body]').getAttribute('aria-valuenow') > {dragged}")
    silent.evaluate("document.querySelector('[aria-label=body]').focus()")
    silent.key("keyDown", "Home")
    assert value() == 0
    silent.key("keyDown", "ArrowUp")
    assert value() == pytest.approx(0.02)
    silent.mouse("mousePressed", x, y)
    silent.mouse("mouseReleased", x, y)
    silent.mouse("mousePressed", x, y, clickCount=2)
    silent.mouse("mouseReleased", x, y, clickCount=2)
    assert value() == pytest.approx(0.4)
    silent.evaluate("document.activeElement.blur()")


SCORE: tuple[tuple[float, Message], ...] = (
    (0.0, Message("note_on", 60, 90)),
    (0.1, Message("note_on", 64, 40)),
    (0.15, Message("set", name="vibrato_depth_cents", value=40)),
    (0.2, Message("note_on", 67, 127)),
    (0.3, Message("note_on", 71, 80)),
    (0.35, Message("pitch_bend", value=-0.5)),
    (0.4, Message("control_change", 11, 90)),
    (0.45, Message("control_change", 22, 100)),
    (0.5, Message("control_change", 64, 127)),
    (0.55, Message("note_off", 64)),
    (0.6, Message("note_off", 71)),
    (0.65, Message("note_on", 71, 60)),
    (0.7, Message("control_change", 72, 40)),
    (0.9, Message("control_change", 64, 0)),
    (1.0, Message("control_change", 1, 127)),
    (1.2, Message("control_change", 7, 80)),
    (1.4, Message("control_change", 123, 0)),
)


@pytest.mark.system
@pytest.mark.parametrize("voices", [2, 3, 8])
def test_page_and_python_play_the_same_score_to_the_same_sound(silent: Browser, voices: int) -> None:
    instrument = toy_with_knobs()
    player = Polyphony(instrument, voices)
    wanted = perform(player, Score(SCORE, 5, 1.4), 1.0)
    events = [[round(at * RATE), vars(message)] for at, message in SCORE]
    played = silent.audio(f"pochette.perform({json.dumps(events)}, {round(2.4 * RATE)}, {voices})")
    assert np.abs(wanted).max() > 0.5
    assert np.abs(played[: len(wanted)] - wanted).max() < 1e-3
    assert not played[len(wanted) :].any()


@pytest.mark.system
def test_page_and_python_strike_notes_that_begin_with_silence_alike(tmp_path: Path) -> None:
    toy = toy_instrument()
    controls = (toy.source.controls[0], Control("velocity", "", 0.0, 127.0, 100.0, help="how hard a key is struck"))
    struck = replace(toy, source=replace(toy.source, controls=controls, lead_samples=5 * toy.source.hop_samples))
    score = ((0.0, Message("note_on", 60, 30)), (0.1, Message("note_on", 64, 127)), (0.3, Message("note_off", 60)))
    wanted = perform(Polyphony(struck, 2), Score(score, 5, 0.3), 0.5)
    events = [[round(at * RATE), vars(message)] for at, message in score]
    with Browser(write(struck, tmp_path).as_uri()) as opened:
        opened.evaluate("pochette.start()")
        played = opened.audio(f"pochette.perform({json.dumps(events)}, {len(wanted)}, 2)")
        assert opened.complaints() == []
    assert np.abs(wanted).max() > 0.5
    assert np.abs(played - wanted).max() < 1e-3
    plain = Polyphony(replace(struck, source=replace(struck.source, lead_samples=0)), 2)
    assert np.abs(perform(plain, Score(score, 5, 0.3), 0.5) - wanted).max() > 0.1  # the lead is heard


@pytest.mark.system
def test_a_rate_that_the_browser_refuses_is_resampled(tmp_path: Path) -> None:
    path = write(toy_instrument(), tmp_path)
    broken = path.read_text().replace("sampleRate: config.sample_rate_hz", "sampleRate: 44100")
    script = broken.split("<script>")[1].split("</script>")[0]
    policy = re.search(r"script-src '(sha256-[^']+)'", broken)
    assert policy
    path.write_text(broken.replace(policy[1], _checksum(script)))
    with Browser(path.as_uri()) as opened:
        opened.key("keyDown", "KeyH", "h")
        opened.wait_for("document.body.classList.contains('awake')")
        audio = opened.audio("pochette.capture(0.6)")
        assert cents(pitch_hz(audio[9600:]) * 44100 / RATE, 440) < 20
        assert opened.complaints() == []


@pytest.mark.system
def test_it_fits_a_phone(tmp_path: Path) -> None:
    with Browser(write(toy_with_knobs(), tmp_path).as_uri(), (360, 740), mobile=True) as opened:
        opened.wait_for("document.querySelectorAll('.key').length === 13")
        assert opened.evaluate("document.documentElement.scrollWidth") <= 360
        x, y = opened.place("#start")
        opened.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        opened.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        opened.wait_for("document.body.classList.contains('awake')")
        points = [dict(zip("xy", opened.place(f"#key-{note}", 0.9), strict=True)) for note in (60, 64, 67)]
        opened.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=points)
        opened.wait_for("pochette.stats?.sounding === 3")
        opened.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        opened.wait_for("pochette.stats?.sounding === 0")


def _checksum(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@pytest.mark.system
def test_an_engine_that_traps_falls_silent_and_the_page_says_so(tmp_path: Path) -> None:
    source = toy_instrument().source
    body = source.files["toy.c"].replace("s->phase += s->step;", "s->phase += s->step; if (i > 5) __builtin_trap();")
    broken = replace(source, files=source.files | {"toy.c": body})
    with Browser(write(replace(toy_instrument(), wasm=compile_wasm(broken)), tmp_path).as_uri()) as opened:
        opened.key("keyDown", "KeyH", "h")
        opened.wait_for("document.getElementById('lamp').dataset.state === 'failed'")
        assert not opened.audio("pochette.capture(0.1)").any()


@pytest.mark.system
def test_an_engine_that_is_no_webassembly_is_said(tmp_path: Path) -> None:
    path = write(replace(toy_instrument(), wasm=b"\0asm\1\0\0\0"), tmp_path)
    with Browser(path.as_uri()) as opened:
        opened.evaluate("pochette.start().catch(() => {})")
        assert opened.evaluate("document.getElementById('state').textContent") == "failed"
        assert "engine" in opened.evaluate("document.getElementById('start').textContent")
