"""Whole programs around an engine, for boards and for the second opinion of QEMU. Torch-free.

The same sources make two firmwares of a microcontroller: one placed in the real board's memory, to see what it
occupies, and one placed for the board that QEMU imitates, to hear it. Neither holds a vendor's audio driver: what the
sizes say is the engine, its weights and state, a stack, and about one kilobyte of start-up code.
"""

from __future__ import annotations

import importlib
import io
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pochette.boards.target import CORTEX_M7, MemoryMap, Region, Target
from pochette.engine.build import FREESTANDING, compile_files, kernel_text, zig_command
from pochette.engine.runner import FloatArray
from pochette.engine.source import EngineSource
from pochette.errors import ExportError, FitError, InstrumentError, ToolError

MPS2_AN500 = MemoryMap(code=Region("SSRAM1", 0x0000_0000, 4 << 20), data=Region("SSRAM2 and 3", 0x2000_0000, 4 << 20))
"""Arm's FPGA board with a Cortex-M7, as QEMU's `mps2-an500` imitates it (Arm Application Note 500, table 3-1)."""

_RUN_LIMIT_S = 300


@dataclass(frozen=True)
class FirmwareSize:
    """What a firmware occupies, read from its sections."""

    flash_bytes: int
    """The image to be stored: program, weights, initial values."""
    ram_bytes: int
    """State, variables and stack; program and weights too if it runs from RAM."""


def compile_firmware(
    source: EngineSource,
    curve: FloatArray,
    memory: MemoryMap,
    *,
    target: Target = CORTEX_M7,
    strict: bool = False,
    defines: tuple[str, ...] = (),
) -> bytes:
    """Build a Cortex-M firmware that plays a control curve and writes the audio through semihosting.

    Args:
        source: the engine.
        curve: (frame, control), compiled in.
        memory: where the board's memory lies: a board's `memory`, or `MPS2_AN500` to run it in QEMU.
        target: the processor.
        strict: forbid fusing multiply and add across roundings.
        defines: macros, "NAME" or "NAME=VALUE".

    Returns:
        the ELF file.

    Raises:
        ExportError: the code does not compile.
        FitError: it does not fit the memory; the message says by how much.
        ToolError: `ziglang` is not installed.
    """
    files = _program_files(source, curve, "cortex_m_start.c") | {"board.ld": linker_script(memory)}
    command = zig_command(target, FREESTANDING, strict=strict, defines=defines)
    try:
        return compile_files(files, command, link=("-static", "-Wl,-T,board.ld"))
    except ExportError as error:
        overflow = [line for line in error.what.splitlines() if "will not fit in region" in line]
        if not overflow:
            raise
        raise FitError(
            f"The firmware does not fit the board's memory: {overflow[0].split('error:')[-1].strip()}",
            where=f"{source.name} in {memory.code.name}",
            remedy="Remove more of the model, quantise its weights, or choose a larger board.",
        ) from None


def compile_linux_program(
    source: EngineSource, curve: FloatArray, target: Target, *, strict: bool = False, defines: tuple[str, ...] = ()
) -> bytes:
    """Build a static 64-bit Arm Linux program that plays a control curve and writes the audio to its output.

    Args:
        source: the engine.
        curve: (frame, control), compiled in.
        target: the processor, a Cortex-A.
        strict: forbid fusing multiply and add across roundings.
        defines: macros, "NAME" or "NAME=VALUE".

    Returns:
        the program.

    Raises:
        ExportError: the code does not compile.
        ToolError: `ziglang` is not installed.
    """
    files = _program_files(source, curve, "aarch64_linux_start.c")
    command = zig_command(target, FREESTANDING, triple="aarch64-linux-none", strict=strict, defines=defines)
    return compile_files(files, command, link=("-static",))


def _program_files(source: EngineSource, curve: FloatArray, start: str) -> dict[str, str]:
    shipped = {name: kernel_text(name) for name in (start, "harness.c", "freestanding.c")}
    return {**source.files, **shipped, "curve.h": curve_header(curve)}


def curve_header(curve: FloatArray) -> str:
    """Write a control curve as C.

    Args:
        curve: (frame, control).

    Returns:
        the text of `curve.h`; values are in hexadecimal, so that no bit is lost.
    """
    # C has no arrays of no columns: an engine without controls gets one that it does not read.
    rows = curve.astype(np.float32) if curve.shape[1] else np.zeros((len(curve), 1), np.float32)
    lines = ",\n".join("    {" + ", ".join(f"{float(value).hex()}f" for value in row) + "}" for row in rows)
    return (
        f"enum {{ CURVE_FRAMES = {rows.shape[0]}, CURVE_COLUMNS = {rows.shape[1]} }};\n"
        f"static const float curve[CURVE_FRAMES][CURVE_COLUMNS] = {{\n{lines}\n}};\n"
    )


def linker_script(memory: MemoryMap) -> str:
    """Write the linker script that places a firmware in a board's memory.

    Args:
        memory: the board's regions.

    Returns:
        the script.
    """
    regions = list(dict.fromkeys((memory.code, memory.data)))
    names = {region: f"REGION{number}" for number, region in enumerate(regions)}
    lines = (f"    {name} (rwx) : ORIGIN = {r.origin:#x}, LENGTH = {r.size_bytes}" for r, name in names.items())
    words = {
        "@MEMORY@": "\n".join(lines),
        "@CODE@": names[memory.code],
        "@DATA@": names[memory.data],
        "@IMAGE@": "" if memory.runs_from_ram else f"AT > {names[memory.code]}",
        "@STACK_BYTES@": str(memory.stack_bytes),
    }
    text = kernel_text("cortex_m.ld")
    for word, value in words.items():
        text = text.replace(word, value)
    return text


def firmware_size(elf: bytes, memory: MemoryMap) -> FirmwareSize:
    """Read from a firmware what it occupies.

    Args:
        elf: what `compile_firmware` made.
        memory: the memory it was made for.

    Returns:
        bytes to store and bytes of RAM.

    Raises:
        ToolError: `pyelftools` is not installed.
    """
    try:
        elffile = importlib.import_module("elftools.elf.elffile")
    except ImportError:
        raise ToolError(
            "Reading a firmware's size needs the package `pyelftools`, which is not installed.",
            remedy="Run `pip install 'pochette[compile]'`.",
        ) from None
    write, alloc = 1, 2
    stored = variable = 0
    for section in elffile.ELFFile(io.BytesIO(elf)).iter_sections():
        if section["sh_flags"] & alloc:
            stored += section["sh_size"] if section["sh_type"] != "SHT_NOBITS" else 0
            if section["sh_flags"] & write or memory.runs_from_ram:
                variable += section["sh_size"]
    return FirmwareSize(flash_bytes=stored, ram_bytes=variable)


def run_qemu(elf: bytes, machine: str = "mps2-an500") -> FloatArray:
    """Run a firmware in QEMU's imitation of a whole board.

    Args:
        elf: what `compile_firmware` made for `MPS2_AN500`.
        machine: QEMU's name of the board.

    Returns:
        the audio it wrote.

    Raises:
        InstrumentError: the firmware failed, faulted or did not end.
        ToolError: `qemu-system-arm` is not installed.
    """
    silent = ["-display", "none", "-serial", "none", "-monitor", "none"]
    semihosting = ["-semihosting-config", "enable=on,target=native"]
    return _run(["qemu-system-arm", "-M", machine, *silent, *semihosting, "-kernel"], elf, "qemu-system-arm")


def run_qemu_aarch64(program: bytes) -> FloatArray:
    """Run a 64-bit Arm Linux program in QEMU.

    Args:
        program: what `compile_linux_program` made.

    Returns:
        the audio it wrote.

    Raises:
        InstrumentError: the program failed or did not end.
        ToolError: `qemu-aarch64` is not installed.
    """
    # "max" is a processor with every feature, so the code of any Cortex-A runs.
    return _run(["qemu-aarch64", "-cpu", "max"], program, "qemu-user")


def _run(command: list[str], binary: bytes, package: str) -> FloatArray:
    if shutil.which(command[0]) is None:
        raise ToolError(
            f"The emulator `{command[0]}` is not installed.",
            remedy=f"Install it; on Debian or Ubuntu: `sudo apt install {package}`.",
        )
    with tempfile.TemporaryDirectory(prefix="pochette-") as folder:
        path = Path(folder, "program.elf")
        path.write_bytes(binary)
        path.chmod(0o700)
        try:
            done = subprocess.run(
                [*command, str(path)],
                stdin=subprocess.DEVNULL, capture_output=True, timeout=_RUN_LIMIT_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise InstrumentError(
                f"The program did not end within {_RUN_LIMIT_S} s in {command[0]}.", remedy="Play a shorter curve."
            ) from None
    if done.returncode or len(done.stdout) % 4:
        complaint = done.stderr.decode(errors="replace").strip()
        raise InstrumentError(
            f"The program failed in {command[0]} with status {done.returncode}. {complaint}".rstrip(),
            remedy="Compare with the native and unicorn runs of the same engine; if they pass, please report it.",
        )
    return np.frombuffer(done.stdout, np.float32).copy()
