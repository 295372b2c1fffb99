"""Raspberry Pi 4 Model B."""

from pochette.boards.board import Board
from pochette.boards.target import CORTEX_A72
from pochette.families import boards

boards.add(
    "pi-4",
    Board(
        name="pi-4",
        title="Raspberry Pi 4 Model B",
        description="""Raspberry Pi 4 Model B: four out-of-order cores at 1.5 GHz, common in musical boxes.

        Later revisions run at 1.8 GHz; the budget takes the slower. The facts are those of the smallest memory sold.
        """,
        cpu="Cortex-A72 (BCM2711)",
        clock_hz=1.5e9,
        cores=4,
        ram_bytes=1 << 30,
        fpu="VFPv4, double precision",
        simd="Advanced SIMD (NEON), 4 floats",
        sample_rates_hz=(48_000, 44_100),
        block_samples=128,
        os="Linux (Raspberry Pi OS, 64 bit)",
        target=CORTEX_A72,
        emulator="aarch64",
        instruction_picojoules=(300, 1200),
        sources=(
            "The Official Raspberry Pi Beginner's Guide, 3rd edition, appendix F (BCM2711, 1.5 GHz, 1, 2 or 4 GB)",
            "1.8 GHz in later revisions: recalled",
            "block and sample rates: usual settings of JACK with a sound card, recalled",
            "picojoules an instruction: about 0.7 to 1.2 W a core above idle at 1.5 GHz, "
            "at 0.7 to 1.8 instructions a cycle: recalled",
        ),
    ),
)
