"""A small classifier that learns a corpus's labels, to say of made sounds whether their class can be heard.

It is trained here, from the recordings at hand; how often it is right on those that it never heard is what its word on
made sounds is worth. Two strided convolutions over the mel picture, the greatest and the mean of what they find, one
matrix. Pictures are moved and masked a little in training, so that they are not learnt by heart.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pochette.sound.unpaired import BANDS, LogMelStatistics

WIDTH = 64
STEPS = 600
BATCH = 32
LEARNING_RATE = 3e-3
FULL_DB = 60.0
"""From the floor of the picture to full scale."""
MOVED_FRAMES, MASKED_BANDS = 3, 6
"""Most that a training picture is moved in time, and that is taken out of it."""


@dataclass(frozen=True)
class Heard:
    """How well classes were told."""

    accuracy: float
    """Share of sounds whose class was told; chance is one in so many classes."""
    by_class: tuple[float, ...]
    """The same of each class; NaN where there was none of it."""


class Listener(nn.Module):
    """Tells classes of sounds.

    Args:
        classes: how many.
        sample_rate_hz: of the sounds.
    """

    def __init__(self, classes: int, sample_rate_hz: int) -> None:
        super().__init__()
        self.statistics = LogMelStatistics(sample_rate_hz)
        self.convolutions = nn.Sequential(
            nn.Conv1d(BANDS, WIDTH, 5, 2, padding=2), nn.ReLU(), nn.Conv1d(WIDTH, WIDTH, 5, 2, padding=2), nn.ReLU()
        )
        self.head = nn.Linear(2 * WIDTH, classes)

    def picture(self, audio: Tensor) -> Tensor:
        """What is listened to: (batch, sample) to (batch, band, frame), 0 for silence to about 1."""
        return self.statistics.picture(audio) / FULL_DB + 1.0

    def forward(self, picture: Tensor) -> Tensor:
        """How much speaks for each class.

        Args:
            picture: see `picture`.

        Returns:
            (batch, class), logarithms of odds.
        """
        found = self.convolutions(picture)
        told: Tensor = self.head(torch.cat([found.amax(dim=2), found.mean(dim=2)], dim=1))
        return told

    @torch.no_grad()
    def judge(self, audio: Tensor, class_number: Tensor) -> Heard:
        """How often it tells the class that a sound is meant to be of.

        Args:
            audio: (sound, sample).
            class_number: (sound, 1).

        Returns:
            the shares.
        """
        right = (self(self.picture(audio)).argmax(dim=1) == class_number[:, 0].long()).float()
        numbers = class_number[:, 0].long()
        each = tuple(float(right[numbers == n].mean()) for n in range(self.head.out_features))
        return Heard(float(right.mean()), each)


def trained_listener(
    audio: Tensor, class_number: Tensor, classes: int, sample_rate_hz: int, *, seed: int = 0, steps: int = STEPS
) -> Listener:
    """A listener that learnt some sounds.

    Args:
        audio: (sound, sample).
        class_number: (sound, 1).
        classes: how many there are.
        sample_rate_hz: of the sounds.
        seed: draws weights and batches.
        steps: of Adam.

    Returns:
        the listener, to be judged on other sounds first.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        listener = Listener(classes, sample_rate_hz)
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(listener.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    pictures, numbers = listener.picture(audio), class_number[:, 0].long()
    for _ in range(steps):
        chosen = torch.randint(len(audio), (BATCH,), generator=generator)
        loss = functional.cross_entropy(listener(_changed(pictures[chosen], generator)), numbers[chosen])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return listener.eval()


def _changed(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures moved in time, and without some neighbouring bands."""
    shift, first, count = (
        int(torch.randint(low, high, (), generator=generator))
        for low, high in ((-MOVED_FRAMES, MOVED_FRAMES + 1), (0, BANDS - MASKED_BANDS), (0, MASKED_BANDS + 1))
    )
    moved = functional.pad(pictures, (max(shift, 0), max(-shift, 0)))
    moved = moved[..., max(-shift, 0) :][..., : pictures.shape[-1]].clone()
    moved[:, first : first + count] = 0.0
    return moved
