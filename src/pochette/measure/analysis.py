"""What an analysis of a network is: it only reads, costs no more than it is allowed, and says what it left out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from pochette.measure.subject import Subject

Figure = Literal["", "diagram", "spectrum", "histogram", "plane"]
"""How `Finding.points` are to be drawn: births and deaths, values in falling order, values counted, points joined."""


@dataclass(frozen=True)
class Finding:
    """What an analysis found."""

    numbers: dict[str, float]
    """Of the network as a whole."""
    layers: dict[str, dict[str, float]] = field(default_factory=dict)
    """The same of each layer; a layer of which something cannot be said lacks that number."""
    points: Mapping[str, Sequence[tuple[float, ...]]] = field(default_factory=dict)
    """Of each layer what a figure is drawn of."""
    notes: tuple[str, ...] = ()
    """What was sampled and not read whole, and what could not be said; whole sentences."""

    def flat(self) -> dict[str, float]:
        """All numbers by one name each; those of layers as "LAYER/NUMBER"."""
        own = {f"{layer}/{name}": value for layer, row in self.layers.items() for name, value in row.items()}
        return {**self.numbers, **own}


class Analysis(ABC):
    """A way to read a network. A member is a class in a file of `pochette.measure.analyses`."""

    source: ClassVar[str]
    """Where it is published."""
    reads: ClassVar[Literal["weights", "activations"]]
    """What a subject must have for it."""
    words: ClassVar[dict[str, str]]
    """Each number's name to what it means."""
    figure: ClassVar[Figure] = ""
    counted: ClassVar[str] = "value of a unit"
    """What a histogram counts, where that is the figure."""
    effort: ClassVar[float] = 1.0
    """How long it takes beside other analyses, about, measured on small models: what progress is weighed by."""

    @abstractmethod
    def find(self, subject: Subject) -> Finding:
        """Read.

        Args:
            subject: a network, and perhaps what it did on some sound.

        Returns:
            what was found; all numbers are finite.

        Raises:
            MeasureError: it does not apply; says why, and what would help.
            ToolError: a package is missing.
        """

    @classmethod
    def of(cls, subject: Subject) -> dict[str, float]:
        """All numbers that it finds, flat: see `Finding.flat`."""
        return cls().find(subject).flat()


def mean_of(layers: dict[str, dict[str, float]], name: str) -> float:
    """Mean of a number over the layers that have it; 0 if none has.

    Args:
        layers: of a finding.
        name: of the number.

    Returns:
        the mean, layers counting alike.
    """
    values = [row[name] for row in layers.values() if name in row]
    return sum(values) / len(values) if values else 0.0
