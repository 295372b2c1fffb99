"""The toy engine as an instrument, for every test that plays, saves or wraps one."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from pochette.control import Control
from pochette.engine.build import compile_wasm
from pochette.engine.runner import FloatArray
from pochette.instrument import Instrument
from tests.toy import CONTROLS, toy_audio, toy_source

FRAMES = 40


def golden_controls() -> FloatArray:
    """A glide with a swell, (frame, control)."""
    rising = np.linspace(0, 1, FRAMES, dtype=np.float32)
    return np.stack([CONTROLS[0].low + 400 + 300 * rising, -30 + 20 * rising], 1).astype(np.float32)


KNOBS = (
    Control("brightness", "dB/oct", -24, 0, -9, help="how sharp the sound is"),
    Control("breath_db", "dB", -80, -20, -50, help="how much air is in it"),
    Control("body", "", 0, 1, 0.4, help="how much wood is in it"),
)


@cache
def toy_with_knobs() -> Instrument:
    """The toy with three knobs that its engine is too simple to heed."""
    toy = toy_source()
    header = toy.files["toy.h"].replace("#define toy_CONTROLS 2", "#define toy_CONTROLS 5")
    source = replace(toy, files=toy.files | {"toy.h": header}, controls=(*toy.controls, *KNOBS))
    more = np.tile(np.array([[-9, -50, 0.4]], np.float32), (FRAMES, 1))
    return replace(
        toy_instrument(),
        name="knobs",
        title="Kitchen Fiddle",
        source=source,
        wasm=compile_wasm(source),
        golden_controls=np.concatenate([golden_controls(), more], 1),
        pitch_range_hz=(130.0, 1400.0),
        _built={},
    )


@cache
def toy_instrument() -> Instrument:
    """The toy, built once a process."""
    controls = golden_controls()
    return Instrument(
        name="toy",
        title="Toy <fiddle> & co",
        source=toy_source(),
        wasm=compile_wasm(toy_source()),
        weights={"a.weight": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.array([1, -2], np.int8)},
        golden_controls=controls,
        golden_audio=toy_audio(controls),
        recipe={"model": "toy"},
        board="pi4",
        provenance={"corpus": "0123abcd", "seconds": 12.5, "seed": 3, "operations_per_second": 480000},
    )
