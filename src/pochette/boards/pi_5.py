"""Raspberry Pi 5."""

from pochette.boards.board import Board
from pochette.boards.target import CORTEX_A76
from pochette.families import boards

boards.add(
    "pi-5",
    Board(
        name="pi-5",
        title="Raspberry Pi 5",
        description="""Raspberry Pi 5: four wide out-of-order cores at 2.4 GHz, two to three times a Raspberry Pi 4.

        The facts are those of the smallest memory sold. It has no analogue output: a sound card hangs on I2S or USB.
        """,
        cpu="Cortex-A76 (BCM2712)",
        clock_hz=2.4e9,
        cores=4,
        ram_bytes=2 << 30,
        fpu="VFPv4, double precision",
        simd="Advanced SIMD (NEON), two units of 4 floats",
        sample_rates_hz=(48_000, 44_100),
        block_samples=128,
        os="Linux (Raspberry Pi OS, 64 bit)",
        target=CORTEX_A76,
        emulator="aarch64",
        instruction_picojoules=(250, 1000),
        sources=(
            "E. Upton's announcement of 28 September 2023 (BCM2712, 2.4 GHz quad-core Cortex-A76)",
            "a model with 2 GB: recalled",
            "block and sample rates: usual settings of JACK with a sound card, recalled",
            "picojoules an instruction: about 1 to 1.8 W a core above idle at 2.4 GHz, "
            "at 0.8 to 2.4 instructions a cycle: recalled",
        ),
    ),
)
