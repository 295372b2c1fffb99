"""The verb `fit`, as a person gives it: what it delivers is what it judged, and a stop loses nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from pochette.instrument import load
from pochette.lab.cost import EngineCost, weight_bytes
from tests.cli.conftest import Verbs, document, started


@pytest.fixture
def own_run(run: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be written into."""
    return Path(shutil.copytree(run, tmp_path / "run"))


@pytest.fixture
def small_board(monkeypatch: pytest.MonkeyPatch, run: Path) -> None:
    """A board that looks at the bytes of weights alone: half of the network in floats, all of it in 16 bits.

    Golden sounds are of two seconds: the twin of an engine in fewer bits plays them operator by operator, and several
    engines are made. Whole ones are those of `test_verbs` and of `engine.test_twin`.
    """
    pytest.importorskip("ziglang")
    from pochette.engine.export import export
    from pochette.lab import build, fit
    from pochette.lab.runs import trained_model

    monkeypatch.setattr(build, "GOLDEN_SECONDS", 2.0)

    whole = weight_bytes(export(trained_model(run)[0], "fit"))

    def cost_on(source: Any, board: Any, curve: Any) -> tuple[EngineCost, dict[str, float]]:
        return EngineCost(board.name), {"RAM": weight_bytes(source) / (0.6 * whole)}

    monkeypatch.setattr(fit, "cost_on", cost_on)


def test_fit_delivers_the_trained_engine_that_is_nearest(verbs: Verbs, own_run: Path, small_board: None) -> None:
    from pochette.lab.evaluate import engine_to_held_out
    from pochette.lab.heard import held_out_part
    from pochette.lab.runs import model_of, read_run

    asked = ("fit", own_run, "--board", "browser", "--steps", "6", "--rounds", "1", "--json")
    said = verbs(*asked)
    found = document(said)
    assert said.code == 0 and found["fits"] and found["proven"], said.err
    floats, halves = found["trained"]
    assert (floats["precision"], halves["precision"]) == ("float32", "float16")
    assert floats["keep"] < 0.7 and halves["keep"] == 1.0
    assert found["final"]["distance"] == min(floats["distance"], halves["distance"])
    # Both distances, and the loss, are of what was trained on, here measured again from what is in the files.
    instrument = load(Path(found["instrument"]))
    model = model_of(instrument)
    heard = held_out_part(read_run(own_run), model)
    assert engine_to_held_out(instrument.source, model, heard) == pytest.approx(found["final"]["distance"], rel=1e-5)
    assert instrument.precision == found["precision"]
    assert floats["held_out_loss"] != halves["held_out_loss"] == found["held_out_loss"]["dense"]
    # Six steps of training, all for the one contender that is trimmed.
    (reduced,) = own_run.glob("lottery-*/round-1.safetensors")
    from pochette.lab.runs import progress_of

    assert progress_of(reduced)["steps"] == 6
    again = verbs(*asked)
    assert document(again)["final"] == found["final"] and "are not counted again" in again.err


def test_a_run_that_was_reduced_is_fitted_from_its_whole_network(
    verbs: Verbs, own_run: Path, small_board: None
) -> None:
    """What is planned is a share of the whole network, which a cut of what is left would not reach."""
    asked = ("--board", "browser", "--steps", "6", "--rounds", "1", "--precision", "float32", "--json")
    first = document(verbs("fit", own_run, *asked))
    (cut,) = (path.parent for path in own_run.glob("lottery-*/round-1.safetensors"))
    second = document(verbs("fit", cut, *asked))
    assert second["fits"] and second["final"]["keep"] == first["final"]["keep"]
    assert second["held_out_loss"] == first["held_out_loss"]
    assert Path(second["run"]).parent == cut


def test_fit_tells_people_what_was_judged(verbs: Verbs, own_run: Path, small_board: None) -> None:
    said = verbs("fit", own_run, "--board", "browser", "--steps", "4", "--rounds", "1")
    told = " ".join(said.out.split())
    assert said.code == 0 and "it fits" in told and "of the engine delivered" in told
    assert "next: pochette verify" in told
    assert told.count("delivered ") >= 1 and "trained " in told


def test_what_fits_nowhere_is_refused_with_its_factor(
    verbs: Verbs, own_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pochette.lab import fit

    monkeypatch.setattr(fit, "cost_on", lambda source, board, _: (EngineCost(board.name), {"RAM": 7.0}))
    said = verbs("fit", own_run, "--board", "browser", "--steps", "4")
    assert said.code == 1 and "takes 7 times the RAM" in said.err and "pochette list boards" in said.err


def test_fit_refuses_what_is_not_there(verbs: Verbs, own_run: Path, tmp_path: Path) -> None:
    assert verbs("fit", tmp_path / "none", "--board", "pi-4").code == 1
    said = verbs("fit", own_run, "--board", "pi-44")
    assert said.code == 1 and "pi-4" in said.err
    assert verbs("fit", own_run, "--board", "pi-4", "--rounds", "0").code == 2
    (own_run / "dense.safetensors").unlink()
    said = verbs("fit", own_run, "--board", "pi-4")
    assert said.code == 1 and "no trained model" in said.err and "pochette train" in said.err


@pytest.mark.skipif(sys.platform == "win32", reason="signals are different there")
def test_ctrl_c_keeps_what_was_counted(own_run: Path) -> None:
    """As a terminal does: to the whole group, compilers included."""
    pytest.importorskip("unicorn")
    asked = ("fit", own_run, "--board", "arduino-nano-33-ble", "--steps", "4")
    process = started(*asked, start_new_session=True)
    assert process.stderr
    notes = own_run / "fit-arduino-nano-33-ble.json"
    while not notes.exists():
        assert process.poll() is None, process.stderr.read()
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "is kept" in err and "Traceback" not in out + err, out + err
    assert f"pochette fit {own_run} --board arduino-nano-33-ble --steps 4" in err
    assert json.loads(notes.read_text())["trials"]


def test_profile_names_fit_where_a_board_does_not_hold_the_model(
    verbs: Verbs, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pochette.lab import cost

    monkeypatch.setattr(cost, "count", lambda source, board, curve, tell: EngineCost(board.name, ram_bytes=10**12))
    said = verbs("profile", run, "--board", "daisy-seed")
    assert "does NOT fit" in said.out and f"next: pochette fit {run} --board daisy-seed" in said.out
    assert "next: pochette fit RUN --board daisy-seed" in verbs("profile", "ddsp", "--board", "daisy-seed").out
    monkeypatch.setattr(cost, "count", lambda source, board, curve, tell: EngineCost(board.name, ram_bytes=1))
    assert "next: pochette make SOUNDS --board daisy-seed" in verbs("profile", run, "--board", "daisy-seed").out
