"""PJRC Teensy 4.1."""

from pochette.boards.board import Board
from pochette.boards.target import CORTEX_M7, MemoryMap, Region
from pochette.families import boards

# Sixteen banks of 32 KB serve instructions or data as the linker divides them. One region bounds their sum; it tells
# the size, and such a firmware is not for flashing: the Teensy's own headers and division of the banks are missing.
TCM = Region("TCM", 0x2000_0000, 512 << 10)

boards.add(
    "teensy-4.1",
    Board(
        name="teensy-4.1",
        title="Teensy 4.1",
        description="""PJRC Teensy 4.1: a 600 MHz microcontroller with a large sound library.

        As Teensyduino places them, program and constants (weights among them) are copied from flash into the 512 KB of
        tightly coupled memory. A second 512 KB of ordinary RAM holds audio buffers and is not counted as room.
        The audio library runs at 44.1 kHz with 16-bit samples.
        """,
        cpu="Cortex-M7 (i.MX RT1062)",
        clock_hz=600e6,
        cores=1,
        ram_bytes=TCM.size_bytes,
        flash_bytes=7936 << 10,
        slow_ram_bytes=512 << 10,
        fpu="FPv5, double precision",
        sample_rates_hz=(44_100,),
        block_samples=128,
        os="Teensyduino, no operating system",
        target=CORTEX_M7,
        emulator="cortex-m7",
        memory=MemoryMap(code=TCM, data=TCM),
        power_w=0.5,
        instruction_picojoules=(400, 1200),
        sources=(
            "pjrc.com/store/teensy41.html (Cortex-M7 at 600 MHz, FPU, 7936K flash, 1024K RAM of which 512K tightly "
            "coupled)",
            "PaulStoffregen/cores, teensy4/imxrt1062_t41.ld, commit 033bd8c (constants are placed in DTCM)",
            "power: about 100 mA at 600 MHz, circuitpython.org/board/teensy41, at 5 V",
            "44.1 kHz in blocks of 128: the Teensy Audio Library's settings, recalled",
            "picojoules an instruction: about 100 mA at 5 V and 600 MHz, at 0.7 to 1.6 instructions a cycle: recalled",
        ),
    ),
)
