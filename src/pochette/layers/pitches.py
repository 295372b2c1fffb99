"""Pitches a semitone apart, numbered: the one nearest to a frequency, and the one that a recorded note plays."""

from __future__ import annotations

import torch
from torch import Tensor, nn

VOICED = 0.5
"""Confidence above which a frame has a pitch."""


def hertz_of(note: float) -> float:
    """Frequency of a MIDI number."""
    return float(440.0 * 2.0 ** ((note - 69.0) / 12.0))


def median_pitch(f0_hz: Tensor, confidence: Tensor | None = None) -> Tensor:
    """The pitch of each note; what has none, and the silence behind a short sound, has no say in it.

    Args:
        f0_hz: (batch, frame).
        confidence: of the same shape; without it every frame above 0 Hz counts.

    Returns:
        (batch,), Hz; 0 of what has no pitch.
    """
    sure = f0_hz > 0.0 if confidence is None else (confidence > VOICED) & (f0_hz > 0.0)
    return torch.where(sure, f0_hz, torch.nan).nanmedian(dim=1).values.nan_to_num(0.0)


class Pitches(nn.Module):
    """Pitches in a row.

    Args:
        lowest_note: MIDI number of the first.
        count: how many.
    """

    def __init__(self, lowest_note: int, count: int) -> None:
        super().__init__()
        self.lowest_note, self.count = lowest_note, count

    def semitones(self, hertz: Tensor) -> Tensor:
        """How far frequencies lie above the first pitch, no farther than the outermost ones: any shape, the same."""
        above = 12.0 * torch.log2(hertz / 440.0) + (69.0 - self.lowest_note)
        return above.clamp(0.0, self.count - 1.0)

    def chosen(self, hertz: Tensor) -> Tensor:
        """1 at the pitch nearest to a frequency, the lower one half-way, 0 elsewhere: (batch,) to (batch, count)."""
        away = self.semitones(hertz)[:, None] - torch.arange(self.count, device=hertz.device)
        return torch.where(away > -0.5, torch.where(away <= 0.5, 1.0, 0.0), 0.0)

    def rows(self, hertz: Tensor) -> Tensor:
        """Numbers of the nearest pitches, whole; 0 for 0 Hz: (batch,)."""
        return self.semitones(hertz).round().long()

    def hertz(self, rows: Tensor) -> Tensor:
        """Frequencies of pitches by their numbers: any shape, the same."""
        return 440.0 * torch.exp2((rows + (self.lowest_note - 69.0)) / 12.0)
