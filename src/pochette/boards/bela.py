"""Bela."""

from pochette.boards.board import Board
from pochette.boards.target import CORTEX_A8
from pochette.families import boards

boards.add(
    "bela",
    Board(
        name="bela",
        title="Bela",
        description="""Bela: a BeagleBone Black with an audio cape, made for instruments and control voltages.

        Audio runs in the Xenomai kernel beside Linux, so that blocks of 16 samples hold; analogue inputs and
        outputs are read with every block. The one core issues two instructions in order, and its vector unit
        has 32-bit floats only.
        """,
        cpu="Cortex-A8 (AM3358)",
        clock_hz=1.0e9,
        cores=1,
        ram_bytes=512 << 20,
        fpu="VFPv3, slow; NEON is used instead",
        simd="Advanced SIMD (NEON), 4 floats, no denormals",
        sample_rates_hz=(44_100,),
        block_samples=16,
        os="Linux (Debian with Xenomai, 32 bit)",
        target=CORTEX_A8,
        emulator="armv7",
        power_w=2.3,
        instruction_picojoules=(350, 1500),
        sources=(
            "learn.bela.io, the IDE's settings (44.1 kHz, blocks from 2 samples, 16 as delivered): recalled",
            "AM335x data sheet (Cortex-A8 at 1 GHz, NEON); BeagleBone Black reference manual (512 MB): recalled",
            "power: 460 mA at 5 V, BeagleBone Black reference manual, recalled",
            "picojoules an instruction: about 0.4 to 0.9 W above idle at 1 GHz, "
            "at 0.6 to 1.2 instructions a cycle: recalled",
        ),
    ),
)
