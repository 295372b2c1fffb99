"""What a machine is and what it can bear: facts with their sources, and a verdict with its reasons. Torch-free.

A verdict is a bound, not a measurement. Instructions are counted in an emulator, which knows no caches, wait states or
interrupts; the budget answers with caution: half the clock, at one instruction a cycle. A Cortex-M7 can issue two
instructions in a cycle, and a division costs it fourteen: an engine near the budget must be timed on the board.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pochette.boards.target import MemoryMap, Target

Emulator = Literal["aarch64", "cortex-m7", "wasm"]


@dataclass(frozen=True)
class Demand:
    """What an engine asks of a machine."""

    flash_bytes: int
    """To be stored: program and weights."""
    ram_bytes: int
    """Held while playing: state, variables and stack; program and weights too where they run from RAM."""
    sample_rate_hz: int
    instructions_per_second: float | None = None
    """Per second of audio, one voice; None if nobody has counted them."""


@dataclass(frozen=True)
class Verdict:
    """Whether an engine fits a machine, and why."""

    fits: bool
    reasons: tuple[str, ...]
    """What it exceeds, a sentence each; empty if it fits."""
    notes: tuple[str, ...] = ()
    """What share of each limit it takes, and what should be known besides."""


@dataclass(frozen=True)
class Board:
    """A machine that engines are made for.

    Its `description` is also its docstring, so that the family's help speaks of the board and not of this class.

    Raises:
        ValueError: a description or sources are missing, or a fact is not positive.
    """

    name: str
    """As on the command line ("daisy-seed")."""
    title: str
    """As its maker writes it ("Daisy Seed")."""
    description: str
    cpu: str
    cores: int
    ram_bytes: int
    """Memory that an engine may use; on a microcontroller only what is fast and on the chip."""
    sample_rates_hz: tuple[int, ...]
    """What its audio output usually runs at, the usual one first."""
    block_samples: int
    """Samples that its audio driver usually asks for at once."""
    os: str
    """Operating system or vendor's library."""
    sources: tuple[str, ...]
    """Where the facts come from; what is told from memory says so."""
    clock_hz: float | None = None
    flash_bytes: int | None = None
    """Room for program and weights; None where storage is no limit."""
    slow_ram_bytes: int = 0
    """Memory behind an external bus: fit for delays, too slow for weights."""
    fpu: str = ""
    """Floating-point unit."""
    simd: str = ""
    """Vector instructions that an engine may use; empty if there are none for floats."""
    target: Target | None = None
    """What to compile for; None means this very machine."""
    emulator: Emulator | None = None
    """Where its code can be run on any machine."""
    memory: MemoryMap | None = None
    """Where a firmware is placed; None under an operating system."""
    usable_share: float = 0.5
    """Of one core's cycles; the rest belongs to drivers, system and the unforeseen."""
    power_w: float | None = None
    """Of the whole board, about; what was running is said in the sources."""

    def __post_init__(self) -> None:
        numbers = (self.cores, self.ram_bytes, self.block_samples, self.usable_share, *self.sample_rates_hz)
        optional = (self.clock_hz, self.flash_bytes, self.power_w)
        if not all(number > 0 for number in (*numbers, *(n for n in optional if n is not None))):
            raise ValueError(f"board {self.name}: every fact must be positive")
        if not (self.description.strip() and self.sources and self.sample_rates_hz):
            raise ValueError(f"board {self.name}: a description, sources and a sample rate are required")
        object.__setattr__(self, "__doc__", self.description)

    @property
    def sample_rate_hz(self) -> int:
        """The usual rate of its audio output."""
        return self.sample_rates_hz[0]

    @property
    def instruction_budget(self) -> float | None:
        """Instructions that may be spent on a second of audio, on one core; None where only a stopwatch can tell."""
        return None if self.clock_hz is None else self.clock_hz * self.usable_share

    def fits(self, demand: Demand) -> Verdict:
        """Whether an engine fits.

        Args:
            demand: what the engine asks for.

        Returns:
            the verdict; one that fits although nobody counted its instructions says so in its notes.
        """
        limits = [("RAM", demand.ram_bytes, self.ram_bytes)]
        if self.flash_bytes is not None:
            limits.append(("flash", demand.flash_bytes, self.flash_bytes))
        reasons, notes = [], []
        for what, asked, limit in limits:
            if asked > limit:
                reasons.append(f"It needs {_size(asked)} of {what}; {self.title} has {_size(limit)}.")
            else:
                notes.append(f"It takes {asked / limit:.1%} of the {_size(limit)} of {what}.")
        budget, spent = self.instruction_budget, demand.instructions_per_second
        if spent is None:
            notes.append("Its instructions were not counted, so whether it is fast enough is open.")
        elif budget is None:
            notes.append("This machine has no instruction budget; measure the real-time factor instead.")
        elif spent > budget:
            reasons.append(
                f"A second of audio costs {spent / 1e6:.0f} million instructions; {budget / 1e6:.0f} million are "
                f"allowed ({self.usable_share:.0%} of the clock at one instruction a cycle)."
            )
        else:
            notes.append(f"It takes {spent / budget:.1%} of the {budget / 1e6:.0f} million instructions per second.")
        if demand.sample_rate_hz not in self.sample_rates_hz:
            rates = ", ".join(str(rate) for rate in self.sample_rates_hz)
            notes.append(
                f"Its {demand.sample_rate_hz} Hz must be resampled: the board's audio runs at {rates} Hz. "
                "The cost of that is not counted."
            )
        return Verdict(fits=not reasons, reasons=tuple(reasons), notes=tuple(notes))


def _size(count: int) -> str:
    """Bytes as a person says them."""
    for unit, size in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if count >= size:
            return f"{count / size:.4g} {unit}"
    return f"{count} bytes"
