"""What bits per sample mean: the marks between which the likelihood of a model of mu-law codes is read.

From worst to best: the histogram of codes (nothing heard of the past), the code before, and a linear predictor whose
error is logistic with a width that follows its latest errors (what a lossless codec knows). All are fitted on training
sounds and asked about held-out ones, code by code, so that a model's `bits` compare with them directly. They say
nothing about models of 16-bit samples, whose bits are of another alphabet.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pochette.corpus.folder import FolderCorpus
from pochette.errors import MeasureError
from pochette.models.model import Excerpt
from pochette.sound import mulaw
from pochette.sound.mulaw import Codes, Doubles
from pochette.train.device import tensors_of

WINDOW_SAMPLES = 32
"""Latest errors that say how wide the next one's distribution is."""
PRIOR_COUNT = 16.0
"""How many observations the histogram is worth where few followed a code."""


UNIT = "bits per mulaw code"
"""What all figures here are in; see `Likelihood.loss_unit`."""


class Likelihood(Protocol):
    """A model that says how likely each sample was."""

    loss_unit: str
    """What its bits are of: those of other alphabets do not compare."""

    def bits(self, excerpt: Excerpt) -> Tensor:
        """Negative log2 of the probability of each sample but the first, (batch, sample - 1)."""

    def eval(self) -> Any:
        """Stop training."""


def codes_of(corpus: FolderCorpus) -> list[Codes]:
    """Every sound of a corpus as mu-law codes."""
    return [mulaw.encode(corpus.whole(sound)["audio"][0]) for sound in corpus.sounds]


def anchors(training: FolderCorpus, held_out: FolderCorpus) -> dict[str, float]:
    """All anchors of a split corpus.

    Args:
        training: what they are fitted on.
        held_out: what they are asked about.

    Returns:
        bits per sample of "histogram", "previous code" and "linear prediction".
    """
    known, asked = codes_of(training), codes_of(held_out)
    return {
        "histogram": histogram_bits(known, asked),
        "previous code": previous_code_bits(known, asked),
        "linear prediction": linear_prediction_bits(known, asked),
    }


@torch.no_grad()
def model_bits(model: Likelihood, corpus: FolderCorpus) -> float:
    """Bits per sample of a model on every sound of a corpus, all samples but each first one.

    Args:
        model: of mu-law codes, as the anchors are.
        corpus: usually what was held out.

    Returns:
        the mean over samples.

    Raises:
        MeasureError: the model's bits are of another alphabet.
    """
    if model.loss_unit != UNIT:
        raise MeasureError(
            f"{type(model).__name__} speaks of {model.loss_unit}, which no anchor here does: they are {UNIT}.",
            remedy="Train it on mu-law codes to compare it.",
        )
    model.eval()
    total, count = 0.0, 0
    for sound in corpus.sounds:
        bits = model.bits(tensors_of(corpus.whole(sound)))
        total, count = total + bits.double().sum().item(), count + bits.numel()
    return total / count


def histogram_bits(training: Sequence[Codes], held_out: Sequence[Codes]) -> float:
    """Bits per sample for who knows only how often each code comes.

    Args:
        training: codes of each sound.
        held_out: codes of each sound.

    Returns:
        mean over all samples but each sound's first.
    """
    bits = -np.log2(_histogram(training))
    return float(np.mean(np.concatenate([bits[codes[1:]] for codes in held_out])))


def previous_code_bits(training: Sequence[Codes], held_out: Sequence[Codes]) -> float:
    """Bits per sample for who knows the code before.

    Args:
        training: codes of each sound.
        held_out: codes of each sound.

    Returns:
        mean over all samples but each sound's first.
    """
    pairs = np.zeros((mulaw.CODES, mulaw.CODES))
    for codes in training:
        np.add.at(pairs, (codes[:-1], codes[1:]), 1.0)
    table = pairs + PRIOR_COUNT * _histogram(training)
    bits = -np.log2(table / table.sum(axis=1, keepdims=True))
    return float(np.mean(np.concatenate([bits[codes[:-1], codes[1:]] for codes in held_out])))


def _histogram(sounds: Sequence[Codes]) -> Doubles:
    """Share of each code, every code seen once beforehand: (256,)."""
    counts = np.bincount(np.concatenate(sounds), minlength=mulaw.CODES) + 1.0
    shares: Doubles = counts / counts.sum()
    return shares


def linear_prediction_bits(training: Sequence[Codes], held_out: Sequence[Codes], order: int = 32) -> float:
    """Bits per sample for who predicts each sample as one weighted sum of those before.

    The weights are the least-squares ones over all training sounds. The error is logistic, its scale a floor plus a
    multiple of the mean size of the latest errors; both numbers are chosen on training sounds.

    Args:
        training: codes of each sound.
        held_out: codes of each sound.
        order: samples that are weighted.

    Returns:
        mean over all samples but each sound's first.
    """
    weights = _least_squares([mulaw.decode(codes) for codes in training], order)
    some = training[:: max(1, len(training) // 8)]
    spacing = 1.0 / (mulaw.MU * 10)
    rules = [(floor * spacing, factor) for floor in (0.1, 0.3, 1.0, 3.0) for factor in (0.3, 0.4, 0.5, 0.6, 0.8)]
    floor, factor = min(rules, key=lambda rule: _mean_of(_logistic_bits(c, weights, *rule) for c in some))
    return _mean_of(_logistic_bits(codes, weights, floor, factor) for codes in held_out)


def _mean_of(parts: Iterable[Doubles]) -> float:
    return float(np.mean(np.concatenate(list(parts))))


def _past(x: Doubles, order: int) -> Doubles:
    """The samples before each, (sample, order), latest first, zeros before the first."""
    padded = np.concatenate([np.zeros(order), x[:-1]])
    return np.lib.stride_tricks.sliding_window_view(padded, order)[:, ::-1]


def _least_squares(sounds: Sequence[Doubles], order: int) -> Doubles:
    products, aims = np.zeros((order, order)), np.zeros(order)
    for x in sounds:
        past = _past(x, order)
        products += past.T @ past
        aims += past.T @ x
    # A trace of white noise keeps weights small where the sounds have no content to tell them by.
    ridge = 1e-9 * np.trace(products) / order
    weights: Doubles = np.linalg.solve(products + (ridge + 1e-12) * np.eye(order), aims)
    return weights


def _logistic_bits(codes: Codes, weights: Doubles, floor: float, factor: float) -> Doubles:
    """Bits of each code but the first."""
    x = mulaw.decode(codes)
    predicted = _past(x, len(weights)) @ weights
    sizes = np.concatenate([np.zeros(WINDOW_SAMPLES), np.abs(x - predicted)])
    sums = np.concatenate([[0.0], np.cumsum(sizes)])
    latest = (sums[WINDOW_SAMPLES:-1] - sums[: -WINDOW_SAMPLES - 1]) / WINDOW_SAMPLES
    scale = floor + factor * np.maximum(latest, 0.0)
    edges = np.concatenate([[-np.inf], mulaw.edges(), [np.inf]])
    low, high = (edges[codes] - predicted) / scale, (edges[codes + 1] - predicted) / scale
    bits: Doubles = -_log_logistic_between(low, high)[1:] / math.log(2.0)
    return bits


def _log_logistic_between(low: Doubles, high: Doubles) -> Doubles:
    """log(sig(high) - sig(low)), exact where both are nearly 1: sig(h) sig(-l) (1 - exp(l - h))."""
    out: npt.NDArray[np.float64] = -np.logaddexp(0.0, -high) - np.logaddexp(0.0, low) + np.log(-np.expm1(low - high))
    return out
