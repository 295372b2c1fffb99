"""Raspberry Pi Pico 2."""

from pochette.boards.board import Board
from pochette.boards.target import CORTEX_M33, MemoryMap, Region
from pochette.families import boards

SRAM = Region("SRAM", 0x2000_0000, 520 << 10)

boards.add(
    "rp2350",
    Board(
        name="rp2350",
        title="Raspberry Pi Pico 2",
        description="""Raspberry Pi Pico 2 (RP2350): two Cortex-M33 cores at 150 MHz, for little money.

        The firmware is placed in the 520 KB of SRAM, as the SDK's `copy_to_ram` does: read from the flash
        behind its small cache, weights would come too slowly. Sound leaves by I2S or pulse width, made by its
        programmable pins.
        """,
        cpu="Cortex-M33 (RP2350)",
        clock_hz=150e6,
        cores=2,
        ram_bytes=SRAM.size_bytes,
        flash_bytes=4 << 20,
        fpu="FPv5, single precision",
        sample_rates_hz=(48_000, 44_100, 32_000, 16_000),
        block_samples=64,
        os="Pico SDK, no operating system",
        target=CORTEX_M33,
        emulator="cortex-m33",
        memory=MemoryMap(code=SRAM, data=SRAM),
        power_w=0.15,
        instruction_picojoules=(120, 500),
        sources=(
            "RP2350 data sheet (two Cortex-M33 at 150 MHz, 520 KB SRAM at 0x20000000); Pico 2 data sheet (4 MB "
            "flash): recalled",
            "power: about 30 mA at 5 V, recalled",
            "sample rates and block: usual settings of the SDK's I2S examples, recalled",
            "picojoules an instruction: about 10 to 20 mA at 3.3 V of one core at 150 MHz, "
            "at 0.7 to 1 instruction a cycle: recalled",
        ),
    ),
)
