"""What a real-time thread may not meet: allocation, shared variables, a library that is not there, another's memory."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pochette.boards import target
from pochette.engine.build import FREESTANDING, WARNINGS, compile_files, zig, zig_command
from tests.engine.realtime import MODELS, NAMES, STEPS, culprit, engine, engines, program, rig

PROVIDED = {"memcpy", "memset"}
"""What a compiler makes of loops; `freestanding.c` has it where there is no C library."""
BUILDS = [(name, compiler) for compiler in ("gcc", "clang") for name in NAMES]
BUILDS += [(name, "clang for Cortex-M7") for name in ("lstm", "decoder", "smooth", "ddsp")]


def command(compiler: str) -> list[str]:
    """A freestanding compilation of one file, every warning an error."""
    if compiler == "gcc":
        if shutil.which("gcc") is None:
            pytest.skip("needs the package gcc")
        return ["gcc", *WARNINGS, "-Wvla", "-O3", "-ffreestanding", "-r", "-nostdlib"]
    pytest.importorskip("ziglang")
    if compiler == "clang":
        return [*zig(), *WARNINGS, "-Wvla", "-O1", "-ffreestanding", "-c"]
    return zig_command(target.CORTEX_M7, (*FREESTANDING, "-Wvla", "-c"))


def compiled(name: str, compiler: str) -> bytes:
    return compile_files(engine(name).files, command(compiler), link=())


@pytest.mark.parametrize(("name", "compiler"), BUILDS)
def test_code_alone_without_warnings_globals_or_library(name: str, compiler: str) -> None:
    """Nothing is undefined but what every compiler takes for granted, and no section can be written."""
    elffile = pytest.importorskip("elftools.elf.elffile")
    binary = compiled(name, compiler)
    if not binary.startswith(b"\x7fELF"):
        pytest.skip("objects of this machine are no ELF files")
    image: Any = elffile.ELFFile(io.BytesIO(binary))
    symbols = [symbol for symbol in image.get_section_by_name(".symtab").iter_symbols() if symbol.name]
    undefined = {symbol.name for symbol in symbols if symbol["st_shndx"] == "SHN_UNDEF"}
    assert undefined - {f"__aeabi_{known}" for known in PROVIDED} <= PROVIDED
    offered = {s.name for s in symbols if s["st_info"]["bind"] != "STB_LOCAL" and s.name not in undefined}
    ends = ("reset", "process") if engine(name).played else ("init", "reset", "process")
    assert offered == {said for text in engine(name).headers for said in re.findall(r"^void (\w+)\(", text, re.M)}
    assert offered >= {f"{name}_{end}" for end in ends} and all(said.startswith(f"{name}_") for said in offered)
    may_write, must_load = 1, 2
    written = [s for s in image.iter_sections() if s["sh_flags"] & may_write and s["sh_flags"] & must_load]
    assert [section.name for section in written if section["sh_size"]] == []
    assert not [symbol.name for symbol in symbols if symbol["st_shndx"] == "SHN_COMMON"]


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
@pytest.mark.parametrize(
    "names",
    [
        pytest.param(tuple(STEPS), id="steps"),
        pytest.param(tuple(MODELS), id="models"),
    ],
)
def test_headers_serve_cpp(names: tuple[str, ...], compiler: str, tmp_path: Path) -> None:
    """A C++ program includes every header without a warning and asks for the functions by their C names."""
    elffile = pytest.importorskip("elftools.elf.elffile")
    if compiler == "g++" and shutil.which("g++") is None:
        pytest.skip("needs the package g++")
    if sys.platform != "linux":
        pytest.skip("objects of this machine are no ELF files")
    lines = [f'#include "{name}.h"\n#include "{name}.h"' for name in names]
    lines += [f"void use({name}_state *s) {{ {name}_reset(s); }}" for name in names]
    for name in names:
        for file, text in engine(name).files.items():
            if file.startswith(name) and file.endswith(".h"):
                (tmp_path / file).write_text(text)
    (tmp_path / "user.cpp").write_text("\n".join(lines) + "\n")
    words = ["g++"] if compiler == "g++" else [*zig()[:-1], "c++"]
    flags = ("-std=c++11", *WARNINGS[1:], "-c", "user.cpp", "-o", "user.o")
    subprocess.run([*words, *flags], cwd=tmp_path, check=True)
    table = elffile.ELFFile(io.BytesIO((tmp_path / "user.o").read_bytes())).get_section_by_name(".symtab")
    asked = {symbol.name for symbol in table.iter_symbols() if symbol["st_shndx"] == "SHN_UNDEF" and symbol.name}
    assert {f"{name}_reset" for name in names} <= asked


@pytest.mark.skipif(sys.platform == "win32", reason="programs there bring a C library that cannot be stood in for")
def test_nothing_is_allocated(tmp_path: Path) -> None:
    """Two hundred calls of every engine, `init` included; an engine that does allocate is found out."""
    path = tmp_path / "trap"
    guilty = culprit("free(s->held);\n    s->held = malloc(64);")
    path.write_bytes(program((*engines(), guilty), "trap.c", "-fno-builtin"))
    path.chmod(0o755)
    told = subprocess.run([path], check=True, capture_output=True, text=True).stdout.split("\n")[:-1]
    counts = {name: int(count) for name, count in (line.split() for line in told)}
    assert counts.pop("culprit") == 399
    assert counts == dict.fromkeys(NAMES, 0)


@pytest.mark.parametrize("name", NAMES)
def test_two_instances_never_touch(name: str) -> None:
    """Turn by turn with another that is played something else, the sound is the same to the bit; marks stay."""
    noise, other_noise = engine(name).noise(60, seed=1), engine(name).noise(60, seed=2)
    alone = rig().instance(name).play(noise)
    mine, other = rig().instance(name), rig().instance(name)
    turns = []
    for call in range(60):
        turns.append(mine.play(noise[call : call + 1]))
        other.play(other_noise[call : call + 1])
    assert np.array_equal(np.concatenate(turns).view(np.uint32), alone.view(np.uint32))
    assert mine.is_whole() and other.is_whole()


@pytest.mark.parametrize("name", NAMES)
def test_what_lay_in_the_memory_before_is_not_heard(name: str) -> None:
    """Memory full of ones is full of NaN: whoever read before writing would say so."""
    noise = engine(name).noise(40)
    ones, zeros = (rig().instance(name, filling).play(noise).view(np.uint32) for filling in (0xFF, 0x00))
    assert np.array_equal(ones, zeros)
