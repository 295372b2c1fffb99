"""Anchors in bits against what is known: entropies of sources whose law we choose."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from pochette.lab.bits_anchors import (
    anchors,
    codes_of,
    histogram_bits,
    linear_prediction_bits,
    model_bits,
    previous_code_bits,
)
from pochette.models.wavenet import Wavenet
from pochette.sound import mulaw
from tests.corpora import notes_corpus


def test_a_histogram_costs_the_entropy() -> None:
    rng = np.random.default_rng(0)
    law = rng.dirichlet(np.ones(30))
    sounds = [rng.choice(30, 100_000, p=law) for _ in range(2)]
    entropy = -float(np.sum(law * np.log2(law)))
    assert histogram_bits(sounds[:1], sounds[1:]) == pytest.approx(entropy, abs=0.02)
    # A memoryless source: the code before tells nothing (and costs little).
    assert previous_code_bits(sounds[:1], sounds[1:]) == pytest.approx(entropy, abs=0.03)
    # Sounds unlike those it was fitted on cost more, and what never came costs a finite amount.
    assert math.isfinite(histogram_bits([np.zeros(1000, np.int64)], [np.full(9, 7)]))
    assert histogram_bits([np.zeros(1000, np.int64)], [np.full(9, 7)]) == pytest.approx(math.log2(1256))


def test_the_code_before_is_made_use_of() -> None:
    rng = np.random.default_rng(1)
    steps = rng.choice([-1, 0, 1], size=(2, 50_000), p=[0.25, 0.5, 0.25])
    walks = [np.cumsum(step) % 30 for step in steps]
    assert previous_code_bits(walks[:1], walks[1:]) == pytest.approx(1.5, abs=0.07)
    assert histogram_bits(walks[:1], walks[1:]) > 4.8


def test_a_linear_predictor_costs_what_its_noise_costs() -> None:
    """A resonance driven by logistic noise of constant width, small enough that quantisation is mu-law's own."""
    rng = np.random.default_rng(2)
    scale, sounds = 0.02, []
    for _ in range(2):
        x, drive = np.zeros(40_000), rng.logistic(0, scale, 40_000)
        for n in range(2, len(x)):
            x[n] = 1.6 * math.cos(0.3) * x[n - 1] - 0.64 * x[n - 2] + drive[n]
        sounds.append(mulaw.encode(x))
    # Differential entropy of the noise less the mean logarithm of the codes' widths.
    widths = np.diff(np.concatenate([[-1.0], mulaw.edges(), [1.0]]))
    wanted = (2 + math.log(scale)) / math.log(2) - float(np.mean(np.log2(widths[sounds[1]])))
    found = linear_prediction_bits(sounds[:1], sounds[1:], order=8)
    assert wanted - 0.05 < found < wanted + 0.15
    assert found < previous_code_bits(sounds[:1], sounds[1:])


def test_a_model_is_asked_the_same_question(tmp_path: Path) -> None:
    training, held_out = notes_corpus(tmp_path, hop=32)
    marks = anchors(training, held_out)
    assert marks["histogram"] > marks["previous code"] > marks["linear prediction"] > 0
    torch.manual_seed(0)
    model = Wavenet.sized("tiny", hop_samples=32).build()
    with torch.no_grad():
        # A model that has learnt the histogram and nothing else costs what the histogram costs.
        counts = 1.0 + np.bincount(np.concatenate(codes_of(training)), minlength=256)
        model.network.head.weight.zero_()
        model.network.head.bias.copy_(torch.from_numpy(np.log(counts)).float())
    assert model_bits(model, held_out) == pytest.approx(marks["histogram"], abs=1e-4)
