"""Sounds that teach less than the recordings: what a pretraining may do without (Frankle et al. 2020, section 5).

That paper blurs pictures, turns them and exchanges their labels. What stands for this in audio is ours:
- "blurred": everything above an eighth of the sample rate is gone, as down- and upsampling by 4 leave it;
- "reversed": time runs backwards, features with it: spectra are right, and how sounds begin and end is not;
- "exchanged": each excerpt stands beside the pitch, loudness and class of another: labels that say nothing.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np

from pochette.corpus.folder import FolderCorpus, Start
from pochette.errors import SoundError
from pochette.lab.stability.branches import Course
from pochette.models.model import Model
from pochette.sound.audio import FloatArray

Alteration = Literal["blurred", "reversed", "exchanged"]
ALTERATIONS: tuple[Alteration, ...] = ("blurred", "reversed", "exchanged")
BLUR = 4
"""Times that the band is narrower."""


@dataclass(frozen=True, eq=False)
class AlteredCorpus(FolderCorpus):
    """A corpus whose excerpts are altered as they are drawn; whole sounds stay as they are."""

    alteration: Alteration = "blurred"

    def excerpt_batch(
        self, rng: np.random.Generator, batch: int, frames: int, start: Start = "anywhere"
    ) -> dict[str, FloatArray]:
        """Random excerpts, altered; see `FolderCorpus.excerpt_batch`.

        Args:
            rng: where chance comes from.
            batch: how many.
            frames: length of each in hops.
            start: anywhere in their sounds, or where these begin.

        Returns:
            as that.

        Raises:
            SoundError: one excerpt alone has none to exchange with.
        """
        heard = super().excerpt_batch(rng, batch, frames, start)
        if self.alteration == "blurred":
            return {**heard, "audio": blurred(heard["audio"])}
        if self.alteration == "reversed":
            return backwards(heard)
        if batch < 2:
            raise SoundError("One excerpt a step has none to exchange with.", remedy="Train on --batch 2 or more.")
        return {name: values if name == "audio" else np.roll(values, 1, axis=0) for name, values in heard.items()}


def altered(corpus: FolderCorpus, alteration: Alteration) -> FolderCorpus:
    """A corpus whose excerpts teach less.

    Args:
        corpus: any part.
        alteration: what is done to them.

    Returns:
        a view; nothing is copied.
    """
    held = {field.name: getattr(corpus, field.name) for field in fields(FolderCorpus)}
    return AlteredCorpus(**held, alteration=alteration)


def pretrained(course: Course, model: Model, alteration: Alteration, steps: int) -> Model:
    """What a model learns of altered sounds, to be trained on as it is or under masks.

    Args:
        course: of the training whose early phase it stands for.
        model: fresh; left as it was.
        alteration: of the sounds.
        steps: of pretraining.

    Returns:
        the model after them; a `Course.trunk` of 0 steps makes a fork of it, with fresh moments.

    Raises:
        RecipeError: the course has fewer steps.
        RunError: the loss is no longer finite.
        SoundError: see `AlteredCorpus.excerpt_batch`.
    """
    taught = copy.deepcopy(model)
    replace(course, heard=altered(course.heard, alteration)).trunk(taught, steps)
    return taught


def blurred(audio: FloatArray) -> FloatArray:
    """Sound without what lies above an eighth of its sample rate.

    Args:
        audio: (batch, sample).

    Returns:
        the same shape.
    """
    spectrum = np.fft.rfft(audio)
    spectrum[:, spectrum.shape[1] // BLUR :] = 0.0
    return np.fft.irfft(spectrum, audio.shape[1]).astype(np.float32)


def backwards(heard: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """Excerpts whose time runs backwards.

    Frame i describes sample (i + 1) hop, which backwards is that of frame n - 2 - i; what describes the beginning, the
    end now, is not in an excerpt, and its nearest stands for it.

    Args:
        heard: as `FolderCorpus.excerpt_batch` gives them.

    Returns:
        the same names and shapes.
    """
    found = {}
    for name, values in heard.items():
        turned = values[:, ::-1]
        found[name] = np.ascontiguousarray(
            turned if name == "audio" else np.concatenate([turned[:, 1:], turned[:, -1:]], axis=1)
        )
    return found
