"""Training on another device: the same course, nothing left behind on either side, and a way back from anywhere.

No graphics processor is needed but for the tests marked so: `tests.stand_in` takes its place.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pochette.corpus.folder import FolderCorpus
from pochette.errors import ToolError, UnknownNameError
from pochette.models.ddsp import Ddsp
from pochette.models.model import Model
from pochette.train.checkpoint import load
from pochette.train.device import COUNTS, CPU, device_of
from pochette.train.loop import Budget, Trainer, Training
from pochette.train.session import Session
from tests.corpora import notes_corpus
from tests.stand_in import stand_in

Corpora = tuple[FolderCorpus, FolderCorpus]
TRAINING = Training(batch=2, excerpt_seconds=0.1, evaluate_steps=2)
STEPS = 4


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Corpora:
    return notes_corpus(tmp_path_factory.mktemp("corpus"))


def fresh() -> Model:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return Ddsp.sized(
        "tiny", hidden=8, stack_width=8, partials=8, noise_bands=9, stack_layers=1, sample_rate_hz=16000
    ).build()


def session(folder: Path, corpora: Corpora, device: torch.device) -> Session:
    return Session(folder, *corpora, TRAINING, seconds=float("inf"), steps=STEPS, device=device)


def is_home(tensors: dict[str, torch.Tensor]) -> bool:
    return all(
        type(tensor) in (torch.Tensor, torch.nn.Parameter) and tensor.device == CPU for tensor in tensors.values()
    )


def losses(trainer: Trainer) -> list[float]:
    """Of training and of looks, in their order."""
    return [loss for row in trainer.fit().history for loss in row[1:]]


def takes_the_same_course(corpora: Corpora, device: torch.device, steps: int = STEPS) -> bool:
    here = Trainer(fresh(), *corpora, TRAINING, Budget(steps=steps))
    there = Trainer(fresh(), *corpora, TRAINING, Budget(steps=steps), device=device)
    seen: set[str] = set()
    there.after_step.append(lambda trainer: seen.add(trainer.model.device.type))
    assert losses(there) == pytest.approx(losses(here), abs=1e-3)
    assert len(there.progress.history) == steps // 2 and seen == {device.type}
    assert there.progress.devices == [str(device)]
    return is_home(there.state()) and is_home(there.model.state_dict())


def goes_on(folder: Path, corpora: Corpora, first: torch.device, then: torch.device) -> bool:
    """Stopped half-way on one device and gone on with on another, a training ends where it would have ended here."""
    whole = Trainer(fresh(), *corpora, TRAINING, Budget(steps=STEPS))
    whole.fit()

    def stop(_: str, trainer: Trainer) -> None:
        if trainer.progress.steps == 2:
            raise KeyboardInterrupt

    begun = session(folder, corpora, first)
    begun.report = stop
    model = fresh()
    with pytest.raises(KeyboardInterrupt):
        begun.phase("dense", model, 1.0)
    assert is_home(model.state_dict())
    resumed, model = session(folder, corpora, then), fresh()
    progress = resumed.phase("dense", model, 1.0)
    assert resumed.resumed == ["dense: resumed at step 2"] and progress.steps == STEPS
    assert progress.devices == [str(first), str(then)] == load(folder / "dense.safetensors")[1]["progress"]["devices"]
    for name, tensor in whole.model.state_dict().items():
        assert torch.allclose(model.state_dict()[name], tensor, atol=1e-3), name
    again = session(folder, corpora, first).phase("dense", fresh(), 1.0)
    return again.devices == progress.devices  # what is finished is trained nowhere


def test_a_training_elsewhere_takes_the_course_that_it_takes_here(corpora: Corpora) -> None:
    with stand_in() as device:
        assert takes_the_same_course(corpora, device)


def test_a_training_begun_here_goes_on_elsewhere(corpora: Corpora, tmp_path: Path) -> None:
    with stand_in() as device:
        assert goes_on(tmp_path, corpora, CPU, device)


def test_a_training_begun_elsewhere_goes_on_here(corpora: Corpora, tmp_path: Path) -> None:
    with stand_in() as device:
        assert goes_on(tmp_path, corpora, device, CPU)


def test_the_stand_in_notices_what_is_left_behind() -> None:
    with stand_in() as device:
        there = torch.ones(3).to(device)
        assert torch.equal((there + torch.ones(3, device=device)).cpu(), torch.full((3,), 2.0))
        with pytest.raises(RuntimeError, match="mixes devices"):
            there + torch.ones(3)
        with pytest.raises((RuntimeError, TypeError)):
            there.numpy()


# -- names -------------------------------------------------------------------------------------------------------------


def test_a_misspelt_device_is_refused_with_those_there_are() -> None:
    for name in ("cudda", "gpu", "", "cuda:", "cuda:one", "meta"):
        with pytest.raises(UnknownNameError, match="--device") as caught:
            device_of(name)
        assert all(kind in caught.value.remedy for kind in COUNTS)
    with pytest.raises(UnknownNameError, match="cuda"):
        device_of("cudda")


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COUNTS, "cuda", lambda: 0)
    with pytest.raises(ToolError, match="no cuda device") as caught:
        device_of("cuda")
    assert "--device" in caught.value.remedy and "https://" in caught.value.remedy
    assert device_of("cuda", here=False) == torch.device("cuda")
    monkeypatch.setitem(COUNTS, "cuda", lambda: 1)
    assert device_of("cuda:0") == torch.device("cuda:0")
    with pytest.raises(ToolError, match="only 1 cuda device"):
        device_of("cuda:1")
    assert device_of("cpu") == CPU


# -- with a graphics processor -----------------------------------------------------------------------------------------

needs_cuda = pytest.mark.skipif(not COUNTS["cuda"](), reason="torch finds no CUDA device on this machine")


@needs_cuda
def test_a_training_on_cuda_takes_the_course_that_it_takes_here(corpora: Corpora) -> None:
    assert takes_the_same_course(corpora, device_of("cuda"), steps=10)


@needs_cuda
@pytest.mark.parametrize("first", ["cpu", "cuda"])
def test_a_training_goes_on_between_cpu_and_cuda(first: str, corpora: Corpora, tmp_path: Path) -> None:
    assert goes_on(tmp_path, corpora, device_of(first), device_of("cuda" if first == "cpu" else "cpu"))
