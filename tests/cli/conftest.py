"""The verbs as a person gives them: in this process where it can be, as a process of its own where it must be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pochette.cli import main
from pochette.cli.console import Screen, Tell
from pochette.engine import verify
from pochette.instrument import remember_built_here, save, scale_midi
from pochette.instrument.wav import write_wav

TINY = ("--size", "tiny", "--steps", "4", "--evaluate-steps", "2", "--batch", "2", "--excerpt-seconds", "0.2")

SHORT = ("--steps", "6", "--minutes", "1")
"""A short job, whose anchors are fitted with fewer steps too."""


@dataclass(frozen=True)
class Said:
    """How a verb ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def all(self) -> str:
        return self.out + self.err


Verbs = Callable[..., Said]


def document(said: Said) -> dict[str, Any]:
    """The one JSON document; anything else on stdout would break it."""
    found = json.loads(said.out)
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Neither the person's cache nor their record of trusted files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POCHETTE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("POCHETTE_STATE", str(tmp_path_factory.mktemp("state")))
        patch.delenv("COLUMNS", raising=False)
        yield


@pytest.fixture
def beginning_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Emulated processors play the beginning of a golden sound, as they do of every long one.

    Emulating ten seconds is most of what a verb costs; `test_make` has them all.
    """
    monkeypatch.setattr(verify, "EMULATED_INSTRUCTIONS", 2e6)


@pytest.fixture
def verbs(capfd: pytest.CaptureFixture[str]) -> Verbs:
    """Give a verb in this process."""

    def give(*arguments: object) -> Said:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        said = capfd.readouterr()
        assert "Traceback" not in said.out + said.err
        return Said(code, said.out, said.err)

    return give


def refused(said: Said, *remedy: str, code: int = 1) -> bool:
    """Whether it is a clear error: not done, no traceback, and the way out named; says what it is not."""
    assert said.code == code, said.all
    assert "Traceback" not in said.all
    assert "error: " in said.err and "remedy: " in said.err
    for word in remedy:
        assert word in said.err, said.err
    return True


@dataclass
class Heard:
    """What a verb told of its progress."""

    told: list[tuple[str, float, str]] = field(default_factory=list)

    def shares(self, stage: str) -> list[float]:
        return [share for name, share, _ in self.told if name == stage]

    def check(self) -> None:
        """No stage falls behind what it said, comes back once another has begun, or says more than all."""
        stages = [name for name, _, _ in self.told]
        begun = list(dict.fromkeys(stages))
        assert stages == sorted(stages, key=begun.index), self.told
        for stage in begun:
            shares = self.shares(stage)
            assert shares == sorted(shares) and shares[0] >= 0.0 and shares[-1] <= 1.0, self.told


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    """Progress is heard and not shown."""
    heard = Heard()

    @contextmanager
    def progress(screen: Screen) -> Iterator[Tell]:
        yield lambda stage, share, detail: heard.told.append((stage, share, detail))

    monkeypatch.setattr(Screen, "progress", progress)
    return heard


def started(*arguments: object, **options: object) -> subprocess.Popen[str]:
    """Start a verb as a process of its own."""
    words = [sys.executable, "-m", "pochette.cli", *map(str, arguments)]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen(words, text=True, env=environment, **pipes)  # type: ignore[call-overload, no-any-return]


def tone(hertz: float, seconds: float = 0.6, rate: int = 16000) -> np.ndarray:
    t = np.arange(round(seconds * rate)) / rate
    swell = np.sin(np.pi * t / seconds) ** 0.3
    return (0.3 * swell * sum(np.sin(2 * np.pi * hertz * k * t) / k for k in (1, 2, 3))).astype(np.float32)


@pytest.fixture(scope="session")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five short notes."""
    folder = tmp_path_factory.mktemp("corpus") / "pipe"
    folder.mkdir()
    for midi in (57, 60, 62, 64, 67):
        write_wav(folder / f"{midi}.wav", tone(440 * 2 ** ((midi - 69) / 12)), 16000)
    return folder


@pytest.fixture(scope="session")
def run(sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps."""
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", "ddsp", str(sounds), *TINY, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def instrument(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's instrument."""
    pytest.importorskip("ziglang")
    out = tmp_path_factory.mktemp("instrument")
    assert main(["export", str(run), "--shell", "web", "--out", str(out)]) == 0
    return out / "pipe.pochette"


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that needs neither torch nor training."""
    pytest.importorskip("ziglang")
    from tests.instrument.bench import toy_instrument

    path = save(toy_instrument(), tmp_path_factory.mktemp("toy") / "toy.pochette")
    remember_built_here(path)
    return path


@pytest.fixture(scope="session")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scale_midi(tmp_path_factory.mktemp("midi") / "song.mid", (60, 64), note_s=0.1, gap_s=0.05)
