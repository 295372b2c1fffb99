"""Judging a model: by test sound that nothing else ever touches, and by the time a second of sound takes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pochette.corpus.folder import FolderCorpus, lengthened
from pochette.corpus.labels import check_classes
from pochette.errors import RunError
from pochette.families import boards
from pochette.models.model import Excerpt, Model
from pochette.train.device import tensors_of

TEST_SPLIT, LOOKS_SPLIT = 0, 1
"""Seeds of the two divisions of a corpus; the same for all experiments, so that all are judged by the same sound."""
TEST_SECONDS = 1.0
TEST_EXCERPTS = 64
"""Most test excerpts, spread evenly over the test sounds."""
TEST_BATCH = 8
TIMED_RUNS = 7
SLOW = 4.0
"""Seconds of work per second of sound from which less than a second is timed."""

Loss = Callable[[Excerpt, torch.Generator], Tensor]


@dataclass(frozen=True)
class Parts:
    """A corpus divided for experiments."""

    training: FolderCorpus
    looks: FolderCorpus
    """What training looks at to know whether it has settled."""
    test: FolderCorpus
    """What only the error is measured on."""


def hold_out(corpus: FolderCorpus, model: Model, seed: int) -> tuple[FolderCorpus, FolderCorpus]:
    """Set sounds apart that a model's training never hears: the one place that asks `Model.split_by`.

    Args:
        corpus: whole, or what is left of it.
        model: whose training it is.
        seed: which sounds.

    Returns:
        what is trained on, and what is held out.

    Raises:
        SoundError: there is too little to divide, or the model tells classes apart that the corpus does not name.
    """
    check_classes(corpus.labels(), model.classes, str(corpus.folder))
    return corpus.split(seed=seed, by=model.split_by)


def divide(corpus: FolderCorpus, model: Model) -> Parts:
    """Set the test sounds apart, then those for looking at.

    Args:
        corpus: whole.
        model: that is judged.

    Returns:
        three parts that share no note (no sound or stretch, in corpora of few notes).

    Raises:
        SoundError: there is too little to divide.
    """
    rest, test = hold_out(corpus, model, TEST_SPLIT)
    training, looks = hold_out(rest, model, LOOKS_SPLIT)
    return Parts(training, looks, test)


def excerpts_of(test: FolderCorpus, model: Model | None = None) -> list[Excerpt]:
    """The test sounds in stretches of `TEST_SECONDS`, the same for whoever asks, in batches.

    Args:
        test: the test part.
        model: that is judged; one of whole sounds gets the beginning of each, as long as it makes them.

    Returns:
        batches of up to `TEST_BATCH` excerpts, `TEST_EXCERPTS` in all at most.
    """
    rate = test.sample_rate_hz / test.hop_samples
    longest = max(sound.frames for sound in test.sounds)
    frames = (model.excerpt_frames if model else None) or min(round(TEST_SECONDS * rate), longest)
    if model is not None and model.heard_from == "beginning":
        places = [(sound, 0) for sound in test.sounds]
    else:
        places = [(s, first) for s in test.sounds for first in range(0, max(1, s.frames - frames + 1), frames)]
    chosen = [places[i] for i in np.unique(np.linspace(0, len(places) - 1, TEST_EXCERPTS).astype(int))]
    rows = []
    for sound, first in chosen:
        whole = test.whole(sound)
        begun = {
            name: values[:, first * (test.hop_samples if name == "audio" else 1) :] for name, values in whole.items()
        }
        rows.append(lengthened(begun, frames, test.hop_samples))
    groups = [rows[i : i + TEST_BATCH] for i in range(0, len(rows), TEST_BATCH)]
    return [tensors_of({name: np.concatenate([row[name] for row in group]) for name in group[0]}) for group in groups]


@torch.no_grad()
def mean_error(loss: Loss, model: Model, test: FolderCorpus) -> float:
    """Mean of a loss over the test excerpts, every excerpt counting once, with the same phases and noise for all.

    Args:
        loss: of a batch of excerpts.
        model: put into the state of playing.
        test: the test part.

    Returns:
        the mean.

    Raises:
        RunError: it is not finite.
    """
    model.eval()
    total, count = 0.0, 0
    for number, excerpt in enumerate(excerpts_of(test, model)):
        rows = len(excerpt["audio"])
        total += rows * float(loss(excerpt, torch.Generator().manual_seed(number)))
        count += rows
    error = total / count
    if not np.isfinite(error):
        raise RunError(f"The test error is {error}.", remedy="Lower the learning rate.")
    return error


@torch.no_grad()
def inference_seconds(model: Model) -> float:
    """Wall time of torch for a second of sound at rest, in one piece; of slow models a fiftieth of one is timed.

    Args:
        model: any.

    Returns:
        seconds per second of audio, the smallest of `TIMED_RUNS` times: what else the machine does only ever adds.
    """
    rate = model.sample_rate_hz / model.hop_samples
    rest = torch.tensor([knob.default for knob in model.controls])

    def timed(frames: int) -> float:
        began = time.perf_counter()
        model(rest.expand(1, frames, -1))
        return (time.perf_counter() - began) * rate / frames

    model.eval()
    # What computes sample by sample is slow, and as slow in a short sound as in a long one.
    short = max(1, round(0.02 * rate))
    frames = short if timed(short) > SLOW else max(1, round(rate))
    timed(frames)
    return min(timed(frames) for _ in range(TIMED_RUNS))


def machine(device: str = "cpu") -> str:
    """What this process runs on, as its maker calls it, and what it trained on if that was something else."""
    cpu = boards["host"].cpu
    if device == "cpu":
        return cpu
    model = f" ({torch.cuda.get_device_name(device)})" if device.startswith("cuda") else ""
    return f"{cpu}; trained on {device}{model}"


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors, in the order of their names.

    Args:
        tensors: by name.

    Returns:
        64 hexadecimal digits.
    """
    whole = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().contiguous()
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        whole.update(tensor.numpy().tobytes())
    return whole.hexdigest()
