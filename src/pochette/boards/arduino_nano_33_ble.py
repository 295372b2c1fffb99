"""Arduino Nano 33 BLE."""

from pochette.boards.board import Board
from pochette.boards.target import CORTEX_M4F, MemoryMap, Region
from pochette.families import boards

# The bootloader takes the first 64 KB of the flash.
FLASH = Region("flash", 0x0001_0000, (1024 - 64) << 10)
RAM = Region("RAM", 0x2000_0000, 256 << 10)

boards.add(
    "arduino-nano-33-ble",
    Board(
        name="arduino-nano-33-ble",
        title="Arduino Nano 33 BLE",
        description="""Arduino Nano 33 BLE: a 64 MHz Cortex-M4F with Bluetooth, as small as a thumb.

        Program and weights stay in flash, which a cache of instructions hides; state lies in the 256 KB of RAM,
        of which the Bluetooth stack takes a part when it is used. Sound leaves by I2S.
        """,
        cpu="Cortex-M4F (nRF52840)",
        clock_hz=64e6,
        cores=1,
        ram_bytes=RAM.size_bytes,
        flash_bytes=FLASH.size_bytes,
        fpu="FPv4, single precision",
        sample_rates_hz=(16_000, 31_250, 41_667),
        block_samples=64,
        os="Arduino core (Mbed), no operating system for the engine",
        target=CORTEX_M4F,
        emulator="cortex-m4",
        memory=MemoryMap(code=FLASH, data=RAM),
        power_w=0.03,
        instruction_picojoules=(120, 350),
        sources=(
            "nRF52840 product specification (Cortex-M4F at 64 MHz, 1 MB flash, 256 KB RAM, I2S rates are "
            "fractions of 32 MHz): recalled",
            "ArduinoCore-mbed, variants/ARDUINO_NANO33BLE (application at 0x10000): recalled",
            "power: 6.3 mA at 3.3 V for the processor alone, product specification, recalled",
            "picojoules an instruction: about 50 to 65 uA/MHz at 3 V, at 0.6 to 1 instruction a cycle: recalled",
        ),
    ),
)
