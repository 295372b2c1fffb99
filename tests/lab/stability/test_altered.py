"""Sounds that teach less: what is left of them, and that models are pretrained on them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from pochette.corpus.folder import FolderCorpus
from pochette.errors import SoundError
from pochette.lab.stability.altered import ALTERATIONS, altered, backwards, blurred, pretrained
from pochette.lab.stability.branches import Course
from pochette.models.model import Model
from tests.lab.stability.conftest import TRAINING


def drawn(corpus: FolderCorpus, batch: int = 3) -> dict[str, np.ndarray]:
    return corpus.excerpt_batch(np.random.default_rng(5), batch, 20)


def test_a_blur_leaves_the_low_eighth_of_the_rate() -> None:
    t = np.arange(800)
    low, high = (np.sin(2 * np.pi * cycles * t / 800) for cycles in (80, 120))
    assert np.allclose(blurred(np.stack([low + high, high])), np.stack([low, 0 * low]), atol=1e-6)


def test_backwards_twice_is_forwards_and_features_stay_with_their_samples(corpus: FolderCorpus) -> None:
    heard = drawn(corpus)
    turned = backwards(heard)
    assert np.array_equal(turned["audio"][:, ::-1], heard["audio"])
    # Of n frames, frame i describes sample (i + 1) hop: backwards that of frame n - 2 - i.
    for name in ("f0_hz", "loudness_db", "confidence"):
        for frame in (0, 7, 18):
            assert np.array_equal(turned[name][:, frame], heard[name][:, 18 - frame])
        assert turned[name].shape == heard[name].shape


def test_altered_corpora_draw_the_same_excerpts(corpus: FolderCorpus) -> None:
    heard = drawn(corpus)
    found = {how: drawn(altered(corpus, how)) for how in ALTERATIONS}
    assert np.array_equal(found["blurred"]["audio"], blurred(heard["audio"]))
    assert np.array_equal(found["blurred"]["f0_hz"], heard["f0_hz"])
    assert np.array_equal(found["reversed"]["audio"], heard["audio"][:, ::-1])
    assert np.array_equal(found["exchanged"]["audio"], heard["audio"])
    assert np.array_equal(found["exchanged"]["f0_hz"][[1, 2, 0]], heard["f0_hz"])
    part = altered(corpus, "reversed").split()[0]
    assert not np.array_equal(drawn(part)["audio"], drawn(corpus.split()[0])["audio"]), "a part is altered too"
    with pytest.raises(SoundError, match="exchange"):
        drawn(altered(corpus, "exchanged"), 1)


def test_pretraining_on_altered_sounds_leads_elsewhere_and_forks_afresh(corpus: FolderCorpus, model: Model) -> None:
    course = Course(*corpus.split(), TRAINING, steps=4)
    untouched, right = copy.deepcopy(model), copy.deepcopy(model)
    course.trunk(right, 2)
    learnt = {how: pretrained(course, model, how, 2) for how in ALTERATIONS}
    ends = [right, *learnt.values()]
    weights = [torch.cat([p.detach().flatten() for p in end.parameters()]) for end in (untouched, model, *ends)]
    assert torch.equal(weights[0], weights[1])
    assert len({tuple(vector.tolist()) for vector in weights[1:]}) == 5
    fork = course.trunk(learnt["blurred"], 0)
    assert not any(name.startswith("optimiser/") for name in fork.tensors)
    assert course.branch(model, fork, 1) is not model
