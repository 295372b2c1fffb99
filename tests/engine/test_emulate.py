"""Engines in emulated processors: the same bits as anywhere, and instruction counts that can be trusted."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from pochette.boards import target
from pochette.engine import build, emulate
from pochette.engine.emulate import EmulatedRunner, Machine, thumb_instructions, workload
from pochette.engine.runner import FloatArray, run_frames
from pochette.errors import InstrumentError, ToolError
from tests.toy import HOP, RATE, toy_audio, toy_source

unicorn = pytest.importorskip("unicorn")
pytest.importorskip("ziglang")

MACHINES: dict[Machine, target.Target] = {"aarch64": target.CORTEX_A72, "cortex-m7": target.CORTEX_M7}


@pytest.fixture(scope="session", params=MACHINES)
def machine(request: pytest.FixtureRequest) -> Machine:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def elf(machine: Machine) -> bytes:
    return build.compile_elf(toy_source(), MACHINES[machine], strict=True)


@pytest.mark.parametrize("block", [None, 1, 7, 1000])
def test_plays_the_toy_at_any_block_size(elf: bytes, machine: Machine, curve: FloatArray, block: int | None) -> None:
    assert np.array_equal(run_frames(EmulatedRunner(elf, machine), curve[:6], block), toy_audio(curve[:6]))


def test_counting_changes_nothing(elf: bytes, machine: Machine, curve: FloatArray) -> None:
    silent, counting = EmulatedRunner(elf, machine), EmulatedRunner(elf, machine, counting=True)
    assert np.array_equal(run_frames(silent, curve), run_frames(counting, curve))
    assert silent.instructions() == 0 < counting.instructions()
    assert counting.instructions_by_function().total() == counting.instructions()


def test_block_counts_equal_single_steps(elf: bytes, machine: Machine, curve: FloatArray) -> None:
    runner = EmulatedRunner(elf, machine, counting=True)
    steps = 0

    def step(*_: Any) -> None:
        nonlocal steps
        steps += 1

    runner._core.ctl_flush_tb()
    runner._core.hook_add(unicorn.UC_HOOK_CODE, step)
    before = runner.instructions()
    runner.process(curve[0], 300)
    # Conditional instructions that were not executed count as well.
    assert 300 < steps <= runner.instructions() - before < 1.01 * steps


def test_workload_is_the_same_every_time_and_grows_with_the_sound(
    elf: bytes, machine: Machine, curve: FloatArray
) -> None:
    first, again = workload(elf, machine, curve), workload(elf, machine, curve)
    assert first == again
    assert (first.sample_rate_hz, first.samples) == (RATE, len(curve) * HOP // 64 * 64)
    # The toy's loop: between ten and a hundred instructions a sample.
    assert 10 * RATE < first.instructions_per_second < 100 * RATE
    assert first.instructions_per_second <= first.peak_instructions_per_second < 1.2 * first.instructions_per_second
    assert max(first.by_function, key=lambda name: first.by_function[name]) == "toy_process"
    assert sum(first.by_function.values()) == first.instructions
    assert emulate.instructions_per_second(elf, machine, curve) == first.instructions_per_second


def test_bursts_are_seen(curve: FloatArray) -> None:
    work = "if (s->position == 0) { volatile float x = 0.0f; for (int k = 0; k < 1000; k++) x = x + 1.0f; }\n"
    source = toy_source()
    body = source.files["toy.c"].replace("s->position = (s", work + "        s->position = (s")
    bursty = dataclasses.replace(source, files={**source.files, "toy.c": body})
    elf = build.compile_elf(bursty, target.CORTEX_M7)
    counted = workload(elf, "cortex-m7", curve, block_samples=8)
    assert counted.peak_instructions_per_second > 4 * counted.instructions_per_second


def test_thumb_has_two_and_four_bytes() -> None:
    # movs r0, #1; bx lr; vadd.f32; b.w
    code = bytes.fromhex("0120704730ee800a00f000b8")
    assert thumb_instructions(code) == 4


def test_what_is_no_engine_is_refused(elf: bytes, machine: Machine) -> None:
    other: Machine = "aarch64" if machine == "cortex-m7" else "cortex-m7"
    with pytest.raises(InstrumentError, match="image is for"):
        EmulatedRunner(elf, other)
    with pytest.raises(InstrumentError, match="no ELF"):
        EmulatedRunner(b"nothing", machine)
    with pytest.raises(ToolError, match="no emulator"):
        EmulatedRunner(elf, "pdp-11")  # type: ignore[arg-type]


def changed_process(body: str) -> bytes:
    source = toy_source()
    start = source.files["toy.c"].index("for (int i")
    text = source.files["toy.c"][:start] + body + "(void)s; (void)controls; (void)audio; (void)samples; }\n"
    return build.compile_elf(dataclasses.replace(source, files={**source.files, "toy.c": text}), MACHINES["cortex-m7"])


def test_faults_and_endless_loops_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulate, "_CALL_LIMIT_US", 200_000)
    runner = EmulatedRunner(changed_process("*(volatile int *)0x40000000 = samples;"), "cortex-m7")
    with pytest.raises(InstrumentError, match="fails on the emulated cortex-m7"):
        runner.process(np.zeros(2, np.float32), 1)
    runner = EmulatedRunner(changed_process("for (;;) *(volatile float *)audio = 0.0f;"), "cortex-m7")
    with pytest.raises(InstrumentError, match="does not return"):
        runner.process(np.zeros(2, np.float32), 1)


def test_missing_packages_are_named(elf: bytes, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(emulate.importlib, "import_module", absent)
    with pytest.raises(ToolError, match=r"pochette\[compile\]"):
        EmulatedRunner(elf, machine)
