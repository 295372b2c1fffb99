"""A large model teaches a small one: beside its own loss the small one is to say what the large one says.

What is compared is what suits the model: the distributions of the next sample, where it draws sample by sample (Hinton
et al. 2015: softened by a temperature T, and times T^2, so that its gradient keeps its size); else the spectra of what
both play of the same excerpt.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from pochette.errors import ReductionError
from pochette.models.model import Excerpt, Model
from pochette.models.turn import Losses, Turn
from pochette.models.unpaired import Unpaired
from pochette.reduce.said import said_of, says_classes
from pochette.sound.losses import MultiScaleSpectral
from pochette.train.loop import Trainer


def softened_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Mean Kullback-Leibler divergence of a student's distributions from a teacher's, softened, times T^2.

    Args:
        student: logits, (..., class).
        teacher: of the same shape.
        temperature: divides both.

    Returns:
        scalar, nats times T^2.
    """
    wanted, said = (torch.log_softmax(logits / temperature, dim=-1) for logits in (teacher, student))
    divergence: Tensor = (wanted.exp() * (wanted - said)).sum(dim=-1).mean()
    return divergence * temperature**2


class Lesson:
    """Adds what a teacher says to a student's losses, for the time of a training.

    Args:
        teacher: trained; left as it is.
        student: in training.
        weight: of the lesson; the student's own loss counts the rest.
        temperature: see `softened_divergence`.

    Raises:
        ReductionError: nothing that both say can be compared.
    """

    name = "lesson"

    def __init__(self, teacher: Model, student: Model, *, weight: float = 0.5, temperature: float = 2.0) -> None:
        if isinstance(teacher, Unpaired):
            raise ReductionError(
                "This model draws its sounds: a teacher has nothing to say of a recording.",
                where=type(teacher).__name__,
                remedy="Reduce it by the lottery, which trains it against its critic.",
            )
        if teacher.feeds_back and not says_classes(teacher):
            raise ReductionError(
                "The distributions of this model are no lists of classes that could be compared.",
                where=type(teacher).__name__,
                remedy="Train it with mu-law outputs, or reduce it by the lottery.",
            )
        # A copy: it goes where the student trains, and the teacher itself is not to be missed at home.
        self.teacher, self.student = copy.deepcopy(teacher).eval(), student
        self.weight, self.temperature = weight, temperature
        self._spectral = MultiScaleSpectral(teacher.sample_rate_hz)

    def distance(self, excerpt: Excerpt) -> Tensor:
        """What the student misses of the lesson.

        Args:
            excerpt: a batch of sound with its features.

        Returns:
            scalar, 0 if it says what the teacher says.
        """
        device = excerpt["audio"].device
        with torch.no_grad():
            wanted = said_of(self.teacher.to(device), excerpt)
        said = said_of(self.student, excerpt)
        if self.teacher.feeds_back:
            return softened_divergence(said, wanted, self.temperature)
        distance: Tensor = self._spectral.to(device)(said, wanted)
        return distance

    def join(self, trainer: Trainer) -> None:
        """Go along with a training; see `pochette.train.loop.Companion`.

        The lesson goes with the last turn that moves what the student plays with: a critic hears nothing of it.
        """
        played = {id(parameter) for parameter in self.student.played_parameters().values()}
        taught = [d for d in trainer.drivers if played & {id(parameter) for parameter in d.turn.parameters}]
        for driver in taught:
            driver.turn = self._with_lesson(driver.turn)

    def _with_lesson(self, turn: Turn) -> Turn:
        own: Losses = turn.losses

        def losses(excerpt: Excerpt, generator: torch.Generator) -> Tensor | Iterable[Tensor]:
            given = own(excerpt, generator)
            if isinstance(given, Tensor):
                return (1.0 - self.weight) * given + self.weight * self.distance(excerpt)
            return self._after(given, excerpt)

        return replace(turn, losses=losses)

    def _after(self, given: Iterable[Tensor], excerpt: Excerpt) -> Iterator[Tensor]:
        """Losses that step on their way, and the lesson as one more step."""
        for loss in given:
            yield (1.0 - self.weight) * loss
        yield self.weight * self.distance(excerpt)

    def state(self) -> dict[str, Tensor]:
        """Nothing: the teacher is another phase's result."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to do."""
