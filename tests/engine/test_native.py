"""Engines as libraries of this machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pochette.engine.native import NativeRunner
from pochette.engine.runner import FloatArray, run_frames
from pochette.errors import InstrumentError
from tests.toy import toy_audio


@pytest.mark.parametrize("block", [None, 1, 7, 1000])
def test_plays_the_toy_at_any_block_size(toy_library: Path, curve: FloatArray, block: int | None) -> None:
    assert np.array_equal(run_frames(NativeRunner(toy_library), curve, block), toy_audio(curve))


def test_voices_of_one_library_are_independent(toy_library: Path, curve: FloatArray) -> None:
    voices = [NativeRunner(toy_library) for _ in range(3)]
    voices[0].process(curve[0], 777)
    for voice in voices:
        assert np.array_equal(run_frames(voice, curve), toy_audio(curve))


def test_reset_repeats(toy_library: Path, curve: FloatArray) -> None:
    runner = NativeRunner(toy_library)
    assert np.array_equal(run_frames(runner, curve), run_frames(runner, curve))


def test_what_is_no_engine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InstrumentError, match="cannot be loaded"):
        NativeRunner(tmp_path / "missing.so")
    (tmp_path / "text.so").write_text("not a library")
    with pytest.raises(InstrumentError, match="cannot be loaded"):
        NativeRunner(tmp_path / "text.so")
