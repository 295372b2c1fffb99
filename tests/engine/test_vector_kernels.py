"""The vector kernels by themselves, over odd shapes and whole ranges, with vectors of every width and with none."""

from __future__ import annotations

import ctypes
import os
import subprocess

import numpy as np
import numpy.typing as npt
import pytest

from pochette.engine import packing
from pochette.engine.build import host_compiler, kernel_text
from pochette.engine.convolve import _tiles

Array = npt.NDArray[np.float32]
FLAVOURS = {"widest": (), "256 bits": ("-mno-avx512f",), "128 bits": ("-mno-avx",), "none": ("-DPC_MAX_WIDTH=1",)}
PRODUCTS = [(1, 1), (3, 2), (16, 5), (17, 8), (33, 40), (96, 32), (130, 7), (200, 19)]
CONVOLUTIONS = [(1, 1, 1, 16), (3, 2, 3, 17), (4, 4, 3, 64), (9, 5, 2, 33), (16, 16, 3, 64), (6, 3, 4, 100)]
SLOPES = {"linear": 1.0, "relu": 0.0, "leaky": 0.2, "folded": -0.5, "steep": 3.0}
"""What convolutions multiply negative results by."""
ROWS = [(1, 1, 1, 1), (3, 2, 3, 5), (16, 4, 3, 9), (33, 16, 2, 4), (64, 8, 1, 16), (130, 3, 2, 7)]


def source() -> str:
    """One function a shape, so that the compiler sees the sizes."""
    out = ['#include "pc_conv.h"', "#define S(name, ...) void name(__VA_ARGS__); void name(__VA_ARGS__)"]
    two = "float *y, const float *w, const float *b, const float *x"
    for rows, columns in PRODUCTS:
        for pairs in (0, 1):
            sizes = f"{columns}, {rows}, {packing.block_rows(rows)}, {pairs}"
            name = f"product_{rows}_{columns}_{pairs}"
            out.append(f"S({name}, {two}) {{ pc_product(y, w, b, x, {sizes}); }}")
        name = f"dots_{rows}_{columns}"
        out.append(f"S({name}, {two}) {{ pc_dots(y, w, b, x, {columns}, {rows}); }}")
    takes = "float *y, const float *x, const float *w, const float *b, const float *a"
    for outs, ins, taps, samples in CONVOLUTIONS:
        length = samples + 2 * (taps - 1)
        sizes = f"{samples}, {length}, {samples}, 2, {outs}, {ins}, {taps}, {samples}"
        for name, slope in SLOPES.items():
            call = f"pc_conv(y, x, w, b, a, {sizes}, 1, {slope}f)"
            out.append(f"S(conv_{outs}_{ins}_{taps}_{samples}_{name}, {takes}) {{ {call}; }}")
    for outs, ins, taps, rows in ROWS:
        sizes = f"{outs}, {ins}, {taps}, {rows}, {packing.block_rows(outs)}, {taps}"
        for name, slope in SLOPES.items():
            call = f"pc_rows(y, x, w, b, a, {outs}, {ins}, {outs}, {2 * ins}, {sizes}, 1, {slope}f)"
            out.append(f"S(rows_{outs}_{ins}_{taps}_{rows}_{name}, {takes}) {{ {call}; }}")
    for name in ("tanh", "gate", "exp", "log", "sigmoid", "rsqrt"):
        loop = f"for (int i = 0; i < n; i += PC_WIDTH) pc_store(y + i, pc_v{name}(pc_load(x + i)));"
        out.append(f"S(all_{name}, float *y, const float *x, int n) {{ {loop} }}")
    return "\n".join(out) + "\n"


@pytest.fixture(scope="module", params=FLAVOURS)
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    if "bits" in request.param and os.uname().machine not in ("x86_64", "AMD64"):
        pytest.skip("an x86 flavour")
    folder = tmp_path_factory.mktemp("vectors")
    for header in ("pc_math.h", "pc_simd.h", "pc_linear.h", "pc_conv.h"):
        (folder / header).write_text(kernel_text(header))
    (folder / "k.c").write_text(source())
    strict = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O3", "-shared", "-fPIC", "-march=native"]
    subprocess.run([*host_compiler(), *strict, *FLAVOURS[request.param], "k.c", "-o", "k.so"], cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "k.so"))


def p(array: Array) -> ctypes.c_void_p:
    assert array.flags.c_contiguous and array.dtype == np.float32
    return ctypes.c_void_p(array.ctypes.data)


def noise(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def guarded(size: int) -> Array:
    return np.full(size + 64, 12345.0, np.float32)


@pytest.mark.parametrize(("rows", "columns"), PRODUCTS)
def test_products(library: ctypes.CDLL, rows: int, columns: int) -> None:
    matrix, bias, x = noise(rows, columns), noise(rows), noise(columns)
    wanted = matrix.astype(np.float64) @ x + bias
    filled = packing.filled(bias, packing.rounded(rows))
    packed = np.pad(packing.pack_rows(matrix, packing.block_rows(rows)), (0, 16))
    for name, weights in {
        f"product_{rows}_{columns}_0": packed,
        f"product_{rows}_{columns}_1": packed,
        f"dots_{rows}_{columns}": matrix,
    }.items():
        y = guarded(rows)
        getattr(library, name)(p(y), p(weights), p(filled), p(x))
        assert np.abs(y[:rows] - wanted).max() < 1e-5 and (y[rows:] == 12345.0).all(), name


@pytest.mark.parametrize(("outs", "ins", "taps", "samples"), CONVOLUTIONS)
def test_planar_convolutions(library: ctypes.CDLL, outs: int, ins: int, taps: int, samples: int) -> None:
    weight, bias = noise(outs, ins, taps), noise(outs)
    x, add, y = noise(ins, samples + 2 * (taps - 1)), noise(outs, samples), guarded(outs * samples)
    wanted = add + bias[:, None].astype(np.float64)
    for k in range(taps):
        wanted += weight[:, :, k].astype(np.float64) @ x[:, 2 * k : 2 * k + samples]
    packed = _tiles(weight)
    for name, slope in SLOPES.items():
        getattr(library, f"conv_{outs}_{ins}_{taps}_{samples}_{name}")(p(y), p(x), p(packed), p(bias), p(add))
        bent = np.where(wanted > 0, wanted, slope * wanted).ravel()
        assert np.abs(y[: bent.size] - bent).max() < 5e-5 and (y[bent.size :] == 12345.0).all(), name


@pytest.mark.parametrize(("outs", "ins", "taps", "rows"), ROWS)
def test_convolutions_by_rows(library: ctypes.CDLL, outs: int, ins: int, taps: int, rows: int) -> None:
    weight, bias = noise(outs, ins, taps), noise(outs)
    x, add, y = noise(rows + 2 * (taps - 1), ins), noise(rows, outs), guarded(outs * rows)
    wanted = add + bias.astype(np.float64)
    for k in range(taps):
        wanted += x[2 * k : 2 * k + rows].astype(np.float64) @ weight[:, :, k].T
    matrix = weight.transpose(0, 2, 1).reshape(outs, -1)
    packed = np.pad(packing.pack_rows(matrix, packing.block_rows(outs)), (0, 16))
    filled = packing.filled(bias, packing.rounded(outs))
    for name, slope in SLOPES.items():
        getattr(library, f"rows_{outs}_{ins}_{taps}_{rows}_{name}")(p(y), p(x), p(packed), p(filled), p(add))
        bent = np.where(wanted > 0, wanted, slope * wanted).ravel()
        assert np.abs(y[: bent.size] - bent).max() < 5e-5 and (y[bent.size :] == 12345.0).all(), name


@pytest.mark.parametrize(
    ("name", "points", "relative", "absolute"),
    [
        ("tanh", np.linspace(-20, 20, 160_000), 0, 4.5e-7),
        ("tanh", np.geomspace(1e-30, 1e-3, 16_000), 3e-7, 0),
        ("gate", np.linspace(-40, 40, 160_000), 0, 4e-7),
        ("exp", np.linspace(-86.9, 87.9, 160_000), 4e-7, 0),
        ("log", np.geomspace(1.2e-38, 3e38, 160_000), 2e-7, 1e-7),
        ("sigmoid", np.linspace(-80, 80, 160_000), 6e-7, 0),
        ("rsqrt", np.geomspace(1.2e-38, 3e38, 160_000), 4e-7, 0),
    ],
)
def test_functions_over_their_whole_range(
    library: ctypes.CDLL, name: str, points: npt.NDArray[np.float64], relative: float, absolute: float
) -> None:
    x = points.astype(np.float32)
    y = np.empty_like(x)
    getattr(library, f"all_{name}")(p(y), p(x), len(x))
    exact = x.astype(np.float64)
    logistic = 1 / (1 + np.exp(-exact)) if name in ("gate", "sigmoid") else exact
    wanted = {"tanh": np.tanh, "exp": np.exp, "log": np.log, "rsqrt": lambda v: v**-0.5}.get(name, lambda _: logistic)(
        exact
    )
    assert (np.abs(y - wanted) <= relative * np.abs(wanted) + absolute).all()
    wild = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 0.0, -0.0, 1e-45] * 2, np.float32)
    made = np.empty_like(wild)
    getattr(library, f"all_{name}")(p(made), p(wild), len(wild))
    assert name == "rsqrt" or np.isfinite(made).all()
