"""SING's three stages of training: an auto-encoder, its codes from a recurrent network, the whole.

End to end from the start, the recurrent layers first find one sound for all of a note, and leave it late. So an
encoder, which is dropped afterwards, teaches the decoder first; then the recurrent layers learn the encoder's codes, in
stretches of 32 steps; then both learn the sound together (Defossez et al. 2018: 50, 50 and 20 epochs of Adam at 3e-4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pochette.corpus.folder import FolderCorpus
from pochette.layers.overlap import HOP_SAMPLES, OVERLAP, FrameEncoder
from pochette.models.model import Excerpt
from pochette.models.sing import DROPPED_HOPS, SingModel
from pochette.recipe import check_ranges
from pochette.train.loop import annealed, tensors_of

STRETCH_STEPS = 32
"""Steps through which the second stage's gradient runs back, as published."""
Draw = Callable[[int], Excerpt]
"""Number of a step to its batch of notes, each from its beginning."""


@dataclass(frozen=True)
class Stages:
    """How long each stage is, and how it steps."""

    auto_encoder: int = 1000
    """Steps of the first stage: sound to sound."""
    codes: int = 1000
    """Steps of the second stage: notes to codes."""
    whole: int = 400
    """Steps of the third stage: notes to sound."""
    learning_rate: float = 1e-3
    """Of Adam, annealed over the second half of each stage; 3e-4 as published for the published size."""

    def __post_init__(self) -> None:
        most = 10**8
        check_ranges(self, auto_encoder=(0, most), codes=(0, most), whole=(0, most), learning_rate=(1e-8, 100.0))


def beginnings(corpus: FolderCorpus, frames: int, batch: int, seed: int = 0) -> Draw:
    """Notes of a corpus from their beginnings, drawn at random; silence follows those that are shorter.

    Args:
        corpus: at the model's rate and hop.
        frames: length of all of them, in hops.
        batch: notes a step.
        seed: which ones.

    Returns:
        what draws the batch of a step.
    """

    def one(number: int) -> Excerpt:
        whole = corpus.whole(corpus.sounds[number])
        silence = {"audio": 0.0, "f0_hz": float(np.median(whole["f0_hz"])), "loudness_db": -80.0, "confidence": 0.0}
        out = {}
        for name, values in tensors_of(whole).items():
            length = frames * (HOP_SAMPLES if name == "audio" else 1)
            cut = values[:, :length]
            out[name] = nn.functional.pad(cut, (0, length - cut.shape[1]), value=silence[name])
        return out

    def draw(step: int) -> Excerpt:
        chosen = np.random.default_rng([seed, step]).integers(0, len(corpus), size=batch)
        rows = [one(int(number)) for number in chosen]
        return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}

    return draw


def encoder_for(model: SingModel) -> FrameEncoder:
    """A fresh encoder as wide and as deep as the model's decoder."""
    decoder = model.network.decoder
    layers = sum(isinstance(part, nn.Linear) for part in decoder.rewrites)
    channels, code = decoder.output.weight.shape[1], len(model.network.head.weight)
    return FrameEncoder(channels, layers, code)


def encode(model: SingModel, encoder: FrameEncoder, audio: Tensor) -> Tensor:
    """One code for every step of the notes.

    Args:
        model: whose decoder will read them.
        encoder: its counterpart.
        audio: (batch, frame * HOP_SAMPLES), from the notes' beginnings.

    Returns:
        (batch, step, code): 265 steps for 250 frames and a context of 9.
    """
    edge, decoder = OVERLAP - 1 + DROPPED_HOPS, model.network.decoder
    padding = ((decoder.behind + edge) * HOP_SAMPLES, (decoder.ahead + edge) * HOP_SAMPLES)
    codes: Tensor = encoder(nn.functional.pad(audio, padding))
    return codes


def decode(model: SingModel, codes: Tensor) -> Tensor:
    """The notes that codes stand for, (batch, frame * HOP_SAMPLES); see `encode`."""
    dropped = DROPPED_HOPS * HOP_SAMPLES
    return model.network.decoder.whole(codes)[:, dropped:-dropped]


def train_in_stages(
    model: SingModel, draw: Draw, stages: Stages, report: Callable[[str, int, float], None] | None = None
) -> FrameEncoder:
    """Train a model in the three published stages.

    Args:
        model: changed in place.
        draw: gives the batches; a step has the same in every stage.
        stages: how long.
        report: told stage, step and loss.

    Returns:
        the encoder, which the model does not need.
    """
    tell = report or (lambda *_: None)
    encoder = encoder_for(model)
    network = model.network
    optimise = _Optimiser([*encoder.parameters(), *network.decoder.parameters()], stages.learning_rate)
    for step in range(stages.auto_encoder):
        audio = _within(model, draw(step))["audio"]
        loss = model.distance(decode(model, encode(model, encoder, audio)), audio)
        tell("auto-encoder", step, optimise(loss, step / stages.auto_encoder))
    before = [p for name, p in network.named_parameters() if not name.startswith("decoder.")]
    optimise = _Optimiser(before, stages.learning_rate)
    for step in range(stages.codes):
        tell("codes", step, _learn_codes(model, encoder, _within(model, draw(step)), optimise, step / stages.codes))
    optimise = _Optimiser(model.parameters(), stages.learning_rate)
    for step in range(stages.whole):
        tell("whole", step, optimise(model.loss(draw(step)), step / stages.whole))
    return encoder


def _learn_codes(model: SingModel, encoder: FrameEncoder, excerpt: Excerpt, optimise: _Optimiser, used: float) -> float:
    """Mean squared error to the encoder's codes, a step of Adam every 32 steps of the notes; the last stretch's."""
    with torch.no_grad():
        wanted = encode(model, encoder, excerpt["audio"])
    note = model.note_of(model.controls_of(excerpt)[:, 0])
    state, error = model.initial_state(len(note)), 0.0
    for start in range(0, wanted.shape[1], STRETCH_STEPS):
        stretch = wanted[:, start : start + STRETCH_STEPS]
        steps = (start + torch.arange(stretch.shape[1], dtype=torch.float32)).expand(len(note), -1)
        made, after = model.network.codes(note, steps, state)
        error = optimise((made - stretch).square().mean(), used)
        state = {name: value.detach() for name, value in after.items()}
    return error


def _within(model: SingModel, excerpt: Excerpt) -> Excerpt:
    """What of an excerpt the model's notes can hold."""
    frames = min(excerpt["f0_hz"].shape[1], model.note_frames)
    return {n: values[:, : frames * (HOP_SAMPLES if n == "audio" else 1)] for n, values in excerpt.items()}


class _Optimiser:
    """Adam with a learning rate that falls over the second half."""

    def __init__(self, parameters: Iterable[Tensor], learning_rate: float) -> None:
        self.adam, self.learning_rate = torch.optim.Adam(parameters, learning_rate), learning_rate

    def __call__(self, loss: Tensor, used: float) -> float:
        """One step down a loss; the loss before it."""
        for group in self.adam.param_groups:
            group["lr"] = self.learning_rate * annealed(used, 0.5)
        self.adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.adam.step()
        return loss.item()
