"""Made sounds beside recorded ones, crowd against crowd: for models of which no sound stands for a recording.

Every crowd is held against the recordings that training never heard, in the measure of `sound.unpaired`: its
discrepancy; how many of those recordings it comes near (coverage, Naeem et al. 2020); and how far its sounds are from
the nearest one that was learnt, beside how far they are from each other: a model that repeats what it heard is nearer
to that than to itself (Donahue et al. 2019).

The marks to read them by: recordings against recordings, divided by chance as training and held-out part are; the same
generator before it learnt anything; white noise; silence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pochette.corpus.folder import FolderCorpus, lengthened
from pochette.models.unpaired import Unpaired
from pochette.sound.anchors import white_noise
from pochette.sound.unpaired import LogMelStatistics, bandwidth_of, discrepancy, distances

SOUNDS = 256
"""Of a crowd: so many drawn, or so many recordings at most, spread evenly over a part."""
AT_ONCE = 32
"""Sounds that are made in one batch."""
DIVISIONS = 20
"""Of all recordings by chance, over which the mark of recordings is averaged."""
NEIGHBOURS = 5
"""The distance to which of its own crowd counts as near a recording, in coverage."""
UNTRAINED_SEED = 1_000_003
"""Draws the generator that learnt nothing."""


@dataclass(frozen=True)
class Standing:
    """Where one crowd stands; distances in dB."""

    discrepancy: float
    """Of it and the held-out recordings, squared, 0 to 2 and a little below 0 by chance."""
    coverage: float
    """Share of the held-out recordings that it comes near."""
    to_training: float | None = None
    """Mean distance of its sounds to the nearest that was learnt; None for what was learnt itself."""
    to_itself: float = 0.0
    """Mean distance of its sounds to the nearest other one of it."""


def recorded(model: Unpaired, corpus: FolderCorpus) -> tuple[Tensor, Tensor | None]:
    """Recordings from their beginnings, as a model learns them.

    Args:
        model: that learns.
        corpus: whole or a part; of more than `SOUNDS` sounds so many are taken, evenly spread.

    Returns:
        audio (sound, sample), and class numbers (sound, 1) where the corpus has labels.
    """
    picked = np.unique(np.linspace(0, len(corpus) - 1, min(SOUNDS, len(corpus))).astype(int))
    frames = model.excerpt_frames or max(sound.frames for sound in corpus.sounds)
    wholes = [lengthened(corpus.whole(corpus.sounds[i]), frames, corpus.hop_samples) for i in picked]
    audio = torch.from_numpy(np.concatenate([whole["audio"] for whole in wholes]))
    if not corpus.labels():
        return model.heard(audio), None
    return model.heard(audio), torch.tensor([[float(whole["class_number"][0, 0])] for whole in wholes])


@torch.no_grad()
def drawn(model: Unpaired, sounds: int, seed: int = 0, class_number: Tensor | None = None) -> Tensor:
    """Sounds of a model.

    Args:
        model: put into the state of playing.
        sounds: how many.
        seed: where chance comes from.
        class_number: (sound, 1), of a model with classes; drawn evenly where it is not given.

    Returns:
        (sound, sample).
    """
    model.eval()
    notes = model.notes(sounds, torch.Generator().manual_seed(seed), class_number)
    return torch.cat([model.generate(notes[i : i + AT_ONCE]) for i in range(0, sounds, AT_ONCE)])


def untrained(model: Unpaired) -> Unpaired:
    """A model of the same recipe that learnt nothing; torch's own generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(UNTRAINED_SEED)
        fresh: Unpaired = model.recipe.build()
    return fresh.eval()


@torch.no_grad()
def standings(
    contenders: Mapping[str, Unpaired], training: FolderCorpus, held_out: FolderCorpus, *, seed: int = 0
) -> dict[str, Standing]:
    """Where models and marks stand to the recordings that training never heard.

    Args:
        contenders: name to model, of one rate and length; the first one says how recordings are heard.
        training: what they learnt from.
        held_out: what they did not.
        seed: of what is drawn.

    Returns:
        "recordings", "silence", "white noise", "untrained" and every contender.
    """
    first = next(iter(contenders.values()))
    measure = LogMelStatistics(first.sample_rate_hz)
    learnt, _ = recorded(first, training)
    kept, classes = recorded(first, held_out)
    wanted = classes_like(classes)
    noise = np.stack([white_noise(row, seed=seed + i) for i, row in enumerate(kept.numpy())])
    crowds = {
        # Two of it, since a crowd of one counts for all of its kind.
        "silence": torch.zeros(2, kept.shape[1]),
        "white noise": torch.from_numpy(noise),
        "untrained": drawn(untrained(first), SOUNDS, seed, wanted),
        **{name: drawn(model, SOUNDS, seed, wanted) for name, model in contenders.items()},
    }
    points = {name: measure(audio) for name, audio in crowds.items()}
    reference, known = measure(kept), measure(learnt)
    return {
        "recordings": _of_recordings(torch.cat([reference, known]), len(reference), seed),
        **{name: standing(crowd, reference, known) for name, crowd in points.items()},
    }


def classes_like(class_number: Tensor | None) -> Tensor | None:
    """Classes to draw sounds of, in the shares of some recordings.

    Args:
        class_number: (sound, 1) of the recordings; None where there are no classes.

    Returns:
        (SOUNDS, 1); None where there are no classes.
    """
    if class_number is None:
        return None
    return class_number.repeat(-(-SOUNDS // len(class_number)), 1)[:SOUNDS]


@torch.no_grad()
def discrepancy_to_held_out(
    model: Unpaired, held_out: FolderCorpus, play: Callable[[Tensor], Tensor] | None = None
) -> float:
    """The discrepancy of one model's sounds, comparable with those of `standings`.

    Args:
        model: that draws them.
        held_out: the recordings.
        play: makes sounds, (sound, sample), of notes, (sound, control), in the model's place (its engine).

    Returns:
        squared.
    """
    model.eval()
    measure = LogMelStatistics(model.sample_rate_hz)
    kept, classes = recorded(model, held_out)
    reference = measure(kept)
    notes = model.notes(SOUNDS, torch.Generator().manual_seed(0), classes_like(classes))
    make = play or model.generate
    crowd = torch.cat([measure(make(notes[i : i + AT_ONCE])) for i in range(0, SOUNDS, AT_ONCE)])
    return float(discrepancy(crowd, reference, bandwidth_of(reference)))


def standing(crowd: Tensor, reference: Tensor, learnt: Tensor | None = None) -> Standing:
    """Where a crowd of points stands.

    Args:
        crowd: (n, feature), 2 at least.
        reference: (m, feature), 2 at least.
        learnt: what its maker learnt from; None if it is that.

    Returns:
        its distances and coverage.
    """
    return Standing(
        discrepancy=float(discrepancy(crowd, reference, bandwidth_of(reference))),
        coverage=coverage(crowd, reference),
        to_training=None if learnt is None else float(distances(crowd, learnt).amin(dim=1).mean()),
        to_itself=float(_neighbours(crowd, 1).mean()),
    )


def coverage(crowd: Tensor, reference: Tensor) -> float:
    """Share of reference points that have a point of the crowd no further than their own `NEIGHBOURS`-th neighbour.

    Args:
        crowd: (n, feature).
        reference: (m, feature), 2 at least.

    Returns:
        0 to 1.
    """
    near = _neighbours(reference, min(NEIGHBOURS, len(reference) - 1))
    return float((distances(reference, crowd).amin(dim=1) <= near).float().mean())


def _neighbours(points: Tensor, which: int) -> Tensor:
    """Distance of each point to its nearest other one, or to one further away."""
    return distances(points, points).fill_diagonal_(torch.inf).sort(dim=1).values[:, which - 1]


def _of_recordings(points: Tensor, kept: int, seed: int) -> Standing:
    """Recordings against recordings: so many held out by chance, the others as though they had been made."""
    rng, found = torch.Generator().manual_seed(seed), []
    for _ in range(DIVISIONS):
        order = torch.randperm(len(points), generator=rng)
        found.append(standing(points[order[kept:]], points[order[:kept]]))
    return Standing(
        discrepancy=float(np.mean([each.discrepancy for each in found])),
        coverage=float(np.mean([each.coverage for each in found])),
        to_itself=float(np.mean([each.to_itself for each in found])),
    )
