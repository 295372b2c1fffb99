"""Every verb does its work, says it to people and to machines, and names what comes next."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pochette.cli import VERBS
from pochette.train.checkpoint import load
from tests.cli.conftest import SHORT, TINY, Verbs, document


def test_help_names_every_verb(verbs: Verbs) -> None:
    said = verbs("--help")
    assert said.code == 0
    assert all(name in said.out for name in VERBS)


@pytest.mark.parametrize("verb", list(VERBS))
def test_every_verb_explains_itself(verbs: Verbs, verb: str) -> None:
    said = verbs(verb, "--help")
    assert said.code == 0 and "--json" in said.out


def test_help_of_train_and_reduce_shows_the_members_own_options(verbs: Verbs) -> None:
    pytest.importorskip("torch")
    assert "--noise-bands" in verbs("train", "ddsp", "--help").out
    assert "default: 32" in verbs("train", "ddsp", "--size", "tiny", "--help").out
    assert "--rounds" in verbs("reduce", "--method", "lottery", "--help").out


@pytest.mark.parametrize("kind", ["models", "methods", "criteria", "boards", "shells", "metrics"])
def test_list(verbs: Verbs, kind: str) -> None:
    if kind in ("models", "methods", "criteria"):
        pytest.importorskip("torch")
    from pochette.families import FAMILIES

    names = FAMILIES[kind].names()
    said = verbs("list", kind)
    assert said.code == 0 and "next: pochette" in said.out
    assert all(name in said.out for name in names)
    listed = document(verbs("list", kind, "--json"))[kind]
    assert isinstance(listed, dict) and list(listed) == names
    assert all(facts["help"] for facts in listed.values())


def test_doctor(verbs: Verbs) -> None:
    assert "python" in verbs("doctor").out
    checks = document(verbs("doctor", "--json"))["checks"]
    assert isinstance(checks, list) and {"name", "present", "cost", "remedy"} <= set(checks[0])


def test_listen(verbs: Verbs, sounds: Path) -> None:
    pytest.importorskip("soundfile")
    said = verbs("listen", sounds, "--no-estimate")
    assert said.code == 0 and "5 of 5" in said.out and "next: pochette make" in said.out
    assert document(verbs("listen", sounds, "--json", "--no-estimate"))["usable"] == 5


def test_listen_times_training(verbs: Verbs, sounds: Path) -> None:
    pytest.importorskip("torch")
    training = document(verbs("listen", sounds, "--json", "--size", "tiny", "--model", "ddsp"))["training"]
    assert isinstance(training, dict) and 0 < training["seconds_per_step"] < 60


def test_train_says_why_it_stopped_and_never_repeats(verbs: Verbs, sounds: Path, run: Path) -> None:
    again = document(verbs("train", "ddsp", sounds, *TINY, "--out", run, "--json"))
    assert again["stopped"] == "budget spent" and again["steps"] == 4
    assert again["resumed"] == ["dense: finished"]


def test_train_goes_on_when_the_budget_grows(verbs: Verbs, sounds: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    verbs("train", "ddsp", sounds, *TINY, "--out", tmp_path / "run")
    more = [*TINY[:3], "6", *TINY[4:]]
    said = verbs("train", "ddsp", sounds, *more, "--out", tmp_path / "run", "--json")
    assert document(said)["steps"] == 6
    assert "step 4" in said.err


@pytest.mark.slow
def test_a_model_of_no_pitches_is_held_out_sounds_by_every_verb(verbs: Verbs, sounds: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    run, few = tmp_path / "run", ("--steps", "2")
    trained = document(verbs("train", "wavenet", sounds, *TINY[:2], *few, *TINY[4:], "--out", run, "--json"))
    reduced = document(verbs("reduce", run, *few, "--rounds", "1", "--json"))
    assert trained["split"] == reduced["split"] and str(trained["split"]).startswith("held out by sound")
    compared = verbs(
        "compare", sounds, "--models", "wavenet", *TINY[:2], *few, *TINY[6:], "--stop-steps", "1", "--stops", "0.5",
        "--criteria", "random", "--seeds", "0", "--no-anchor", "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    assert "test sound held out by sound" in Path(str(document(compared)["page"])).read_text()


def test_train_refuses_a_folder_of_another_run(verbs: Verbs, sounds: Path, run: Path) -> None:
    said = verbs("train", "ddsp", sounds, *TINY, "--seed", "5", "--out", run)
    assert said.code == 1 and "another seed" in said.err and "--out" in said.err


@pytest.mark.slow
def test_reduce_then_export_then_verify(verbs: Verbs, run: Path, tmp_path: Path) -> None:
    said = verbs("reduce", run, "--method", "lottery", "--keep", "0.3", "--rounds", "2", "--steps", "4", "--json")
    found = document(said)
    rounds = found["rounds"]
    assert isinstance(rounds, list) and [row["round"] for row in rounds] == ["dense", "round-1", "round-2"]
    assert rounds[0]["parameters"] > rounds[1]["parameters"] > rounds[2]["parameters"]
    again = verbs("reduce", run, "--keep", "0.3", "--rounds", "2", "--steps", "4", "--json")
    assert "resuming from the checkpoint" in again.err and document(again)["rounds"] == rounds
    folder = Path(str(found["run"]))
    made = document(verbs("export", folder, "--shell", "c", "--out", tmp_path, "--json"))
    assert Path(str(made["written"])).is_dir()
    checks = document(verbs("verify", str(made["instrument"]), "--engines", "c", "wasm", "--json"))
    assert checks["passed"] is True


@pytest.mark.slow
def test_reductions_follow_each_other(verbs: Verbs, run: Path) -> None:
    """Single weights go and the rest share values; what goes back to first weights cannot come second."""
    few = ("--keep", "0.3", "--rounds", "1", "--steps", "4")
    said = document(verbs("reduce", run, "--method", "magnitude", *few, "--then", "cluster", "--json"))
    rounds, folder = said["rounds"], Path(str(said["run"]))
    assert isinstance(rounds, list) and [row["round"] for row in rounds] == [
        "magnitude dense", "magnitude round-1", "cluster round-1"
    ]  # fmt: skip
    sizes = [row["bytes, stored"] for row in rounds]
    assert [row["weights alive"][:2] for row in rounds[1:]] == ["30", "30"]
    assert sizes[0] > 2 * sizes[1] > 4 * sizes[2] and folder.parent.parent == run
    model, shared = (load(where / "round-1.safetensors")[0] for where in (folder.parent, folder))
    name = "model/network.head.weight"
    assert len(shared[name].unique()) <= 16
    assert torch.equal(shared[name] == 0.0, model[name] == 0.0) and float((shared[name] == 0.0).double().mean()) > 0.6
    refused = verbs("reduce", folder, "--method", "rigl", "--steps", "4")
    assert refused.code == 1 and "first or early weights" in refused.err


def test_export_in_fewer_bits_tells_what_it_costs(verbs: Verbs, run: Path, tmp_path: Path) -> None:
    pytest.importorskip("ziglang")
    said = verbs("export", run, "--precision", "int8", "--out", tmp_path, "--json")
    made = document(said)
    rounding = made["rounding"]
    assert made["precision"] == "int8" and isinstance(rounding, dict)
    assert rounding["matrices"] > 2
    assert rounding["golden_largest_difference"] > 0 and 20 < rounding["golden_snr_db"] < 90
    # Rounding is small beside what a network of four steps does not know.
    assert rounding["held_out_engine"] == pytest.approx(rounding["held_out_network"], rel=0.05)
    assert rounding["held_out_engine"] != rounding["held_out_network"]
    checks = document(verbs("verify", str(made["instrument"]), "--engines", "c", "wasm", "--json"))
    assert checks["passed"] is True
    assert "dB of signal to rounding" in verbs("export", str(made["instrument"]), "--out", tmp_path).out
    for asked in ("float16", "float32"):
        refused = verbs("export", str(made["instrument"]), "--precision", asked, "--out", tmp_path)
        assert refused.code == 2 and "int8" in refused.err and f"--precision {asked}" in refused.err
    same = verbs("export", str(made["instrument"]), "--precision", "int8", "--out", tmp_path, "--json")
    assert document(same)["precision"] == "int8"


def test_export_of_an_instrument_needs_no_run(verbs: Verbs, toy: Path, tmp_path: Path) -> None:
    said = verbs("export", toy, "--shell", "web", "--out", tmp_path)
    assert said.code == 0 and (tmp_path / "toy.html").is_file()


@pytest.mark.parametrize("engine", ["torch", "c", "wasm", "aarch64", "cortex-m7"])
def test_render_on_every_engine(verbs: Verbs, instrument: Path, song: Path, tmp_path: Path, engine: str) -> None:
    if engine in ("aarch64", "cortex-m7"):
        pytest.importorskip("unicorn")
    out = tmp_path / "song.wav"
    found = document(
        verbs("render", instrument, "--midi", song, "--out", out, "--engine", engine, "--voices", "2", "--json")
    )
    assert found["notes"] == 2 and found["engine"] == engine
    with wave.open(str(out)) as file:
        audio = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert np.abs(audio).max() > 50


def test_verify_passes_and_names_what_it_could_not_run(
    verbs: Verbs, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = verbs("verify", toy, "--engines", "wasm", "c")
    assert said.code == 0 and "2 of 2" in said.out and "of a peak of" in said.out
    checks = document(verbs("verify", toy, "--engines", "wasm", "--json"))["checks"]
    assert checks[0]["golden_peak"] > 100 * checks[0]["max_error"]
    monkeypatch.setitem(sys.modules, "unicorn", None)
    said = verbs("verify", toy)
    assert said.code == 0 and "could not run" in said.out and "pochette[compile]" in said.out
    assert verbs("verify", toy, "--engines", "wasm", "aarch64").code == 1


def test_verify_fails_where_an_engine_disagrees(verbs: Verbs, tmp_path: Path) -> None:
    from pochette.instrument import save
    from tests.instrument.bench import toy_instrument

    made = toy_instrument()
    wrong = dataclasses.replace(made, golden_audio=made.golden_audio + np.float32(0.01))
    said = verbs("verify", save(wrong, tmp_path / "wrong.pochette"), "--engines", "wasm")
    assert said.code == 1 and "DISAGREES" in said.out


def test_native_code_of_strangers_is_not_run(verbs: Verbs, tmp_path: Path, song: Path) -> None:
    from pochette.instrument import save
    from tests.instrument.bench import toy_with_knobs

    stranger = save(toy_with_knobs(), tmp_path / "stranger.pochette")
    said = verbs("verify", stranger)
    assert "--trust" in said.out
    said = verbs("render", stranger, "--midi", song, "--out", tmp_path / "x.wav", "--engine", "c")
    assert said.code == 1 and "--trust" in said.err


@pytest.mark.slow
def test_a_reduction_does_not_go_on_from_a_network_that_has_learnt_since(
    verbs: Verbs, run: Path, sounds: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(run, tmp_path / "run"))
    asked, before = ("reduce", own, "--rounds", "1", "--keep", "0.5", "--steps", "4"), set(own.glob("lottery-*"))
    assert verbs(*asked).code == 0 and verbs(*asked).code == 0
    (cut,) = set(own.glob("lottery-*")) - before
    # Another network, as one that was cut before, in place of the whole one.
    shutil.copy(cut / "round-1.safetensors", own / "dense.safetensors")
    refused = verbs(*asked)
    assert refused.code == 1 and "begun with another network" in refused.err and str(cut) in refused.err
    shutil.rmtree(cut)
    refused = verbs(*asked)
    assert refused.code == 1 and "another network" in refused.err


@pytest.mark.slow
def test_make(verbs: Verbs, sounds: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    out = tmp_path / "made"
    arguments = ("make", sounds, *SHORT, "--size", "tiny", "--sample-rate-hz", "16000", "--out", out)
    found = document(verbs(*arguments, "--board", "browser", "--json"))
    for name in ("instrument", "page", "report"):
        assert Path(str(found[name])).is_file(), name
    assert Path(str(found["sources"])).is_dir()
    assert verbs("verify", str(found["instrument"]), "--engines", "wasm").code == 0
    assert "engine" not in {anchor["name"] for anchor in found["result"]["anchors"]}  # type: ignore[index]
    # What was trained is a run as any other; who asks of the folder around it is told where it lies.
    (run,) = (out / "training").iterdir()
    refused = verbs("analyse", out)
    assert refused.code == 1 and f"{str(run)!r}" in refused.err
    assert document(verbs("analyse", run, "--json"))["rounds"]
    # Another model's instrument is not put over it.
    refused = verbs("make", sounds, "--model", "sing", "--size", "tiny", "--steps", "6", "--out", out)
    assert refused.code == 1 and "with the model ddsp" in refused.err and "--out" in refused.err


@pytest.mark.usefixtures("beginning_emulated")
@pytest.mark.slow
@pytest.mark.parametrize(("heard", "kept"), [((1.0, 1.1, 5.0, 5.0), 1), ((1.0, 5.0, 5.0, 5.0), 0)])
def test_make_keeps_the_smallest_that_sounds_as_well(
    verbs: Verbs, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heard: tuple[float, ...], kept: int
) -> None:
    pytest.importorskip("torch")
    from pochette.lab import make as lab
    from pochette.train.session import load_model

    monkeypatch.setattr(lab, "_distances", lambda *_: list(heard))
    monkeypatch.setattr(lab, "_untrained", lambda *_: 10.0)
    said = verbs("make", sounds, *SHORT, "--size", "tiny", "--sample-rate-hz", "16000", "--out", tmp_path)
    assert said.code == 0 and "smaller still sounded worse" in " ".join(said.out.split())
    result: Any = json.loads((tmp_path / "result.json").read_text())
    names = [point["name"] for point in result["trimming"]]
    assert names == (["dense", "trimmed", "round-2", "round-3"] if kept else ["dense", "round-1", "round-2", "round-3"])
    (run,) = (tmp_path / "training").iterdir()
    whole, cut = (load_model(run / f"{name}.safetensors")[0] for name in ("dense", "round-1"))
    wanted = [sum(part.numel() for part in model.played_parameters().values()) for model in (whole, cut)]
    assert wanted[0] > wanted[1] and result["profile_after"]["parameters"] == wanted[kept]
    # Its run stands for the same network, and is reduced by other means from the whole one.
    exported = verbs("export", run, "--out", tmp_path / "exported")
    assert exported.code == 0 and (f"round-{kept}" if kept else "dense") in exported.err
    cut = document(verbs("reduce", run, "--steps", "4", "--rounds", "1", "--keep", "0.5", "--json"))
    assert cut["rounds"][0]["parameters"] == wanted[0]  # type: ignore[index]
    report = (tmp_path / "report.html").read_text()
    assert ("was left whole" in report, "after trimming" in report) == ((False, True) if kept else (True, False))


@pytest.mark.usefixtures("beginning_emulated")
@pytest.mark.slow
def test_make_in_fewer_bits_measures_the_engine_beside_its_network(verbs: Verbs, sounds: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    arguments = ("make", sounds, *SHORT, "--sample-rate-hz", "16000", "--precision", "int8")
    said = verbs(*arguments, "--out", tmp_path, "--board", "browser")
    assert "in fewer bits" in said.out
    result: Any = json.loads((tmp_path / "result.json").read_text())
    distance = {anchor["name"]: anchor["distance"] for anchor in result["anchors"]}
    assert result["precision"] == "int8" and distance["engine"] != distance["trimmed"]
    assert distance["engine"] == pytest.approx(distance["trimmed"], rel=0.05)
    assert all(check["passed"] for check in result["golden"] if check["max_error"] is not None)


def test_make_has_the_same_defaults_as_the_job() -> None:
    pytest.importorskip("torch")
    from pochette.cli.making import Make
    from pochette.lab import make as lab

    ours = {field.name: field.default for field in dataclasses.fields(Make) if field.name not in ("json", "sounds")}
    theirs = {field.name: field.default for field in dataclasses.fields(lab.Make) if field.name != "sounds"}
    assert ours == theirs


def test_a_page_is_opened_only_where_somebody_sees_it() -> None:
    from pochette.cli.making import _can_open

    assert _can_open({"DISPLAY": ":0"}, "linux", True)
    assert not _can_open({}, "linux", True)
    assert not _can_open({"DISPLAY": ":0", "CI": "1"}, "linux", True)
    assert not _can_open({}, "darwin", False)


def test_an_instrument_is_verified_on_its_boards_processor_too(instrument: Path) -> None:
    from dataclasses import replace

    from pochette.cli.playing import _usual
    from pochette.engine.verify import USUAL
    from pochette.instrument import load

    made = load(instrument)
    boards = {"arduino-nano-33-ble": "cortex-m4", "rp2350": "cortex-m33", "bela": "armv7"}
    for board, machine in boards.items():
        assert _usual(replace(made, board=board)) == [*USUAL, machine]
    for board in ("", "daisy-seed", "a board of another version"):
        assert _usual(replace(made, board=board)) == list(USUAL)
