"""Whole programs: they fit where they must, and QEMU hears what everyone hears."""

from __future__ import annotations

import dataclasses
import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pochette.boards.target import CORTEX_A53, CORTEX_A72, CORTEX_A76, MemoryMap, Region, Target
from pochette.engine import build, firmware
from pochette.engine.export import export
from pochette.engine.firmware import (
    MPS2_AN500,
    compile_firmware,
    compile_linux_program,
    curve_header,
    firmware_size,
    run_qemu,
    run_qemu_aarch64,
)
from pochette.engine.runner import FloatArray
from pochette.errors import ExportError, FitError, InstrumentError, ToolError
from pochette.families import boards, models
from pochette.lab.cost import EngineCost, bytes_on
from tests.contracts.model_checks import built, sound, wandering
from tests.toy import toy_audio, toy_source

pytest.importorskip("ziglang")
pytest.importorskip("elftools")

RAM = Region("RAM", 0x2400_0000, 512 << 10)
needs_system = pytest.mark.skipif(not shutil.which("qemu-system-arm"), reason="needs the package qemu-system-arm")
needs_user = pytest.mark.skipif(not shutil.which("qemu-aarch64"), reason="needs the package qemu-user")


@pytest.mark.system
@needs_system
def test_qemu_hears_the_firmware(curve: FloatArray) -> None:
    elf = compile_firmware(toy_source(), curve, MPS2_AN500, strict=True)
    assert np.array_equal(run_qemu(elf), toy_audio(curve))


@pytest.mark.system
@needs_user
@pytest.mark.parametrize("target", [CORTEX_A53, CORTEX_A72, CORTEX_A76], ids=lambda target: target.name)
def test_qemu_hears_the_linux_program(target: Target, curve: FloatArray) -> None:
    program = compile_linux_program(toy_source(), curve, target, strict=True)
    assert np.array_equal(run_qemu_aarch64(program), toy_audio(curve))


@pytest.mark.system
@needs_system
def test_variables_have_their_initial_values(curve: FloatArray) -> None:
    source = toy_source()
    marked = source.files["toy.c"].replace("audio[i] =", "audio[i] = *volume *")
    marked = marked.replace("void toy_reset", "float half = 0.5f; float *volatile volume = &half;\nvoid toy_reset", 1)
    elf = compile_firmware(
        dataclasses.replace(source, files={**source.files, "toy.c": marked}), curve, MPS2_AN500, strict=True
    )
    assert np.array_equal(run_qemu(elf), toy_audio(curve) / 2)


@pytest.mark.system
@needs_system
def test_a_fault_is_told(curve: FloatArray) -> None:
    source = toy_source()
    wild = source.files["toy.c"].replace("s->phase += s->step;", "*(volatile int *)0x30000000 = 1;")
    elf = compile_firmware(dataclasses.replace(source, files={**source.files, "toy.c": wild}), curve, MPS2_AN500)
    with pytest.raises(InstrumentError, match="status 70"):
        run_qemu(elf)


@pytest.mark.system
@needs_system
def test_a_curve_with_too_few_columns_is_told(curve: FloatArray) -> None:
    with pytest.raises(InstrumentError, match="status 1"):
        run_qemu(compile_firmware(toy_source(), curve[:, :1], MPS2_AN500))


@pytest.mark.system
@pytest.mark.skipif(not shutil.which("arm-none-eabi-gcc"), reason="needs the package gcc-arm-none-eabi")
def test_another_compiler_accepts_every_file(tmp_path: Path, curve: FloatArray) -> None:
    files = firmware._program_files(toy_source(), curve, "cortex_m_start.c")
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    units = [name for name in files if name.endswith(".c")]
    flags = ["-mcpu=cortex-m7", "-mthumb", "-mfpu=fpv5-d16", "-mfloat-abi=hard", "-ffreestanding", "-O3"]
    command = ["arm-none-eabi-gcc", *flags, *build.WARNINGS, "-c", *units]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_sizes_grow_with_what_is_compiled_in(curve: FloatArray) -> None:
    split = MemoryMap(code=Region("flash", 0x0800_0000, 128 << 10), data=Region("RAM", 0x2000_0000, 128 << 10))
    small = firmware_size(compile_firmware(toy_source(), np.repeat(curve[:1], 100, axis=0), split), split)
    large = firmware_size(compile_firmware(toy_source(), np.repeat(curve[:1], 1100, axis=0), split), split)
    # The curve itself; larger numbers may need longer instructions.
    assert 0 <= large.flash_bytes - small.flash_bytes - 1000 * 2 * 4 < 64
    assert large.ram_bytes == small.ram_bytes
    # The arena (state, controls, a block of audio) and the stack.
    assert 2048 + 8192 < small.ram_bytes < 2048 + 8192 + 256
    assert small.flash_bytes - 100 * 2 * 4 < 4096


def test_a_program_that_runs_from_ram_pays_for_itself_there(curve: FloatArray) -> None:
    inside = MemoryMap(code=RAM, data=RAM)
    size = firmware_size(compile_firmware(toy_source(), curve, inside), inside)
    assert size.ram_bytes > size.flash_bytes + 2048 + 8192 - 256


def test_what_does_not_fit_says_by_how_much(curve: FloatArray) -> None:
    tiny = MemoryMap(code=Region("flash", 0, 1024), data=Region("RAM", 0x2000_0000, 1 << 20))
    with pytest.raises(FitError, match="overflowed by"):
        compile_firmware(toy_source(), curve, tiny)


@pytest.mark.parametrize("inside", [False, True], ids=["from flash", "from RAM"])
def test_what_does_not_fit_has_a_size_too(curve: FloatArray, inside: bool) -> None:
    roomy = MemoryMap(code=RAM, data=RAM) if inside else MPS2_AN500
    small = dataclasses.replace(roomy.data, size_bytes=1024)
    tiny = dataclasses.replace(roomy, code=small if inside else roomy.code, data=small)
    with pytest.raises(FitError):
        compile_firmware(toy_source(), curve, tiny)
    found = firmware_size(compile_firmware(toy_source(), curve, tiny.roomy), tiny.roomy)
    known = firmware_size(compile_firmware(toy_source(), curve, roomy), roomy)
    # Where things lie changes how addresses are written, by a few bytes.
    assert abs(found.ram_bytes - known.ram_bytes) < 256 and abs(found.flash_bytes - known.flash_bytes) < 256


def test_a_board_is_not_said_to_fit_what_does_not_link(curve: FloatArray) -> None:
    daisy = boards["daisy-seed"]
    need = bytes_on(toy_source(), daisy, curve, 0)["ram_bytes"]
    tight = dataclasses.replace(daisy.memory.data, size_bytes=need - 8)
    board = dataclasses.replace(
        daisy, ram_bytes=need - 8, memory=dataclasses.replace(daisy.memory, code=tight, data=tight)
    )
    found = bytes_on(toy_source(), board, curve, 0)
    assert "more memory than the board has" in found["bytes_obtained"]
    verdict = EngineCost(board.name, **found).verdict(board, 48000)
    assert not verdict.fits and any("of RAM" in reason for reason in verdict.reasons)


def test_other_errors_stay_what_they_are(curve: FloatArray) -> None:
    source = toy_source()
    broken = dataclasses.replace(source, files={**source.files, "toy.c": "nonsense"})
    with pytest.raises(ExportError, match=r"toy\.c"):
        compile_firmware(broken, curve, MPS2_AN500)


def test_curves_keep_every_bit() -> None:
    text = curve_header(np.array([[0.1, -3e-42]], np.float32))
    row = text.split("{")[-1].split("}")[0]
    values = [float.fromhex(word.strip().removesuffix("f")) for word in row.split(",")]
    assert values == [float(np.float32(0.1)), float(np.float32(-3e-42))]
    assert "CURVE_COLUMNS = 1" in curve_header(np.zeros((3, 0), np.float32))


def test_missing_emulators_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firmware.shutil, "which", lambda _: None)
    with pytest.raises(ToolError, match="apt install qemu-system-arm"):
        run_qemu(b"")
    with pytest.raises(ToolError, match="apt install qemu-user"):
        run_qemu_aarch64(b"")


@pytest.mark.system
@needs_system
@pytest.mark.parametrize("name", ["ddsp", "nsf", "wavenet"])
def test_helium_plays_networks_as_torch_does(name: str) -> None:
    board, model = boards["mps3-an547"], built(models[name].sized("tiny"))
    assert board.memory is not None and board.target is not None
    controls = wandering(model, 6)
    elf = compile_firmware(export(model, "helium"), controls[0].numpy(), board.memory, target=board.target)
    made = run_qemu(elf, board.qemu_machine)
    assert len(made) and np.abs(made - sound(model, controls)[: len(made)]).max() <= 1e-6
    assert helium_products(elf) > 20


def helium_products(elf: bytes) -> int:
    """Instructions of the program that multiply and add vectors of floats (VFMA of three Q registers, encoding T1)."""
    from elftools.elf.elffile import ELFFile

    code = ELFFile(io.BytesIO(elf)).get_section_by_name(".text").data()
    halves = np.frombuffer(code[: len(code) // 2 * 2], "<u2")
    first, second = halves[:-1], halves[1:]
    return int(((first & 0xFFB1 == 0xEF00) & (second & 0x1FF1 == 0x0C50)).sum())
