"""What a compiler and a linker must know of a board: its processor, and where its memory lies. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Target:
    """A processor to compile for, in the terms of clang as `ziglang` ships it."""

    name: str
    """The processor ("cortex-a72"), or "wasm"."""
    triple: str
    """Architecture, system and binary interface of code that runs without an operating system."""
    cpu: str
    """Value of `-mcpu`. A Cortex-M's FPU must be named here: the bare name means software floating point."""
    issue: int = 1
    """Instructions that can begin in one cycle."""
    division_cycles: int = 14
    """Of one floating-point division."""


_ROOMY_CODE, _ROOMY_DATA, _ROOMY_BYTES = 0x1000_0000, 0x4000_0000, 0x2000_0000
"""Where nothing lies in the way of half a gigabyte each."""


@dataclass(frozen=True)
class Region:
    """A stretch of a board's address space."""

    name: str
    """As the data sheet calls it ("AXI SRAM")."""
    origin: int
    size_bytes: int


@dataclass(frozen=True)
class MemoryMap:
    """Where a firmware's parts are placed. The same region twice means that the program runs from RAM."""

    code: Region
    """Program, weights and the initial values of variables."""
    data: Region
    """State, variables and stack."""
    stack_bytes: int = 8192
    """Reserved for the stack; the engines themselves use little."""

    @property
    def runs_from_ram(self) -> bool:
        """Whether program and weights take the same memory as the state."""
        return self.code == self.data

    @property
    def roomy(self) -> MemoryMap:
        """The same with far more memory than any such board has: to tell of what does not fit how large it is."""
        code = replace(self.code, origin=_ROOMY_CODE, size_bytes=_ROOMY_BYTES)
        data = code if self.runs_from_ram else replace(self.data, origin=_ROOMY_DATA, size_bytes=_ROOMY_BYTES)
        return replace(self, code=code, data=data)


WASM = Target("wasm", "wasm32-freestanding", "generic+simd128+bulk_memory")
# Issue widths and division times: Arm's technical reference manuals and software optimisation guides, recalled.
CORTEX_A8 = Target("cortex-a8", "arm-freestanding-eabihf", "cortex_a8", issue=2, division_cycles=37)
CORTEX_A53 = Target("cortex-a53", "aarch64-freestanding-none", "cortex_a53", issue=2, division_cycles=13)
CORTEX_A57 = Target("cortex-a57", "aarch64-freestanding-none", "cortex_a57", issue=3, division_cycles=11)
CORTEX_A72 = Target("cortex-a72", "aarch64-freestanding-none", "cortex_a72", issue=3, division_cycles=10)
CORTEX_A76 = Target("cortex-a76", "aarch64-freestanding-none", "cortex_a76", issue=4, division_cycles=9)
CORTEX_M4F = Target("cortex-m4", "thumb-freestanding-eabihf", "cortex_m4+vfp4d16sp")
CORTEX_M7 = Target("cortex-m7", "thumb-freestanding-eabihf", "cortex_m7+fp_armv8d16", issue=2)
CORTEX_M33 = Target("cortex-m33", "thumb-freestanding-eabihf", "cortex_m33+fp_armv8d16sp")
CORTEX_M55 = Target("cortex-m55", "thumb-freestanding-eabihf", "cortex_m55+mve_fp+fp_armv8d16")
