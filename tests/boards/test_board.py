"""Verdicts: exact at every limit, and with their reasons."""

from __future__ import annotations

import dataclasses

import pytest

from pochette.boards.board import Board, Demand
from pochette.boards.cycles import Band, Mix, cycles
from pochette.boards.target import CORTEX_A72, CORTEX_M4F, CORTEX_M7, Target
from pochette.families import boards

SMALL = Demand(flash_bytes=100_000, ram_bytes=200_000, sample_rate_hz=48_000, instructions_per_second=1e8)


def test_daisy_has_half_a_megabyte_and_seven_tenths_of_its_clock() -> None:
    daisy = boards["daisy-seed"]
    assert daisy.ram_bytes == 512 * 1024
    assert daisy.cycle_budget == pytest.approx(336e6)
    assert daisy.memory is not None and daisy.memory.runs_from_ram


@pytest.mark.parametrize(
    ("field", "limit", "says"),
    [
        ("ram_bytes", 512 * 1024, "512 KB"),
        ("instructions_per_second", 336e6, "70% are allowed"),
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


def test_a_verdict_goes_by_the_upper_end_of_the_band() -> None:
    """200 million instructions would fit; at worst they take 340 million cycles of 480, which is 71 %."""
    daisy = boards["daisy-seed"]
    slow = dataclasses.replace(SMALL, instructions_per_second=2e8, cycles_per_second=Band(1e8, 3.4e8))
    verdict = daisy.fits(slow)
    assert not verdict.fits and "20.8% to 70.8% of the clock, code in AXI SRAM" in verdict.reasons[0]
    assert daisy.fits(dataclasses.replace(slow, cycles_per_second=Band(1e8, 3.3e8))).fits


def test_what_a_struck_key_asks_for_is_said() -> None:
    """Of 480 MHz, 4.8 to 12 million cycles are 10 to 25 ms."""
    daisy = boards["daisy-seed"]
    verdict = daisy.fits(dataclasses.replace(SMALL, lead_cycles=Band(4.8e6, 1.2e7)))
    assert verdict.fits and any("A struck key keeps it busy for 10 to 25 ms" in note for note in verdict.notes)
    assert not any("A struck key" in note for note in daisy.fits(SMALL).notes)


MIX = Mix(instructions=1000, loads=300, arithmetic=400, divisions=10)


@pytest.mark.parametrize(
    ("target", "low", "high"),
    [
        (CORTEX_M7, 400 + 13 * 10, 1000 + 13 * 10),
        (CORTEX_M4F, 1000, 1000 + 13 * 10 + 300),
        (CORTEX_A72, 400 + 9 * 10, 1000 + 9 * 10),
    ],
)
def test_bands_by_hand(target: Target, low: float, high: float) -> None:
    assert cycles(MIX, target) == Band(low, high)
    doubled = cycles(MIX + MIX, target)
    assert doubled == cycles(MIX * 2, target) == Band(2 * low, 2 * high)
    assert MIX * 3 - MIX == MIX + MIX


def test_the_published_counts_give_the_published_band() -> None:
    """GRU 10 of the study that the model comes from: 1 177 of its instructions are arithmetic."""
    band = cycles(Mix(2009, 581, 1177, 30), CORTEX_M7)
    assert (band.low, band.high) == (1177 + 13 * 30, 2009 + 13 * 30)
    assert (band.low, band.high) == pytest.approx((1567, 2399))


def test_a_frame_longer_than_a_block_must_be_made_while_the_driver_waits() -> None:
    """By hand: of 64 samples at once for blocks of 48 a block pays 64 / 48; of 16 at once three fit."""
    daisy = boards["daisy-seed"]
    assert daisy.block_samples == 48 and daisy.clock_hz == 480e6
    half = dataclasses.replace(SMALL, cycles_per_second=Band(1e8, 0.35 * 480e6))
    for hop, times in ((None, 1.0), (16, 1.0), (48, 1.0), (64, 64 / 48), (40, 80 / 48), (256, 256 / 48)):
        demand = dataclasses.replace(half, hop_samples=hop)
        assert daisy.shares(demand)["block"] == pytest.approx(0.5 * times)
        verdict = daisy.fits(demand)
        assert verdict.fits == (0.5 * times <= 1.0)
        assert bool(verdict.reasons) == (hop == 256) and (
            hop != 256 or "256 samples are made at once" in verdict.reasons[0]
        )
    # 22.05 kHz is resampled: 48 samples of the board are made of 22.05 of the engine's.
    resampled = dataclasses.replace(half, hop_samples=64, sample_rate_hz=22_050)
    assert daisy.shares(resampled)["block"] == pytest.approx(0.5 * 64 / 22.05)
