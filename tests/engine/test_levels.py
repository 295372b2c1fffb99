"""What the code costs where it is compiled for size: many vendors' default, which must not slow it down."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pochette.engine.compiled import compile_engine
from pochette.engine.emulate import EmulatedRunner
from tests.engine.test_compiled import Recurrent, Stack

pytestmark = pytest.mark.system

SHIM = """#include "net.h"
int pochette_info(int key);
void pochette_reset(void *state);
void pochette_process(void *state, const float *in, float *out, int samples);
void *pochette_arena_state(void);
void *pochette_arena_controls(void);
void *pochette_arena_audio(void);
void *memset(void *to, int value, unsigned n);
void *memcpy(void *to, const void *from, unsigned n);
static net_state state;
static float in[net_IN0_FLOATS], out[512];
int pochette_info(int key)
{
    const int answers[] = {1, 48000, 64, net_IN0_FLOATS, (int)sizeof(net_state), 512, 0};
    return key >= 0 && key < 7 ? answers[key] : -1;
}
void pochette_reset(void *s) { net_reset(s); }
void pochette_process(void *s, const float *i, float *o, int samples) { (void)samples; net_process(s, i, o); }
void *pochette_arena_state(void) { return &state; }
void *pochette_arena_controls(void) { return in; }
void *pochette_arena_audio(void) { return out; }
void *memset(void *to, int value, unsigned n) { for (char *p = to; n--;) *p++ = (char)value; return to; }
void *memcpy(void *to, const void *from, unsigned n)
{
    const char *f = from;
    for (char *p = to; n--;) *p++ = *f++;
    return to;
}
"""


def instructions(sources: dict[str, str], level: str, folder: Path) -> int:
    """Of one call on a Cortex-M7, compiled by gcc."""
    for name, text in {**sources, "shim.c": SHIM}.items():
        (folder / name).write_text(text)
    machine = ["-mcpu=cortex-m7", "-mthumb", "-mfpu=fpv5-d16", "-mfloat-abi=hard"]
    linking = ["-nostdlib", "-ffreestanding", "-Wl,-e,pochette_info", "-Wl,-Ttext=0x10000", "-Wl,-Tdata=0x20000000"]
    warnings = ["-std=c99", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(
        ["arm-none-eabi-gcc", *machine, *warnings, level, *linking, "net.c", "shim.c", "-lgcc", "-o", "net.elf"],
        cwd=folder, check=True,
    )  # fmt: skip
    runner = EmulatedRunner((folder / "net.elf").read_bytes(), "cortex-m7", counting=True)
    given = np.zeros(runner.n_controls, np.float32)
    runner.process(given, 64)
    before = runner.instructions()
    for _ in range(4):
        runner.process(given, 64)
    return (runner.instructions() - before) // 4


@pytest.mark.parametrize("name", ["GRU", "LSTM", "WaveNet"])
def test_compiled_for_size_it_is_as_fast(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module: nn.Module = {"GRU": Recurrent(nn.GRU, 1, 32), "LSTM": Recurrent(nn.LSTM, 1, 20), "WaveNet": Stack(4)}[name]
    example: Tensor = torch.zeros(1, 1, 64 if name == "WaveNet" else 1)
    engine = compile_engine(module.eval(), (example,), board="daisy-seed")
    counts = {level: instructions(engine.sources, level, tmp_path) for level in ("-O3", "-Os")}
    assert counts["-Os"] <= 1.02 * counts["-O3"], counts
