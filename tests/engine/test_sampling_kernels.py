"""The C of draws by itself: against torch draw by draw, and within its scratch."""

from __future__ import annotations

import ctypes
import subprocess

import numpy as np
import pytest
import torch

from pochette.engine.build import host_compiler, kernel_text
from pochette.layers.logistics import LOG_SCALE_FLOOR, draw_logistic
from pochette.layers.sampling import draw_code
from pochette.layers.synthesis import CYCLE

WRAPPERS = """#include "pc_sampling.h"
void t_code(uint32_t *c, uint32_t *a, const float *l, int n, float t, uint32_t k, float *s);
void t_code(uint32_t *c, uint32_t *a, const float *l, int n, float t, uint32_t k, float *s)
{
    pc_draw_code(c, a, l, n, &t, k, s);
}
void t_logistic(float *x, uint32_t *a, const float *p, int n, float t, uint32_t k, float f, float *s);
void t_logistic(float *x, uint32_t *a, const float *p, int n, float t, uint32_t k, float f, float *s)
{
    pc_draw_logistic(x, a, p, n, &t, k, f, s);
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder = tmp_path_factory.mktemp("sampling")
    for header in ("pc_math.h", "pc_noise.h", "pc_sampling.h"):
        (folder / header).write_text(kernel_text(header))
    (folder / "t.c").write_text(WRAPPERS)
    strict = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2", "-shared", "-fPIC"]
    subprocess.run([*host_compiler(), *strict, "t.c", "-o", "t.so"], cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "t.so"))


def p(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


@pytest.mark.parametrize("codes", [1, 2, 30, 256, 1023])
@pytest.mark.parametrize("temperature", [0.1, 1.0, 2.0])
def test_codes_are_those_of_torch(library: ctypes.CDLL, codes: int, temperature: float) -> None:
    torch.manual_seed(codes)
    draws, differing = 2000, 0
    logits = (3 * torch.randn(draws, codes)).contiguous()
    start = CYCLE - draws // 2
    counters = (start + torch.arange(draws)) % CYCLE
    wanted, after = draw_code(logits, torch.full((draws, 1), temperature), counters)
    scratch = np.full(codes + 8, 7.0, np.float32)
    code, next_counter = np.zeros(1, np.uint32), np.zeros(1, np.uint32)
    for row in range(draws):
        library.t_code(
            p(code), p(next_counter), p(logits[row].numpy()), codes, ctypes.c_float(temperature),
            ctypes.c_uint32(int(counters[row])), p(scratch),
        )  # fmt: skip
        assert next_counter[0] == after[row].item() and code[0] < codes
        differing += int(code[0] != wanted[row].item())
    # An exponential rounded otherwise may turn one draw in 1e5.
    assert differing <= 1 and (scratch[codes:] == 7.0).all()


def test_samples_are_those_of_torch(library: ctypes.CDLL) -> None:
    torch.manual_seed(0)
    draws, components = 3000, 10
    parameters = torch.randn(draws, 3 * components)
    parameters[:, 2 * components :] = parameters[:, 2 * components :] * 3 - 6  # some below the floor
    temperature, counters = 0.8, 2 * torch.arange(draws)
    wanted, after = draw_logistic(parameters, torch.full((draws, 1), temperature), counters)
    scratch, sample, following = np.zeros(components, np.float32), np.zeros(1, np.float32), np.zeros(1, np.uint32)
    made = []
    for row in range(draws):
        library.t_logistic(
            p(sample), p(following), p(parameters[row].numpy()), components, ctypes.c_float(temperature),
            ctypes.c_uint32(int(counters[row])), ctypes.c_float(LOG_SCALE_FLOOR), p(scratch),
        )  # fmt: skip
        assert following[0] == after[row].item()
        made.append(float(sample[0]))
    assert np.abs(made).max() == 1.0  # clamped
    assert np.sort(np.abs(np.array(made) - wanted[:, 0].numpy()))[-2] < 2e-6
