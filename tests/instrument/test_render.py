import os
import subprocess
import sys
import wave
from pathlib import Path

import mido
import numpy as np
import pytest

from pochette.errors import InstrumentError, SoundError
from pochette.instrument import load, read_midi, render, save, scale_midi
from pochette.instrument.wav import write_wav
from tests.instrument.bench import toy_instrument


def read_wav(path: Path) -> tuple[int, np.ndarray]:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767


def midi(path: Path, *tracks: list[mido.Message | mido.MetaMessage]) -> Path:
    file = mido.MidiFile(ticks_per_beat=100)
    for messages in tracks:
        file.tracks.append(mido.MidiTrack(messages))
    file.save(str(path))
    return path


def on(note: int, time: int = 0, **more: int) -> mido.Message:
    return mido.Message("note_on", note=note, velocity=90, time=time, **more)


def off(note: int, time: int = 0, **more: int) -> mido.Message:
    return mido.Message("note_off", note=note, time=time, **more)


def tempo(beat_s: float, time: int = 0) -> mido.MetaMessage:
    return mido.MetaMessage("set_tempo", tempo=round(beat_s * 1e6), time=time)


def test_each_note_of_a_scale_sounds_at_its_time_and_pitch(tmp_path: Path) -> None:
    score = scale_midi(tmp_path / "scale.mid", [57, 69], note_s=0.5, gap_s=0.5)
    report = render(toy_instrument(), score, tmp_path / "scale.wav")
    rate, audio = read_wav(report.path)
    assert rate == 48000 and report.notes == 2 and report.clipped_samples == 0
    for start_s, hz in ((0.1, 220.0), (1.1, 440.0)):
        piece = audio[int(start_s * rate) : int((start_s + 0.35) * rate)]
        crossings = ((piece[:-1] < 0) & (piece[1:] >= 0)).sum()
        assert crossings / 0.35 == pytest.approx(hz, abs=4)
    assert abs(audio[-1]) < 1e-3


def test_twice_the_same_bytes(tmp_path: Path) -> None:
    score = scale_midi(tmp_path / "scale.mid", [60, 62])
    first = render(toy_instrument(), score, tmp_path / "a.wav").path.read_bytes()
    assert render(toy_instrument(), score, tmp_path / "b.wav").path.read_bytes() == first


def test_sandbox_and_native_agree(tmp_path: Path) -> None:
    score = scale_midi(tmp_path / "scale.mid", [60, 62])
    sounds = [read_wav(render(toy_instrument(), score, tmp_path / "x.wav", kind).path)[1] for kind in ("wasm", "c")]
    assert np.abs(sounds[0] - sounds[1]).max() < 1e-4


def test_tempo_changes_and_several_tracks_are_followed(tmp_path: Path) -> None:
    path = midi(
        tmp_path / "two.mid",
        [tempo(1.0), tempo(0.25, time=200)],
        [on(60), off(60, 300)],
        [on(64, 100), off(64, 300)],
    )
    score = read_midi(path)
    times = {(m.kind, m.number): at for at, m in score.events}
    assert times == {
        ("note_on", 60): 0.0,
        ("note_on", 64): 1.0,
        ("note_off", 60): pytest.approx(2.25),
        ("note_off", 64): pytest.approx(2.5),
    }


def test_drums_are_left_out_unless_alone(tmp_path: Path) -> None:
    both = midi(tmp_path / "a.mid", [on(60), on(36, channel=9), off(60, 10), off(36, channel=9)])
    assert (read_midi(both).notes, read_midi(both).left_out) == (1, 1)
    alone = midi(tmp_path / "b.mid", [on(36, channel=9), off(36, 10, channel=9)])
    assert (read_midi(alone).notes, read_midi(alone).left_out) == (1, 0)


def test_unusable_midi_files_say_so(tmp_path: Path) -> None:
    whole = scale_midi(tmp_path / "whole.mid").read_bytes()
    bad = {
        "empty": b"",
        "text": b"this is no MIDI" * 9,
        "header": whole[:14],
        "division": whole[:12] + b"\xe7\x28" + whole[14:],
        "type2": whole[:8] + b"\x00\x02" + whole[10:],
    }
    for name, data in bad.items():
        (tmp_path / f"{name}.mid").write_bytes(data)
        with pytest.raises(SoundError):
            read_midi(tmp_path / f"{name}.mid")
    for cut in range(0, len(whole), 7):
        (tmp_path / "cut.mid").write_bytes(whole[:cut])
        try:
            read_midi(tmp_path / "cut.mid")
        except SoundError as error:
            assert error.remedy
    with pytest.raises(SoundError, match="no notes"):
        read_midi(midi(tmp_path / "none.mid", [tempo(1.0)]))
    with pytest.raises(SoundError, match="minutes"):
        read_midi(midi(tmp_path / "long.mid", [on(60), off(60, 100_000_000)]))
    with pytest.raises(SoundError):
        read_midi(tmp_path / "missing.mid")
    with pytest.raises(SoundError):
        scale_midi(tmp_path / "nowhere" / "s.mid")


def test_more_notes_than_voices_are_counted(tmp_path: Path) -> None:
    path = midi(tmp_path / "chord.mid", [on(60), on(64), on(67), off(60, 100), off(64), off(67)])
    assert render(toy_instrument(), path, tmp_path / "c.wav", voices=2).stolen_notes == 1


def test_progress_rises_to_one(tmp_path: Path) -> None:
    seen: list[float] = []
    render(toy_instrument(), scale_midi(tmp_path / "s.mid", [60]), tmp_path / "s.wav", progress=seen.append)
    assert seen == sorted(seen) and seen[-1] == 1.0 and len(seen) > 5


def test_clipping_is_held_and_told(tmp_path: Path) -> None:
    level = write_wav(tmp_path / "x.wav", np.array([0, 2, -3, np.nan, np.inf], np.float32), 8000)
    assert (level.peak, level.clipped_samples) == (3.0, 2)
    assert read_wav(tmp_path / "x.wav")[1].tolist() == [0, 1, -1, 0, 0]
    with pytest.raises(InstrumentError):
        write_wav(tmp_path / "nowhere" / "x.wav", np.zeros(3, np.float32), 8000)


BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "scipy", "soundfile", "safetensors", "sounddevice", "rtmidi", "soxr"}:
            raise ImportError(f"the light player must not import {name}")

sys.meta_path.insert(0, Blocker())
from pathlib import Path
import pochette.instrument as room
import pochette.instrument.play
from pochette.families import shells
folder = Path(sys.argv[1])
report = room.render(room.load(folder / "toy.pochette"), folder / "s.mid", folder / "light.wav")
assert report.peak > 0.1
assert "web" in shells.names() and "c" in shells.names()
"""


def test_the_light_player_needs_no_torch(tmp_path: Path) -> None:
    save(toy_instrument(), tmp_path / "toy.pochette")
    scale_midi(tmp_path / "s.mid", [60])
    done = subprocess.run([sys.executable, "-c", BLOCKED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "light.wav").stat().st_size > 10_000


def test_the_inputs_and_what_is_no_file_are_never_replaced(tmp_path: Path) -> None:
    toy = load(save(toy_instrument(), tmp_path / "toy.pochette"))
    song = scale_midi(tmp_path / "s.mid", [60])
    (tmp_path / "link.wav").symlink_to(song)
    (tmp_path / "hard.wav").hardlink_to(tmp_path / "toy.pochette")
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "pipe-link.wav").symlink_to(tmp_path / "pipe.wav")
    (tmp_path / "folder.wav").mkdir()
    before = song.read_bytes(), (tmp_path / "toy.pochette").read_bytes()
    for name in ("s.mid", "toy.pochette", "link.wav", "hard.wav"):
        with pytest.raises(InstrumentError, match="made from"):
            render(toy, song, tmp_path / name)
    for name in ("pipe.wav", "pipe-link.wav"):
        with pytest.raises(InstrumentError, match="not a regular file"):
            render(toy, song, tmp_path / name)
        with pytest.raises(InstrumentError, match="not a regular file"):
            save(toy, tmp_path / name)
    for name in ("folder.wav", ""):
        with pytest.raises(InstrumentError, match="is a folder"):
            render(toy, song, tmp_path / name)
    for name in ("x.mp3", "x.flac", "x"):
        with pytest.raises(InstrumentError, match=r"ending in \.wav"):
            render(toy, song, tmp_path / name)
    with pytest.raises(InstrumentError, match=r"s\.mid' is a file; choose another folder"):
        render(toy, song, song / "below" / "x.wav")
    assert before == (song.read_bytes(), (tmp_path / "toy.pochette").read_bytes())
    assert (tmp_path / "pipe.wav").is_fifo() and not list((tmp_path / "folder.wav").iterdir())
