"""The C kernels by themselves: elementary functions over their whole ranges, noise to the bit, scratch to the byte."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from pochette.engine.build import host_compiler, kernel_text
from pochette.engine.emitter import Emitter
from pochette.graph.capture import capture
from pochette.graph.operator import description_of
from pochette.layers.generator import uniform_noise
from pochette.layers.reverb import reverb
from pochette.layers.synthesis import CYCLE, filtered_noise, hann_ramp, harmonics, phase_steps

Array = npt.NDArray[np.float32]

HEADERS = (
    "pc_math.h",
    "pc_simd.h",
    "pc_noise.h",
    "pc_harmonics.h",
    "pc_linear.h",
    "pc_rnn.h",
    "pc_reverb.h",
)
UNARY = ("pc_exp", "pc_log", "pc_log2", "pc_tanh", "pc_sigmoid", "pc_rsqrt")
WRAPPERS = (
    "\n".join(f'#include "{header}"' for header in HEADERS)
    + "\n".join(
        f"\nvoid t_{name}(float *y, const float *x, int n);"
        f"\nvoid t_{name}(float *y, const float *x, int n) {{ for (int i = 0; i < n; i++) y[i] = {name}(x[i]); }}"
        for name in UNARY
    )
    + """
void t_noise(float *y, uint32_t start, int n);
void t_noise(float *y, uint32_t start, int n) { for (int i = 0; i < n; i++) y[i] = pc_noise(start + (uint32_t)i); }
void t_sine(float *s, float *c, const uint32_t *p, int n);
void t_sine(float *s, float *c, const uint32_t *p, int n)
{
    for (int i = 0; i < n; i++) pc_sine_cosine(p[i], s + i, c + i);
}
void t_filtered(float *a, float *t, uint32_t *c, const float *r, int taps, int hop, float *s);
void t_filtered(float *a, float *t, uint32_t *c, const float *r, int taps, int hop, float *s)
{
    pc_filtered_noise(a, t, c, r, taps, hop, s);
}
void t_harmonics(float *a, uint32_t *p, float f, float g, const float *now, const float *was, int k, const float *ramp,
                 int hop, float cycle);
void t_harmonics(float *a, uint32_t *p, float f, float g, const float *now, const float *was, int k, const float *ramp,
                 int hop, float cycle)
{
    pc_harmonics(a, p, f, g, now, was, k, ramp, hop, cycle);
}
void t_reverb(float *w, float *h, const float *d, const float *r, const float *g, int taps, int n, float *s);
void t_reverb(float *w, float *h, const float *d, const float *r, const float *g, int taps, int n, float *s)
{
    pc_reverb(w, h, d, r, g, taps, n, s);
}
void t_linear(float *y, const float *w, const float *b, const float *x, int columns, int rows);
void t_linear(float *y, const float *w, const float *b, const float *x, int columns, int rows)
{
    pc_linear(y, w, b, x, columns, rows);
}
void t_sum(float *y, const float *x, int n);
void t_sum(float *y, const float *x, int n) { *y = pc_sum(x, n); }
float t_clamp(float x, float a, float b);
float t_clamp(float x, float a, float b) { return pc_clamp(x, a, b); }
"""
)

FLAVOURS = {"vectors": (), "plain loops": ("-U__GNUC__",), "small vectors": ("-mno-avx",)}


@pytest.fixture(scope="module", params=FLAVOURS)
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    if request.param == "small vectors" and os.uname().machine not in ("x86_64", "AMD64"):
        pytest.skip("an x86 flavour")
    folder = tmp_path_factory.mktemp("kernels")
    for header in HEADERS:
        (folder / header).write_text(kernel_text(header))
    (folder / "t.c").write_text(WRAPPERS)
    strict = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2", "-shared", "-fPIC", "-march=native"]
    flags = [*strict, *FLAVOURS[request.param]]
    if request.param == "plain loops":
        flags.append("-Wno-unused-function")  # without attributes nothing says that a kernel may stay unused
    subprocess.run([*host_compiler(), *flags, "t.c", "-o", "t.so"], cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "t.so"))


def p(array: npt.NDArray[np.generic]) -> ctypes.c_void_p:
    assert array.flags.c_contiguous
    return ctypes.c_void_p(array.ctypes.data)


def guarded(size: int) -> tuple[Array, Callable[[], None]]:
    """Memory of a size, and a check that nothing around it was touched."""
    whole = np.full(size + 2048, 12345.0, np.float32)

    def untouched() -> None:
        assert (whole[:1024] == 12345.0).all() and (whole[1024 + size :] == 12345.0).all(), "wrote outside its memory"

    return whole[1024 : 1024 + size], untouched


@pytest.mark.parametrize(
    ("name", "points", "exact", "relative", "absolute"),
    [
        ("pc_exp", np.linspace(-86.9, 87.9, 200_001), np.exp, 3e-7, 0),
        ("pc_log", np.geomspace(1.2e-38, 3e38, 200_001), np.log, 2e-7, 1e-7),
        ("pc_log2", np.geomspace(1.2e-38, 3e38, 200_001), np.log2, 3e-7, 2e-7),
        ("pc_tanh", np.linspace(-20, 20, 200_001), np.tanh, 0, 4.5e-7),
        ("pc_sigmoid", np.linspace(-80, 80, 200_001), lambda x: 1 / (1 + np.exp(-x)), 5e-7, 0),
        ("pc_rsqrt", np.geomspace(1.2e-38, 3e38, 200_001), lambda x: x**-0.5, 4e-7, 0),
    ],
)
def test_elementary_functions(
    library: ctypes.CDLL,
    name: str,
    points: npt.NDArray[np.float64],
    exact: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]],
    relative: float,
    absolute: float,
) -> None:
    x = points.astype(np.float32)
    y = np.empty_like(x)
    getattr(library, f"t_{name}")(p(y), p(x), len(x))
    wanted = exact(x.astype(np.float64))
    assert (np.abs(y - wanted) <= relative * np.abs(wanted) + absolute).all(), np.abs(y / wanted - 1).max()


def test_functions_saturate_and_never_give_nan(library: ctypes.CDLL) -> None:
    x = np.array([-np.inf, -1e30, -1e3, 0.0, 1e3, 1e30, np.inf, np.nan], np.float32)
    y = np.empty_like(x)
    for name in ("pc_exp", "pc_log", "pc_log2", "pc_tanh", "pc_sigmoid"):
        getattr(library, f"t_{name}")(p(y), p(x), len(x))
        assert np.isfinite(y).all(), name
    library.t_clamp.argtypes, library.t_clamp.restype = [ctypes.c_float] * 3, ctypes.c_float
    assert [library.t_clamp(v, -1, 2) for v in (-5, 0.5, 7, float("nan"))] == [-1.0, 0.5, 2.0, -1.0]


def test_noise_is_the_same_bits(library: ctypes.CDLL) -> None:
    for start in (0, 123456789, CYCLE - 100):
        y = np.empty(5000, np.float32)
        library.t_noise(p(y), ctypes.c_uint32(start), len(y))
        assert np.array_equal(y, uniform_noise(torch.tensor([start]), len(y))[0].numpy())


def test_sine_and_cosine(library: ctypes.CDLL) -> None:
    rng = np.random.default_rng(0)
    corners = np.arange(0, 2**32, 2**29, dtype=np.uint64)
    phase = np.concatenate([rng.integers(0, 2**32, 100_000), corners, (corners - 1) % 2**32]).astype(np.uint32)
    sine, cosine = np.empty((2, len(phase)), np.float32)
    library.t_sine(p(sine), p(cosine), p(phase), len(phase))
    angle = phase.astype(np.float64) * (2 * np.pi / 2**32)
    assert np.abs(sine - np.sin(angle)).max() < 2e-7 and np.abs(cosine - np.cos(angle)).max() < 2e-7


@cache
def scratch_asked_for(hop: int, taps: int) -> int:
    """What the operator's description reserves for one frame."""

    class Hiss(torch.nn.Module):
        def forward(self, response: torch.Tensor, tail: torch.Tensor) -> torch.Tensor:
            return filtered_noise(response, torch.zeros(1, dtype=torch.int64), tail, hop)[0]

    emitter = Emitter(capture(Hiss(), (torch.zeros(1, 1, taps), torch.zeros(1, taps - 1))))
    asked: list[int] = []
    emitter.scratch = lambda floats: asked.append(floats) or "scratch"  # type: ignore[method-assign, func-returns-value]
    node = next(node for node in emitter.graph.nodes if "filtered_noise" in node.op)
    for output in node.outputs:
        emitter._places[id(output)] = ("elsewhere", 0)
    description_of(node).emit(node, emitter)
    assert len(asked) == 1
    return asked[0]


@pytest.mark.parametrize(("hop", "taps"), [(64, 128), (192, 128), (6, 100), (1, 2), (3, 9), (64, 16), (1, 64)])
def test_filtered_noise_stays_inside_its_scratch(library: ctypes.CDLL, hop: int, taps: int) -> None:
    torch.manual_seed(0)
    response, tail = torch.randn(1, 1, taps), torch.randn(1, taps - 1)
    start = CYCLE - 1 - hop // 2
    wanted, counter, rest = filtered_noise(response, torch.tensor([start]), tail, hop)
    scratch, scratch_untouched = guarded(scratch_asked_for(hop, taps))
    audio, audio_untouched = guarded(hop)
    after, after_untouched = guarded(taps - 1)
    after[:] = tail[0].numpy()
    counting = np.array([start], np.uint32)
    library.t_filtered(p(audio), p(after), p(counting), p(response.numpy()), taps, hop, p(scratch))
    for untouched in (scratch_untouched, audio_untouched, after_untouched):
        untouched()
    assert np.abs(audio - wanted[0].numpy()).max() < 2e-5 and np.abs(after - rest[0].numpy()).max() < 2e-5
    assert counting[0] == counter.item()


@pytest.mark.parametrize("hop", [1, 5, 16, 64, 100])
@pytest.mark.parametrize("glide", [(440.0, 440.0), (0.0, 300.0), (50.0, 7000.0), (7000.0, 50.0), (3999.0, 4001.0)])
def test_harmonics(library: ctypes.CDLL, hop: int, glide: tuple[float, float]) -> None:
    torch.manual_seed(0)
    partials, rate = 100, 16000
    before, now = torch.rand(2, partials) / 10
    f0 = torch.tensor(glide)
    wanted, after = harmonics(f0[None, 1:], now[None, None], f0[:1], before[None], torch.tensor([987654321]), hop, rate)
    audio, untouched = guarded(hop)
    phase = np.array([987654321], np.uint32)
    number = ctypes.c_float
    ramp = hann_ramp(hop).numpy()
    library.t_harmonics(
        p(audio), p(phase), number(glide[1]), number(glide[0]), p(now.numpy()), p(before.numpy()), partials,
        p(ramp), hop, number(float(np.float32(CYCLE / rate))),
    )  # fmt: skip
    untouched()
    assert phase[0] == after.item() and phase_steps(f0, rate).min() >= 0
    assert np.abs(audio - wanted[0].numpy()).max() < 3e-5


@pytest.mark.parametrize(("taps", "samples"), [(1, 1), (3, 10), (10, 3), (100, 64)])
def test_reverb_stays_inside_its_scratch(library: ctypes.CDLL, taps: int, samples: int) -> None:
    torch.manual_seed(0)
    dry, response, history = torch.randn(1, samples), torch.randn(taps), torch.randn(1, taps)
    wanted, after = reverb(dry, response, history)
    scratch, untouched = guarded(samples + taps)
    wet, kept = np.empty(samples, np.float32), np.empty(taps, np.float32)
    library.t_reverb(
        p(wet), p(kept), p(dry.numpy()), p(response.numpy()), p(history.numpy()), taps, samples, p(scratch)
    )
    untouched()
    assert np.allclose(wet, wanted[0], atol=1e-5) and np.array_equal(kept, after[0].numpy())


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (15, 3), (16, 8), (17, 5), (100, 33)])
def test_products_write_exactly_their_rows(library: ctypes.CDLL, rows: int, columns: int) -> None:
    rng = np.random.default_rng(0)
    matrix, bias, x = (rng.standard_normal(s).astype(np.float32) for s in ((rows, columns), rows, columns))
    blocks = -(-rows // 16)
    filled = np.zeros((blocks * 16, columns), np.float32)
    filled[:rows] = matrix
    packed = np.ascontiguousarray(filled.reshape(blocks, 16, columns).transpose(0, 2, 1))
    offset = np.zeros(blocks * 16, np.float32)
    offset[:rows] = bias
    y, untouched = guarded(rows)
    library.t_linear(p(y), p(packed), p(offset), p(x), columns, rows)
    untouched()
    assert np.allclose(y, matrix.astype(np.float64) @ x + bias, atol=1e-5)


def test_sums_of_any_length(library: ctypes.CDLL) -> None:
    x = np.random.default_rng(0).standard_normal(1003).astype(np.float32)
    for n in (0, 1, 3, 4, 5, 1000, 1003):
        y = np.empty(1, np.float32)
        library.t_sum(p(y), p(x), n)
        assert y[0] == pytest.approx(x[:n].astype(np.float64).sum(), abs=1e-4)


def test_headers_are_self_sufficient(tmp_path: Path) -> None:
    for header in HEADERS:
        (tmp_path / header).write_text(kernel_text(header))
    for header in HEADERS:
        (tmp_path / "alone.c").write_text(f'#include "{header}"\n#include "{header}"\nint alone;\n')
        flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-c"]
        command = [*host_compiler(), *flags, "alone.c"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{header}: {done.stderr}"
