"""The functions and transforms of later kernel headers by themselves: strict C for every compiler, stated errors."""

from __future__ import annotations

import ctypes
import importlib.util
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import special

from pochette.engine import build
from pochette.engine.build import WARNINGS, host_compiler, kernel_text, zig
from pochette.engine.core import kernels_of

KERNELS = Path(build.__file__).with_name("kernels")
HEADERS = (
    "pc_attention.h", "pc_fourier.h", "pc_functions.h", "pc_index.h", "pc_multiply.h",
    "pc_norms.h", "pc_pool.h", "pc_reduce.h", "pc_running.h", "pc_softmax.h",
)  # fmt: skip
UNARY = ("sin", "cos", "atan", "asin", "acos", "asinh", "acosh", "atanh", "expm1",
         "log1p", "erf", "gelu", "gelu_tanh", "mish", "log_sigmoid", "round", "floor",
         "ceil", "trunc", "sign", "abs")  # fmt: skip
BINARY = ("remainder", "fmod", "atan2", "power")
WRAPPERS = "\n".join(
    [f'#include "{header}"' for header in HEADERS]
    + [
        f"void t_{name}(float *y, const float *x, int n);\nvoid t_{name}(float *y, const float *x, int n)\n{{\n"
        f"    int i = 0;\n    for (; i + PC_WIDTH <= n; i += PC_WIDTH) pc_store(y + i, pc_v{name}(pc_load(x + i)));\n"
        f"    for (; i < n; i++) y[i] = pc_{name}(x[i]);\n}}"
        for name in UNARY
    ]
    + [
        f"float t_{name}(float a, float b);\nfloat t_{name}(float a, float b) {{ return pc_{name}(a, b); }}"
        for name in BINARY
    ]
    + [
        """void t_fourier(float *y, const float *x, const float *table, int n, float *scratch);
void t_numeric(float *y, const float *x, int n);
void t_numeric(float *y, const float *x, int n)
{
    int i = 0;
    for (; i + PC_WIDTH <= n; i += PC_WIDTH) pc_store(y + i, pc_vnumeric(pc_load(x + i), 1.5f, 2.5f, -3.5f));
    for (; i < n; i++) y[i] = pc_numeric(x[i], 1.5f, 2.5f, -3.5f);
}
void t_foremost(float *y, uint32_t *place, const float *x, int n, int k, float sign);
void t_foremost(float *y, uint32_t *place, const float *x, int n, int k, float sign)
{
    pc_foremost(y, place, x, n, k, 1, sign);
}
void t_fourier(float *y, const float *x, const float *table, int n, float *scratch)
{
    pc_fourier_real(y, x, table, n, n, 1.0f, scratch);
}
"""
    ]
)
FLAVOURS: dict[str, tuple[str, ...]] = {"vectors": ("-march=native",), "plain loops": ("-U__GNUC__",), "zig": ()}


@pytest.fixture(scope="module", params=FLAVOURS)
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    if request.param == "zig" and importlib.util.find_spec("ziglang") is None:
        pytest.skip("needs ziglang")
    folder = tmp_path_factory.mktemp("kernels")
    for header, text in kernels_of(list(HEADERS)).items():
        (folder / header).write_text(text)
    (folder / "t.c").write_text(WRAPPERS)
    compiler = zig() if request.param == "zig" else host_compiler()
    flags = [*WARNINGS, "-Wno-unused-function", "-O2", "-ffp-contract=fast", "-shared", "-fPIC"]
    subprocess.run([*compiler, *flags, *FLAVOURS[request.param], "t.c", "-o", "t.so"], cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "t.so"))


def p(array: npt.NDArray[np.float32]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def spread(low: float, high: float) -> npt.NDArray[np.float64]:
    return np.linspace(low, high, 100_003)


small = np.geomspace(1e-6, 1, 20_001)
BOTH = np.concatenate([-small, small])


@pytest.mark.parametrize(
    ("name", "points", "exact", "relative", "absolute"),
    [
        ("sin", spread(-100, 100), np.sin, 0, 2e-7),
        ("sin", spread(-8192, 8192), np.sin, 0, 2e-7),
        ("sin", BOTH, np.sin, 3e-7, 0),
        ("cos", spread(-8192, 8192), np.cos, 0, 2e-7),
        ("atan", spread(-50, 50), np.arctan, 3e-7, 0),
        ("asin", spread(-1, 1), np.arcsin, 4e-7, 0),
        ("asin", BOTH, np.arcsin, 4e-7, 0),
        ("asin", np.array([-3e38, -2, 1.0000001, 9]), lambda x: np.arcsin(np.clip(x, -1, 1)), 4e-7, 0),
        ("acos", spread(-1, 1), np.arccos, 4e-7, 4e-7),
        ("acos", 1 - small, np.arccos, 4e-7, 0),
        ("acos", np.array([-3e38, -2, 9]), lambda x: np.arccos(np.clip(x, -1, 1)), 4e-7, 0),
        ("asinh", BOTH, np.arcsinh, 5e-7, 0),
        ("asinh", spread(-1e4, 1e4), np.arcsinh, 5e-7, 0),
        ("acosh", 1 + np.geomspace(1e-6, 1e4, 50_001), np.arccosh, 5e-7, 0),
        ("acosh", np.array([-3e4, 0, 0.9, 1]), np.zeros_like, 0, 0),
        ("atanh", BOTH[np.abs(BOTH) < 0.999999], np.arctanh, 5e-7, 0),
        ("atanh", spread(-0.99999, 0.99999), np.arctanh, 5e-7, 0),
        ("expm1", BOTH, np.expm1, 4e-7, 0),
        ("expm1", spread(-20, 80), np.expm1, 4e-7, 0),
        ("log1p", small, np.log1p, 3e-7, 0),
        ("log1p", spread(0, 1e6), np.log1p, 3e-7, 0),
        ("erf", spread(-6, 6), special.erf, 3e-7, 0),
        ("erf", BOTH, special.erf, 3e-7, 0),
        ("gelu", spread(-8, 8), lambda x: x * special.ndtr(x), 0, 1e-6),
        ("gelu_tanh", spread(-8, 8), lambda x: x * special.expit(1.5957691216 * (x + 0.044715 * x**3)), 0, 2e-6),
        ("mish", spread(-20, 20), lambda x: x * np.tanh(np.log1p(np.exp(x))), 1e-6, 1e-7),
        ("log_sigmoid", spread(-80, 20), special.log_expit, 4e-7, 0),
        ("round", spread(-1000, 1000).round(2), np.rint, 0, 0),
        ("round", np.array([0.5, 1.5, -0.5, -1.5, 4194303.5, 8388609.0, -1e9, 2.5]), np.rint, 0, 0),
        ("floor", spread(-1000, 1000), np.floor, 0, 0),
        ("ceil", spread(-1000, 1000), np.ceil, 0, 0),
        ("trunc", np.array([-1.5, 1.5, -0.25, 4194304.5, -8388607.5, 3e9, 0.0]), np.trunc, 0, 0),
        ("sign", spread(-1, 1), np.sign, 0, 0),
        ("abs", spread(-1, 1), np.abs, 0, 0),
    ],
)  # fmt: skip
def test_functions_keep_to_their_errors(
    library: ctypes.CDLL, name: str, points: Any, exact: Callable[..., Any], relative: float, absolute: float
) -> None:
    x = points.astype(np.float32)
    y = np.empty_like(x)
    getattr(library, f"t_{name}")(p(y), p(x), len(x))
    wanted = exact(x.astype(np.float64))
    assert (np.abs(y - wanted) <= absolute + relative * np.abs(wanted)).all(), np.abs(y - wanted).max()


@pytest.mark.parametrize(
    ("name", "exact", "high"),
    [("remainder", np.mod, 5.0), ("fmod", np.fmod, 5.0), ("atan2", np.arctan2, 4.0), ("power", np.power, 3.0)],
)
def test_functions_of_two_numbers(library: ctypes.CDLL, name: str, exact: Callable[..., Any], high: float) -> None:
    function = getattr(library, f"t_{name}")
    function.argtypes, function.restype = [ctypes.c_float] * 2, ctypes.c_float
    rng = np.random.default_rng(0)
    for a, b in rng.uniform(0.1, high, (300, 2)).astype(np.float32):
        signs = [(a, b)] if name == "power" else [(a, b), (-a, b), (a, -b), (-a, -b)]
        for left, right in signs:
            assert function(left, right) == pytest.approx(float(exact(np.float64(left), np.float64(right))), 1e-6, 1e-6)
    assert function(-2.0, 3.0) == (-8.0 if name == "power" else pytest.approx(float(exact(-2.0, 3.0))))


def test_tangents_of_no_area_are_held(library: ctypes.CDLL) -> None:
    x = np.array([-3e38, -1, 1, 1.5], np.float32)
    y = np.empty_like(x)
    library.t_atanh(p(y), p(x), len(x))
    assert (np.abs(y) <= 45).all() and (np.abs(y) > 40).all() and (np.sign(y) == np.sign(x)).all()


def test_what_is_no_number_becomes_one(library: ctypes.CDLL) -> None:
    x = np.resize(np.array([np.nan, np.inf, -np.inf, 1e-42, -2.5, 3e38, -np.nan], np.float32), 35)
    y = np.empty_like(x)
    library.t_numeric(p(y), p(x), len(x))
    assert np.array_equal(y, np.nan_to_num(x, nan=1.5, posinf=2.5, neginf=-3.5))


@pytest.mark.parametrize(("n", "k"), [(1, 1), (9, 1), (9, 4), (9, 9), (64, 5)])
def test_the_foremost_are_found_in_order(library: ctypes.CDLL, n: int, k: int) -> None:
    rng = np.random.default_rng(n + k)
    for sign in (1.0, -1.0):
        x = rng.integers(-4, 5, n).astype(np.float32)
        y, places = np.empty(k, np.float32), np.empty(k, np.uint32)
        library.t_foremost(p(y), ctypes.c_void_p(places.ctypes.data), p(x), n, k, ctypes.c_float(sign))
        wanted = np.argsort(-sign * x, kind="stable")[:k]
        assert np.array_equal(places, wanted) and np.array_equal(y, x[wanted])


@pytest.mark.parametrize("n", [2, 16, 31, 60, 97, 1024, 3 * 5 * 7 * 11, 44100, 65536])
def test_transforms_keep_to_their_error(library: ctypes.CDLL, n: int) -> None:
    x = np.random.default_rng(0).standard_normal(n).astype(np.float32)
    turn = 2 * np.pi * np.arange(n) / n
    table = np.concatenate([np.cos(turn), np.sin(turn)]).astype(np.float32)
    y, scratch = np.empty(2 * (n // 2 + 1), np.float32), np.full(4 * n + 16, 7.0, np.float32)
    library.t_fourier(p(y), p(x), p(table), n, p(scratch))
    wanted = np.fft.rfft(x.astype(np.float64))
    assert np.abs(y.view(np.complex64) - wanted).max() <= 1e-6 * np.abs(wanted).max()
    assert (scratch[4 * n :] == 7.0).all()


def test_headers_are_self_sufficient(tmp_path: Path) -> None:
    headers = sorted(path.name for path in KERNELS.glob("pc_*.h"))
    assert set(HEADERS) < set(headers)
    for header, text in kernels_of(headers).items():
        (tmp_path / header).write_text(text)
    text = "".join(f'#include "{header}"\n#include "{header}"\nint alone_{i};\n' for i, header in enumerate(headers))
    for number, header in enumerate(headers):
        (tmp_path / f"alone{number}.c").write_text(f'#include "{header}"\n#include "{header}"\nint alone{number};\n')
    (tmp_path / "together.c").write_text(text)
    names = [f"alone{number}.c" for number in range(len(headers))]
    subprocess.run([*host_compiler(), *WARNINGS, "-c", "together.c", *names], cwd=tmp_path, check=True)
    assert all("malloc" not in kernel_text(h) and "math.h>" not in kernel_text(h) for h in headers)
