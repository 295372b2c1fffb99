"""What every shell promises: it writes whole or not at all, the same every time, and sounds golden in its own host."""

from __future__ import annotations

import os
import subprocess
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pochette.engine.build import host_compiler
from pochette.engine.runner import FloatArray
from pochette.errors import InstrumentError
from pochette.families import shells
from pochette.instrument import Instrument
from tests.instrument.bench import toy_with_knobs
from tests.shells.browser import Browser


def in_a_browser(path: Path, instrument: Instrument) -> FloatArray:
    with Browser(path.as_uri()) as browser:
        audio = browser.audio(f"pochette.frames({instrument.golden_controls.tolist()})")
        assert browser.complaints() == []
    return audio


def with_make(path: Path, instrument: Instrument) -> FloatArray:
    environment = os.environ | {"CC": " ".join(host_compiler())}
    done = subprocess.run(["make", "-C", str(path)], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    with wave.open(str(path / f"{instrument.source.name}.wav")) as file:
        assert file.getframerate() == instrument.sample_rate_hz
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32767


Host = Callable[[Path, Instrument], FloatArray]
HOSTS: dict[str, Host] = {"web": in_a_browser, "c": with_make}
"""How each shell is loaded in its world: what it wrote in, the golden sound out. A new shell adds its own."""


def contents(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return {str(file.relative_to(path.parent)): file.read_bytes() for file in files}


def test_every_shell_has_a_host() -> None:
    assert set(HOSTS) == set(shells.names())


@pytest.mark.parametrize("name", HOSTS)
def test_it_writes_into_the_folder_and_the_same_every_time(name: str, tmp_path: Path) -> None:
    path = shells[name](toy_with_knobs(), tmp_path / "out" / "deep")
    assert path.parent == tmp_path / "out" / "deep" and [p.name for p in path.parent.iterdir()] == [path.name]
    first = contents(path)
    assert shells[name](toy_with_knobs(), path.parent) == path and contents(path) == first
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("name", HOSTS)
def test_a_failed_write_loses_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shells[name](toy_with_knobs(), tmp_path)
    first = contents(path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InstrumentError, match="No space left"):
        shells[name](toy_with_knobs(), tmp_path)
    monkeypatch.undo()
    assert contents(path) == first and [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.system
@pytest.mark.parametrize("name", HOSTS)
def test_it_sounds_golden_in_its_host(name: str, tmp_path: Path) -> None:
    instrument = toy_with_knobs()
    audio = HOSTS[name](shells[name](instrument, tmp_path), instrument)
    assert np.abs(audio - instrument.golden_audio[: len(audio)]).max() < 1e-4
    assert len(audio) == len(instrument.golden_audio)
