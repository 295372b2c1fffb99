"""Every compiler that is here, with the processors it makes code for, must find no fault in an engine's C."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from pochette.engine.build import WARNINGS, host_compiler, zig
from pochette.engine.compiled import Engine

COMPILERS: dict[str, tuple[str, tuple[tuple[str, ...], ...]]] = {
    "cc": ("", ((), ("-march=native",), ("-mavx2", "-mfma"), ("-march=skylake-avx512",))),
    "clang": ("", ((), ("-march=native",), ("-mavx2", "-mfma"))),
    "gcc for Cortex-M": (
        "arm-none-eabi-gcc",
        (
            ("-mcpu=cortex-m7", "-mthumb", "-mfpu=fpv5-d16", "-mfloat-abi=hard"),
            ("-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"),
            ("-mcpu=cortex-m3", "-mthumb"),
        ),
    ),
    "gcc for aarch64": ("aarch64-linux-gnu-gcc", (("-mcpu=cortex-a72",), ("-mcpu=cortex-a76",))),
}
"""Programs, if not the usual, and flags of processors."""


def faults(compiler: str, engine: Engine, folder: Path) -> list[str]:
    """What a compiler says of an engine for all of its processors, every warning an error; skips without it."""
    program, processors = COMPILERS[compiler]
    if program and shutil.which(program) is None:
        pytest.skip(f"needs a package with {program}")
    if not program and platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("flags of x86")
    for name, text in engine.sources.items():
        (folder / name).write_text(text)
    command = [program] if program else host_compiler() if compiler == "cc" else zig()
    said = []
    for level in ("-O0", "-Os", "-O3"):
        for more in processors:
            flags = [*WARNINGS, "-Wshadow", level, *more, "-c", f"{engine.name}.c"]
            done = subprocess.run([*command, *flags], cwd=folder, capture_output=True, text=True, check=False)
            said += [f"{' '.join(flags)}: {done.stderr}"] if done.returncode else []
    return said
