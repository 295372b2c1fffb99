"""Electrosmith Daisy Seed."""

from pochette.boards.board import Board
from pochette.boards.target import CORTEX_M7, MemoryMap, Region
from pochette.families import boards

AXI_SRAM = Region("AXI SRAM", 0x2400_0000, 512 << 10)

boards.add(
    "daisy-seed",
    Board(
        name="daisy-seed",
        title="Daisy Seed",
        description="""Electrosmith Daisy Seed: the microcontroller of many synthesiser modules and pedals, 480 MHz.

        The whole firmware is placed in the 512 KB of AXI SRAM, as the Daisy bootloader does for its SRAM programs: it
        is stored in the QSPI flash and copied before it starts. Weights in the external SDRAM or QSPI flash would be
        read over a slow bus, so they do not count as room. The 128 KB of internal flash hold the bootloader; the
        128 KB of DTCM are left to the vendor's library and its audio buffers, which are not counted.
        """,
        cpu="Cortex-M7 (STM32H750)",
        clock_hz=480e6,
        cores=1,
        ram_bytes=AXI_SRAM.size_bytes,
        flash_bytes=7936 << 10,
        slow_ram_bytes=64 << 20,
        fpu="FPv5, double precision",
        sample_rates_hz=(48_000, 96_000, 32_000, 16_000, 8_000),
        block_samples=48,
        os="libDaisy, no operating system",
        target=CORTEX_M7,
        emulator="cortex-m7",
        memory=MemoryMap(code=AXI_SRAM, data=AXI_SRAM),
        instruction_picojoules=(450, 1300),
        sources=(
            "libDaisy, core/STM32H750IB_sram.lds, commit 24b99ad (regions: SRAM 512K at 0x24000000, DTCMRAM 128K, "
            "SDRAM 64M, QSPIFLASH 7936K behind the bootloader's 256K)",
            "clock, FPU and block of 48 samples: STM32H750 data sheet and libDaisy's defaults, recalled",
            "sample rates: libDaisy's SaiHandle configuration, recalled",
            "picojoules an instruction: about 110 to 170 mA at 3.3 V and 480 MHz, "
            "at 0.8 to 1.6 instructions a cycle: recalled",
        ),
    ),
)
