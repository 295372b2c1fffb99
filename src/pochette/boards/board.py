"""What a machine is and what it can bear: facts with their sources, and a verdict with its reasons. Torch-free.

A verdict is a bound, not a measurement. Instructions are counted in an emulator, which knows no caches, wait states or
interrupts; what they become in cycles is a band (`boards.cycles`), and an engine is said to fit only if its upper end
leaves three tenths of the clock to everything else. One that is near the budget must be timed on the board.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, cast, get_args

from pochette.boards.cycles import Band
from pochette.boards.target import MemoryMap, Target

Machine = Literal["aarch64", "armv7", "cortex-m4", "cortex-m7", "cortex-m33"]
"""Processors that can be emulated, and their instructions counted, by what pip installs."""
Emulator = Machine | Literal["wasm", "qemu"]
"""Where a board's code can be run: "qemu" is QEMU's imitation of a whole board, which counts nothing here."""


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
    cycles_per_second: Band | None = None
    """What they take at best and at worst; without it, one cycle each."""
    hop_samples: int | None = None
    """Samples that it makes at once; None if it makes them one by one."""
    lead_cycles: Band | None = None
    """What the silence before a sound takes, which a struck key asks for at once; None if sounds begin without one."""


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
    qemu_machine: str = ""
    """QEMU's name of the board, where it imitates it."""
    usable_share: float = 0.7
    """Of one core's cycles; the rest belongs to drivers, system and the unforeseen."""
    power_w: float | None = None
    """Of the whole board, about; what was running is said in the sources."""
    instruction_picojoules: tuple[float, float] | None = None
    """What one instruction takes while the processor runs, at least and at most; wide, and no measurement."""

    def __post_init__(self) -> None:
        band = self.instruction_picojoules or (1.0, 1.0)
        numbers = (*band, self.cores, self.ram_bytes, self.block_samples, self.usable_share, *self.sample_rates_hz)
        optional = (self.clock_hz, self.flash_bytes, self.power_w)
        if not all(number > 0 for number in (*numbers, *(n for n in optional if n is not None))):
            raise ValueError(f"board {self.name}: every fact must be positive")
        if band[0] > band[1]:
            raise ValueError(f"board {self.name}: what an instruction takes is a band from low to high")
        if not (self.description.strip() and self.sources and self.sample_rates_hz):
            raise ValueError(f"board {self.name}: a description, sources and a sample rate are required")
        object.__setattr__(self, "__doc__", self.description)

    @property
    def sample_rate_hz(self) -> int:
        """The usual rate of its audio output."""
        return self.sample_rates_hz[0]

    @property
    def machine(self) -> Machine | None:
        """The processor to emulate for counting; None where that cannot be done."""
        return cast(Machine, self.emulator) if self.emulator in get_args(Machine) else None

    @property
    def cycle_budget(self) -> float | None:
        """Cycles that may be spent on a second of audio, on one core; None where only a stopwatch can tell."""
        return None if self.clock_hz is None else self.clock_hz * self.usable_share

    def shares(self, demand: Demand) -> dict[str, float]:
        """How much of each of its budgets an engine takes: above 1 it does not fit, by that factor.

        Args:
            demand: what the engine asks for.

        Returns:
            shares of "RAM", and of "flash", "cycles" and "block" where the board bounds them and they were counted;
            "block" is of the cycles that pass while the driver waits for the dearest block.
        """
        shares = {"RAM": demand.ram_bytes / self.ram_bytes}
        if self.flash_bytes is not None:
            shares["flash"] = demand.flash_bytes / self.flash_bytes
        spent = demand.instructions_per_second
        if self.cycle_budget is not None and spent is not None:
            worst = demand.cycles_per_second.high if demand.cycles_per_second else spent
            shares["cycles"] = worst / self.cycle_budget
            shares["block"] = shares["cycles"] * self.crowding(demand)
        return shares

    def crowding(self, demand: Demand) -> float:
        """How many times its share of the work the dearest audio block has, since an engine makes whole frames at once.

        Args:
            demand: of the engine.

        Returns:
            1 where frames and blocks fit into each other, more where a frame is longer than a block.
        """
        if demand.hop_samples is None:
            return 1.0
        rates = self.sample_rates_hz
        # Sound of a rate that the board has not is resampled, from fewer or more samples of the engine.
        scale = 1.0 if demand.sample_rate_hz in rates else demand.sample_rate_hz / self.sample_rate_hz
        block = self.block_samples * scale
        return max(1.0, math.ceil(block / demand.hop_samples) * demand.hop_samples / block)

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
        self._judge_speed(demand, reasons, notes)
        if demand.sample_rate_hz not in self.sample_rates_hz:
            rates = ", ".join(str(rate) for rate in self.sample_rates_hz)
            notes.append(
                f"Its {demand.sample_rate_hz} Hz must be resampled: the board's audio runs at {rates} Hz. "
                "The cost of that is not counted."
            )
        return Verdict(fits=not reasons, reasons=tuple(reasons), notes=tuple(notes))

    def _judge_speed(self, demand: Demand, reasons: list[str], notes: list[str]) -> None:
        """Add what the instructions say."""
        budget, spent = self.cycle_budget, demand.instructions_per_second
        if spent is None:
            notes.append("Its instructions were not counted, so whether it is fast enough is open.")
            return
        if budget is None or self.clock_hz is None:
            notes.append("This machine has no cycle budget; measure the real-time factor instead.")
            return
        band = demand.cycles_per_second or Band(spent, spent)
        shares = f"{band.low / self.clock_hz:.1%} to {band.high / self.clock_hz:.1%}"
        where = f", code in {self.memory.code.name}, data in {self.memory.data.name}" if self.memory else ""
        if band.high > budget:
            reasons.append(
                f"A second of audio costs {band.low / 1e6:.0f} to {band.high / 1e6:.0f} million cycles, {shares} of "
                f"the clock{where}; {self.usable_share:.0%} are allowed."
            )
        else:
            notes.append(f"It takes {shares} of the clock{where}; {self.usable_share:.0%} are allowed.")
        crowding = self.crowding(demand)
        if band.high <= budget < band.high * crowding:
            reasons.append(
                f"The dearest block of {self.block_samples} samples takes {band.high * crowding / self.clock_hz:.1%} "
                f"of its time, since {demand.hop_samples} samples are made at once; {self.usable_share:.0%} are "
                "allowed."
            )
        if demand.lead_cycles is not None:
            low, high = (1000 * bound / self.clock_hz for bound in (demand.lead_cycles.low, demand.lead_cycles.high))
            notes.append(
                f"A struck key keeps it busy for {low:.3g} to {high:.3g} ms, with the silence before its sound, until "
                "that can be heard; what still plays halts meanwhile where one core does both."
            )


def _size(count: int) -> str:
    """Bytes as a person says them."""
    for unit, size in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if count >= size:
            return f"{count / size:.4g} {unit}"
    return f"{count} bytes"
