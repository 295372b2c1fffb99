"""What was counted on the way to a board is kept, and the best of what was trained is delivered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pochette.boards.board import Board
from pochette.families import boards
from pochette.lab import fit
from pochette.lab.build import Ranges
from pochette.lab.cost import EngineCost
from pochette.lab.trials import Notes, Trial, best_of

FITS = {"RAM": 0.9}
COST = EngineCost("daisy-seed", cycles_per_second_low=1.0, hop_samples=64)


def test_the_nearest_to_held_out_sounds_is_delivered() -> None:
    floats = Trial(0.3, 300, FITS, COST, "float32", 4.0)
    bytes_ = Trial(0.9, 900, FITS, COST, "int8", 5.0)
    assert best_of([floats, bytes_]) == 0
    assert best_of([floats, replace(bytes_, distance=3.0)]) == 1
    assert best_of([replace(floats, distance=None), replace(bytes_, distance=None)]) == 1, (
        "more, where nothing is heard"
    )


def test_what_does_not_fit_after_all_is_not_delivered_for_its_sound() -> None:
    floats = Trial(0.3, 300, FITS, COST, "float32", 4.0)
    broken = Trial(0.9, 900, {"RAM": 1.1}, COST, "int8", 3.0)
    assert best_of([broken, floats]) == 1
    assert best_of([replace(broken, shares={"RAM": 1.3}), broken]) == 1, "the least broken, where none fits"


def test_trials_are_kept_from_one_search_to_the_next(tmp_path: Path) -> None:
    path, trial = tmp_path / "fit-daisy-seed.json", Trial(0.29, 300, FITS, COST, "int8")
    Notes(path, "this").add(0.3, trial)
    again = Notes(path, "this")
    assert again.find(0.3, "int8") == trial
    assert again.find(0.3, "float32") is None and again.find(0.31, "int8") is None
    assert not Notes(path, "another model").known
    for damage in ("{", '{"identity": "this"}', '{"identity": "this", "trials": {"0.3 int8": {}}}', "[]"):
        path.write_text(damage)
        assert Notes(path, "this").find(0.3, "int8") is None


def test_other_weights_boards_and_sounds_have_other_notes(tmp_path: Path) -> None:
    checkpoint, ranges = tmp_path / "dense.safetensors", Ranges((110.0, 880.0), (-60.0, -10.0))
    checkpoint.write_bytes(b"weights")
    daisy: Board = boards["daisy-seed"]
    first = fit.notes_for(checkpoint, daisy, ranges)
    others = [fit.notes_for(checkpoint, replace(daisy, ram_bytes=1), ranges)]
    others.append(fit.notes_for(checkpoint, daisy, Ranges((110.0, 900.0), (-60.0, -10.0))))
    checkpoint.write_bytes(b"other weights")
    others.append(fit.notes_for(checkpoint, daisy, ranges))
    assert len({first.identity, *(notes.identity for notes in others)}) == 4
    assert fit.notes_for(checkpoint, boards["teensy-4.1"], ranges).path != first.path
