"""Arm MPS3 with AN547."""

from pochette.boards.board import Board
from pochette.boards.target import CORTEX_M55, MemoryMap, Region
from pochette.families import boards

CODE = Region("ITCM", 0x0, 512 << 10)
DATA = Region("DTCM", 0x20000000, 512 << 10)

boards.add(
    "mps3-an547",
    Board(
        name="mps3-an547",
        title="Arm MPS3 with AN547",
        description="""Arm's FPGA board with a Cortex-M55, as QEMU imitates it: a second opinion.

        Nobody makes instruments of it. It is a board here because a whole machine can be run without one:
        reset, memory map and floating-point unit are those of the silicon. Helium runs in QEMU alone: its
        instructions are not counted here.
        """,
        cpu="Cortex-M55 (FPGA)",
        clock_hz=32e6,
        cores=1,
        ram_bytes=DATA.size_bytes,
        flash_bytes=CODE.size_bytes,
        fpu="FPv5 and Helium",
        simd="Helium (MVE), 4 floats",
        sample_rates_hz=(48_000, 16_000, 8_000),
        block_samples=64,
        os="no operating system",
        target=CORTEX_M55,
        emulator="qemu",
        qemu_machine="mps3-an547",
        memory=MemoryMap(code=CODE, data=DATA),
        sources=(
            "Arm Application Note 547 (memory map and clock, recalled); run under qemu-system-arm's machine of "
            "that name",
            "sample rates: those of the board's codec, recalled",
        ),
    ),
)
