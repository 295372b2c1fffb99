"""Engines in emulated processors: the same bits as anywhere, and instruction counts that can be trusted."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from pochette.boards import target
from pochette.boards.board import Machine
from pochette.boards.cycles import Mix
from pochette.engine import build, processor
from pochette.engine.emulate import EmulatedRunner, workload
from pochette.engine.processor import mix_of, thumb_instructions
from pochette.engine.runner import FloatArray, run_frames
from pochette.errors import InstrumentError, ToolError
from tests.toy import HOP, RATE, toy_audio, toy_source

unicorn = pytest.importorskip("unicorn")
pytest.importorskip("ziglang")

MACHINES: dict[Machine, target.Target] = {
    "aarch64": target.CORTEX_A72,
    "armv7": target.CORTEX_A8,
    "cortex-m4": target.CORTEX_M4F,
    "cortex-m7": target.CORTEX_M7,
    "cortex-m33": target.CORTEX_M33,
}


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

    runner.processor.core.ctl_flush_tb()
    runner.processor.core.hook_add(unicorn.UC_HOOK_CODE, step)
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


def test_bursts_are_seen(curve: FloatArray) -> None:
    work = "if (s->position == 0) { volatile float x = 0.0f; for (int k = 0; k < 1000; k++) x = x + 1.0f; }\n"
    source = toy_source()
    body = source.files["toy.c"].replace("s->position = (s", work + "        s->position = (s")
    bursty = dataclasses.replace(source, files={**source.files, "toy.c": body})
    elf = build.compile_elf(bursty, target.CORTEX_M7)
    counted = workload(elf, "cortex-m7", curve, block_samples=8)
    assert counted.peak_instructions_per_second > 4 * counted.instructions_per_second


def test_counting_ends_with_the_frame_in_which_there_is_enough(elf: bytes, machine: Machine, curve: FloatArray) -> None:
    whole, least = workload(elf, machine, curve, block_samples=16), 2 * HOP
    some = workload(elf, machine, curve, block_samples=16, most_instructions=whole.instructions / whole.samples * 70)
    assert least == some.samples < whole.samples
    assert some.instructions_per_second == pytest.approx(whole.instructions_per_second, rel=0.05)


def test_thumb_has_two_and_four_bytes() -> None:
    # movs r0, #1; bx lr; vadd.f32; b.w
    code = bytes.fromhex("0120704730ee800a00f000b8")
    assert thumb_instructions(code) == 4


def test_what_is_no_engine_is_refused(elf: bytes, machine: Machine) -> None:
    other: Machine = "cortex-m7" if machine == "aarch64" else "aarch64"
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
    monkeypatch.setattr(processor, "_CALL_LIMIT_S", 0.2)
    runner = EmulatedRunner(changed_process("*(volatile int *)0x40000000 = samples;"), "cortex-m7")
    with pytest.raises(InstrumentError, match="fails on the emulated cortex-m7"):
        runner.process(np.zeros(2, np.float32), 1)
    runner = EmulatedRunner(changed_process("for (;;) *(volatile float *)audio = 0.0f;"), "cortex-m7")
    with pytest.raises(InstrumentError, match="does not return"):
        runner.process(np.zeros(2, np.float32), 1)


def test_missing_packages_are_named(elf: bytes, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(processor.importlib, "import_module", absent)
    with pytest.raises(ToolError, match=r"pochette\[compile\]"):
        EmulatedRunner(elf, machine)


@pytest.mark.parametrize(
    ("machine_name", "code", "mix"),
    [
        # vdiv.f32 s0, s1, s2; vldr s0, [r0]; vfma.f32 s0, s1, s2; add r0, r1; ldr r0, [r1]
        ("cortex-m7", "80ee810a 90ed000a a0ee810a 0844 0868", Mix(5, 2, 2, 1)),
        # fmla v0.4s, v1.4s, v2.4s; ldr q0, [x0]; add x0, x1, x2; fdiv s0, s1, s2
        ("aarch64", "20cc224e 0000c03d 2000028b 2018221e", Mix(4, 1, 2, 1)),
        # vmla.f32 q0, q1, q2; vld1.32 {d0, d1}, [r0]; add r0, r1, r2
        ("armv7", "540d02f2 8f0a20f4 020081e0", Mix(3, 1, 1, 0)),
    ],
)
def test_instructions_are_sorted_by_what_they_wait_for(machine_name: Machine, code: str, mix: Mix) -> None:
    pytest.importorskip("capstone")
    assert mix_of(bytes.fromhex(code), machine_name) == mix
