"""Compiles engines: for this machine, for the sandbox, and for the processors of boards. Torch-free.

One compiler from PyPI (`ziglang`, which is clang) makes code for every target; the system's own compiler is preferred
for this machine. Every build is strict C99 with all warnings as errors: what passes here passes in a stranger's tool.
Builds are kept by the hash of all that went into them, so that nothing is compiled twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.resources
import importlib.util
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from pochette.boards.target import WASM, Target
from pochette.engine.source import EXPORTS, EngineSource
from pochette.errors import ExportError, ToolError

WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
OPTIMISATION = ("-O3", "-fno-math-errno", "-g0")
# Freestanding code has no C library, no unwinder and no start-up code but ours.
FREESTANDING = ("-fno-builtin", "-nostdlib", "-fno-unwind-tables", "-fno-asynchronous-unwind-tables")

_CACHE_FILES = 300
_COMPILE_LIMIT_S = 900
_ERROR_LINES = 12


def compile_host_library(
    source: EngineSource, out_dir: Path, *, strict: bool = False, defines: tuple[str, ...] = ()
) -> Path:
    """An engine as a shared library tuned to this very processor.

    Args:
        source: the engine.
        out_dir: where to put it; made if missing.
        strict: forbid fusing multiply and add across roundings, so that every machine gives the same bits.
        defines: macros, "NAME" or "NAME=VALUE".

    Returns:
        the library's path; its name holds a hash, so a changed engine never hides behind a loaded library.

    Raises:
        ExportError: the code does not compile.
        ToolError: there is no compiler.
    """
    return compile_host_files(source.name, source.files, out_dir, strict=strict, defines=defines)


def compile_host_files(
    name: str, files: dict[str, str], out_dir: Path, *, strict: bool = False, defines: tuple[str, ...] = ()
) -> Path:
    """C files as a shared library tuned to this very processor.

    Args:
        name: how the library's file name begins.
        files: file name to text.
        out_dir: where to put it; made if missing.
        strict: forbid fusing multiply and add across roundings.
        defines: macros, "NAME" or "NAME=VALUE".

    Returns:
        the library's path; its name holds a hash, so a changed engine never hides behind a loaded library.

    Raises:
        ExportError: the code does not compile.
        ToolError: there is no compiler.
    """
    compiler = host_compiler()
    position = () if sys.platform == "win32" else ("-fPIC",)
    # A library for "native" must not be found again on another machine that shares the cache.
    flags = ("-shared", "-march=native", *position, *_common(strict, defines))
    suffix = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
    binary = compile_files(files, [*compiler, *flags], link=(), salt=platform.node() + platform.machine())
    path = out_dir / f"{name}-{hashlib.sha256(binary).hexdigest()[:12]}{suffix}"
    _write_atomically(path, binary)
    return path


def compile_wasm(source: EngineSource, *, strict: bool = False, defines: tuple[str, ...] = ()) -> bytes:
    """An engine as a WebAssembly module that imports nothing.

    Args:
        source: the engine.
        strict: forbid fusing multiply and add across roundings.
        defines: macros, "NAME" or "NAME=VALUE".

    Returns:
        the module.

    Raises:
        ExportError: the code does not compile.
        ToolError: `ziglang` is not installed.
    """
    link = ("-s", "-Wl,--no-entry", "-Wl,-z,stack-size=65536", *(f"-Wl,--export={name}" for name in EXPORTS))
    return _freestanding(source, WASM, link, strict, defines)


def compile_elf(source: EngineSource, target: Target, *, strict: bool = False, defines: tuple[str, ...] = ()) -> bytes:
    """An engine as a bare ELF image for an emulator: no operating system, no entry, symbols kept.

    Args:
        source: the engine.
        target: the processor.
        strict: forbid fusing multiply and add across roundings.
        defines: macros, "NAME" or "NAME=VALUE".

    Returns:
        the ELF file.

    Raises:
        ExportError: the code does not compile.
        ToolError: `ziglang` is not installed.
    """
    return _freestanding(source, target, ("-static", f"-Wl,-e,{EXPORTS[0]}"), strict, defines)


def _freestanding(
    source: EngineSource, target: Target, link: tuple[str, ...], strict: bool, defines: tuple[str, ...]
) -> bytes:
    files = {**source.files, "freestanding.c": kernel_text("freestanding.c")}
    return compile_files(files, zig_command(target, FREESTANDING, strict=strict, defines=defines), link=link)


def zig_command(
    target: Target, flags: Sequence[str], *, triple: str = "", strict: bool = False, defines: tuple[str, ...] = ()
) -> list[str]:
    """The cross compiler's command line up to the files.

    Args:
        target: the processor.
        flags: beyond the warnings and optimisation that every build has.
        triple: in place of the target's own, for code that runs under an operating system.
        strict: forbid fusing multiply and add across roundings.
        defines: macros, "NAME" or "NAME=VALUE".

    Returns:
        the words of the command.
    """
    return [*zig(), "-target", triple or target.triple, f"-mcpu={target.cpu}", *_common(strict, defines), *flags]


def _common(strict: bool, defines: tuple[str, ...]) -> tuple[str, ...]:
    # Said outright, since compilers differ: gcc under `-std=c99` does not fuse unless told to, clang does.
    contract = ("-ffp-contract=off", "-DPC_STRICT=1") if strict else ("-ffp-contract=fast",)
    return (*WARNINGS, *OPTIMISATION, *contract, *(f"-D{define}" for define in defines))


def compile_files(files: dict[str, str], command: Sequence[str], *, link: Sequence[str], salt: str = "") -> bytes:
    """Compile and link, or remember the result of having done so.

    Args:
        files: file name to text; every `.c` file is compiled, the others lie beside them.
        command: compiler and flags; they go before the files.
        link: flags that go after the files.
        salt: what else the result depends on.

    Returns:
        the linked binary.

    Raises:
        ExportError: the compiler refused; the message holds its first complaints.
    """
    key = hashlib.sha256(repr((sorted(files.items()), list(command), list(link), salt)).encode())
    key.update(_version(tuple(command)).encode())
    kept = cache_folder() / key.hexdigest()[:32]
    try:
        binary = kept.read_bytes()
        os.utime(kept)
        return binary
    except OSError:
        pass
    binary = _compile(files, command, link)
    # An unwritable cache costs time, never the work.
    try:
        _write_atomically(kept, binary)
        _forget_oldest()
    except OSError:
        pass
    return binary


def _compile(files: dict[str, str], command: Sequence[str], link: Sequence[str]) -> bytes:
    with tempfile.TemporaryDirectory(prefix="pochette-") as folder:
        for name, text in files.items():
            Path(folder, name).write_text(text)
        units = sorted(name for name in files if name.endswith(".c"))
        try:
            returncode, said = _run([*command, *units, "-o", "engine.out", *link], folder)
        except OSError as error:
            raise ToolError(
                f"The compiler cannot be run: {error}", where=shlex.join(command[:1]), remedy=_COMPILER_REMEDY
            ) from None
        except subprocess.TimeoutExpired:
            raise ExportError(
                f"The compiler did not finish within {_COMPILE_LIMIT_S} s.",
                where=", ".join(units),
                remedy="Make the model smaller; the generated code grows with the number of layers.",
            ) from None
        result = Path(folder, "engine.out")
        if returncode or not result.exists():
            raise ExportError(
                f"The engine does not compile:\n{_complaints(said)}",
                where=shlex.join(command),
                remedy="This is a defect of the code generator unless you changed the C: please report it.",
            )
        return result.read_bytes()


def _run(words: Sequence[str], folder: str) -> tuple[int, str]:
    """Run a compiler to its end, or end it and all that it started: zig leaves the work to processes of its own."""
    started = subprocess.Popen(
        words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        env=_environment(), start_new_session=True,
    )  # fmt: skip
    try:
        said, _ = started.communicate(timeout=_COMPILE_LIMIT_S)
    except BaseException:
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)
        started.kill()
        started.communicate()
        raise
    return started.returncode, said


def _complaints(output: str) -> str:
    """The first lines that matter: from the first error on."""
    lines = [line for line in output.splitlines() if line.strip()]
    first = next((number for number, line in enumerate(lines) if "error" in line), 0)
    return "\n".join(lines[first : first + _ERROR_LINES])


_COMPILER_REMEDY = "Run `pip install 'pochette[compile]'`, which brings a compiler for every target."


def zig() -> list[str]:
    """The command that runs the cross compiler.

    Returns:
        words of the command.

    Raises:
        ToolError: `ziglang` is not installed.
    """
    if importlib.util.find_spec("ziglang") is None:
        raise ToolError("The cross compiler `ziglang` is not installed.", remedy=_COMPILER_REMEDY)
    return [sys.executable, "-m", "ziglang", "cc"]


def host_compiler() -> list[str]:
    """The command that compiles for this machine: `$CC`, the system's `cc`, or the cross compiler.

    Returns:
        words of the command.

    Raises:
        ToolError: `$CC` names no program, or there is no compiler at all.
    """
    chosen = shlex.split(os.environ.get("CC", ""))
    if chosen:
        if shutil.which(chosen[0]) is None:
            raise ToolError(f"$CC names {chosen[0]!r}, which is no program.", remedy="Unset CC or correct it.")
        return chosen
    # On Windows `cc` is seldom what it seems; the cross compiler is complete there.
    return ["cc"] if sys.platform != "win32" and shutil.which("cc") else zig()


@cache
def _version(command: tuple[str, ...]) -> str:
    """What tells one compiler's output from another's."""
    if command[0] == sys.executable:
        return importlib.metadata.version("ziglang")
    words = list(command[:2]) if command[1:2] and not command[1].startswith("-") else [command[0]]
    try:
        done = subprocess.run([*words, "--version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def kernel_text(name: str) -> str:
    """The text of a C file shipped with the package.

    Args:
        name: file name in `pochette/engine/kernels`.

    Returns:
        its text.
    """
    return importlib.resources.files("pochette.engine").joinpath("kernels", name).read_text()


def cache_folder() -> Path:
    """Where builds are kept: `builds` in `$POCHETTE_CACHE`, or in `pochette` in the user's cache folder."""
    chosen = os.environ.get("POCHETTE_CACHE")
    if chosen:
        return Path(chosen) / "builds"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pochette" / "builds"


def _environment() -> dict[str, str]:
    """The compilers' environment: zig works for ever where it cannot write its cache, so it gets a place of ours."""
    if "ZIG_GLOBAL_CACHE_DIR" in os.environ:
        return dict(os.environ)
    user = getattr(os, "getuid", int)()
    for folder in (cache_folder().parent / "zig", Path(tempfile.gettempdir()) / f"pochette-zig-{user}"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError:
            continue
        return {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(folder), "ZIG_LOCAL_CACHE_DIR": str(folder)}
    return dict(os.environ)


def _forget_oldest() -> None:
    kept = sorted(cache_folder().iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in kept[_CACHE_FILES:]:
        path.unlink(missing_ok=True)


def _write_atomically(path: Path, binary: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(binary)
    os.replace(file.name, path)
