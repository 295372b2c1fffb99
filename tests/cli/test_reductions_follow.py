"""Methods that follow each other: what is zero stays zero, and what cannot follow is refused before it trains."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from pochette.lab.runs import last_phase, read_run, reductions_of, trained_model
from pochette.reduce.sparse.weights import effective, weights_of
from pochette.train.checkpoint import load
from pochette.train.session import load_model
from tests.cli.conftest import TINY, Verbs
from tests.cli.test_verbs import document

FEW = ("--steps", "4")


def zeros_of(folder: Path) -> dict[str, torch.Tensor]:
    model, _ = trained_model(folder)
    return {path: acting == 0.0 for path, acting in effective(weights_of(model)).items()}


def share(zeros: dict[str, torch.Tensor]) -> float:
    return sum(int(zero.sum()) for zero in zeros.values()) / sum(zero.numel() for zero in zeros.values())


@pytest.mark.slow
def test_units_that_go_after_weights_leave_what_is_zero_at_zero(verbs: Verbs, run: Path) -> None:
    said = document(verbs("reduce", run, "--method", "magnitude", "--then", "lottery", *FEW, "--json"))
    rows, folder = said["rounds"], Path(str(said["run"]))
    assert isinstance(rows, list) and rows[-1]["round"].startswith("lottery round-")
    assert rows[-1]["parameters"] < rows[0]["parameters"] / 2
    masked, trimmed = share(zeros_of(folder.parent)), share(zeros_of(folder))
    # Units of the least weights go, so that a little more of what is left lives; were zeros trained on, nearly all.
    assert masked == pytest.approx(0.9, abs=0.01) and trimmed > 0.8
    alive = [row["weights alive"] for row in rows if row["round"].startswith("lottery")]
    assert all(float(percent.rstrip("%")) < 20.0 for percent in alive)
    assert rows[-1]["bytes, stored"] < rows[3]["bytes, stored"]
    told = " ".join(verbs("reduce", run, "--method", "magnitude", "--then", "lottery", *FEW).all.split())
    assert all(heading in told for heading in ("parameters", "MACs per", "weights alive", "Fewer parameters")), told


@pytest.mark.slow
def test_few_bits_after_weights_leave_what_is_zero_at_zero(verbs: Verbs, run: Path) -> None:
    said = document(verbs("reduce", run, "--method", "magnitude", "--then", "quantise", *FEW, "--json"))
    folder = Path(str(said["run"]))
    before, after = zeros_of(folder.parent), zeros_of(folder)
    assert share(before) == pytest.approx(0.9, abs=0.01)
    assert all(bool((after[path] | ~zero).all()) for path, zero in before.items())
    rows = said["rounds"]
    assert isinstance(rows, list) and rows[-1]["bytes, stored"] < rows[3]["bytes, stored"]


@pytest.mark.parametrize(
    ("method", "then", "remedy"),
    [
        ("quantise", "low-rank", "--method low-rank --then quantise"),
        ("cluster", "quantise", "one of the two"),
        ("magnitude", "low-rank", "--method low-rank --then magnitude"),
        ("magnitude", "rigl", "first method"),
        ("lottery", "scratch", "first method"),
        ("magnitude", "obd", "--keep"),
    ],
)
def test_an_order_that_means_nothing_is_refused_before_anything_trains(
    method: str, then: str, remedy: str, verbs: Verbs, run: Path
) -> None:
    before = set(run.rglob("*"))
    refused = verbs("reduce", run, "--method", method, "--then", then, "--steps", "7")
    assert refused.code == 1 and remedy in refused.err and set(run.rglob("*")) == before


@pytest.mark.slow
def test_a_network_drawn_small_is_told_beside_the_dense_one(verbs: Verbs, run: Path) -> None:
    said = document(verbs("reduce", run, "--method", "scratch", "--keep", "0.25", *FEW, "--json"))
    rows = said["rounds"]
    assert isinstance(rows, list) and len(rows) == 1
    (row,) = rows
    whole = sum(tensor.numel() for tensor in load_model(run / "dense.safetensors")[0].parameters())
    assert row["parameters"] < whole / 2 and 15.0 < float(row["network, of dense"].rstrip("%")) < 27.0


def test_a_damaged_network_is_named_where_it_is_not_as_its_copy(verbs: Verbs, run: Path, tmp_path: Path) -> None:
    own = tmp_path / "run"
    shutil.copytree(run, own, ignore=lambda _, names: [name for name in names if "-" in name])
    damaged = own / "dense.safetensors"
    damaged.write_bytes(b"")
    for _ in range(2):
        refused = verbs("reduce", own, "--method", "filters", *FEW)
        text = "".join(refused.err.split())
        assert refused.code == 1 and str(damaged) in text and "filters-" not in text
        assert not list(own.glob("filters-*/dense.safetensors"))


@pytest.mark.parametrize("method", ["slimming", "filters", "lottery"])
def test_what_no_units_can_reach_is_refused_with_its_unit_and_option_before_it_trains(
    method: str, verbs: Verbs, run: Path
) -> None:
    refused = verbs("reduce", run, "--method", method, "--keep", "0.0001", "--steps", "5")
    text = " ".join(refused.err.split())
    assert refused.code == 1 and "multiply-accumulates" in text and "--keep" in text and "0.01 % cannot" in text
    assert not [path for folder in run.glob(f"{method}-*") for path in folder.glob("penalised*")]


@pytest.mark.slow
def test_what_is_kept_is_said_where_it_is_not_what_was_asked(verbs: Verbs, run: Path) -> None:
    told = verbs("reduce", run, "--method", "filters", "--keep", "0.9999", *FEW).all
    assert "asked to keep 99.9900%" in " ".join(told.split())


# -- trained on by `train` ---------------------------------------------------------------------------------------------


def own_copy(run: Path, folder: Path) -> Path:
    """A run without what other tests made of it."""
    shutil.copytree(run, folder, ignore=lambda _, names: [name for name in names if "-" in name])
    return folder


def again(steps: int) -> tuple[str, ...]:
    return (*TINY[:3], str(steps), *TINY[4:])


def parameters_of(folder: Path) -> dict[str, torch.Tensor]:
    tensors, _ = load(folder / f"{last_phase(folder)}.safetensors")
    return {name: tensor for name, tensor in tensors.items() if name.startswith("model/") and tensor.dim() > 1}


@pytest.mark.parametrize(
    "method",
    [("n-of-m",), *(pytest.param(each, marks=pytest.mark.slow) for each in (
        ("magnitude",), ("blocks",), ("snip",), ("rigl",), ("gradual",), ("magnitude", "--then", "lottery"),
    ))],
)  # fmt: skip
def test_training_a_reduced_run_on_leaves_what_is_zero_at_zero(
    method: tuple[str, ...], verbs: Verbs, sounds: Path, run: Path, tmp_path: Path
) -> None:
    own = own_copy(run, tmp_path / "run")
    folder = Path(str(document(verbs("reduce", own, "--method", *method, *FEW, "--json"))["run"]))
    before, reduced = parameters_of(folder), read_run(folder).reduction
    dead, alive = sum(int((t == 0.0).sum()) for t in before.values()), 1.0 - share(zeros_of(folder))
    assert dead > 0 and alive < 0.6
    for steps in (3, 5):  # begun, and gone on with
        said = verbs("train", "ddsp", sounds, *again(steps), "--out", folder)
        text = " ".join(said.out.split())
        assert said.code == 0 and f"{dead} weights that {method[0]} set to zero stayed so; {alive:.2%}" in text
        after = parameters_of(folder)
        assert after.keys() == before.keys() and any(not torch.equal(after[name], before[name]) for name in before)
        assert all(after[name][tensor == 0.0].count_nonzero() == 0 for name, tensor in before.items())
    tensors, facts = load(folder / f"{last_phase(folder)}.safetensors")
    assert facts["progress"]["steps"] == 5
    # What an optimiser remembers of the dead would move them as soon as nobody held them.
    moments = {name: t for name, t in tensors.items() if name.startswith("optimiser/") and t.dim() > 1}
    held = [(name, tensor) for name in moments for path, tensor in before.items() if path[6:] in name
            and moments[name].shape == tensor.shape]  # fmt: skip
    assert held and all(moments[name][tensor == 0.0].count_nonzero() == 0 for name, tensor in held)
    record = read_run(folder)
    assert record.reduction == reduced and record.weights_alive == pytest.approx(alive, abs=1e-9)
    assert (
        document(verbs("train", "ddsp", sounds, *again(5), "--out", folder, "--json"))["weights_held_at_zero"] == dead
    )


@pytest.mark.slow
def test_training_a_run_of_fewer_units_on_moves_the_smaller_network(
    verbs: Verbs, sounds: Path, run: Path, tmp_path: Path
) -> None:
    own = own_copy(run, tmp_path / "run")
    folder = Path(str(document(verbs("reduce", own, "--method", "lottery", "--rounds", "1", *FEW, "--json"))["run"]))
    small, dense = parameters_of(folder), (folder / "dense.safetensors").read_bytes()
    said = document(verbs("train", "ddsp", sounds, *again(3), "--out", folder, "--json"))
    after = parameters_of(folder)
    assert {name: t.shape for name, t in after.items()} == {name: t.shape for name, t in small.items()}
    assert any(not torch.equal(after[name], small[name]) for name in small) and said["weights_held_at_zero"] == 0
    assert (folder / "dense.safetensors").read_bytes() == dense
    assert [name for name, _ in reductions_of(folder)] == ["lottery"]


def test_training_on_off_few_values_is_refused_with_what_to_do(
    verbs: Verbs, sounds: Path, run: Path, tmp_path: Path
) -> None:
    own = own_copy(run, tmp_path / "run")
    folder = Path(str(document(verbs("reduce", own, "--method", "cluster", *FEW, "--json"))["run"]))
    before = {path: path.read_bytes() for path in folder.iterdir()}
    refused = verbs("train", "ddsp", sounds, *again(9), "--out", folder)
    assert refused.code == 1 and "few values" in refused.err and "by cluster" in refused.err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_reduction_that_was_stopped_is_finished_before_it_is_trained_on(
    verbs: Verbs, sounds: Path, run: Path, tmp_path: Path
) -> None:
    own = own_copy(run, tmp_path / "run")
    folder = Path(str(document(verbs("reduce", own, "--method", "n-of-m", *FEW, "--json"))["run"]))
    (folder / "round-1.safetensors").unlink()
    refused = verbs("train", "ddsp", sounds, *again(9), "--out", folder)
    assert refused.code == 1 and "stopped before its end" in refused.err and "pochette reduce" in refused.err


@pytest.mark.slow
def test_what_was_made_of_a_network_that_was_trained_on_since_is_not_gone_on_with(
    verbs: Verbs, sounds: Path, run: Path, tmp_path: Path
) -> None:
    own = own_copy(run, tmp_path / "run")
    folder = Path(str(document(verbs("reduce", own, "--method", "n-of-m", *FEW, "--json"))["run"]))
    assert verbs("reduce", folder, "--method", "filters", *FEW).code == 0
    assert verbs("train", "ddsp", sounds, *again(1), "--out", folder).code == 0
    refused = verbs("reduce", folder, "--method", "filters", *FEW)
    assert refused.code == 1 and "another network" in refused.err


@pytest.mark.parametrize("hopeless", [("--keep", "0.000001"), ("--criterion", "foo")])
def test_what_is_refused_leaves_no_folder(verbs: Verbs, run: Path, hopeless: tuple[str, str]) -> None:
    before = {path.name for path in run.iterdir()}
    said = verbs("reduce", run, *FEW, *hopeless)
    assert said.code != 0 and "remedy" in said.all, said.all
    assert {path.name for path in run.iterdir()} == before
