"""What an engine's C expects of a machine without a C library is there, and right."""

from __future__ import annotations

import pytest

from pochette.boards import target
from pochette.engine.build import FREESTANDING, compile_files, kernel_text, zig_command
from pochette.engine.processor import Processor

pytest.importorskip("unicorn")
pytest.importorskip("ziglang")

ASKED = """
unsigned quotient(unsigned a, unsigned b);
unsigned rest(unsigned a, unsigned b);
int signed_quotient(int a, int b);
int signed_rest(int a, int b);
unsigned quotient(unsigned a, unsigned b) { return a / b; }
unsigned rest(unsigned a, unsigned b) { return a % b; }
int signed_quotient(int a, int b) { return a / b; }
int signed_rest(int a, int b) { return a % b; }
"""
NUMBERS = (0, 1, 2, 3, 7, 10, 255, 256, 48_000, 0x7FFF_FFFF, 0x8000_0000, 0x8000_0001, 0xFFFF_FFFE, 0xFFFF_FFFF)


def signed(number: int) -> int:
    return number - (1 << 32) if number >> 31 else number


def towards_zero(a: int, b: int) -> tuple[int, int]:
    quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return quotient, a - quotient * b


def test_a_processor_without_a_divider_divides() -> None:
    files = {"asked.c": ASKED, "freestanding.c": kernel_text("freestanding.c")}
    elf = compile_files(files, zig_command(target.CORTEX_A8, FREESTANDING), link=("-static", "-Wl,-e,quotient"))
    processor = Processor(elf, "armv7")
    for a in NUMBERS:
        for b in NUMBERS[1:]:
            whole = [processor.call(name, a, b) & 0xFFFF_FFFF for name in ("quotient", "rest")]
            assert whole == [a // b, a % b], (a, b)
            if (a, b) != (0x8000_0000, 0xFFFF_FFFF):  # the one quotient that C does not define
                parts = [processor.call(name, a, b) & 0xFFFF_FFFF for name in ("signed_quotient", "signed_rest")]
                assert parts == [part & 0xFFFF_FFFF for part in towards_zero(signed(a), signed(b))], (a, b)
