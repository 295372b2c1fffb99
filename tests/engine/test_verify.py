"""Golden sounds on emulated processors: as much of them as a budget of instructions allows, and said so."""

from __future__ import annotations

import numpy as np
import pytest

from pochette.engine import verify as module
from pochette.engine.runner import run_frames
from pochette.engine.verify import Check, runner_for, verify
from tests.toy import toy_source

pytest.importorskip("ziglang")
pytest.importorskip("unicorn")

FRAMES = 400


@pytest.fixture(scope="module")
def golden() -> tuple[np.ndarray, np.ndarray]:
    source = toy_source()
    rng = np.random.default_rng(0)
    low, high = (np.array([getattr(knob, end) for knob in source.controls], np.float32) for end in ("low", "high"))
    controls = (low + rng.random((FRAMES, len(low))).astype(np.float32) * (high - low)).astype(np.float32)
    return controls, run_frames(runner_for("c", source, b""), controls)


def checked(golden: tuple[np.ndarray, np.ndarray], engine: str = "cortex-m7") -> Check:
    (check,) = verify(toy_source(), b"", *golden, [engine])
    return check


def test_all_is_played_where_it_can_be_afforded(golden: tuple[np.ndarray, np.ndarray]) -> None:
    check, source = checked(golden), toy_source()
    assert check.passed and not check.note
    assert check.seconds_of_audio == FRAMES * source.hop_samples / source.sample_rate_hz


def test_a_long_sound_is_cut_to_its_budget_and_says_so(
    golden: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, source = checked(golden), toy_source()
    counted: list[int] = []
    run = module.run_frames

    def counting(runner: object, controls: np.ndarray, *rest: int) -> np.ndarray:
        counted.append(len(controls))
        return run(runner, controls, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "run_frames", counting)
    per_frame = module.EMULATED_INSTRUCTIONS / module._affordable(source, "cortex-m7", golden[0])
    monkeypatch.setattr(module, "EMULATED_INSTRUCTIONS", 200 * per_frame)
    check = checked(golden)
    assert check.passed and 0 < check.seconds_of_audio < whole.seconds_of_audio / 2
    assert "instructions are emulated" in check.note and f"of {whole.seconds_of_audio:.3g} s" in check.note
    assert sum(counted) <= 201, "all ways to cut the calls are within the budget"
    # This machine plays all of it whatever the budget.
    assert checked(golden, "c").seconds_of_audio == whole.seconds_of_audio


def test_what_differs_within_the_budget_is_found(
    golden: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EMULATED_INSTRUCTIONS", 1.0)
    controls, audio = golden
    wrong = audio.copy()
    wrong[0] += 0.01
    assert checked((controls, audio)).passed and not checked((controls, wrong)).passed
