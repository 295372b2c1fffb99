"""The costliest call against the usual one: an engine that works in bursts needs a machine that bears the burst."""

from __future__ import annotations

import ctypes
import functools
import platform
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pochette.boards import target
from pochette.boards.board import Machine
from pochette.control import Control
from pochette.engine.build import compile_elf, compile_host_files, kernel_text
from pochette.engine.compiled import compile_engine
from pochette.engine.emulate import EmulatedRunner
from pochette.engine.export import export, write_engine
from pochette.engine.source import EngineSource
from pochette.graph.capture import capture
from tests.engine.realtime import MODELS, NAMES, engine, far, module_of, rig

MACHINES: dict[Machine, target.Target] = {"aarch64": target.CORTEX_A72, "cortex-m7": target.CORTEX_M7}
BURST = 2.0
"""Most that the costliest call may cost, of the usual one."""


class Framed(nn.Module):
    """A net of (1, 1, time) in the clothes of a model's step: (1, time) in, (1, time) out."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x[:, None])
        return y[:, 0]


@functools.cache
def source_of(name: str) -> EngineSource:
    """A model's engine, or "far SAMPLES": the net with long pasts, so many samples a call."""
    if name in MODELS:
        return export(module_of(name), name)  # type: ignore[arg-type]
    torch.manual_seed(0)
    samples = int(name.split()[1])
    graph = capture(Framed(far().eval()), (torch.zeros(1, samples),))
    knobs = tuple(Control(f"x_{i}", "", -1.0, 1.0, 0.0, "linear", "a sample") for i in range(samples))
    return write_engine(graph, f"far_{samples}", knobs, 16_000, samples, 0)


CASES = [(name, "aarch64") for name in (*MODELS, "far 1", "far 16")]
CASES += [(name, "cortex-m7") for name in ("sing", "far 1", "far 16")]


@pytest.mark.parametrize(("name", "machine"), CASES)
def test_no_call_costs_twice_the_usual_instructions(name: str, machine: Machine) -> None:
    """Counted by the emulator, a frame a call, over several times the longest past."""
    pytest.importorskip("unicorn")
    pytest.importorskip("ziglang")
    source = source_of(name)
    runner = EmulatedRunner(compile_elf(source, MACHINES[machine]), machine, counting=True)
    low, high = (np.array([getattr(knob, end) for knob in source.controls]) for end in ("low", "high"))
    rng, counts, before = np.random.default_rng(0), [], runner.instructions()
    for _ in range(40 if name in MODELS else 320 // source.hop_samples):
        controls = low + rng.random(len(low)) * (high - low)
        runner.process(controls.astype(np.float32), source.hop_samples)
        after = runner.instructions()
        counts.append(after - before)
        before = after
    assert max(counts) < BURST * float(np.median(counts))


@pytest.mark.parametrize("name", NAMES)
def test_no_call_takes_far_longer_than_the_usual_one(name: str) -> None:
    """Processor time of this thread. What the machine did meanwhile is left out by taking of each call, made again from
    the beginning, the shortest time.
    """
    noise = engine(name).noise(150)
    best = np.full(len(noise), np.inf)
    for _ in range(12):
        best = np.minimum(best, rig().instance(name).times(noise))
    # A clock's own tick is no burst.
    assert best.max() < 2 * BURST * np.median(best) + 1e-6


class Bare(nn.Module):
    """Layers without biases or bounds, through which what fades goes on fading, below all that is cleaned."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(96, 96, bias=False) for _ in range(12)))
        for layer in self.layers:
            nn.init.orthogonal_(layer.weight, 0.5)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return y


def test_a_fade_costs_no_more_than_a_steady_sound() -> None:
    """Numbers too small to be normal, made inside a step, took this processor ten times as long and more."""
    torch.manual_seed(0)
    engine = compile_engine(Bare().eval(), (torch.zeros(1, 96),), name="bare")
    noise = np.random.default_rng(0).standard_normal((20, 1, 96)).astype(np.float32)
    assert 0 < np.abs(Bare()(torch.from_numpy(1e-36 * noise[0])).detach().numpy()).max() < np.finfo(np.float32).tiny
    best = {"steady": np.inf, "fading": np.inf}
    for _ in range(20):
        for name, level in (("steady", 1.0), ("fading", 1e-36)):
            begun = time.process_time()
            for x in noise:
                engine.process(np.float32(level) * x)
            best[name] = min(best[name], time.process_time() - begun)
    assert best["fading"] < 1.5 * best["steady"]


_MODES = """#include "pc_math.h"
#include <xmmintrin.h>
uint32_t within(uint32_t host, uint32_t *after);
uint32_t within(uint32_t host, uint32_t *after)
{
    const uint32_t before = _mm_getcsr();
    _mm_setcsr((before & ~0x8040u) | host);
    const uint32_t mode = pc_enter(), there = _mm_getcsr() & 0x8040u;
    pc_leave(mode);
    *after = _mm_getcsr() & 0x8040u;
    _mm_setcsr(before);
    return there;
}
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="only x86 has such a register")
@pytest.mark.parametrize("host", [0, 0x40, 0x8000, 0x8040], ids=["neither", "of inputs", "of outputs", "both"])
def test_both_ways_of_small_numbers_are_set_within_a_call_whatever_the_host_has(host: int, tmp_path: Path) -> None:
    files = {"modes.c": _MODES, "pc_math.h": kernel_text("pc_math.h")}
    library = ctypes.CDLL(str(compile_host_files("modes", files, tmp_path)))
    after = ctypes.c_uint32()
    assert library.within(host, ctypes.byref(after)) == 0x8040 and after.value == host


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="only x86 has such a register")
def test_the_hosts_own_way_with_small_numbers_is_put_back() -> None:
    engine = compile_engine(Bare().eval(), (torch.zeros(1, 96),), name="bare")
    tiny = np.full(8, 1e-37, np.float32)
    engine.process(np.ones((1, 96), np.float32))
    assert (tiny * np.float32(0.01) > 0).all()
    try:
        assert torch.set_flush_denormal(True)
        engine.process(np.ones((1, 96), np.float32))
        assert (tiny * np.float32(0.01) == 0).all()
    finally:
        torch.set_flush_denormal(False)
    assert (tiny * np.float32(0.01) > 0).all()
