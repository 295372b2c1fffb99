"""Every kind of layer that an engine of 8 bits holds: numpy's bits on every processor, and exact where it is quiet."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pochette.boards import target
from pochette.engine import precision
from pochette.engine.compiled import Engine, compile_engine
from pochette.engine.elsewhere import EngineElsewhere
from pochette.engine.export import export_with_twin
from pochette.engine.packing import FloatArray
from pochette.engine.precision import quantise_rows, snr_db
from pochette.engine.rounding import layers_of, with_outputs
from pochette.families import models
from pochette.models.model import Model
from tests.engine.test_export import tiny
from tests.engine.test_precision import WHERE, gate, tanh

UNITS, STEPS = 37, 3
QUIET = 0.01
"""-40 dBFS."""
QUIET_SNR_DB = 40.0


class EveryKind(nn.Module):
    """A layer of each kind, each with a sound or a sequence of its own; the recurrent ones carry their states."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(24, 40)
        self.conv = nn.Conv1d(24, 33, 3)
        self.dilated = nn.Conv1d(16, 33, 3, dilation=4)
        self.strided = nn.Conv1d(16, 32, 5, stride=2)
        self.grouped = nn.Conv1d(24, 64, 3, groups=2)
        self.transposed = nn.ConvTranspose1d(32, 12, 8, stride=4)
        self.spread = nn.ConvTranspose1d(24, 16, 3, stride=2, dilation=3)
        self.gru, self.lstm = nn.GRU(24, UNITS), nn.LSTM(24, UNITS)
        for name in ("gru_h", "lstm_h", "lstm_c"):
            self.register_buffer(name, torch.zeros(1, 1, UNITS))

    def forward(self, vector: Tensor, wide: Tensor, narrow: Tensor, few: Tensor, steps: Tensor) -> tuple[Tensor, ...]:
        played, h = self.gru(steps, self.gru_h)
        self.gru_h.copy_(h)
        heard, (h, c) = self.lstm(steps, (self.lstm_h, self.lstm_c))
        self.lstm_h.copy_(h)
        self.lstm_c.copy_(c)
        sounds = self.conv(wide), self.dilated(narrow), self.strided(narrow), self.grouped(wide)
        return (self.linear(vector), *sounds, self.transposed(few), self.spread(wide), played, heard)


KINDS = ("linear", "conv", "dilated", "strided", "grouped", "transposed", "spread", "gru", "lstm")
SHAPES = ((1, 24), (1, 24, 19), (1, 16, 23), (1, 32, 6), (STEPS, 1, 24))
HEARD = {"linear": 0, "conv": 1, "grouped": 1, "spread": 1, "dilated": 2, "strided": 2, "transposed": 3}
"""Which of the inputs each layer hears; the recurrent ones hear the last."""


@cache
def built() -> tuple[EveryKind, Engine]:
    torch.manual_seed(0)
    module = EveryKind().eval()
    return module, compile_engine(module, tuple(map(torch.zeros, SHAPES)), precision="int8", strict=True)


def calls(loudest: float = 1.0, count: int = 4) -> list[tuple[Tensor, ...]]:
    """Inputs whose largest magnitude is as told."""
    torch.manual_seed(1)
    drawn = [tuple(map(torch.randn, SHAPES)) for _ in range(count)]
    return [tuple(loudest * x / x.abs().max() for x in call) for call in drawn]


def arrays(tensors: Sequence[Tensor]) -> list[FloatArray]:
    return [tensor.detach().numpy() for tensor in tensors]


def convolved(layer: nn.Conv1d, x: FloatArray) -> FloatArray:
    """Group by group, window by window."""
    weight, bias = arrays([layer.weight, layer.bias])  # type: ignore[list-item]
    (taps,), (stride,), (dilation,), groups = layer.kernel_size, layer.stride, layer.dilation, layer.groups
    span = (taps - 1) * dilation + 1
    made = []
    for own, offset, given in zip(*(np.split(part, groups) for part in (weight, bias, x)), strict=True):
        whole, scales = quantise_rows(own.transpose(0, 2, 1).reshape(len(own), -1))
        windows = [given[:, t : t + span : dilation].T.ravel() for t in range(0, x.shape[1] - span + 1, stride)]
        made.append(np.stack([precision.multiply_whole(whole, scales, offset, window) for window in windows], 1))
    return np.concatenate(made)


def spread_out(layer: nn.ConvTranspose1d, x: FloatArray) -> FloatArray:
    """As many outputs at once as the stride is long, from all inputs that any of them meets."""
    weight, bias = arrays([layer.weight, layer.bias])  # type: ignore[list-item]
    (taps,), (stride,), (dilation,) = layer.kernel_size, layer.stride, layer.dilation
    span = (taps - 1) * dilation + 1
    meets = -(-span // stride)
    ins, outs, _ = weight.shape
    rows = np.zeros((stride, outs, meets, ins), np.float32)
    for tap in range(taps):
        age, phase = divmod(tap * dilation, stride)
        rows[phase, :, meets - 1 - age] = weight[:, :, tap].T
    whole, scales = quantise_rows(rows.reshape(stride * outs, -1))
    padded = np.pad(x, ((0, 0), (meets - 1, meets)))
    length = (x.shape[1] - 1) * stride + span
    windows = [padded[:, t : t + meets].T.ravel() for t in range(-(-length // stride))]
    made = [precision.multiply_whole(whole, scales, np.tile(bias, stride), window) for window in windows]
    return np.concatenate([each.reshape(stride, outs).T for each in made], 1)[:, :length]


class InNumpy:
    """The recurrent layers step by step, and all others call by call."""

    def __init__(self, module: EveryKind) -> None:
        self.module = module
        self.gru_h, self.lstm_h, self.lstm_c = (np.zeros(UNITS, np.float32) for _ in range(3))

    def gru(self, x: FloatArray) -> FloatArray:
        w, u, a, b = arrays(list(self.module.gru.parameters()))
        of_new = np.arange(3 * UNITS) >= 2 * UNITS
        from_x = precision.multiply_whole(*quantise_rows(w), np.where(of_new, a, a + b), x)
        from_h = precision.multiply_whole(*quantise_rows(u), np.where(of_new, b, np.float32(0)), self.gru_h)
        (r, z, n), (of_r, of_z, of_n) = np.split(from_x, 3), np.split(from_h, 3)
        new = tanh(n + gate(r + of_r) * of_n)
        self.gru_h = new + gate(z + of_z) * (self.gru_h - new)
        return self.gru_h

    def lstm(self, x: FloatArray) -> FloatArray:
        w, u, a, b = arrays(list(self.module.lstm.parameters()))
        from_x = precision.multiply_whole(*quantise_rows(w), a + b, x)
        i, f, g, o = np.split(precision.multiply_whole(*quantise_rows(u), from_x, self.lstm_h), 4)
        self.lstm_c = gate(f) * self.lstm_c + gate(i) * tanh(g)
        self.lstm_h = gate(o) * tanh(self.lstm_c)
        return self.lstm_h

    def process(self, *inputs: FloatArray) -> list[FloatArray]:
        own, made = self.module, []
        linear = arrays([own.linear.weight, own.linear.bias])
        made.append(precision.multiply_whole(*quantise_rows(linear[0]), linear[1], inputs[0][0])[None])
        for kind in KINDS[1:5]:
            made.append(convolved(getattr(own, kind), inputs[HEARD[kind]][0])[None])
        for kind in KINDS[5:7]:
            made.append(spread_out(getattr(own, kind), inputs[HEARD[kind]][0])[None])
        return [*made, *(np.stack([step(x) for x in inputs[4][:, 0]])[:, None] for step in (self.gru, self.lstm))]


def test_every_kind_is_stored_in_whole_numbers() -> None:
    report = built()[1].precision_report
    assert {line.layer for line in report} == set(KINDS) and {line.precision for line in report} == {"int8"}


def test_numpy_makes_the_same_bits() -> None:
    module, engine = built()
    engine.reset()
    reference = InNumpy(module)
    for call in calls():
        for kind, got, wanted in zip(
            KINDS, engine.process(*arrays(call)), reference.process(*arrays(call)), strict=True
        ):
            assert np.array_equal(got, wanted), kind


@pytest.mark.parametrize("where", [*WHERE, "cortex-m4"])
def test_other_processors_make_the_same_bits(where: str) -> None:
    pytest.importorskip("unicorn")
    pytest.importorskip("ziglang")
    module, engine = built()
    machine, processor = {**WHERE, "cortex-m4": ("cortex-m4", target.CORTEX_M4F)}[where]
    elsewhere, reference = EngineElsewhere(engine, machine, target=processor), InNumpy(module)
    for call in calls():
        for kind, got, wanted in zip(
            KINDS, elsewhere.process(*arrays(call)), reference.process(*arrays(call)), strict=True
        ):
            assert np.array_equal(got, wanted), kind


@pytest.mark.parametrize("loudest", [1.0, QUIET, 1e-6])
def test_quiet_passages_are_as_exact_as_loud_ones(loudest: float) -> None:
    """Against floats that hold the same matrices: vectors of 16 bits that follow the signal's size lose nothing."""
    _, engine = built()
    engine.reset()
    floats = engine.twin.floats(rounded=True)
    made, wanted = [], []
    for call in calls(loudest):
        made.append(engine.process(*arrays(call)))
        wanted.append(arrays(floats.process(*call)))
    for number, kind in enumerate(KINDS):
        found, exact = (np.stack([call[number] for call in each]) for each in (made, wanted))
        assert snr_db(exact, found) > QUIET_SNR_DB + 20, kind


def test_layers_are_told_of_as_they_are() -> None:
    """The ratio of the first layer is that of numpy's arithmetic, and vectors count where they are rounded."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(24, 40), nn.Tanh(), nn.utils.parametrizations.weight_norm(nn.Linear(40, 32)))
    given = [(torch.randn(1, 24),) for _ in range(20)]
    first, second = compile_engine(net, given[0], precision="int8", samples=given).precision_report
    weight, bias = arrays([net[0].weight, net[0].bias])
    made = [precision.multiply_whole(*quantise_rows(weight), bias, x.numpy()[0]) for (x,) in given]
    exact = [net[0](x)[0].detach().numpy() for (x,) in given]
    assert first.output_snr_db == pytest.approx(snr_db(np.stack(exact), np.stack(made)), abs=0.05)
    # Weights computed of others once and for all are told of too, and what came before them is heard.
    assert second.output_snr_db is not None and 30 < second.output_snr_db < second.weight_snr_db + 3


QUIET_FRAMES = 60


def spoken(model: Model) -> FloatArray:
    """A quiet phrase, (frame, control)."""
    knobs = np.tile(np.array([knob.default for knob in model.controls], np.float32), (QUIET_FRAMES, 1))
    knobs[:, [knob.name for knob in model.controls].index("loudness_db")] = -40.0
    return knobs


@pytest.mark.parametrize("name", ["ddsp", "nsf"])
def test_a_quiet_phrase_of_a_model_is_that_of_floats_that_hold_the_same_matrices(name: str) -> None:
    torch.manual_seed(0)
    model = tiny() if name == "ddsp" else models[name].sized("tiny", channels=32, layers=2, blocks=1).build().eval()
    _, twin = export_with_twin(model, "quiet", "int8")
    assert twin.rounded, "nothing would be tried"
    exact = twin.floats(rounded=True).play(spoken(model))
    assert QUIET_SNR_DB < snr_db(exact, twin.play(spoken(model))) < float("inf")


def test_the_layers_of_a_step_that_hears_itself_are_told_of() -> None:
    """A sample drawn otherwise is no noise: the last layers are as exact as the first."""
    torch.manual_seed(0)
    model = models["wavenet"].sized("tiny", residual_channels=32, gate_channels=32, skip_channels=32).build().eval()
    _, twin = export_with_twin(model, "drawn", "int8")
    told = layers_of(twin, spoken(model)[:3])
    ratios = [line.output_snr_db for line in told if line.precision == "int8"]
    assert len(ratios) > 4 and all(ratio is not None and ratio > 25 for ratio in ratios), ratios
    assert all(line.reason for line in told if line.precision == "float32")
    for part, given in twin.calls(spoken(model)[:3]):
        for line in with_outputs(part, given, vectors_alone=True, follow=True):
            assert line.output_snr_db is not None and line.output_snr_db > QUIET_SNR_DB, line
