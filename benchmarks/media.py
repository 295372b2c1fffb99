"""The README's picture and sound, made from an instrument that `make_sax.py --out FOLDER` left.

    python benchmarks/media.py FOLDER

Renders a short phrase in the sandbox to docs/sounds/phrase.mp3 and photographs the page, while it plays a chord, to
docs/images/page.png (this needs Chromium).
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

import mido
import numpy as np
import soundfile

from pochette.instrument import load, render

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

# Note, beats, velocity: a slow blues line inside the saxophone's range.
PHRASE = [(62, 1.0, 70), (65, 0.5, 80), (67, 0.5, 90), (68, 0.5, 100), (67, 0.5, 85), (65, 0.5, 75), (62, 1.5, 90)]
PHRASE += [(60, 0.5, 60), (62, 0.5, 75), (65, 1.0, 95), (69, 0.5, 105), (70, 0.5, 110), (69, 2.5, 100)]


def phrase(path: Path) -> None:
    """Write the phrase as a MIDI file, vibrato growing on long notes."""
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(92))])
    for note, beats, velocity in PHRASE:
        ticks = round(480 * beats)
        track.append(mido.Message("control_change", control=1, value=0, time=0))
        track.append(mido.Message("note_on", note=note, velocity=velocity, time=0))
        if beats >= 1:
            track.append(mido.Message("control_change", control=1, value=45, time=ticks // 2))
            ticks -= ticks // 2
        track.append(mido.Message("note_off", note=note, time=ticks))
    mido.MidiFile(tracks=[track]).save(path)


def main() -> int:
    folder = Path(sys.argv[1])
    path = next(folder.glob("*.pochette"))
    with tempfile.TemporaryDirectory() as scratch:
        midi, wav = Path(scratch) / "phrase.mid", Path(scratch) / "phrase.wav"
        phrase(midi)
        render(load(path), midi, wav, mono=True)
        audio, rate = soundfile.read(wav, dtype="float32")
    target = ROOT / "docs" / "sounds" / "phrase.mp3"
    target.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(target, audio * (0.8 / np.abs(audio).max()), rate, format="MP3")
    print(target)
    if shutil.which("chromium") is None:
        print("no picture: Chromium is not installed", file=sys.stderr)
        return 0
    from tests.shells.browser import Browser

    picture = ROOT / "docs" / "images" / "page.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    page = (folder / f"{path.stem}.html").resolve().as_uri()
    with Browser(page, (1200, 860)) as browser:
        browser.wait_for("window.pochette !== undefined")
        browser.evaluate("window.pochette.start().then(() => window.pochette.ready).then(() => true)")
        for note in (57, 62, 65):
            browser.evaluate(f"window.pochette.noteOn({note}, 90)")
        time.sleep(1.5)
        browser.screenshot(picture)
    print(picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
