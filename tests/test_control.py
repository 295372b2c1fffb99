"""Knobs."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pochette.control import Control

LINEAR = Control("loudness_db", "dB", -80.0, 0.0, -20.0)
LOGARITHMIC = Control("pitch_hz", "Hz", 27.5, 7040.0, 440.0, "logarithmic")
both = pytest.mark.parametrize("knob", [LINEAR, LOGARITHMIC], ids=["linear", "logarithmic"])


def test_known_values() -> None:
    assert LINEAR.from_knob(0.25) == -60.0
    assert LINEAR.to_knob(-20.0) == 0.75
    # 27.5 to 7040 Hz are eight octaves: each eighth of the travel is one.
    for octave in range(9):
        assert LOGARITHMIC.from_knob(octave / 8) == pytest.approx(27.5 * 2**octave)
        assert LOGARITHMIC.to_knob(27.5 * 2**octave) == pytest.approx(octave / 8)


@both
@given(position=st.floats(0, 1))
def test_to_knob_undoes_from_knob(knob: Control, position: float) -> None:
    value = knob.from_knob(position)
    assert knob.low <= value <= knob.high
    assert knob.to_knob(value) == pytest.approx(position, abs=1e-9)


@given(low=st.floats(1e-3, 1e3), ratio=st.floats(1.01, 1e4), position=st.floats(-1, 2))
def test_never_leaves_the_range(low: float, ratio: float, position: float) -> None:
    for curve in ("linear", "logarithmic"):
        knob = Control("x", "", low, low * ratio, low, curve)  # type: ignore[arg-type]
        assert knob.low <= knob.from_knob(position) <= knob.high
    assert knob.from_knob(1.0) == pytest.approx(knob.high)


@both
def test_outside_and_nan(knob: Control) -> None:
    assert knob.from_knob(-3) == knob.low and knob.from_knob(7) == pytest.approx(knob.high)
    assert knob.clamp(-1e9) == knob.low and knob.clamp(1e9) == knob.high
    assert knob.clamp(math.inf) == knob.high and knob.clamp(-math.inf) == knob.low
    assert knob.clamp(math.nan) == knob.default == knob.from_knob(math.nan)
    assert knob.to_knob(1e9) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("low", "high", "default", "curve", "match"),
    [
        (1.0, 1.0, 1.0, "linear", "empty"),
        (2.0, 1.0, 1.0, "linear", "empty"),
        (0.0, math.inf, 1.0, "linear", "not finite"),
        (math.nan, 1.0, 1.0, "linear", "empty"),
        (0.0, 1.0, 2.0, "linear", "outside"),
        (0.0, 1.0, math.nan, "linear", "outside"),
        (0.0, 1.0, 0.5, "logarithmic", "positive"),
    ],
)
def test_impossible_ranges_are_refused(low: float, high: float, default: float, curve: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Control("x", "", low, high, default, curve)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "Pitch", "pitch hz", "1st", "a-b", 'x"y', "ß"])
def test_names_are_identifiers_everywhere(name: str) -> None:
    with pytest.raises(ValueError, match="make a name"):
        Control(name, "", 0.0, 1.0, 0.5)
