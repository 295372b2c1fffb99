"""Raspberry Pi Zero 2 W."""

from pochette.boards.board import Board
from pochette.boards.target import CORTEX_A53
from pochette.families import boards

boards.add(
    "pi-zero-2w",
    Board(
        name="pi-zero-2w",
        title="Raspberry Pi Zero 2 W",
        description="""Raspberry Pi Zero 2 W: the smallest Linux board of the family, four in-order cores at 1 GHz.

        Its processor takes instructions in order, so code must be scheduled well by the compiler, and the 512 MB are
        shared with the system. It has no audio output of its own but HDMI: a sound card hangs on I2S or USB.
        """,
        cpu="Cortex-A53 (RP3A0)",
        clock_hz=1.0e9,
        cores=4,
        ram_bytes=512 << 20,
        fpu="VFPv4, double precision",
        simd="Advanced SIMD (NEON), 4 floats",
        sample_rates_hz=(48_000, 44_100),
        block_samples=128,
        os="Linux (Raspberry Pi OS, 64 bit)",
        target=CORTEX_A53,
        emulator="aarch64",
        power_w=0.6,
        instruction_picojoules=(200, 800),
        sources=(
            "Raspberry Pi Zero 2 W product brief (RP3A0, 1 GHz quad-core Cortex-A53, 512 MB): recalled",
            "power: idle, measured by cnx-software.com, 9 December 2021",
            "block and sample rates: usual settings of JACK with a sound card, recalled",
            "picojoules an instruction: about 0.3 to 0.5 W a core above idle at 1 GHz, "
            "at 0.6 to 1.5 instructions a cycle: recalled",
        ),
    ),
)
