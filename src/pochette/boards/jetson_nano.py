"""NVIDIA Jetson Nano."""

from pochette.boards.board import Board
from pochette.boards.target import CORTEX_A57
from pochette.families import boards

boards.add(
    "jetson-nano",
    Board(
        name="jetson-nano",
        title="NVIDIA Jetson Nano",
        description="""NVIDIA Jetson Nano: four Cortex-A57 cores beside a small GPU, in many installations.

        The engine runs on a core: its frames are too short for the journey to the GPU and back. The board has no sound
        output of its own but HDMI; a card hangs on USB or I2S.
        """,
        cpu="Cortex-A57 (Tegra X1)",
        clock_hz=1.43e9,
        cores=4,
        ram_bytes=4 << 30,
        fpu="VFPv4, double precision",
        simd="Advanced SIMD (NEON), 4 floats",
        sample_rates_hz=(48_000, 44_100),
        block_samples=128,
        os="Linux (Ubuntu, 64 bit)",
        target=CORTEX_A57,
        emulator="aarch64",
        power_w=5.0,
        instruction_picojoules=(300, 1300),
        sources=(
            "Jetson Nano module data sheet (quad-core Cortex-A57 at 1.43 GHz, 4 GB): recalled",
            "power: the lower of its two power modes, of the whole module: recalled",
            "block and sample rates: usual settings of JACK with a sound card, recalled",
            "picojoules an instruction: about 0.8 to 1.2 W a core above idle at 1.43 GHz, "
            "at 0.7 to 1.8 instructions a cycle: recalled",
        ),
    ),
)
