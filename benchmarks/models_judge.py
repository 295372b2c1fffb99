"""What a trained model is judged by: bits, distances of resynthesised sounds, distances of collections of sounds.

Which one suits a model is read from what it can: a model that tells the probability of samples is judged by bits, one
that is trained without pairs by distributions, all others by how near they come to held-out sounds.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from pochette.engine.build import compile_host_library
from pochette.engine.export import export
from pochette.engine.native import NativeRunner
from pochette.engine.runner import FloatArray, run_frames
from pochette.lab import bits_anchors, spectral_anchors, unpaired
from pochette.lab.griffin_lim import inversions_db
from pochette.lab.judge import Parts, excerpts_of
from pochette.lab.listener import trained_listener
from pochette.models.mcnn import McnnModel
from pochette.models.model import Model
from pochette.models.unpaired import Unpaired
from pochette.sound.log_spectral import LogSpectral
from pochette.sound.metrics.pitch_accuracy import pitch_accuracy

COMPONENTS = 16
PRINCIPAL = f"{COMPONENTS} principal components"
CROWDS = ("recordings", "silence", "white noise")
CLIPS = 2
CLIP_SECONDS = 2.0
HEARD_CLIPS = 8
PITCH_KEPT = "pitch kept by what is played"
FAR = "log-spectral distance of what is played"


@dataclass(frozen=True)
class Verdict:
    """One figure of a model, less being better, among its anchors."""

    metric: str
    value: float
    anchors: dict[str, float]
    to_beat: tuple[str, ...]
    """Anchors that the model has to be below."""
    aside: dict[str, float] = field(default_factory=dict)
    """Other figures worth knowing."""


def judged(model: Model, parts: Parts) -> Verdict:
    """Judge a model on the test part.

    Args:
        model: trained or not.
        parts: of its corpus.

    Returns:
        the verdict.
    """
    model.eval()
    if isinstance(model, Unpaired):
        return _crowds(model, parts)
    if hasattr(model, "bits"):
        return _bits(model, parts)
    return _spectral(model, parts)


def anchors_of(model: Model, parts: Parts) -> tuple[dict[str, float], tuple[str, ...]]:
    """What a model is judged beside, for which nothing has to be trained.

    Args:
        model: its weights do not matter.
        parts: of its corpus.

    Returns:
        anchors by name, and those that the model has to be below.
    """
    model.eval()
    if isinstance(model, Unpaired):
        found = unpaired.standings({"model": model}, parts.training, parts.test)
        return {name: found[name].discrepancy for name in CROWDS}, ("white noise", "silence")
    if hasattr(model, "bits"):
        return bits_anchors.anchors(parts.training, parts.test), ("histogram", "previous code")
    # An auto-encoder is played by what its encoder heard; components are the simplest one.
    components = () if model.features else (PRINCIPAL,)
    return spectral_marks(model, parts), ("silence", "median spectrum", *components)


def _bits(model: Model, parts: Parts) -> Verdict:
    value = bits_anchors.model_bits(model, parts.test)  # type: ignore[arg-type]
    return Verdict("bits per sample of 256 mu-law codes", value, *anchors_of(model, parts))


def _crowds(model: Unpaired, parts: Parts) -> Verdict:
    found = unpaired.standings({"model": model}, parts.training, parts.test)
    anchors = {name: found[name].discrepancy for name in CROWDS}
    own = found["model"]
    aside = {"coverage": own.coverage, "nearest learnt, dB": own.to_training or 0.0, "nearest own, dB": own.to_itself}
    if model.classes:
        learnt, numbers = unpaired.recorded(model, parts.training)
        kept, wanted = unpaired.recorded(model, parts.test)
        assert numbers is not None and wanted is not None
        listener = trained_listener(learnt, numbers, model.classes, model.sample_rate_hz)
        aside["recordings heard as their class"] = listener.judge(kept, wanted).accuracy
        evenly = torch.arange(unpaired.SOUNDS)[:, None] % model.classes
        made = unpaired.drawn(model, unpaired.SOUNDS, 0, evenly.float())
        aside["made sounds heard as their class"] = listener.judge(made, evenly.float()).accuracy
    return Verdict(
        "discrepancy of made and held-out sounds", own.discrepancy, anchors, ("white noise", "silence"), aside
    )


@torch.no_grad()
def spectral_marks(model: Model, parts: Parts) -> dict[str, float]:
    """Log-spectral distances that nothing deep reaches on the test sounds.

    Args:
        model: whose hop counts, not its weights.
        parts: of the corpus.

    Returns:
        name to distance.
    """
    hop, excerpts = model.hop_samples, excerpts_of(parts.test, model)
    median, nearest = (
        find(parts.training) for find in (spectral_anchors.median_spectrum, spectral_anchors.nearest_frame)
    )
    through = spectral_anchors.principal_components(parts.training, COMPONENTS)
    distance = LogSpectral()
    found = {
        "silence": [float(distance(torch.zeros_like(excerpt["audio"]), excerpt["audio"])) for excerpt in excerpts],
        "median spectrum": [spectral_anchors.distance_of(median, excerpt, hop) for excerpt in excerpts],
        "nearest training frame": [spectral_anchors.distance_of(nearest, excerpt, hop) for excerpt in excerpts],
        PRINCIPAL: [spectral_anchors.distance_through(through, excerpt, hop) for excerpt in excerpts],
    }
    shares = [len(excerpt["audio"]) for excerpt in excerpts]
    return {name: float(np.average(values, weights=shares)) for name, values in found.items()}


@torch.no_grad()
def _spectral(model: Model, parts: Parts) -> Verdict:
    distance, excerpts = LogSpectral(), excerpts_of(parts.test, model)
    found = [float(distance(model.resynthesised(excerpt), excerpt["audio"])) for excerpt in excerpts]
    value = float(np.average(found, weights=[len(excerpt["audio"]) for excerpt in excerpts]))
    aside = {}
    if isinstance(model, McnnModel):
        reached = inversions_db(model, excerpts)
        aside = {f"spectral convergence of {who} on the same spectrograms, dB": reached[who] for who in reached}
    return Verdict("log-spectral distance of resynthesised held-out sound", value, *anchors_of(model, parts), aside)


def played(model: Model, parts: Parts) -> list[FloatArray]:
    """What a model's engine plays along held-out sounds' controls, in step with them.

    Args:
        model: trained.
        parts: of its corpus.

    Returns:
        mono samples.
    """
    if isinstance(model, Unpaired):
        notes = model.notes(CLIPS, torch.Generator().manual_seed(7))
        curves = np.repeat(notes.numpy()[:, None], model.excerpt_frames or 1, axis=1)
        return _engine(model, curves, 0)
    return _along(model, parts, CLIPS)[0]


def heard(model: Model, parts: Parts) -> dict[str, float]:
    """How what a model's engine plays compares with the held-out sounds whose controls it plays.

    A model that is trained and judged otherwise, by bits above all, may still not do what it is asked.

    Args:
        model: trained, and played by pitch and loudness.
        parts: of its corpus.

    Returns:
        share of the time in which the pitch is within half a semitone, and the log-spectral distance.
    """
    rate, distance = model.sample_rate_hz, LogSpectral()
    made, wanted = _along(model, parts, HEARD_CLIPS)
    kept = [pitch_accuracy(recording, audio, rate) for recording, audio in zip(wanted, made, strict=True)]
    far = [
        float(distance(torch.from_numpy(audio), torch.from_numpy(recording)))
        for recording, audio in zip(wanted, made, strict=True)
    ]
    return {PITCH_KEPT: float(np.nanmean(kept)), FAR: float(np.mean(far))}


def _along(model: Model, parts: Parts, clips: int) -> tuple[list[FloatArray], list[FloatArray]]:
    """What a model's engine plays along held-out sounds' controls, and those sounds, sample beside sample."""
    hop = model.hop_samples
    frames = model.excerpt_frames or round(CLIP_SECONDS * model.sample_rate_hz / hop)
    held = parts.test.excerpt_batch(np.random.default_rng(7), clips, frames, "beginning")
    excerpt = {name: torch.from_numpy(values) for name, values in held.items()}
    with torch.no_grad():
        curves = model.eval().controls_of(model.heard_out(excerpt)).numpy()
    made = [audio[: frames * hop] for audio in _engine(model, curves, model.delay_samples)]
    return made, [held["audio"][i][: len(audio)] for i, audio in enumerate(made)]


def _engine(model: Model, curves: FloatArray, delay_samples: int) -> list[FloatArray]:
    """Each curve (frame, control) as the model's engine plays it."""
    with tempfile.TemporaryDirectory(prefix="pochette-") as folder:
        runner = NativeRunner(compile_host_library(export(model, "played"), Path(folder)))
        made = [run_frames(runner, curve)[delay_samples:] for curve in curves]
    return [np.asarray(audio, np.float32) for audio in made]
