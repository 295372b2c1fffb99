"""Models that draw whole sounds, of which none stands for a recording: crowds are compared, not pairs."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from pochette.models.model import Excerpt, Model
from pochette.sound.unpaired import LogMelStatistics, bandwidth_of, discrepancy

CROWD = 16
"""Sounds that are made to be compared with an excerpt, at least."""


class Unpaired(Model):
    """A model that draws whole sounds, of which none stands for a recording: crowds are compared, not pairs."""

    statistics: LogMelStatistics
    """What crowds of its sounds are compared by."""

    @abstractmethod
    def notes(self, batch: int, generator: torch.Generator | None, class_number: Tensor | None = None) -> Tensor:
        """What sounds are made of, drawn as in training.

        Args:
            batch: how many.
            generator: where chance comes from.
            class_number: (batch, frame), of a model with classes; drawn where it is not given.

        Returns:
            (batch, control).
        """

    @abstractmethod
    def generate(self, note: Tensor) -> Tensor:
        """Whole sounds at once.

        Args:
            note: (batch, control).

        Returns:
            (batch, sample), as long as `excerpt_frames`.
        """

    @abstractmethod
    def heard(self, audio: Tensor) -> Tensor:
        """Recorded sounds as they are learnt, and as made ones are to be compared with.

        Args:
            audio: (batch, sample), from the sounds' beginnings.

        Returns:
            (batch, sample), as long as `excerpt_frames`.
        """

    @abstractmethod
    def notes_like(self, excerpt: Excerpt, generator: torch.Generator | None, times: int = 1) -> Tensor:
        """What sounds of the excerpts' kinds (their classes, their pitches) are made of; the rest is drawn.

        Args:
            excerpt: a batch of sound.
            generator: where chance comes from.
            times: how many of each, all kinds one after the other so often.

        Returns:
            (batch * times, control).
        """

    def loss(self, excerpt: Excerpt, generator: torch.Generator | None = None) -> Tensor:
        """How far made sounds are from an excerpt's, as two crowds: see `sound.unpaired.discrepancy`."""
        real = self.statistics(self.heard(excerpt["audio"]))
        note = self.notes_like(excerpt, generator, -(-CROWD // len(real)))
        return discrepancy(self.statistics(self.generate(note)), real, bandwidth_of(real.detach()))

    def controls_of(self, excerpt: Excerpt) -> Tensor:
        """What could stand for an excerpt: its kind, and drawn latents, always the same ones; nobody knows its own.

        Args:
            excerpt: a batch of sound.

        Returns:
            (batch, frame, control), the same in all frames.
        """
        frames = -(-excerpt["audio"].shape[1] // self.hop_samples)
        note = self.notes_like(excerpt, torch.Generator().manual_seed(0))
        return note[:, None].expand(-1, frames, -1)
