"""Golden sounds on emulated processors: as much of them as a budget of instructions allows, and said so."""

from __future__ import annotations

import numpy as np
import pytest

from pochette.engine import verify as module
from pochette.engine.runner import run_frames
from pochette.engine.verify import Check, allowed_error, runner_for, verify
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


class Mute:
    """An engine that puts out nothing at all."""

    kind = "mute"
    sample_rate_hz, hop_samples, n_controls, latency_samples = 16000, 64, 2, 0

    def reset(self) -> None:
        pass

    def process(self, controls: np.ndarray, samples: int) -> np.ndarray:
        return np.zeros(samples, np.float32)


def muted(monkeypatch: pytest.MonkeyPatch, audio: np.ndarray) -> Check:
    monkeypatch.setattr(module, "runner_for", lambda engine, source, wasm: Mute())
    controls = np.zeros((len(audio) // Mute.hop_samples, Mute.n_controls), np.float32)
    (check,) = verify(toy_source(), b"", controls, audio, ["c"])
    return check


@pytest.mark.parametrize("peak", [2e-6, 5e-5, 1e-3, 1.0])
def test_an_engine_of_zeros_fails_on_a_golden_sound_however_quiet(peak: float, monkeypatch: pytest.MonkeyPatch) -> None:
    audio = peak * np.sin(np.arange(50 * Mute.hop_samples, dtype=np.float32))
    check = muted(monkeypatch, audio.astype(np.float32))
    assert not check.passed and not check.note
    assert check.golden_peak == pytest.approx(peak, rel=1e-3) == check.max_error
    assert check.to_json()["golden_peak"] == check.golden_peak


def test_a_golden_sound_that_is_silent_is_said_to_prove_little(monkeypatch: pytest.MonkeyPatch) -> None:
    check = muted(monkeypatch, np.zeros(50 * Mute.hop_samples, np.float32))
    assert check.passed and check.golden_peak == 0.0
    assert "silent" in check.note


def test_what_is_allowed_follows_the_peak_between_rounding_and_full_scale() -> None:
    assert allowed_error(0.0) == allowed_error(0.005) == 1e-6
    assert allowed_error(0.2) == pytest.approx(2e-5)
    assert allowed_error(1.0) == allowed_error(30.0) == 1e-4


def test_the_peak_is_that_of_the_part_that_was_played(
    golden: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EMULATED_INSTRUCTIONS", 1.0)
    controls, audio = golden
    late = audio.copy()
    late[-1] = 5.0
    assert checked((controls, late)).golden_peak == np.abs(audio[: toy_source().hop_samples]).max()
    assert checked((controls, late), "c").golden_peak == 5.0
