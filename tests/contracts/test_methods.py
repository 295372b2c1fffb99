"""Every reduction technique, whoever adds it: it reaches what was asked, honestly, resumes to the bit, and refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pochette.corpus.folder import FolderCorpus
from pochette.errors import PochetteError
from pochette.families import methods
from pochette.models.ddsp import Ddsp, DdspModel
from pochette.models.model import Model
from pochette.reduce.sparse import curvature
from pochette.reduce.sparse.weights import density, effective, live, weights_of
from pochette.reduce.technique import Axes, Round, Technique
from pochette.train.loop import Trainer, Training
from pochette.train.session import Session, load_model
from tests.corpora import notes_corpus
from tests.stand_in import stand_in

RECIPE = Ddsp(hidden=24, stack_width=20, stack_layers=1, partials=12, noise_bands=9)
TRAINING = Training(batch=2, excerpt_seconds=0.1, evaluate_steps=2)
KEEP = 0.2
Corpora = tuple[FolderCorpus, FolderCorpus]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Corpora:
    return notes_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curvature, "DRAWS", 1)


def fresh() -> DdspModel:
    torch.manual_seed(0)
    return RECIPE.build()


def session(folder: Path, corpora: Corpora) -> Session:
    return Session(folder, *corpora, TRAINING, seconds=float("inf"), steps=20)


def technique(name: str, **changes: Any) -> Technique:
    """A method whose changes fit into a few steps."""
    own = {field.name for field in fields(methods[name])}
    wanted = {"keep": KEEP, "every": 2, **changes}
    return replace(methods[name](), **{key: value for key, value in wanted.items() if key in own})  # type: ignore[no-any-return]


def walked(name: str, folder: Path, corpora: Corpora, told: Callable[[Round], None] | None = None) -> list[Round]:
    return technique(name).apply(fresh(), session(folder, corpora), told)


every_method = pytest.mark.parametrize("name", methods.names())


@every_method
def test_says_where_it_stands(name: str) -> None:
    axes = methods[name].axes
    assert isinstance(axes, Axes) and all(getattr(axes, field.name) for field in fields(Axes))
    assert any(character.isdigit() for character in axes.source) or axes.source.startswith("ours")


@every_method
def test_reaches_what_was_asked_and_leaves_an_ordinary_model(name: str, corpora: Corpora, tmp_path: Path) -> None:
    told: list[Round] = []
    path = walked(name, tmp_path, corpora, told.append)
    assert told == path and len({item.name for item in path}) == len(path)
    last, whole = path[-1], fresh()
    _check_size(last, whole, technique(name).keep)  # type: ignore[attr-defined]
    loaded, _ = load_model(tmp_path / f"{last.name}.safetensors")
    controls = torch.tensor([[220.0, -20.0, 0.0, 0.0]]).expand(1, 8, 4)
    assert torch.equal(loaded(controls), last.model.eval()(controls))
    assert bool(torch.isfinite(loaded(controls)).all())
    assert len({id(item.model) for item in path}) == len(path)  # a later round leaves an earlier one's model alone


def _check_size(last: Round, whole: Model, keep: float) -> None:
    """Units are gone, single weights are exactly zero, or they take less to store: as much as was asked for."""
    if last.masks:
        # Groups and blocks at the edges of odd layers are not whole.
        assert density(last.masks) == pytest.approx(keep, abs=2e-3 if keep == KEEP else 2e-2)
        for path, acting in effective(weights_of(last.model)).items():
            assert not acting[~last.masks[path]].any()
        return
    if last.stored_bytes is not None:
        whole_bytes = 4 * sum(weight.parameter.numel() for weight in weights_of(whole).values())
        assert keep * whole_bytes <= last.stored_bytes <= 1.3 * keep * whole_bytes  # the values and the odd bits beside
        return
    sizes = [sum(p.numel() for p in model.parameters() if p.dim() >= 2) for model in (last.model, whole)]
    assert sizes[0] <= keep * sizes[1]


@pytest.mark.slow
@every_method
def test_leaves_elsewhere_what_it_leaves_here(name: str, corpora: Corpora, tmp_path: Path) -> None:
    """What goes along with a training goes where it computes, and comes back."""
    here = walked(name, tmp_path / "here", corpora)
    with stand_in(training_only=True) as device:
        away = session(tmp_path / "there", corpora)
        away.device = device
        there = technique(name).apply(fresh(), away)
    assert [item.name for item in there] == [item.name for item in here]
    assert there[-1].progress.devices == ["meta"]
    assert all(
        tensor.device.type == "cpu"
        for item in there
        for tensor in (*item.model.state_dict().values(), *item.masks.values())
    )
    # Where a gradient is next to nothing, Adam makes a whole step of a rounding: losses agree, single weights need not.
    # Curvatures that are drawn once make other choices of as little.
    tolerance = 0.1 if name == "obd" else 0.02
    for one, other in zip(here, there, strict=True):
        losses = [row[1:] for row in one.progress.history]
        assert np.allclose([row[1:] for row in other.progress.history], losses, rtol=tolerance)
        assert live(other.masks) == live(one.masks)


@every_method
def test_goes_on_where_it_was_stopped(name: str, corpora: Corpora, tmp_path: Path) -> None:
    """Stopped in the middle of its last phase, a path ends where an uninterrupted one does, bit for bit."""
    whole = walked(name, tmp_path / "whole", corpora)
    last = whole[-1].name

    def stop(phase: str, trainer: Trainer) -> None:
        if phase == last and trainer.progress.steps >= 2 and not trainer.progress.stopped:
            raise KeyboardInterrupt

    broken = session(tmp_path / "broken", corpora)
    broken.report = stop
    with pytest.raises(KeyboardInterrupt):
        technique(name).apply(fresh(), broken)
    resumed = session(tmp_path / "broken", corpora)
    again = technique(name).apply(fresh(), resumed)
    assert resumed.resumed[-1].startswith(f"{last}: resumed")
    for path, tensor in whole[-1].model.state_dict().items():
        assert torch.equal(tensor, again[-1].model.state_dict()[path]), path
    for path, mask in whole[-1].masks.items():
        assert torch.equal(mask, again[-1].masks[path]), path


@pytest.mark.parametrize(
    "name", [name for name in methods.names() if "keep" in {f.name for f in fields(methods[name])}]
)
@pytest.mark.parametrize("keep", [0.0, 1.0, 1e-5])
def test_all_and_nothing_are_refused(name: str, keep: float, corpora: Corpora, tmp_path: Path) -> None:
    with pytest.raises(PochetteError) as refused:
        technique(name, keep=keep).apply(fresh(), session(tmp_path, corpora))
    assert refused.value.remedy
