"""How well a model resynthesises sounds it never heard: distances and metrics beside their anchors.

Of a model that resynthesises nothing (`Unpaired`) made and recorded sounds are compared as crowds instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from pochette.corpus.folder import FolderCorpus, Sound, lengthened
from pochette.engine.build import compile_host_library
from pochette.engine.native import NativeRunner
from pochette.engine.runner import FloatArray, run_frames
from pochette.engine.source import EngineSource
from pochette.families import metrics
from pochette.lab import unpaired
from pochette.lab.anchors import Resynthesiser, direct_fit, mean_spectrum
from pochette.models.model import Excerpt, Model
from pochette.models.unpaired import Unpaired
from pochette.sound.anchors import silence, white_noise
from pochette.sound.losses import MultiScaleSpectral
from pochette.train.device import tensors_of

SECONDS = 1.5
"""Length of a held-out excerpt, from the sound's beginning: attacks count."""
SHORTEST_SECONDS = 0.25
"""Sounds shorter than this are padded with silence after all."""
SOUNDS = 8
"""Most held-out sounds that are evaluated, spread evenly over the part."""
MEAN_STEPS = 150
"""Of fitting the mean spectrum to the training sounds."""
FIT_STEPS = 100
"""Of the direct fit; more lower the floor by a few hundredths."""
SAME_DYNAMIC_DB = 2.0
"""Two recordings of a note whose levels differ by less are takes of the same thing."""


@dataclass(frozen=True)
class Evaluation:
    """Held-out sounds, what each contender made of them, and how far off it was."""

    names: tuple[str, ...]
    reference: FloatArray
    """(sound, sample)."""
    made: dict[str, FloatArray]
    """Contender to (sound, sample)."""
    distance: dict[str, float]
    """Contender to mean multi-scale spectral distance, the training loss without its randomness; of crowds to their
    discrepancy."""
    metrics: dict[str, dict[str, float]]
    """Metric to contender to mean over sounds."""


def excerpt_of(corpus: FolderCorpus) -> tuple[tuple[str, ...], Excerpt]:
    """Beginnings of some sounds of a part, as one batch.

    Args:
        corpus: usually the held-out part.

    Returns:
        names, and the excerpt.
    """
    picked = [corpus.sounds[i] for i in np.unique(np.linspace(0, len(corpus) - 1, SOUNDS).astype(int))]
    # As long as the shortest of them: silence added behind a sound would count as something to resynthesise.
    seconds = min(SECONDS, max(SHORTEST_SECONDS, min(sound.seconds for sound in picked)))
    frames = int(seconds * corpus.sample_rate_hz / corpus.hop_samples)
    rows = [_beginning(corpus, sound, frames) for sound in picked]
    batch = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    return tuple(sound.name for sound in picked), tensors_of(batch)


def _beginning(corpus: FolderCorpus, sound: Sound, frames: int) -> dict[str, FloatArray]:
    """The first frames of a sound; silence behind its end."""
    return lengthened(corpus.whole(sound), frames, corpus.hop_samples)


def evaluate(
    contenders: dict[str, Model],
    corpus: FolderCorpus,
    held_out: FolderCorpus,
    report: Callable[[str, float], None] | None = None,
    *,
    effort: float = 1.0,
) -> Evaluation:
    """Resynthesise held-out sounds with every contender and every anchor.

    Args:
        contenders: name to model; the first one's synthesiser serves the anchors.
        corpus: training part, for the mean spectrum and for other takes.
        held_out: the sounds.
        report: told what is being done and the share of it.
        effort: 1 for the full number of steps of the anchors' own fits, less for a quick look.

    Returns:
        distances and metrics, lower is better unless a metric says otherwise.
    """
    tell = report or (lambda *_: None)
    drawing = {name: model for name, model in contenders.items() if isinstance(model, Unpaired)}
    if drawing:
        return _as_crowds(drawing, corpus, held_out)
    names, excerpt = excerpt_of(held_out)
    first = next(iter(contenders.values()))
    reference = excerpt["audio"].numpy()
    made: dict[str, FloatArray] = {
        "silence": np.stack([silence(row) for row in reference]),
        "white noise": np.stack([white_noise(row, seed=i) for i, row in enumerate(reference)]),
    }
    if isinstance(first, Resynthesiser):
        steps = max(40, round(MEAN_STEPS * effort))
        baseline = mean_spectrum(first, corpus, steps=steps, report=lambda share: tell("mean spectrum", share))
        with torch.no_grad():
            made["mean spectrum"] = baseline.play(excerpt).numpy()
        steps = max(30, round(FIT_STEPS * effort))
        fitted = direct_fit(first, excerpt, baseline, steps=steps, report=lambda share: tell("direct fit", share))
        made["floor"] = fitted.numpy()
    with torch.no_grad():
        for name, model in contenders.items():
            made[name] = model.eval().resynthesised(excerpt).numpy()
    distance = MultiScaleSpectral(held_out.sample_rate_hz)
    distances = {name: _distance(distance, audio, excerpt["audio"]) for name, audio in made.items()}
    pairs = _other_takes(held_out, names)
    if pairs:
        frames = excerpt["f0_hz"].shape[1]
        takes = [np.concatenate([_beginning(held_out, sound, frames)["audio"] for sound in pair]) for pair in pairs]
        of, with_ = (np.stack([take[side] for take in takes]) for side in (0, 1))
        distances["another take"] = _distance(distance, with_, torch.from_numpy(of))
    return Evaluation(
        names,
        reference,
        made,
        distances,
        _metrics(made, reference, held_out.sample_rate_hz),
    )


def _as_crowds(contenders: dict[str, Unpaired], corpus: FolderCorpus, held_out: FolderCorpus) -> Evaluation:
    """Crowds beside their marks; to be heard, some recordings, and beside each what was drawn (of its class)."""
    found = unpaired.standings(contenders, corpus, held_out)
    first = next(iter(contenders.values()))
    picked = [held_out.sounds[i] for i in np.unique(np.linspace(0, len(held_out) - 1, SOUNDS).astype(int))]
    reference, classes = unpaired.recorded(first, held_out.part(tuple(picked), ""))
    table: dict[str, dict[str, float]] = {"coverage": {}, "nearest_learnt_db": {}, "nearest_of_its_own_db": {}}
    for name, standing in found.items():
        table["coverage"][name] = standing.coverage
        table["nearest_of_its_own_db"][name] = standing.to_itself
        if standing.to_training is not None:
            table["nearest_learnt_db"][name] = standing.to_training
    return Evaluation(
        names=tuple(f"drawn, beside {sound.name}" for sound in picked),
        reference=reference.numpy(),
        made={
            name: unpaired.drawn(model, len(picked), class_number=classes).numpy() for name, model in contenders.items()
        },
        distance={name: standing.discrepancy for name, standing in found.items()},
        metrics=table,
    )


def _other_takes(held_out: FolderCorpus, names: tuple[str, ...]) -> list[tuple[Sound, Sound]]:
    """Pairs of an evaluated sound and another recording of the same note at the same dynamic, where there is one."""
    pairs = []
    for sound in (s for s in held_out.sounds if s.name in names and s.pitch_midi is not None):
        level = _level(held_out, sound)
        others = [o for o in held_out.sounds if o.pitch_midi == sound.pitch_midi and o.name != sound.name]
        near = [o for o in others if abs(_level(held_out, o) - level) < SAME_DYNAMIC_DB]
        if near:
            pairs.append((sound, near[0]))
    return pairs


def _level(corpus: FolderCorpus, sound: Sound) -> float:
    return float(np.median(corpus.whole(sound)["loudness_db"]))


@torch.no_grad()
def _distance(distance: MultiScaleSpectral, audio: FloatArray, reference: Tensor) -> float:
    return float(distance(torch.from_numpy(audio), reference))


@torch.no_grad()
def distance_to_held_out(model: Model, held_out: FolderCorpus) -> float:
    """Distance of one model to the held-out sounds, as `evaluate` measures it.

    Args:
        model: any.
        held_out: the sounds.

    Returns:
        the distance, comparable with those of an `Evaluation`.
    """
    if isinstance(model, Unpaired):
        return unpaired.discrepancy_to_held_out(model, held_out)
    _, excerpt = excerpt_of(held_out)
    made: FloatArray = model.eval().resynthesised(excerpt).numpy()
    return _distance(MultiScaleSpectral(held_out.sample_rate_hz), made, excerpt["audio"])


def engine_to_held_out(source: EngineSource, model: Model, held_out: FolderCorpus) -> float:
    """The same distance of an engine, compiled for this machine and played.

    Args:
        source: the engine.
        model: it was made from, which knows what controls a sound was played with.
        held_out: the sounds.

    Returns:
        the distance, comparable with that of the model.

    Raises:
        ExportError: the source does not compile.
        ToolError: there is no compiler.
    """
    if isinstance(model, Unpaired):
        with TemporaryDirectory(prefix="pochette-") as folder:
            played = NativeRunner(compile_host_library(source, Path(folder)))
            return unpaired.discrepancy_to_held_out(model, held_out, partial(_whole_sounds, played, model))
    _, excerpt = excerpt_of(held_out)
    with torch.no_grad():  # an auto-encoder's controls are what its encoder says
        curves = model.eval().controls_of(model.heard_out(excerpt)).numpy()
    with TemporaryDirectory(prefix="pochette-") as folder:
        runner = NativeRunner(compile_host_library(source, Path(folder)))
        made = np.stack([run_frames(runner, curve) for curve in curves])[:, model.delay_samples :]
    made = made[:, : excerpt["audio"].shape[1]]
    return _distance(MultiScaleSpectral(held_out.sample_rate_hz), made, excerpt["audio"])


def _whole_sounds(runner: NativeRunner, model: Unpaired, notes: Tensor) -> Tensor:
    """Sounds of notes as an engine plays them; both with the sound first."""
    rows = [np.tile(note, (model.excerpt_frames or 1, 1)) for note in notes.numpy()]
    return torch.from_numpy(np.stack([run_frames(runner, row) for row in rows]))


def _metrics(made: dict[str, FloatArray], reference: FloatArray, rate: int) -> dict[str, dict[str, float]]:
    table: dict[str, dict[str, float]] = {}
    for metric, measure in metrics.items():
        table[metric] = {
            name: float(np.nanmean([measure(r, a, rate) for r, a in zip(reference, audio, strict=True)]))
            for name, audio in made.items()
            if name not in ("silence", "white noise")
        }
    return table
