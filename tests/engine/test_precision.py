"""Engines with matrices of 16 and 8 bits: how far they are from floats, how small they are, what they tell of it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pochette.boards import target
from pochette.engine import precision
from pochette.engine.compiled import Engine, compile_engine
from pochette.engine.elsewhere import EngineElsewhere
from pochette.engine.export import export
from pochette.engine.packing import FloatArray
from pochette.engine.precision import Precision
from pochette.errors import ExportError
from tests.engine.compilers import COMPILERS, faults
from tests.engine.test_compiled import Cells, Recurrent
from tests.engine.test_export import tiny

NARROW: tuple[Precision, ...] = ("bfloat16", "float16", "int8")
BOUNDS: dict[Precision, float] = {"bfloat16": 4e-3, "float16": 6e-4, "int8": 8e-3}
"""Largest difference from floats over all steps, of the largest value; measured over 2000: 2.7e-3, 4.3e-4, 6.0e-3."""


class Carried(nn.Module):
    """A recurrent layer and a small head, the state in buffers: (1, 1, inputs) to (1, 1, 20)."""

    def __init__(self, kind: type[nn.RNNBase], inputs: int = 24, units: int = 72, **options: Any) -> None:
        super().__init__()
        self.rnn = kind(inputs, units, **options)  # type: ignore[arg-type]
        wide = options.get("proj_size") or units
        self.head = nn.Sequential(nn.Linear(wide, 33), nn.LeakyReLU(0.1), nn.Linear(33, 20))
        self.layers = options.get("num_layers", 1)
        self.register_buffer("h", torch.randn(self.layers, 1, wide) / 5)
        self.register_buffer("c", torch.randn(self.layers, 1, units) / 5)

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.rnn, nn.LSTM):
            y, (h, c) = self.rnn(x, (self.h, self.c))
            self.c.copy_(c)
        else:
            y, h = self.rnn(x, self.h)
        self.h.copy_(h)
        return self.head(y)


class Ddsp(nn.Module):
    """A decoder of DDSP's kind: controls through layers with norms to a GRU, and on to amplitudes and bands."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.ModuleList(self._stack(1) for _ in range(2))
        self.rnn = nn.GRU(128, 96, batch_first=True)
        self.after = self._stack(96 + 128)
        self.amplitudes, self.bands = nn.Linear(64, 31), nn.Linear(64, 17)
        self.register_buffer("h", torch.zeros(1, 1, 96))

    @staticmethod
    def _stack(inputs: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(inputs, 64), nn.LayerNorm(64), nn.ReLU(), nn.Linear(64, 64), nn.LayerNorm(64))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        given = torch.cat([stack(x[..., i : i + 1]) for i, stack in enumerate(self.before)], -1)
        y, h = self.rnn(given, self.h)
        self.h.copy_(h)
        y = self.after(torch.cat([y, given], -1))
        return torch.sigmoid(self.amplitudes(y)), torch.sigmoid(self.bands(y))


NETWORKS: dict[str, Any] = {
    "GRU": (lambda: Carried(nn.GRU), (1, 1, 24)),
    "LSTM": (lambda: Carried(nn.LSTM), (1, 1, 24)),
    "plain": (lambda: Carried(nn.RNN), (1, 1, 24)),
    "plain, relu": (lambda: Carried(nn.RNN, nonlinearity="relu"), (1, 1, 24)),
    "two layers, an odd size": (lambda: Carried(nn.GRU, 3, 37, num_layers=2), (2, 1, 3)),
    "projected": (lambda: Carried(nn.LSTM, 24, 40, proj_size=18), (1, 1, 24)),
    "no biases": (lambda: Carried(nn.LSTM, 24, 40, bias=False), (3, 1, 24)),
    "two voices, both ways": (
        lambda: Recurrent(nn.GRU, 2, 20, num_layers=2, bidirectional=True, batch=2),
        (3, 2, 2),
    ),
    "LSTM, two voices, both ways": (
        lambda: Recurrent(nn.LSTM, 9, 19, bidirectional=True, batch_first=True, batch=2),
        (2, 3, 9),
    ),
    "cells": (Cells, (2, 3)),
    "DDSP": (Ddsp, (1, 1, 2)),
}


def noise(shape: tuple[int, ...], steps: int) -> list[Tensor]:
    """Inputs that drift, so that no state settles."""
    torch.manual_seed(3)
    return [torch.randn(shape) + torch.sin(torch.tensor(0.02 * step)) for step in range(steps)]


def values(made: Any) -> FloatArray:
    return np.concatenate([np.ravel(part) for part in (made if isinstance(made, tuple) else (made,))])


def errors(name: str, kind: Precision, steps: int = 400) -> tuple[float, Engine]:
    """Largest difference from torch over many steps, of the largest value."""
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    module = make().eval()
    engine = compile_engine(module, (torch.zeros(shape),), precision=kind)
    reference, given = copy.deepcopy(module), noise(shape, steps)
    with torch.no_grad():
        wanted = np.stack([values(reference(x)) for x in given])
    made = np.stack([values(engine.process(x.numpy())) for x in given])
    return float(np.abs(made - wanted).max() / np.abs(wanted).max()), engine


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kind", NARROW)
def test_stays_near_floats_over_many_steps(name: str, kind: Precision) -> None:
    error, engine = errors(name, kind)
    assert 0 < error < BOUNDS[kind]
    assert any(line.precision == kind for line in engine.precision_report)


def test_weights_shrink_as_told() -> None:
    torch.manual_seed(0)
    module, example = Carried(nn.GRU, 64, 128), (torch.zeros(1, 1, 64),)
    sizes = {kind: compile_engine(module, example, precision=kind).weight_bytes for kind in precision.BITS}
    # Biases and scales stay floats: 4 bytes for each row.
    matrices = 4 * (3 * 128 * (64 + 128) + 33 * 128 + 20 * 33)
    assert matrices <= sizes["float32"] < 1.1 * matrices
    assert sizes["bfloat16"] == sizes["float16"] < 0.55 * sizes["float32"]
    assert sizes["int8"] < 0.31 * sizes["float32"]


def tanh(x: FloatArray) -> FloatArray:
    """`pc_vtanh`, to the bit."""
    p3, p2, p1 = map(np.float32, (1.14205332e-05, 0.00295026181, 0.129249558))
    q4, q3, q2, q1 = map(np.float32, (2.4567791e-07, 0.000238563152, 0.0238124244, 0.462581843))
    x = np.clip(x, np.float32(-8), np.float32(8))
    s = x * x
    return x * (((p3 * s + p2) * s + p1) * s + 1) / ((((q4 * s + q3) * s + q2) * s + q1) * s + 1)


def gate(x: FloatArray) -> FloatArray:
    half = np.float32(0.5)
    return half * tanh(half * x) + half


def strict_gru() -> tuple[nn.GRU, Engine, list[Tensor], FloatArray]:
    """A GRU of 8 bits, inputs, and what numpy makes of them, step by step, with the same roundings."""
    torch.manual_seed(0)
    rnn, shape = nn.GRU(24, 37), (1, 1, 24)

    class Alone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = rnn
            self.register_buffer("h", torch.zeros(1, 1, 37))

        def forward(self, x: Tensor) -> Tensor:
            y, h = self.rnn(x, self.h)
            self.h.copy_(h)
            return y

    engine = compile_engine(Alone().eval(), (torch.zeros(shape),), precision="int8", strict=True)
    w, u, a, b = (parameter.detach().numpy() for parameter in rnn.parameters())
    apart = np.where(np.arange(111) < 74, 0, b).astype(np.float32)
    together = np.where(np.arange(111) < 74, a + b, a).astype(np.float32)
    h, given, made = np.zeros(37, np.float32), noise(shape, 100), []
    for x in given:
        from_x = precision.multiply_whole(*precision.quantise_rows(w), together, x.numpy().ravel())
        from_h = precision.multiply_whole(*precision.quantise_rows(u), apart, h)
        r, z = gate(from_x[:37] + from_h[:37]), gate(from_x[37:74] + from_h[37:74])
        n = tanh(from_x[74:] + r * from_h[74:])
        h = n + z * (h - n)
        made.append(h)
    return rnn, engine, given, np.stack(made)


def test_numpy_makes_the_same_bits() -> None:
    _, engine, given, wanted = strict_gru()
    assert np.array_equal(np.stack([values(engine.process(x.numpy())) for x in given]), wanted)


WHERE: dict[str, Any] = {
    "aarch64": ("aarch64", target.CORTEX_A72),
    "aarch64 with products of bytes": ("aarch64", target.CORTEX_A76),
    "cortex-m7": ("cortex-m7", target.CORTEX_M7),
    "wasm": ("wasm", None),
}


@pytest.mark.parametrize("where", WHERE)
def test_other_processors_make_the_same_bits(where: str) -> None:
    pytest.importorskip("unicorn")
    pytest.importorskip("ziglang")
    machine, processor = WHERE[where]
    _, engine, given, wanted = strict_gru()
    elsewhere = EngineElsewhere(engine, machine, target=processor)
    assert np.array_equal(np.stack([values(elsewhere.process(x.numpy())) for x in given[:20]]), wanted[:20])


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("kind", NARROW)
@pytest.mark.parametrize("name", ["LSTM", "DDSP"])
def test_networks_make_the_same_bits_everywhere(name: str, kind: Precision, where: str) -> None:
    pytest.importorskip("unicorn")
    pytest.importorskip("ziglang")
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    engine = compile_engine(make().eval(), (torch.zeros(shape),), precision=kind, strict=True)
    elsewhere = EngineElsewhere(engine, WHERE[where][0], target=WHERE[where][1])
    for x in noise(shape, 6):
        assert np.array_equal(values(engine.process(x.numpy())), values(elsewhere.process(x.numpy())))


@pytest.mark.parametrize("kind", NARROW)
@pytest.mark.parametrize("name", ["GRU", "LSTM"])
def test_not_a_number_is_borne_and_forgotten(name: str, kind: Precision) -> None:
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    engine = compile_engine(make().eval(), (torch.zeros(shape),), precision=kind)
    clean = np.ones(shape, np.float32)
    wanted = engine.process(clean)
    for bad in (np.nan, np.inf, -np.inf, 3e38):
        for place in (slice(None), 0):
            dirty = clean.copy()
            dirty[..., place] = bad
            assert np.isfinite(engine.process(dirty)).all()
        engine.reset()
        assert np.array_equal(engine.process(clean), wanted)
        engine.reset()


class Mixed(nn.Module):
    """A convolution, a large and a small linear layer, a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.filter = nn.Conv1d(4, 24, 3)
        self.norm = nn.LayerNorm(24)
        self.wide, self.few = nn.Linear(24, 64), nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.few(torch.tanh(self.wide(self.norm(self.filter(x).mean(-1)))))
        return y


def test_the_report_names_what_stays_in_floats() -> None:
    torch.manual_seed(0)
    module = Mixed().eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    calls = [(torch.randn(1, 4, 12),) for _ in range(5)]
    report = compile_engine(module, calls[0], precision="int8", samples=calls).precision_report
    told = {line.weight: line for line in report}
    assert set(told) == {"filter.weight", "wide.weight", "few.weight"}
    assert told["wide.weight"].precision == "int8" and not told["wide.weight"].reason
    assert 40 < told["wide.weight"].weight_snr_db < 60
    assert told["filter.weight"].precision == told["few.weight"].precision == "float32"
    assert "fewer than 32 outputs" in told["filter.weight"].reason and "rows" in told["few.weight"].reason
    assert told["filter.weight"].output_snr_db == float("inf")
    heard = told["wide.weight"].output_snr_db
    assert heard is not None and 35 < heard < 70 and told["few.weight"].output_snr_db is not None
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    silent = compile_engine(module, calls[0], precision="int8").precision_report
    assert all(line.output_snr_db is None for line in silent)
    exact = compile_engine(module, calls[0]).precision_report
    assert {line.precision for line in exact} == {"float32"} and not any(line.reason for line in exact)


def test_weights_beyond_float16_stay_in_floats() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(32, 32)
    with torch.no_grad():
        layer.weight[3, 4] = 1e6
    engine = compile_engine(layer, (torch.zeros(1, 32),), precision="float16")
    assert "largest of float16" in engine.precision_report[0].reason
    assert compile_engine(layer, (torch.zeros(1, 32),), precision="bfloat16").precision_report[0].reason == ""


def test_models_are_exported_so_too() -> None:
    model = tiny()
    exact, small = export(model, "tiny"), export(model, "tiny", precision="int8")
    assert "int8_t stored_weights8" in small.files["tiny_weights.h"] and ": int8, " in small.files["tiny_weights.h"]
    assert "int8" not in exact.files["tiny_weights.h"] and "pc_int8.h" not in exact.files
    with pytest.raises(ExportError, match="precision"):
        export(model, "tiny", precision="int4")  # type: ignore[arg-type]


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("kind", NARROW)
def test_no_compiler_finds_fault(kind: Precision, compiler: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    engine = compile_engine(Carried(nn.GRU, 9, 21).eval(), (torch.zeros(1, 1, 9),), name="quiet", precision=kind)
    assert faults(compiler, engine, tmp_path) == []
