"""A knob, declared once.

The one declaration drives the Python player, the C engine, the web page, MIDI, OSC, control voltage and plug-in ports.
Torch-free: the light player needs it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

Curve = Literal["linear", "logarithmic"]


@dataclass(frozen=True)
class Control:
    """One continuous input of a model, in physical units.

    Raises:
        ValueError: a name that C or OSC would not take, an empty range, a default outside it, or a logarithmic curve
            that touches zero.
    """

    name: str
    """Lower-case identifier, valid in C, OSC and LV2 ("pitch_hz")."""
    unit: str
    """"Hz", "dB", "dB/octave", "" for a plain ratio."""
    low: float
    """Smallest value a knob gives."""
    high: float
    """Largest value a knob gives."""
    default: float
    """Value after reset."""
    curve: Curve = "linear"
    """How a knob's travel maps to the value."""
    help: str = ""
    """What a musician hears when it is turned."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", self.name):
            raise ValueError(f"control {self.name!r}: lower-case letters, digits and underscores make a name")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"control {self.name}: the range [{self.low}, {self.high}] is empty or not finite")
        if not self.low <= self.default <= self.high:
            raise ValueError(f"control {self.name}: default {self.default} lies outside [{self.low}, {self.high}]")
        if self.curve == "logarithmic" and self.low <= 0:
            raise ValueError(f"control {self.name}: a logarithmic range must be positive")

    def from_knob(self, position: float) -> float:
        """Value at a knob position.

        Args:
            position: 0 (low) to 1 (high); values outside are clamped, NaN gives the default.

        Returns:
            the value in the control's unit.
        """
        if math.isnan(position):
            return self.default
        position = min(max(position, 0.0), 1.0)
        if self.curve == "logarithmic":
            return self.clamp(self.low * (self.high / self.low) ** position)
        # Clamped, since rounding may step over an end.
        return self.clamp(self.low + (self.high - self.low) * position)

    def to_knob(self, value: float) -> float:
        """Knob position of a value; the inverse of `from_knob`.

        Args:
            value: in the control's unit; values outside the range are clamped.

        Returns:
            position, 0 to 1.
        """
        value = self.clamp(value)
        if self.curve == "logarithmic":
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def clamp(self, value: float) -> float:
        """The nearest value inside the range; the default for NaN."""
        if math.isnan(value):
            return self.default
        return min(max(value, self.low), self.high)
