"""Training states on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pochette.errors import RunError
from pochette.train import checkpoint
from pochette.train.checkpoint import FORMAT_VERSION, load, pack_optimiser, save, unpack_optimiser

TENSORS = {"a/b": torch.arange(6.0).view(2, 3), "scalar": torch.tensor(3), "empty": torch.zeros(0, 4)}
FACTS = {"steps": 7, "history": [[1, 2.5, 3.5]], "name": "Flöte"}


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder" / "state.safetensors"
    save(path, {**TENSORS, "turned": TENSORS["a/b"].T}, FACTS)
    tensors, facts = load(path)
    assert set(tensors) == {*TENSORS, "turned"}
    assert all(
        torch.equal(tensors[name], value) and tensors[name].dtype == value.dtype for name, value in TENSORS.items()
    )
    assert torch.equal(tensors["turned"], TENSORS["a/b"].T)
    assert facts == {**FACTS, "format_version": FORMAT_VERSION}
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_shared_tensors_are_saved_each(tmp_path: Path) -> None:
    save(tmp_path / "s", {"x": TENSORS["a/b"], "y": TENSORS["a/b"], "z": TENSORS["a/b"][0]}, {})
    assert torch.equal(load(tmp_path / "s")[0]["z"], TENSORS["a/b"][0])


def test_a_crash_while_writing_leaves_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state"
    save(path, TENSORS, FACTS)

    def full(tensors: object, file: Path, metadata: object) -> None:
        Path(file).write_bytes(b"half of it")
        raise OSError("No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(RunError, match="No space left"):
        save(path, {"other": torch.zeros(1)}, {})
    assert load(path)[1]["steps"] == 7
    assert [file.name for file in tmp_path.iterdir()] == ["state"]  # nothing lies about


def test_a_folder_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="could not be written"):
        save(tmp_path / "file" / "state", TENSORS, FACTS)


def test_a_missing_state_says_what_to_do(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(RunError, match="no checkpoint") as caught:
            load(path)
        assert caught.value.where == str(path)


@pytest.mark.parametrize("keep", [0, 4, 20, 0.5, -1])
def test_a_state_cut_short_is_damaged(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "state"
    save(path, TENSORS, FACTS)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(RunError, match="damaged") as caught:
        load(path)
    assert caught.value.where == str(path) and caught.value.remedy


@pytest.mark.parametrize(
    "metadata", [None, {}, {"other": "x"}, {"pochette": "not json"}, {"pochette": "[1]"}, {"pochette": "3"}]
)
def test_another_programs_file_is_damaged(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "state", metadata)
    with pytest.raises(RunError, match="damaged"):
        load(tmp_path / "state")


def test_a_later_version_names_what_can_read_it(tmp_path: Path) -> None:
    text = json.dumps({"format_version": FORMAT_VERSION + 1})
    save_file({"a": torch.zeros(2)}, tmp_path / "state", {"pochette": text})
    with pytest.raises(RunError, match=f"format {FORMAT_VERSION + 1}") as caught:
        load(tmp_path / "state")
    assert "pip install -U pochette" in caught.value.remedy


def test_an_optimiser_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    def course(restart: bool) -> list[torch.Tensor]:
        weights = {"w": torch.nn.Parameter(torch.ones(3)), "v": torch.nn.Parameter(torch.tensor([2.0]))}
        idle = torch.nn.Parameter(torch.zeros(2))  # never gets a gradient: it has no state to pack
        names, parameters = [*weights, "idle"], [*weights.values(), idle]
        optimiser = torch.optim.Adam(parameters, 0.1)
        for step in range(6):
            if restart and step == 3:
                save(tmp_path / "o", pack_optimiser(optimiser, names), {})
                packed = load(tmp_path / "o")[0]
                assert set(packed) == {f"{n}|{k}" for n in "wv" for k in ("step", "exp_avg", "exp_avg_sq")}
                optimiser = torch.optim.Adam(parameters, 0.1)
                unpack_optimiser(optimiser, names, packed)
            optimiser.zero_grad()
            ((weights["w"] * torch.arange(3.0)).square().sum() * weights["v"] * (step + 1)).sum().backward()
            optimiser.step()
        return [p.detach().clone() for p in parameters]

    for whole, resumed in zip(course(False), course(True), strict=True):
        assert torch.equal(whole, resumed)


def test_unpacked_moments_are_the_optimisers_own() -> None:
    w = torch.nn.Parameter(torch.ones(2))
    optimiser = torch.optim.Adam([w], 0.1)
    packed = {"w|step": torch.tensor(1.0), "w|exp_avg": torch.ones(2), "w|exp_avg_sq": torch.ones(2)}
    unpack_optimiser(optimiser, ["w"], packed)
    w.grad = torch.ones(2)
    optimiser.step()
    assert packed["w|step"].item() == 1.0
