"""The kernels of 16 and 8 bits by themselves, on every kind of processor: whole numbers and floats to the bit."""

from __future__ import annotations

import ctypes
import platform
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from pochette.boards import target
from pochette.boards.board import Machine
from pochette.control import Control
from pochette.engine import precision
from pochette.engine.build import (
    WARNINGS,
    compile_elf,
    compile_files,
    compile_host_files,
    compile_wasm,
    host_compiler,
)
from pochette.engine.core import kernels_of
from pochette.engine.emulate import EmulatedRunner
from pochette.engine.packing import FloatArray, block_rows, filled, rounded
from pochette.engine.precision import Precision
from pochette.engine.runner import Runner
from pochette.engine.source import EngineSource, glue
from pochette.engine.wasm import WasmRunner

COLUMNS, ROWS = 83, 150
"""Neither fills its vectors; more rows than a block."""
SHAPES = ((8, 16), (9, 17), (16, 64), (83, 150), (600, 33), (512, 300), (1, 5))
NARROW: tuple[Precision, ...] = ("bfloat16", "float16", "int8")
FLAVOURS = {
    "native": (),
    "AVX-512 without products of bytes": ("-mno-avx512vnni", "-mno-avxvnni"),
    "AVX2": ("-mno-avx512f", "-mno-avxvnni"),
    "AVX2 with products of bytes": ("-mno-avx512f",),
    "SSE": ("-mno-avx",),
    "plain loops": ("-U__GNUC__", "-Wno-unused-function"),
}


def matrices(columns: int, rows: int) -> tuple[FloatArray, FloatArray, list[FloatArray]]:
    """A matrix, a bias and vectors."""
    random = np.random.default_rng(columns * 1000 + rows)
    matrix = (random.standard_normal((rows, columns)) * random.uniform(0.01, 3, (rows, 1))).astype(np.float32)
    matrix[rows // 2] = 0
    matrix[0, 0] = 1e-7  # a denormal number of float16
    vectors = [random.standard_normal(columns) * scale for scale in (1, 1e-3, 300)]
    vectors += [np.zeros(columns), np.eye(1, columns)[0], np.full(columns, -2.5), np.full(columns, 1e-38)]
    return matrix, random.standard_normal(rows).astype(np.float32), [np.float32(x) for x in vectors]


def wanted(kind: Precision, matrix: FloatArray, bias: FloatArray, x: FloatArray) -> FloatArray:
    """What the kernel must give, to the bit."""
    if kind == "int8":
        return precision.multiply_whole(*precision.quantise_rows(matrix), bias, x)
    exact = precision.rounded_matrix(matrix, kind)
    even, odd = bias.copy(), np.zeros_like(bias)
    for k in range(0, len(x), 2):
        even = even + exact[:, k] * x[k]
        odd = odd + exact[:, k + 1] * x[k + 1] if k + 1 < len(x) else odd
    return even + odd


def literals(numbers: FloatArray) -> str:
    return ", ".join(float(x).hex() + "f" for x in numbers)


def kernel_files(kind: Precision, columns: int, rows: int) -> dict[str, str]:
    """`product(y, x)` with the matrix and bias of these sizes."""
    matrix, bias, _ = matrices(columns, rows)
    block, wide = block_rows(rows), rounded(rows)
    text = f"static const float bias[{wide}] = {{{literals(filled(bias, wide))}}};\n"
    if kind == "int8":
        whole, scales = precision.quantise_rows(matrix)
        packed = precision.pack_fours(whole, block)
        header, stored = "pc_int8.h", "int8_t"
        text += f"static const float scales[{wide}] = {{{literals(filled(scales, wide))}}};\n"
        call = f"pc_digit room[PC_DIGITS({columns})];\n    "
        call += f"pc_product8(y, w, scales, bias, x, room, {columns}, {rows}, {block});"
    else:
        packed = precision.pack_pairs(precision.to_bits(matrix, kind), block, words=kind == "bfloat16")
        header, stored = "pc_half.h", "uint16_t"
        call = f"pc_product16(y, w, bias, x, {columns}, {rows}, {block}, PC_{kind.upper()});"
    aligned = "#if defined(__GNUC__)\n__attribute__((aligned(64)))\n#endif\n"
    text += f"{aligned}static const {stored} w[{len(packed)}] = {{{', '.join(map(str, packed))}}};\n"
    text = f'#include "{header}"\n{text}void product(float *y, const float *x);\n'
    text += f"void product(float *y, const float *x)\n{{\n    {call}\n}}\n"
    return {"product.c": text, **kernels_of([header])}


@cache
def source(kind: Precision) -> EngineSource:
    """The product as an engine that reads the vector as controls and gives the rows as audio."""
    files = kernel_files(kind, COLUMNS, ROWS)
    files["engine.h"] = f"""
#define engine_SAMPLE_RATE_HZ 16000
#define engine_HOP_SAMPLES {ROWS}
#define engine_CONTROLS {COLUMNS}
#define engine_LATENCY_SAMPLES 0
typedef struct {{ float nothing; }} engine_state;
void engine_reset(engine_state *s);
void engine_process(engine_state *s, const float *controls, float *audio, int samples);
"""
    files["engine.c"] = """#include "engine.h"
void product(float *y, const float *x);
void engine_reset(engine_state *s) { s->nothing = 0.0f; }
void engine_process(engine_state *s, const float *controls, float *audio, int samples)
{
    (void)s;
    (void)samples;
    product(audio, controls);
}
"""
    files["glue.c"] = glue("engine")
    controls = tuple(Control(f"x{i}", "", -1, 1, 0) for i in range(COLUMNS))
    return EngineSource("engine", files, controls, 16000, ROWS, 0)


def check_runner(kind: Precision, runner: Runner) -> None:
    matrix, bias, vectors = matrices(COLUMNS, ROWS)
    for x in vectors[:-1]:
        assert np.array_equal(runner.process(x, ROWS), wanted(kind, matrix, bias, x))


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("kind", NARROW)
def test_products_on_this_machine(kind: Precision, flavour: str, tmp_path: Path) -> None:
    if flavour not in ("native", "plain loops") and platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("an x86 flavour")
    base = ["-shared", "-fPIC", "-O2", "-ffp-contract=off", *WARNINGS, "-march=native", *FLAVOURS[flavour]]
    for columns, rows in SHAPES:
        path = tmp_path / f"{columns}-{rows}.so"
        path.write_bytes(compile_files(kernel_files(kind, columns, rows), [*host_compiler(), *base], link=()))
        product = ctypes.CDLL(str(path)).product
        matrix, bias, vectors = matrices(columns, rows)
        for x in vectors:
            made = np.full(rows + 16, 7, np.float32)
            product(ctypes.c_void_p(made.ctypes.data), ctypes.c_void_p(x.ctypes.data))
            assert np.array_equal(made[:rows], wanted(kind, matrix, bias, x)), (columns, rows)
            assert (made[rows:] == 7).all(), "wrote behind the last row"


TARGETS: dict[str, tuple[Machine, target.Target]] = {
    "aarch64": ("aarch64", target.CORTEX_A72),
    "aarch64 with products of bytes": ("aarch64", target.CORTEX_A76),
    "armv7": ("armv7", target.CORTEX_A8),
    "cortex-m7": ("cortex-m7", target.CORTEX_M7),
    "cortex-m33": ("cortex-m33", target.CORTEX_M33),
}


@pytest.mark.parametrize("where", TARGETS)
@pytest.mark.parametrize("kind", NARROW)
def test_products_on_other_processors(kind: Precision, where: str) -> None:
    pytest.importorskip("unicorn")
    pytest.importorskip("ziglang")
    machine, processor = TARGETS[where]
    check_runner(kind, EmulatedRunner(compile_elf(source(kind), processor, strict=True), machine))


@pytest.mark.parametrize("kind", NARROW)
def test_products_in_the_sandbox(kind: Precision) -> None:
    pytest.importorskip("ziglang")
    check_runner(kind, WasmRunner(compile_wasm(source(kind), strict=True)))


def test_what_is_no_number_becomes_some(tmp_path: Path) -> None:
    matrix, bias, _ = matrices(COLUMNS, ROWS)
    path = compile_host_files("whole", kernel_files("int8", COLUMNS, ROWS), Path(tempfile.mkdtemp()), strict=True)
    product = ctypes.CDLL(str(path)).product
    for bad in (np.nan, np.inf, -np.inf, 3e38):
        x = np.ones(COLUMNS, np.float32)
        x[5] = bad
        made = np.empty(ROWS, np.float32)
        product(ctypes.c_void_p(made.ctypes.data), ctypes.c_void_p(x.ctypes.data))
        assert np.isfinite(made).all()
        assert np.array_equal(made, wanted("int8", matrix, bias, x))


def test_rounding_is_to_the_nearest() -> None:
    random = np.random.default_rng(0)
    numbers = np.concatenate([random.standard_normal(2000) * 10.0 ** random.integers(-8, 5, 2000), [0, 1, -1, 65504]])
    exact = numbers.astype(np.float32)[None]
    for kind, mantissa in (("bfloat16", 8), ("float16", 11)):
        made = precision.rounded_matrix(exact, kind)  # type: ignore[arg-type]
        normal = np.abs(exact) > 6.2e-5
        assert (np.abs(made - exact)[normal] <= np.abs(exact)[normal] * 2.0**-mantissa).all()
    largest = np.array([[np.finfo(np.float32).max, -np.finfo(np.float32).max]], np.float32)
    assert np.isfinite(precision.rounded_matrix(largest, "bfloat16")).all()
    matrix = matrices(30, 40)[0]
    whole, scales = precision.quantise_rows(matrix)
    assert np.abs(whole).max() == 127
    assert (np.abs(whole * scales[:, None] - matrix) <= scales[:, None] * 0.501).all()


def test_sums_of_whole_numbers_fit() -> None:
    for columns in (1, 100, 518, 519, 4096, 100_000):
        assert columns * 127 * precision.vector_levels(columns) < 2**31
