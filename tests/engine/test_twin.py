"""The twin of an engine in fewer bits: as near to its C as torch is to an engine of floats, and no copy of either."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pochette.engine import precision
from pochette.engine.compiled import compile_engine
from pochette.engine.export import export, export_with_twin
from pochette.engine.packing import FloatArray
from pochette.engine.precision import Precision
from pochette.engine.twin import coarse
from pochette.engine.verify import TOLERANCE, verify
from pochette.lab.build import Ranges, build_instrument
from tests.engine.test_export import tiny
from tests.engine.test_precision import NARROW, NETWORKS, noise, values

BOUNDS: dict[Precision, float] = {"float32": 1e-6, "bfloat16": 1e-6, "float16": 1e-6, "int8": 1e-4}
"""Of C and twin over 200 steps, of the largest value; measured: 3.9e-7, 3.9e-7, 4.3e-7, and 4.0e-5, which is what a
number between two whole ones does that each rounds another way. From torch itself int8 is up to 5.3e-3."""
RANGES = Ranges((110.0, 880.0), (-60.0, -10.0))


def together(made: tuple[Tensor, ...]) -> FloatArray:
    return np.concatenate([np.ravel(part.numpy()) for part in made])


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kind", precision.BITS)
def test_the_c_says_what_the_twin_says(name: str, kind: Precision) -> None:
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    engine = compile_engine(make().eval(), (torch.zeros(shape),), precision=kind)
    given = noise(shape, 200)
    wanted = np.stack([together(engine.twin.process(x)) for x in given])
    made = np.stack([values(engine.process(x.numpy())) for x in given])
    assert np.abs(made - wanted).max() < BOUNDS[kind] * np.abs(wanted).max()
    engine.twin.reset()
    assert np.array_equal(together(engine.twin.process(given[0])), wanted[0])


def test_vectors_are_rounded_as_in_numpy() -> None:
    random = np.random.default_rng(0)
    for columns in (1, 8, 83, 600):
        rows = random.standard_normal((6, columns)).astype(np.float32)
        rows[1] *= 1e-20
        rows[2], rows[3, 0], rows[4, -1] = 0, np.nan, np.inf
        made = coarse(torch.from_numpy(rows)).numpy()
        for row, x in zip(made, rows, strict=True):
            whole, scale = precision.to_whole(x)
            assert np.array_equal(row, whole.astype(np.float32) * scale)


def test_a_product_of_whole_numbers_is_that_of_numpy() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(83, 40)
    twin = compile_engine(layer, (torch.zeros(2, 83),), precision="int8").twin
    x, bias = torch.randn(2, 83), layer.bias.detach().numpy()
    whole, scales = precision.quantise_rows(layer.weight.detach().numpy())
    for row, made in zip(x, twin.process(x)[0], strict=True):
        wanted = precision.multiply_whole(whole, scales, bias, row.numpy())
        assert np.abs(made.numpy() - wanted).max() < 1e-6 * np.abs(wanted).max()


@pytest.mark.parametrize("kind", NARROW)
def test_a_model_in_fewer_bits_is_proven_by_its_twin_and_by_nothing_else(kind: Precision) -> None:
    pytest.importorskip("unicorn")
    pytest.importorskip("ziglang")
    torch.manual_seed(0)
    model = tiny()
    instrument = build_instrument(model, "small", RANGES, precision=kind)
    assert instrument.precision == instrument.source.precision == kind
    frames = 120
    controls, audio = instrument.golden_controls[:frames], instrument.golden_audio[: frames * model.hop_samples]
    checks = verify(instrument.source, instrument.wasm, controls, audio, ("c", "wasm", "aarch64", "cortex-m7"))
    assert all(check.passed for check in checks), checks
    # What rounding did is told, and no tolerance hides it.
    with torch.no_grad():
        own = model(torch.from_numpy(instrument.golden_controls)[None])[0].numpy()
    far = float(np.abs(own - instrument.golden_audio).max())
    told = instrument.provenance["rounding"]
    assert told["golden_largest_difference"] == pytest.approx(far) and far > 0
    assert 20 < told["golden_snr_db"] < 100
    worst = max(check.max_error for check in checks if check.max_error is not None)
    assert worst < 0.2 * TOLERANCE and (kind == "float16" or worst < 0.1 * far)


def test_an_engine_that_rounds_otherwise_is_found_out() -> None:
    """A tolerance wide enough for torch would let this pass."""
    torch.manual_seed(0)
    model = tiny()
    twin = export_with_twin(model, "small", "int8")[1]
    knobs = np.tile(np.array([[440.0, -20.0, *(k.default for k in model.controls[2:])]], np.float32), (200, 1))
    golden, other = twin.play(knobs), export(model, "small", precision="bfloat16")
    assert verify(export(model, "small", precision="int8"), b"", knobs, golden, ["c"])[0].passed
    assert not verify(other, b"", knobs, golden, ["c"])[0].passed


def test_floats_are_held_against_the_model_itself() -> None:
    model = tiny()
    instrument = build_instrument(model, "small", RANGES)
    with torch.no_grad():
        own: Any = model(torch.from_numpy(instrument.golden_controls)[None])[0].numpy()
    assert np.array_equal(own, instrument.golden_audio)
    assert instrument.precision == "float32" and "rounding" not in instrument.provenance
    assert dataclasses.asdict(instrument.source)["precision"] == "float32"
