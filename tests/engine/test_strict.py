"""Strict engines are the same bits whatever flags a stranger builds with, or say why they are not built."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pochette.engine import build
from pochette.engine.compiled import Engine, compile_engine

GIVING_UP = (
    "-fassociative-math -freciprocal-math -fno-signed-zeros -fno-trapping-math",
    "-freciprocal-math",
    "-ffinite-math-only",
    "-ffp-contract=fast",
    "-Os -ffp-contract=fast",
)
"""What GCC may be told that changes bits; -funsafe-math-optimizations is the first of these, and makes a library change
how the whole process treats small numbers."""


class Net(nn.Module):
    """Products, sums, quotients and functions, with a state."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.norm, self.out = nn.GRU(8, 24), nn.LayerNorm(24), nn.Linear(24, 5)
        self.register_buffer("state", torch.zeros(1, 1, 24))

    def forward(self, x: Tensor) -> Tensor:
        y, state = self.gru(x, self.state)
        self.state.copy_(state)
        y = self.out(self.norm(y))
        return y / (1.0 + y.abs()) + torch.sin(y) * torch.exp(-y * y) + y.sum(-1, keepdim=True)


def engine() -> Engine:
    torch.manual_seed(0)
    return compile_engine(Net().eval(), (torch.zeros(1, 1, 8),), name="strict", strict=True)


def bits(made: Engine) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal((20, 1, 1, 8)).astype(np.float32)
    return np.stack([np.asarray(made.process(x)) for x in noise]).view(np.uint32)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
@pytest.mark.parametrize("flags", GIVING_UP)
def test_gcc_makes_the_same_bits_whatever_it_is_told(flags: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "gcc")
    wanted = bits(engine())
    plain = build.compile_files

    def told(files: dict[str, str], command: Sequence[str], **rest: Any) -> bytes:
        kept = [word for word in command if word != "-ffp-contract=off" and not word.startswith("-DPC_STRICT")]
        return plain(files, [*kept, *flags.split()], **rest)

    monkeypatch.setattr(build, "compile_files", told)
    assert np.array_equal(bits(engine()), wanted)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("flag", ["-ffast-math", "-Ofast"])
def test_fast_math_is_refused_with_the_way_out(compiler: str, flag: str, tmp_path: Path) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"needs {compiler}")
    for name, text in engine().sources.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [compiler, "-std=c99", flag, "-c", "strict.c"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode and "build it without them" in done.stderr


@pytest.mark.skipif(shutil.which("gcc") is None or shutil.which("nm") is None, reason="needs gcc and nm")
@pytest.mark.parametrize("level", ["-O2", "-O3", "-Os"])
def test_gcc_calls_no_library(level: str, tmp_path: Path) -> None:
    for name, text in engine().sources.items():
        (tmp_path / name).write_text(text)
    subprocess.run(["gcc", "-std=c99", level, "-c", "strict.c"], cwd=tmp_path, check=True)
    asked = subprocess.run(["nm", "-u", "strict.o"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert not asked.split()
