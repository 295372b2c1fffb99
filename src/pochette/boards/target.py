"""What a compiler and a linker must know of a board: its processor, and where its memory lies. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A processor to compile for, in the terms of clang as `ziglang` ships it."""

    name: str
    """The processor ("cortex-a72"), or "wasm"."""
    triple: str
    """Architecture, system and binary interface of code that runs without an operating system."""
    cpu: str
    """Value of `-mcpu`. A Cortex-M's FPU must be named here: the bare name means software floating point."""


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


WASM = Target("wasm", "wasm32-freestanding", "generic+simd128+bulk_memory")
CORTEX_A53 = Target("cortex-a53", "aarch64-freestanding-none", "cortex_a53")
CORTEX_A72 = Target("cortex-a72", "aarch64-freestanding-none", "cortex_a72")
CORTEX_A76 = Target("cortex-a76", "aarch64-freestanding-none", "cortex_a76")
CORTEX_M7 = Target("cortex-m7", "thumb-freestanding-eabihf", "cortex_m7+fp_armv8d16")
