"""The instrument as one web page: opened from disk, without a network, it plays.

The page holds everything: the engine's WebAssembly, the audio thread that plays it by the rules of
`pochette.instrument.voice`, keys, knobs and pictures. A content security policy in the page forbids it any connection,
and names its own script and style by their checksums, so that nothing else can run in it.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from importlib import resources
from pathlib import Path
from typing import Any

from pochette.engine.source import BLOCK_SAMPLES
from pochette.families import shells
from pochette.instrument.file import Instrument
from pochette.instrument.polyphony import KNOB_CCS, PATCH_CCS
from pochette.instrument.voice import CONSTANTS, PATCH, PLAYED
from pochette.shells.bundle import write_file

PAGE_SCRIPTS = ("audio.js", "keys.js", "knobs.js", "screens.js")
WORKLET_SCRIPTS = ("voice.js", "polyphony.js", "processor.js")
VOICES = 8


@shells.member("web")
def write(instrument: Instrument, out_dir: Path, *, voices: int = VOICES) -> Path:
    """One web page that plays from disk, with keys, knobs, MIDI and pictures of the sound.

    Args:
        instrument: what the page plays.
        out_dir: folder for the page; made if missing.
        voices: how many notes sound at once.

    Returns:
        the page, `NAME.html`.

    Raises:
        InstrumentError: the page cannot be written.
    """
    return write_file(Path(out_dir) / f"{instrument.name}.html", page(instrument, voices=voices).encode())


def page(instrument: Instrument, *, voices: int = VOICES) -> str:
    """Make the page's text.

    Args:
        instrument: what the page plays.
        voices: how many notes sound at once.

    Returns:
        HTML that needs nothing else.
    """
    style, script = _text("page.css"), _joined(PAGE_SCRIPTS)
    slots = {
        "policy": _policy(script, style),
        "title": html.escape(instrument.title or instrument.name),
        "subtitle": html.escape(_subtitle(instrument)),
        "facts": html.escape(" · ".join(_facts(instrument))),
        "style": style,
        "config": _json(_config(instrument, voices)),
        "wasm": base64.b64encode(instrument.wasm).decode(),
        "script": script,
    }
    # Cut at the slots once, so that nothing inside a filled slot is ever taken for a slot.
    head, *rest = _text("page.html").split("{{")
    pieces = [head]
    for part in rest:
        slot, text = part.split("}}", 1)
        pieces += [slots[slot], text]
    return "".join(pieces)


def _config(instrument: Instrument, voices: int) -> dict[str, Any]:
    """Gather what the scripts must know; all numbers of the musical logic come from Python."""
    source = instrument.source
    return {
        "name": instrument.name,
        "title": instrument.title or instrument.name,
        "sample_rate_hz": source.sample_rate_hz,
        "hop_samples": source.hop_samples,
        "lead_samples": source.lead_samples,
        "block_samples": BLOCK_SAMPLES,
        "voices": voices,
        "played": list(PLAYED),
        "controls": [vars(control) for control in source.controls],
        "patch": [vars(control) for control in PATCH],
        "pitch_range_hz": instrument.pitch_range_hz,
        "constants": CONSTANTS,
        "patch_ccs": PATCH_CCS,
        "knob_ccs": KNOB_CCS,
        "worklet": _joined(WORKLET_SCRIPTS),
    }


def _subtitle(instrument: Instrument) -> str:
    made_for = f"made for {instrument.board}" if instrument.board else "a pocket instrument"
    return f"pochette · {made_for}"


def _facts(instrument: Instrument) -> list[str]:
    """Tell the instrument's small print: what it is made of and where it comes from."""
    made = instrument.provenance
    facts = [f"{instrument.parameters:,} parameters".replace(",", " ")]
    operations = made.get("operations_per_second")
    if isinstance(operations, (int, float)) and operations > 0:
        facts.append(f"{operations / 1e6:,.3g} million operations a second")
    size = len(instrument.wasm)
    facts.append(f"{size / 1e6:.1f} MB engine" if size >= 1e6 else f"{size / 1e3:.0f} kB engine")
    facts.append(f"{instrument.sample_rate_hz / 1000:g} kHz")
    seconds = made.get("seconds")
    if isinstance(seconds, (int, float)) and seconds > 0:
        facts.append(f"learnt from {seconds:,.4g} s of sound")
    facts.append(f"pochette {instrument.pochette_version}")
    if instrument.created:
        facts.append(instrument.created[:10])
    return facts


def _policy(script: str, style: str) -> str:
    """No connection of any kind; only this script, this style, and the audio thread made from this page."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src '{_checksum(script)}' data: blob: 'wasm-unsafe-eval'",
            f"style-src '{_checksum(style)}'",
            "worker-src data: blob:",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _checksum(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _json(data: dict[str, Any]) -> str:
    """JSON that cannot end the script element that holds it."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _joined(names: tuple[str, ...]) -> str:
    return "\n".join(_text(name) for name in names)


def _text(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
