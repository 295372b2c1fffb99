"""Arm MPS2 with AN505."""

from pochette.boards.board import Board
from pochette.boards.target import CORTEX_M33, MemoryMap, Region
from pochette.families import boards

CODE = Region("SSRAM1", 0x10000000, 4 << 20)
DATA = Region("SSRAM2 and 3", 0x38000000, 4 << 20)

boards.add(
    "mps2-an505",
    Board(
        name="mps2-an505",
        title="Arm MPS2 with AN505",
        description="""Arm's FPGA board with a Cortex-M33, as QEMU imitates it: a second opinion.

        Nobody makes instruments of it. It is a board here because a whole machine can be run without one:
        reset, memory map and floating-point unit are those of the silicon.
        """,
        cpu="Cortex-M33 (FPGA)",
        clock_hz=20e6,
        cores=1,
        ram_bytes=DATA.size_bytes,
        flash_bytes=CODE.size_bytes,
        fpu="FPv5, single precision",
        sample_rates_hz=(48_000, 16_000, 8_000),
        block_samples=64,
        os="no operating system",
        target=CORTEX_M33,
        emulator="cortex-m33",
        qemu_machine="mps2-an505",
        memory=MemoryMap(code=CODE, data=DATA),
        sources=(
            "Arm Application Note 505 (memory map and clock, recalled); run under qemu-system-arm's machine of "
            "that name",
            "sample rates: those of the board's codec, recalled",
        ),
    ),
)
