"""Every board, whoever adds it: facts that make sense, code that compiles for it and sounds the same on it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pochette.boards.board import Board, Demand
from pochette.boards.cycles import cycles
from pochette.engine.build import compile_elf, compile_host_library, compile_wasm
from pochette.engine.emulate import EmulatedRunner, workload
from pochette.engine.firmware import compile_firmware, firmware_size, run_qemu
from pochette.engine.native import NativeRunner
from pochette.engine.runner import Runner, run_frames
from pochette.engine.wasm import WasmRunner
from pochette.families import boards
from tests.toy import toy_audio, toy_source

CURVE = np.stack([np.geomspace(100, 2000, 12), np.linspace(-40, 0, 12)], axis=1).astype(np.float32)


def each(wanted: Callable[[Board], bool] = lambda board: True) -> pytest.MarkDecorator:
    """A test of every board of a kind."""
    chosen = [board for _, board in boards.items() if wanted(board)]
    assert chosen
    return pytest.mark.parametrize("board", chosen, ids=[board.name for board in chosen])


def imitated(board: Board) -> bool:
    """Whether QEMU has the whole board."""
    return bool(board.qemu_machine and board.memory and board.target)


def counted(board: Board) -> bool:
    """Whether instructions of it can be counted: others are timed, or run in QEMU alone."""
    return board.target is not None and board.machine is not None


every_board = each()


@every_board
def test_facts_make_sense(board: Board) -> None:
    assert boards[board.name] is board
    assert boards.help(board.name) == board.description.splitlines()[0]
    assert all(source.strip() for source in board.sources)
    assert 64 << 10 <= board.ram_bytes <= 64 << 40
    assert board.clock_hz is None or 1e6 < board.clock_hz < 1e10
    assert all(8_000 <= rate <= 192_000 for rate in board.sample_rates_hz)
    assert 1 <= board.block_samples <= 4096
    assert 0 < board.usable_share <= 1
    # A microcontroller is placed by us, anything else by its system.
    assert (board.memory is None) == ("no operating system" not in board.os)


@every_board
def test_verdicts_have_reasons(board: Board) -> None:
    assert board.fits(Demand(1000, 1000, board.sample_rate_hz, 1.0)).fits
    verdict = board.fits(Demand(1000, board.ram_bytes + 1, board.sample_rate_hz))
    assert not verdict.fits and verdict.reasons


def test_every_board_runs_somewhere() -> None:
    assert all(counted(b) or imitated(b) or b.target is None or b.emulator == "wasm" for _, b in boards.items())


@each(lambda board: counted(board) or board.target is None or board.emulator == "wasm")
def test_the_toy_sounds_the_same(board: Board, tmp_path: Path) -> None:
    runner: Runner
    if board.target is None:
        runner = NativeRunner(compile_host_library(toy_source(), tmp_path, strict=True))
    elif board.emulator == "wasm":
        pytest.importorskip("ziglang")
        runner = WasmRunner(compile_wasm(toy_source(), strict=True))
    else:
        pytest.importorskip("ziglang")
        pytest.importorskip("unicorn")
        assert board.machine
        runner = EmulatedRunner(compile_elf(toy_source(), board.target, strict=True), board.machine)
    assert np.array_equal(run_frames(runner, CURVE), toy_audio(CURVE))


@each(counted)
def test_the_toy_fits(board: Board) -> None:
    assert board.target and board.machine
    pytest.importorskip("ziglang")
    pytest.importorskip("unicorn")
    work = workload(compile_elf(toy_source(), board.target), board.machine, CURVE, block_samples=board.block_samples)
    flash_bytes = ram_bytes = 100_000
    if board.memory is not None:
        size = firmware_size(compile_firmware(toy_source(), CURVE, board.memory, target=board.target), board.memory)
        flash_bytes, ram_bytes = size.flash_bytes, size.ram_bytes
    band = cycles(work.mix, board.target) * (work.sample_rate_hz / work.samples)
    assert 0 < band.low <= band.high < 20 * work.instructions_per_second
    verdict = board.fits(Demand(flash_bytes, ram_bytes, 48_000, work.instructions_per_second, band))
    assert verdict.fits, verdict.reasons


@each(imitated)
def test_qemu_agrees(board: Board) -> None:
    """The whole board, from reset on, where QEMU imitates it."""
    assert board.qemu_machine and board.memory and board.target
    if shutil.which("qemu-system-arm") is None:
        pytest.skip("needs the package qemu-system-arm")
    pytest.importorskip("ziglang")
    elf = compile_firmware(toy_source(), CURVE, board.memory, target=board.target, strict=True)
    assert np.array_equal(run_qemu(elf, board.qemu_machine), toy_audio(CURVE))
