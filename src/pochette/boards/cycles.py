"""From instructions to cycles: a band between what a processor could do at best and what it does at worst.

An emulator counts instructions and knows no pipeline. Two bounds follow from their kinds. At best the processor issues
as many instructions in every cycle as it has room for, loads one at a time, floating-point operations one at a time,
and waits for divisions. At worst it issues one a cycle, waits for every division, and, where it cannot overlap them,
for every load. Caches, wait states of flash, and interrupts are in neither: the band holds for code and data in memory
that answers at once, which is why a verdict names where they are placed. Torch-free.
"""

from __future__ import annotations

from dataclasses import dataclass

from pochette.boards.target import Target


@dataclass(frozen=True)
class Mix:
    """Instructions by what they wait for."""

    instructions: int = 0
    loads: int = 0
    """That read memory; one that fills several registers counts once."""
    arithmetic: int = 0
    """Of the floating-point or vector unit, divisions among them."""
    divisions: int = 0
    """Floating-point divisions and square roots."""

    def __add__(self, other: Mix) -> Mix:
        """Both together."""
        return Mix(
            self.instructions + other.instructions,
            self.loads + other.loads,
            self.arithmetic + other.arithmetic,
            self.divisions + other.divisions,
        )

    def __sub__(self, other: Mix) -> Mix:
        """What one has beyond the other."""
        return self + other * -1

    def __mul__(self, times: int) -> Mix:
        """So many runs of it."""
        return Mix(self.instructions * times, self.loads * times, self.arithmetic * times, self.divisions * times)


@dataclass(frozen=True)
class Band:
    """Cycles, at best and at worst."""

    low: float
    high: float

    def __mul__(self, factor: float) -> Band:
        """So many times as much."""
        return Band(self.low * factor, self.high * factor)


def cycles(mix: Mix, target: Target) -> Band:
    """How long a processor takes, as a band.

    Args:
        mix: what was executed.
        target: the processor.

    Returns:
        cycles.
    """
    waiting = (target.division_cycles - 1) * mix.divisions
    low = max(mix.instructions / target.issue, mix.loads, mix.arithmetic + waiting)
    # With one instruction a cycle nothing hides the second cycle of a load.
    high = mix.instructions + waiting + (mix.loads if target.issue == 1 else 0)
    return Band(float(low), float(max(high, low)))
