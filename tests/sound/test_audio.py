"""Reading gives the sound at the rate asked for, or a sentence that says what is wrong and what to do."""

from __future__ import annotations

import os
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pochette.errors import SoundError, ToolError
from pochette.sound.audio import FloatArray, probe, read, read_blocks, write_wav


def sine(seconds: float, rate: int, f0_hz: float = 440.0) -> FloatArray:
    return np.asarray(0.5 * np.sin(2 * np.pi * f0_hz * np.arange(round(seconds * rate)) / rate), np.float32)


def complain(path: Path) -> SoundError:
    with pytest.raises(SoundError) as caught:
        read(path, 16000)
    assert str(path) in caught.value.where
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 96000, 192000])
def test_any_rate_becomes_the_rate_asked_for(tmp_path: Path, rate: int) -> None:
    """A sine of 440 Hz stays one, sample for sample, away from the edges."""
    soundfile.write(tmp_path / "a.wav", sine(1.0, rate), rate, subtype="FLOAT")
    sound = read(tmp_path / "a.wav", 48000)
    assert sound.dtype == np.float32
    assert abs(len(sound) - 48000) <= 1
    middle = slice(4800, 43200)
    assert np.allclose(sound[middle], sine(1.0, 48000)[middle], atol=2e-3)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_every_format_is_heard(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, sine(1.0, 44100), 44100)
    sound = read(path, 44100)
    assert 44100 <= len(sound) < 44100 + 4000
    assert np.sqrt(np.mean(sound[8000:36000] ** 2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.02)
    assert probe(path).seconds == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("channels", [2, 6])
def test_channels_are_averaged(tmp_path: Path, channels: int) -> None:
    """One sounding channel among n gives an n-th of its amplitude."""
    sounds = np.zeros((8000, channels), np.float32)
    sounds[:, channels - 1] = sine(0.5, 16000)
    soundfile.write(tmp_path / "a.wav", sounds, 16000, subtype="FLOAT")
    assert np.allclose(read(tmp_path / "a.wav", 16000), sine(0.5, 16000) / channels, atol=1e-6)
    assert probe(tmp_path / "a.wav").channels == channels


def test_blocks_join_to_the_whole(tmp_path: Path) -> None:
    """The length of a block changes nothing, not even where resampling carries state across."""
    soundfile.write(tmp_path / "a.flac", sine(2.0, 44100, 997.0), 44100)
    whole = read(tmp_path / "a.flac", 16000)
    pieces = list(read_blocks(tmp_path / "a.flac", 16000, block_seconds=0.05))
    assert len(pieces) > 20
    assert np.allclose(np.concatenate(pieces), whole, atol=1e-6)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Two minutes pass through in less memory than they would fill."""
    with soundfile.SoundFile(tmp_path / "long.wav", "w", 48000, 1) as file:
        for _ in range(120):
            file.write(sine(1.0, 48000))
    tracemalloc.start()
    samples = sum(len(block) for block in read_blocks(tmp_path / "long.wav", 16000, block_seconds=2))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert samples == 120 * 16000
    assert peak < 5_000_000


def test_nan_is_reported_with_its_time(tmp_path: Path) -> None:
    sound = sine(2.0, 16000)
    sound[24000] = np.nan
    soundfile.write(tmp_path / "a.wav", sound, 16000, subtype="FLOAT")
    assert "1.500 s" in complain(tmp_path / "a.wav").what


def test_infinity_is_reported(tmp_path: Path) -> None:
    sound = sine(0.5, 16000)
    sound[0] = np.inf
    soundfile.write(tmp_path / "a.wav", sound, 16000, subtype="FLOAT")
    assert "0.000 s" in complain(tmp_path / "a.wav").what


def test_what_is_no_sound_is_reported(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("not a sound")
    (tmp_path / "empty.wav").touch()
    soundfile.write(tmp_path / "none.wav", np.zeros(0, np.float32), 16000)
    assert "no sound" in complain(tmp_path / "text.wav").what
    assert "0 bytes" in complain(tmp_path / "empty.wav").what
    assert "no samples" in complain(tmp_path / "none.wav").what
    assert "no such" in complain(tmp_path / "missing.wav").what
    assert "no such" in complain(tmp_path).what


@pytest.mark.parametrize(
    ("name", "share"),
    [*((f"a.{kind}", 0.5) for kind in ("wav", "flac", "ogg", "mp3", "aiff", "w64")), ("a.flac", 0.01)],
)
def test_truncated_files_never_pass_for_whole(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / name
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 48000), 16000)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert str(path) in complain(path).where


def test_a_streamed_wav_is_whole(tmp_path: Path) -> None:
    """A writer to a pipe cannot know the length; it says the largest there is, and that is no damage."""
    soundfile.write(tmp_path / "a.wav", sine(0.5, 16000), 16000)
    data = bytearray((tmp_path / "a.wav").read_bytes())
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    assert data[36:40] == b"data"
    (tmp_path / "a.wav").write_bytes(data)
    assert len(read(tmp_path / "a.wav", 16000)) == 8000


def test_damaged_middle_never_crashes(tmp_path: Path) -> None:
    """Overwritten bytes give an error or a finite sound, never another exception."""
    for suffix in ("flac", "ogg", "mp3", "wav"):
        path = tmp_path / f"a.{suffix}"
        soundfile.write(path, sine(3.0, 44100), 44100)
        data = bytearray(path.read_bytes())
        for seed in range(5):
            rng = np.random.default_rng(seed)
            start = int(rng.integers(0, len(data) - 600))
            broken = data[:start] + rng.bytes(500) + data[start + 500 :]
            path.write_bytes(broken)
            try:
                assert np.isfinite(read(path, 16000)).all()
            except SoundError as error:
                assert error.remedy


def test_odd_names(tmp_path: Path) -> None:
    for name in ("Größe 音 é.wav", "x" * 200 + ".wav", "a b'\"$;.wav"):
        write_wav(tmp_path / name, sine(0.1, 16000), 16000)
        assert len(read(tmp_path / name, 16000)) == 1600
    if sys.platform == "linux":
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.wav"))
        write_wav(path, sine(0.1, 16000), 16000)
        assert len(read(path, 16000)) == 1600


def test_written_samples_come_back_rounded_and_clipped(tmp_path: Path) -> None:
    values = np.array([0.0, 0.5, -0.5, 1.0, -1.0, 7.0, -7.0, np.nan, 0.4 / 32767, 0.6 / 32767], np.float32)
    write_wav(tmp_path / "new" / "a.wav", values, 16000)
    back, rate = soundfile.read(tmp_path / "new" / "a.wav", dtype="int16")
    assert rate == 16000
    assert back.tolist() == [0, 16384, -16384, 32767, -32767, 32767, -32767, 0, 0, 1]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.wav"]


def test_writing_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SoundError, match="cannot be written"):
        write_wav(tmp_path / "file" / "a.wav", sine(0.1, 16000), 16000)


def test_without_codecs_reading_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The light player writes without soundfile and soxr, and is told what reading needs."""
    monkeypatch.setitem(sys.modules, "soxr", None)
    write_wav(tmp_path / "a.wav", sine(0.1, 16000), 16000)
    with pytest.raises(ToolError, match=r"pochette\[train\]"):
        read(tmp_path / "a.wav", 16000)
