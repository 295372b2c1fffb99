"""A network that was captured once is read with other weights as if it were captured anew."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pochette.errors import MeasureError
from pochette.measure.subject import Limit, Subject
from pochette.models.ddsp import Ddsp
from pochette.models.model import Model
from pochette.models.timbre_vae import TimbreVae
from pochette.models.wavenet import Wavenet
from tests.contracts.model_checks import note_with_noise

RECIPES = (Ddsp.sized("tiny"), Wavenet.sized("tiny"), TimbreVae.sized("tiny"))


def built(recipe: Any, seed: int) -> Model:
    torch.manual_seed(seed)
    model: Model = recipe.build().eval()
    return model


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: type(recipe).__name__)
def test_it_reads_what_a_new_capture_reads(recipe: Any) -> None:
    one, other, limit = built(recipe, 0), built(recipe, 1), Limit(samples=40)
    excerpt = note_with_noise(one, 16)
    before = {path: tensor.clone() for path, tensor in one.state_dict().items()}
    first = Subject.hearing(one, excerpt, limit=limit)
    again, anew = first.with_weights(other, excerpt), Subject.hearing(other, excerpt, limit=limit)
    assert again.heard.keys() == anew.heard.keys() == first.heard.keys()
    for name in anew.heard:
        assert np.array_equal(again.heard[name], anew.heard[name]), name
    assert any(not np.array_equal(first.heard[name], anew.heard[name]) for name in anew.heard)
    assert again.inputs is not None and np.array_equal(again.inputs, anew.inputs)
    assert again.target is not None and np.array_equal(again.target, anew.target)
    for layer, wanted in zip(again.layers, anew.layers, strict=True):
        assert layer.name == wanted.name and np.array_equal(layer.weights, wanted.weights)
    assert all(torch.equal(before[path], tensor) for path, tensor in one.state_dict().items())


def test_what_was_not_watched_is_not_played() -> None:
    model = built(RECIPES[0], 0)
    with pytest.raises(MeasureError, match="none was played"):
        Subject.of(model).with_weights(model, note_with_noise(model, 16))
