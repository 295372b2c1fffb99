"""The structured lottery on a small corpus: its rounds, what rewinding puts back, phases that are not repeated."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pochette.corpus.folder import FolderCorpus
from pochette.errors import ReductionError
from pochette.families import methods
from pochette.models.ddsp import Ddsp, DdspModel
from pochette.reduce.methods.lottery import Lottery
from pochette.reduce.technique import Round
from pochette.reduce.trimming import structure_of
from pochette.train.loop import Training
from pochette.train.session import Session
from tests.corpora import notes_corpus

RECIPE = Ddsp(hidden=24, stack_width=20, stack_layers=1, partials=12, noise_bands=9)
TRAINING = Training(batch=2, excerpt_seconds=0.1, evaluate_steps=2)
Corpora = tuple[FolderCorpus, FolderCorpus]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Corpora:
    return notes_corpus(tmp_path_factory.mktemp("corpus"))


def fresh() -> DdspModel:
    torch.manual_seed(0)
    return RECIPE.build()


def session(folder: Path, corpora: Corpora, steps: int = 20) -> Session:
    return Session(folder, *corpora, TRAINING, seconds=float("inf"), steps=steps)


def matrices(item: Round) -> int:
    return sum(p.numel() for name, p in item.model.named_parameters() if p.dim() == 2 and "network" in name)


@pytest.mark.parametrize("rewind", ["learning_rate", "weights"])
def test_rounds_shrink_by_the_same_factor(rewind: str, corpora: Corpora, tmp_path: Path) -> None:
    path = Lottery(keep=0.125, rounds=3, rewind=rewind).apply(fresh(), session(tmp_path, corpora))  # type: ignore[arg-type]
    sizes = [matrices(item) for item in path]
    for number, size in enumerate(sizes[1:], start=1):
        assert size <= sizes[0] * 0.5**number
        assert size > 0.6 * sizes[0] * 0.5**number


def test_rewinding_puts_early_weights_back(corpora: Corpora, tmp_path: Path) -> None:
    """The first round begins from the weights kept early in dense training, cut to the survivors."""
    begun: dict[str, torch.Tensor] = {}

    class Watched(Session):
        def phase(self, name, model, share, **options):  # type: ignore[no-untyped-def]
            if name == "round-1":
                begun.update({k: v.clone() for k, v in model.state_dict().items()})
            return super().phase(name, model, share, **options)

    watched = Watched(tmp_path, *corpora, TRAINING, seconds=float("inf"), steps=20)
    path = Lottery(keep=0.5, rounds=1, rewind="weights").apply(fresh(), watched)
    early = watched.early_weights("dense")
    trained = path[0].model.state_dict()
    bias = "network.head.bias"  # never trimmed, so it compares directly
    assert torch.equal(begun[bias], early[bias])
    assert not torch.equal(begun[bias], trained[bias])


def test_a_second_run_repeats_nothing(corpora: Corpora, tmp_path: Path) -> None:
    first = Lottery(keep=0.3, rounds=2).apply(fresh(), session(tmp_path, corpora))
    again = session(tmp_path, corpora)
    second = Lottery(keep=0.3, rounds=2).apply(fresh(), again)
    assert again.resumed == ["dense: finished", "round-1: finished", "round-2: finished"]
    for one, other in zip(first, second, strict=True):
        for name, tensor in one.model.state_dict().items():
            assert torch.equal(tensor, other.model.state_dict()[name]), name


def test_an_interrupted_round_goes_on(corpora: Corpora, tmp_path: Path) -> None:
    """Stopped in the middle of a round, the path ends where an uninterrupted one does, bit for bit."""
    whole = Lottery(keep=0.3, rounds=1).apply(fresh(), session(tmp_path / "whole", corpora))

    def stop(phase: str, trainer: object) -> None:
        if phase == "round-1" and trainer.progress.steps == 4:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    broken = session(tmp_path / "broken", corpora)
    broken.report = stop
    with pytest.raises(KeyboardInterrupt):
        Lottery(keep=0.3, rounds=1).apply(fresh(), broken)
    resumed = session(tmp_path / "broken", corpora)
    path = Lottery(keep=0.3, rounds=1).apply(fresh(), resumed)
    assert resumed.resumed == ["dense: finished", "round-1: resumed at step 4"]
    for name, tensor in whole[-1].model.state_dict().items():
        assert torch.equal(tensor, path[-1].model.state_dict()[name]), name


def test_a_ticket_of_which_nothing_is_left_to_take_is_the_last(corpora: Corpora, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Ddsp(hidden=2, stack_width=2, stack_layers=1, partials=4, noise_bands=5).build()
    structure = structure_of(model)
    least = structure.least_macs() / structure.matrix_macs()
    path = Lottery(keep=least, rounds=4).apply(model, session(tmp_path / "least", corpora))
    assert 1 < len(path) <= 5
    with pytest.raises(ReductionError, match="No unit"):
        structure_of(path[-1].model)
    # Less is refused before anything is trained, and the least is named.
    with pytest.raises(ReductionError, match="With one unit in every layer") as refused:
        Lottery(keep=0.9 * least).apply(model, session(tmp_path / "less", corpora))
    assert not (tmp_path / "less").exists()
    named = float(refused.value.remedy.split()[1])
    assert least <= named < 1.001 * least


class TrainsError(Exception):
    """A phase was about to begin."""


class Waiting(Session):
    def phase(self, name, model, share, **options):  # type: ignore[no-untyped-def]
        raise TrainsError


HOPELESS = [
    *("lottery", "filters", "thinet", "channel-lasso", "slimming", "sss", "distil", "early-bird", "scratch"),
    *("low-rank", "magnitude", "ticket", "obd", "gradual", "variational-dropout", "blocks", "snip", "rigl"),
]


@pytest.mark.parametrize("name", HOPELESS)
def test_a_hopeless_share_is_refused_before_training_with_the_smallest_that_works(
    name: str, corpora: Corpora, tmp_path: Path
) -> None:
    waiting = Waiting(tmp_path / "none", *corpora, TRAINING, seconds=float("inf"), steps=20)
    with pytest.raises(ReductionError, match="cannot be reached") as refused:
        methods[name](keep=2e-6).apply(fresh(), waiting)
    least = refused.value.remedy.split()[1].rstrip(",.")
    assert refused.value.where == "--keep" and refused.value.remedy.startswith("Keep ")
    with pytest.raises(TrainsError):
        methods[name](keep=float(least)).apply(fresh(), waiting)
    # Half of it is not: a share of one weight is rounded, all others are exact.
    with pytest.raises(ReductionError, match="cannot be reached"):
        methods[name](keep=0.49 * float(least)).apply(fresh(), waiting)
