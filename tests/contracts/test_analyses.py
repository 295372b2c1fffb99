"""Every analysis on every tiny model: it runs or says why not, finite, the same again, and says what it drew."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch

from pochette.errors import PochetteError, ReductionError
from pochette.families import analyses, models
from pochette.lab.runs import sized
from pochette.measure.analysis import Analysis, Finding
from pochette.measure.subject import Limit, Subject
from tests.contracts.model_checks import note_with_noise

FEW = Limit(units=6, samples=200, points=30)
FRAMES = {"samplernn": 4}
"""Of a model whose call is unrolled in time, fewer."""


@cache
def subject_of(name: str, few: bool = False) -> Subject:
    torch.manual_seed(0)
    model = sized(models[name], "tiny").build().eval()
    limit = FEW if few else Limit(samples=400, points=60)
    try:
        frames = FRAMES.get(name, max(16, 2048 // model.hop_samples))
        return Subject.hearing(model, note_with_noise(model, frames), limit=limit)
    except ReductionError:
        return Subject.of(model, limit=limit)


def found_by(analysis: type[Analysis], subject: Subject) -> Finding | PochetteError:
    try:
        return analysis().find(subject)
    except PochetteError as error:
        return error


@pytest.mark.parametrize("name", models.names())
def test_every_analysis_reads_every_model_or_says_why_not(name: str) -> None:
    subject = subject_of(name)
    weights = [layer.weights.copy() for layer in subject.layers]
    for key, analysis in analyses.items():
        found = found_by(analysis, subject)
        if isinstance(found, PochetteError):
            unheard = analysis.reads == "activations" and not subject.heard
            assert found.remedy and (unheard or "gudhi" in found.what or "enough different" in found.what), key
            continue
        assert found.numbers and all(torch.isfinite(torch.tensor(list(found.flat().values()))).tolist()), key
        known = {layer.name for layer in subject.layers}
        assert set(found.layers) <= known and set(found.points) <= known, key
        rows = [found.numbers, *found.layers.values()]
        assert {number for row in rows for number in row} <= set(analysis.words), key
        assert analysis.of(subject) == found.flat(), key
        assert (analysis.figure == "") == (not found.points), key
    assert all((layer.weights == before).all() for layer, before in zip(subject.layers, weights, strict=True))


@pytest.mark.parametrize("key", analyses.names())
def test_what_was_drawn_is_said(key: str) -> None:
    found = found_by(analyses[key], subject_of("ddsp", few=True))
    if isinstance(found, PochetteError):
        pytest.skip(found.what)
    whole = key in ("connectivity", "dimension", "similarity")  # these read all that is there
    assert bool(found.notes) != whole, found.notes


@pytest.mark.parametrize("key", analyses.names())
def test_tells_which_layer_it_reads(key: str) -> None:
    told: list[tuple[float, str]] = []
    subject = replace(subject_of("ddsp", few=True), told=lambda share, what: told.append((share, what)))
    found_by(analyses[key], subject)
    read = analyses[key].reads == "activations"
    names = list(subject.heard) if read else [layer.name for layer in subject.layers]
    assert [what for _, what in told] == names and analyses[key].effort > 0
    assert [share for share, _ in told] == pytest.approx([number / len(names) for number in range(len(names))])


@pytest.mark.parametrize("key", analyses.names())
def test_says_what_it_is(key: str) -> None:
    analysis = analyses[key]
    assert any(character.isdigit() for character in analysis.source) or analysis.source.startswith("ours")
    assert analysis.reads in ("weights", "activations") and all(analysis.words.values())


def test_a_dense_model_has_no_dead_ends() -> None:
    for name in ("ddsp", "nsf", "wavenet", "samplernn", "rave", "parallel-wavenet"):
        assert analyses["connectivity"].of(subject_of(name))["effective_density"] == 1.0, name
