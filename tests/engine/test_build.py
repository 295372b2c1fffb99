"""Compilers: what they are given, what they say when they refuse, and that nothing is compiled twice."""

from __future__ import annotations

import dataclasses
import io
import os
import sys
import time
from pathlib import Path

import pytest

from pochette.boards import target
from pochette.engine import build
from pochette.engine.native import NativeRunner
from pochette.engine.source import EngineSource
from pochette.errors import ExportError, ToolError
from tests.toy import toy_source

TARGETS = [target.CORTEX_A53, target.CORTEX_A72, target.CORTEX_A76, target.CORTEX_M7]


def changed(**files: str) -> EngineSource:
    source = toy_source()
    return dataclasses.replace(source, files={**source.files, **{f"{name}.c": text for name, text in files.items()}})


@pytest.mark.parametrize("processor", TARGETS, ids=lambda processor: processor.name)
def test_bare_images_need_nothing_and_keep_their_names(processor: target.Target) -> None:
    pytest.importorskip("ziglang")
    elffile = pytest.importorskip("elftools.elf.elffile")
    image = elffile.ELFFile(io.BytesIO(build.compile_elf(toy_source(), processor)))
    symbols = {symbol.name: symbol for symbol in image.get_section_by_name(".symtab").iter_symbols()}
    assert "pochette_process" in symbols
    assert not [name for name, symbol in symbols.items() if name and symbol["st_shndx"] == "SHN_UNDEF"]


def test_loops_that_clear_memory_find_memset() -> None:
    pytest.importorskip("ziglang")
    clears = "void clear(float *x); void clear(float *x) { for (int i = 0; i < 4096; i++) x[i] = 0.0f; }\n"
    struct = "struct big { float x[999]; }; void copy(struct big *a, const struct big *b);"
    struct += "void copy(struct big *a, const struct big *b) { *a = *b; }\n"
    elffile = pytest.importorskip("elftools.elf.elffile")
    for processor in TARGETS:
        image = elffile.ELFFile(io.BytesIO(build.compile_elf(changed(clears=clears, struct=struct), processor)))
        symbols = list(image.get_section_by_name(".symtab").iter_symbols())
        assert not [s.name for s in symbols if s.name and s["st_shndx"] == "SHN_UNDEF"], processor.name
    assert build.compile_wasm(changed(clears=clears, struct=struct))[:4] == b"\0asm"


def test_errors_show_the_compilers_first_lines(tmp_path: Path) -> None:
    broken = changed(broken="int f(void);\nint f(void) { return undeclared; }\n")
    with pytest.raises(ExportError, match=r"broken\.c:2.*undeclared"):
        build.compile_host_library(broken, tmp_path)


@pytest.mark.parametrize("text", ["static int unused;\n", "int f(void) { return 0L ?: 1; }\n"])
def test_warnings_are_errors(tmp_path: Path, text: str) -> None:
    with pytest.raises(ExportError):
        build.compile_host_library(changed(sloppy=text), tmp_path)


def test_defines_reach_the_code(tmp_path: Path) -> None:
    guarded = changed(guard="#if !defined(LOUD) || LOUD != 2\n#error quiet\n#endif\ntypedef int guard_t;\n")
    with pytest.raises(ExportError, match="quiet"):
        build.compile_host_library(guarded, tmp_path)
    assert build.compile_host_library(guarded, tmp_path, defines=("LOUD=2",)).exists()


def test_nothing_is_compiled_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POCHETTE_CACHE", str(tmp_path / "cache"))
    first = build.compile_host_library(toy_source(), tmp_path / "a")
    monkeypatch.setattr(build, "_compile", lambda *_: pytest.fail("compiled again"))
    assert build.compile_host_library(toy_source(), tmp_path / "b").name == first.name


def test_the_cache_forgets_the_oldest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POCHETTE_CACHE", str(tmp_path))
    monkeypatch.setattr(build, "_CACHE_FILES", 2)
    monkeypatch.setattr(build, "_compile", lambda files, *_: files["a.c"].encode())
    for text in "abcd":
        build.compile_files({"a.c": text}, ["cc"], link=())
    assert len(list((tmp_path / "builds").iterdir())) == 2


def test_what_else_lies_in_the_chosen_cache_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POCHETTE_CACHE", str(tmp_path))
    monkeypatch.setattr(build, "_CACHE_FILES", 0)
    monkeypatch.setattr(build, "_compile", lambda *_: b"")
    (tmp_path / "mine.txt").write_text("not yours")
    build.compile_files({"a.c": ""}, ["cc"], link=())
    assert (tmp_path / "mine.txt").read_text() == "not yours"


def test_a_home_that_cannot_be_written_does_not_stop_zig(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a place for its cache, zig 0.17 never ends."""
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "/proc/nope")
    monkeypatch.delenv("POCHETTE_CACHE", raising=False)
    monkeypatch.delenv("ZIG_GLOBAL_CACHE_DIR", raising=False)
    assert build.compile_wasm(toy_source())


def test_an_unwritable_cache_costs_only_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("POCHETTE_CACHE", str(tmp_path / "file"))
    assert build.compile_host_library(toy_source(), tmp_path).exists()


def test_missing_compilers_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler -O3")
    with pytest.raises(ToolError, match="no-such-compiler"):
        build.compile_host_library(toy_source(), tmp_path)
    monkeypatch.setenv("CC", "")
    monkeypatch.setattr(build.shutil, "which", lambda _: None)
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda _: None)
    for make in (lambda: build.compile_host_library(toy_source(), tmp_path), lambda: build.compile_wasm(toy_source())):
        with pytest.raises(ToolError, match=r"pochette\[compile\]"):
            make()


def test_the_cross_compiler_serves_this_machine_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ziglang")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(build.shutil, "which", lambda _: None)
    assert NativeRunner(build.compile_host_library(toy_source(), tmp_path)).hop_samples == 48


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs groups of processes")
def test_a_compiler_that_takes_too_long_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "_COMPILE_LIMIT_S", 1.0)
    command = [sys.executable, "-c", CHILD_AND_WAIT, str(tmp_path / "pid")]
    with pytest.raises(ExportError, match="did not finish"):
        build.compile_files({"endless.c": f"/* {tmp_path} */"}, command, link=())
    child = int((tmp_path / "pid").read_text())
    for _ in range(100):  # a killed child may still have to be buried
        state = Path(f"/proc/{child}/stat")
        if not state.exists() or state.read_text().split()[2] == "Z":
            return
        time.sleep(0.05)
    raise AssertionError("the compiler's child lives on")


CHILD_AND_WAIT = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(60)
"""
