"""Verdicts: exact at every limit, and with their reasons."""

from __future__ import annotations

import dataclasses

import pytest

from pochette.boards.board import Board, Demand
from pochette.families import boards

SMALL = Demand(flash_bytes=100_000, ram_bytes=200_000, sample_rate_hz=48_000, instructions_per_second=1e8)


def test_daisy_has_half_a_megabyte_and_half_its_clock() -> None:
    daisy = boards["daisy-seed"]
    assert daisy.ram_bytes == 512 * 1024
    assert daisy.instruction_budget == 240e6
    assert daisy.memory is not None and daisy.memory.runs_from_ram


@pytest.mark.parametrize(
    ("field", "limit", "says"),
    [
        ("ram_bytes", 512 * 1024, "512 KB"),
        ("instructions_per_second", 240e6, "240 million are allowed"),
        ("flash_bytes", 7936 * 1024, "7.75 MB"),
    ],
)
def test_limits_are_exact(field: str, limit: float, says: str) -> None:
    daisy = boards["daisy-seed"]
    assert daisy.fits(dataclasses.replace(SMALL, **{field: limit})).fits
    verdict = daisy.fits(dataclasses.replace(SMALL, **{field: limit + 1}))
    assert not verdict.fits
    assert len(verdict.reasons) == 1 and says in verdict.reasons[0]


def test_every_excess_is_told() -> None:
    verdict = boards["teensy-4.1"].fits(Demand(1 << 30, 1 << 30, 48_000, 1e12))
    assert len(verdict.reasons) == 3


def test_what_is_not_known_is_said() -> None:
    uncounted = dataclasses.replace(SMALL, instructions_per_second=None)
    verdict = boards["daisy-seed"].fits(uncounted)
    assert verdict.fits and any("not counted" in note for note in verdict.notes)
    assert any("real-time factor" in note for note in boards["browser"].fits(SMALL).notes)
    assert any("44100 Hz" in note for note in boards["teensy-4.1"].fits(SMALL).notes)


def test_a_board_is_checked_when_it_is_made() -> None:
    daisy = boards["daisy-seed"]
    for change in ({"ram_bytes": 0}, {"clock_hz": -1.0}, {"sources": ()}, {"description": " "}):
        with pytest.raises(ValueError, match="daisy-seed"):
            dataclasses.replace(daisy, **change)
    assert isinstance(daisy, Board)
