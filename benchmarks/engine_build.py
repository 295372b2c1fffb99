"""Builds the C of the engine benchmark: networks behind one call, the clock around it, what counts instructions."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from engine_nets import FloatArray, Net

from pochette.engine.build import OPTIMISATION, WARNINGS, compile_files, zig
from pochette.errors import PochetteError

HERE = Path(__file__).resolve().parent / "engine"
FUSED = "-ffp-contract=fast"
SMALL = ("-Os", *OPTIMISATION[1:])
CALLS = 50
"""Calls that instructions are counted over."""


class MissingError(Exception):
    """A peer or tool that is not here; the message says what would bring it."""


def compiler(name: str) -> list[str]:
    """The command of a compiler: "cc", the system's own, or "clang", of the package ziglang.

    Raises:
        MissingError: it is not installed.
    """
    if name == "cc":
        if shutil.which("cc") is None:
            raise MissingError("no system compiler `cc` (on Debian: apt install gcc libc6-dev)")
        return ["cc"]
    try:
        return zig()
    except PochetteError as error:
        raise MissingError("clang is not here (pip install ziglang)") from error


def any_compiler() -> str:
    """The system's own compiler where there is one."""
    return "cc" if shutil.which("cc") else "clang"


@cache
def scratch() -> Path:
    """A folder for what is built, gone at the end."""
    made = tempfile.TemporaryDirectory(prefix="pochette-bench-")
    _KEPT.append(made)
    return Path(made.name)


_KEPT: list[Any] = []


def load(
    files: Mapping[str, str], name: str = "cc", optimisation: Sequence[str] = OPTIMISATION, extra: Sequence[str] = (),
    link: Sequence[str] = (), warnings: Sequence[str] = WARNINGS,
) -> ctypes.CDLL:  # fmt: skip
    """C files as a library of this very processor, loaded.

    Args:
        files: file name to text.
        name: of the compiler.
        optimisation: its flags.
        extra: more flags.
        link: what follows the files.
        warnings: flags of the language and its warnings.

    Raises:
        MissingError: there is no such compiler.
    """
    flags = ["-shared", "-fPIC", "-march=native", *warnings, *optimisation, FUSED, *extra]
    binary = compile_files(dict(files), [*compiler(name), *flags], link=tuple(link), salt=platform.node())
    with tempfile.NamedTemporaryFile(dir=scratch(), suffix=".so", delete=False) as file:
        file.write(binary)
    return ctypes.CDLL(file.name)


def harness(name: str, **options: Any) -> ctypes.CDLL:
    """A C file of benchmarks/engine, compiled and loaded."""
    return load({name: (HERE / name).read_text(encoding="utf-8")}, any_compiler(), **options)


def cplusplus(name: str, flags: Sequence[str], libraries: Sequence[Path]) -> ctypes.CDLL:
    """A C++ file of benchmarks/engine as a library, loaded.

    Args:
        name: of the file.
        flags: beyond the ordinary ones.
        libraries: to be linked, all of one folder; whole, even if nothing seems to need them.

    Raises:
        MissingError: no compiler, or it refuses the file.
    """
    if shutil.which("c++") is None:
        raise MissingError("no system compiler `c++` (on Debian: apt install g++)")
    made = scratch() / f"{name}.so"
    if not made.exists():
        link = ["-Wl,--no-as-needed", *map(str, libraries), f"-Wl,-rpath,{libraries[0].parent}"]
        words = ["c++", "-std=c++17", "-O3", "-w", "-shared", "-fPIC", *flags, str(HERE / name), "-o", str(made), *link]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise MissingError(f"{name} does not compile: {done.stderr.strip()[:200]}")
    return ctypes.CDLL(str(made))


@cache
def _timer() -> Any:
    run = harness("timer.c").timer_run
    run.restype = ctypes.c_double
    pointer, whole = ctypes.c_void_p, ctypes.c_long
    run.argtypes = [pointer, pointer, pointer, whole, whole, pointer, whole, whole, ctypes.c_int]
    return run


@dataclass
class Native:
    """A network in C, behind one call that takes a context, an input and an output."""

    call: int
    """Address of the function."""
    context: int
    signal: FloatArray
    out_floats: int
    reset: Callable[[], None]
    kept: Any = None
    """What must live as long."""
    failed: Callable[[], bool] = lambda: False
    flush: bool = True
    """Whether the thread's host has numbers too small to be normal count as 0, as those of audio have."""
    places: Sequence[int] = ()
    """Addresses where its context may lie; none where others decide that."""

    def settle(self, number: int) -> None:
        """Lie elsewhere in a page: which addresses push each other out of the first cache is luck, a round's own then.

        Args:
            number: of the round.
        """
        if self.places:
            self.context = self.places[number % len(self.places)]
            self.reset()

    def outputs(self) -> FloatArray:
        """What it makes of the test signal, from silence."""
        made = np.zeros((len(self.signal), self.out_floats), np.float32)
        self.reset()
        self._run(made, self.out_floats, len(self.signal))
        return made

    def seconds(self, calls: int) -> float:
        """Time of so many calls."""
        return self._run(np.zeros(self.out_floats, np.float32), 0, calls)

    def _run(self, out: FloatArray, stride: int, calls: int) -> float:
        steps, floats = self.signal.shape
        took = _timer()(
            self.call, self.context, self.signal.ctypes.data, floats, steps, out.ctypes.data, stride, calls,
            int(self.flush),
        )  # fmt: skip
        if self.failed():
            raise MissingError("a call failed")
        return float(took)


_LINE, _PAGE = 64, 4096

GLUE = """#include "net.h"
long bench_bytes(void);
void bench_reset(void *s);
void bench_call(void *s, const float *in, float *out);
long bench_bytes(void) { return (long)sizeof(net_state); }
void bench_reset(void *s) { net_init((net_state *)s); }
void bench_call(void *s, const float *in, float *out) { net_process((net_state *)s, in, out); }
"""
"""What any network of ours is called through; the compiler makes a jump of it."""


def native(library: ctypes.CDLL, net: Net, out_floats: int) -> Native:
    """A library with the three functions of `GLUE` as something to time."""
    library.bench_bytes.restype = ctypes.c_long
    library.bench_reset.argtypes = [ctypes.c_void_p]
    library.bench_reset.restype = None
    memory = ctypes.create_string_buffer(int(library.bench_bytes()) + _LINE + _PAGE)
    start = ctypes.addressof(memory) + -ctypes.addressof(memory) % _LINE
    places = range(start, start + _PAGE, _LINE)
    # Every eleventh line of a page, so that few rounds see all of it.
    places = [places[11 * number % len(places)] for number in range(len(places))]
    made = Native(
        address_of(library.bench_call), start, net.signal(), out_floats,
        lambda: library.bench_reset(made.context), (library, memory), places=places,
    )  # fmt: skip
    made.reset()
    return made


def address_of(function: Any) -> int:
    """Where a function of a library lies."""
    return int(ctypes.cast(function, ctypes.c_void_p).value or 0)


def vectors() -> str:
    """The widest vectors that this processor has, or what it is."""
    flags = Path("/proc/cpuinfo")
    told = flags.read_text(encoding="utf-8", errors="replace").split() if flags.exists() else []
    found = [title for flag, title in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in told]
    return found[0] if found else platform.machine()


def limits(sizes: Sequence[int] = ()) -> dict[str, Any]:
    """What one core can do at best: clock, multiply-adds, and bytes read a second for sets of many sizes.

    Args:
        sizes: in bytes, of sets that matter, besides those of a sweep.

    Raises:
        MissingError: there is no compiler.
    """
    flags = ["-std=gnu11", "-O3", "-march=native", FUSED]
    source = {"limit.c": (HERE / "limit.c").read_text(encoding="utf-8")}
    program = scratch() / "limit"
    program.write_bytes(compile_files(source, [*compiler(any_compiler()), *flags], link=(), salt=platform.node()))
    program.chmod(0o755)
    words = [str(program), *map(str, sizes)]
    found: dict[str, Any] = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    return found


def best_of(*measured: Mapping[str, Any]) -> dict[str, Any]:
    """Several measurements of the limits as one: what a core could do once, it can."""
    reads = zip(*(one["reads"] for one in measured), strict=True)
    return {
        "clock_hz": max(one["clock_hz"] for one in measured),
        "macs_per_second": max(one["macs_per_second"] for one in measured),
        "reads": [[sizes[0][0], max(rate for _, rate in sizes)] for sizes in reads],
    }


def instructions(files: Mapping[str, str], net: Net, out_floats: int, extra: Sequence[str] = ()) -> float:
    """Instructions of one call, counted under valgrind in a build for processors with AVX2.

    Args:
        files: with the functions of `GLUE`.
        net: for the length of its input.
        out_floats: length of its output.
        extra: flags of the compiler.

    Raises:
        MissingError: no valgrind, or another kind of processor.
    """
    if shutil.which("valgrind") is None:
        raise MissingError("instructions are not counted without valgrind (on Debian: apt install valgrind)")
    if platform.machine() not in ("x86_64", "AMD64"):
        raise MissingError("instructions are counted on x86-64 only")
    floats = [f"-DIN_FLOATS={int(np.prod(net.shape))}", f"-DOUT_FLOATS={out_floats}"]
    whole = {**files, "callgrind.c": (HERE / "callgrind.c").read_text(encoding="utf-8")}
    flags = ["-march=x86-64-v3", "-std=c99", *OPTIMISATION, FUSED, *floats, *extra]
    program = scratch() / f"count-{net.name}"
    program.write_bytes(compile_files(whole, [*compiler("cc"), *flags], link=("-lm",)))
    program.chmod(0o755)
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--toggle-collect=bench_call", "--callgrind-out-file=/dev/null",
         str(program), str(CALLS)], capture_output=True, text=True, check=False,
    )  # fmt: skip
    total = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not total:
        raise MissingError(f"valgrind did not run: {done.stderr.strip().splitlines()[-1:]}")
    return int(total[1]) / CALLS


def version_of(name: str) -> str:
    """What a compiler calls itself."""
    told = subprocess.run([*compiler(name), "--version"], capture_output=True, text=True, check=True)
    return told.stdout.splitlines()[0]


def pin() -> int | None:
    """Keep this process, and what it starts, on its last core; None where a system has no such thing."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core
