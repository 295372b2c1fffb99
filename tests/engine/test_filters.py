"""Convolutions with weights of 16 and 8 bits: the same bits in numpy and everywhere, near their twin and torch."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pochette.boards import target
from pochette.engine import build, precision
from pochette.engine.compiled import Engine, compile_engine
from pochette.engine.elsewhere import EngineElsewhere
from pochette.engine.packing import FloatArray
from pochette.engine.precision import Precision
from tests.engine.compilers import COMPILERS, faults
from tests.engine.test_precision import BOUNDS, NARROW, WHERE
from tests.engine.test_reduced_kernels import FLAVOURS


class Rest(nn.Module):
    """A convolution onto which its input is added: one statement in C."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(40, 40, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(torch.tanh(x))


class Line(nn.Module):
    """A causal convolution that remembers, a transposed one, and a filter too small to gain: 16 floats a call to 64."""

    def __init__(self) -> None:
        super().__init__()
        self.dilated, self.up = nn.Conv1d(16, 48, 3, dilation=2), nn.ConvTranspose1d(48, 12, 8, stride=4)
        self.few = nn.Conv1d(12, 1, 3, padding=1)
        self.register_buffer("past", torch.zeros(1, 16, 4))
        self.register_buffer("tail", torch.zeros(1, 12, 4))

    def forward(self, x: Tensor) -> Tensor:
        heard = torch.cat([self.past, x], -1)
        self.past.copy_(heard[..., -4:])
        y = self.up(torch.tanh(self.dilated(heard)))
        y = y + nn.functional.pad(self.tail, (0, y.shape[-1] - 4))
        self.tail.copy_(y[..., -4:])
        return self.few(y[..., :-4])


FILTERS: dict[str, Any] = {
    "one sample": (lambda: nn.Conv1d(24, 33, 3), (1, 24, 3)),
    "five": (lambda: nn.Conv1d(24, 32, 3), (1, 24, 7)),
    "many": (lambda: nn.Conv1d(24, 150, 3), (1, 24, 42)),
    "odd": (lambda: nn.Conv1d(11, 33, 3), (1, 11, 20)),
    "dilated": (lambda: nn.Conv1d(16, 33, 3, dilation=4), (1, 16, 40)),
    "strided, padded, two sounds": (lambda: nn.Conv1d(16, 33, 5, stride=2, padding=3), (2, 16, 31)),
    "grouped, no bias": (lambda: nn.Conv1d(24, 64, 3, groups=2, bias=False), (2, 24, 20)),
    "same, an even filter": (lambda: nn.Conv1d(16, 32, 4, padding="same", dilation=3), (1, 16, 40)),
    "added to": (Rest, (1, 40, 37)),
    "without a batch": (lambda: nn.Conv1d(16, 32, 3), (16, 20)),
    "transposed": (lambda: nn.ConvTranspose1d(64, 16, 8, stride=4), (1, 64, 9)),
    "transposed, padded": (lambda: nn.ConvTranspose1d(64, 16, 7, stride=4, padding=2, output_padding=1), (2, 64, 9)),
    "transposed, grouped, dilated": (lambda: nn.ConvTranspose1d(32, 24, 3, stride=2, groups=2, dilation=3), (1, 32, 9)),
    "a line": (Line, (1, 16, 16)),
}


def made(name: str, kind: Precision, **options: Any) -> tuple[nn.Module, Engine, list[Tensor]]:
    """A network, its engine and some calls."""
    torch.manual_seed(0)
    make, shape = FILTERS[name]
    module = make().eval()
    return (
        module,
        compile_engine(module, (torch.zeros(shape),), precision=kind, **options),
        [torch.randn(shape) * 10.0**step for step in (0, 0, -3, 1)],
    )


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("kind", NARROW)
def test_near_its_twin_and_not_far_from_torch(name: str, kind: Precision) -> None:
    module, engine, calls = made(name, kind)
    assert any(line.precision == kind for line in engine.precision_report)
    for x in calls:
        with torch.no_grad():
            wanted = module(x).numpy()
        got: Any = engine.process(x.numpy())
        (twin,) = engine.twin.process(x)
        top = np.abs(wanted).max()
        assert np.abs(got - twin.numpy()).max() < (1e-4 if kind == "int8" else 1e-6) * top
        assert 0 < np.abs(twin.numpy() - wanted).max() < 2 * BOUNDS[kind] * top


def in_numpy(kind: Precision, layer: nn.Conv1d, x: FloatArray, added: FloatArray | None) -> FloatArray:
    """What the kernels must give, to the bit: window by window, in the order of their additions."""
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    matrix = weight.transpose(0, 2, 1).reshape(len(weight), -1)
    (taps,), (dilation,) = layer.kernel_size, layer.dilation
    columns = []
    for t in range(x.shape[1] - (taps - 1) * dilation):
        window = x[:, t : t + (taps - 1) * dilation + 1 : dilation].T.ravel()
        if kind == "int8":
            out = precision.multiply_whole(*precision.quantise_rows(matrix), bias, window)
        else:
            stored, even, odd = precision.rounded_matrix(matrix, kind), bias.copy(), np.zeros_like(bias)
            for k in range(0, len(window), 2):
                even = even + stored[:, k] * window[k]
                odd = odd + stored[:, k + 1] * window[k + 1] if k + 1 < len(window) else odd
            out = even + odd
        columns.append(out if added is None else out + added[:, t])
    return np.stack(columns, 1)


@pytest.mark.parametrize("name", ["one sample", "five", "many", "odd", "dilated", "added to"])
@pytest.mark.parametrize("kind", NARROW)
def test_numpy_makes_the_same_bits(name: str, kind: Precision) -> None:
    module, engine, calls = made(name, kind, strict=True)
    layer: Any = module.conv if isinstance(module, Rest) else module
    for x in calls[:1] if isinstance(module, Rest) else calls:
        given = x[0].numpy()
        if isinstance(module, Rest):
            # What stands before the filter is taken from an engine of floats: its tanh is not numpy's.
            before: Any = compile_engine(nn.Tanh(), (x,), strict=True).process(x.numpy())
            wanted = in_numpy(kind, layer, before[0], given)
        else:
            wanted = in_numpy(kind, layer, given, None)
        got: Any = engine.process(x.numpy())
        assert np.array_equal(got[0], wanted)


def test_a_transposed_filter_in_numpy_to_the_bit() -> None:
    """Every stride of outputs is a product of all inputs that it meets, zeros where there is none."""
    module, engine, calls = made("transposed", "int8", strict=True)
    weight, bias = module.weight.detach().numpy(), module.bias.detach().numpy()  # type: ignore[union-attr, operator]
    for x in calls:
        padded = np.pad(x[0].numpy(), ((0, 0), (1, 1)))
        rows = []
        for t in range(10):
            newest, oldest = weight[:, :, :4], weight[:, :, 4:]
            # (phase and output) by (tap and input): the older input meets the later taps.
            matrix = np.stack([oldest, newest]).transpose(3, 2, 0, 1).reshape(64, 128)
            window = padded[:, t : t + 2].T.ravel()
            whole, scales = precision.quantise_rows(matrix)
            rows.append(precision.multiply_whole(whole, scales, np.tile(bias, 4), window).reshape(4, 16).T)
        got: Any = engine.process(x.numpy())
        assert np.array_equal(got[0], np.concatenate(rows, 1))


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("kind", NARROW)
@pytest.mark.parametrize("name", ["many", "dilated", "a line"])
def test_other_processors_make_the_same_bits(name: str, kind: Precision, where: str) -> None:
    pytest.importorskip("unicorn")
    pytest.importorskip("ziglang")
    _, engine, calls = made(name, kind, strict=True)
    elsewhere = EngineElsewhere(engine, WHERE[where][0], target=WHERE[where][1])
    for x in calls:
        assert np.array_equal(engine.process(x.numpy()), elsewhere.process(x.numpy()))


def test_weights_shrink_and_small_filters_stay() -> None:
    _, exact, _ = made("a line", "float32")
    _, small, _ = made("a line", "int8")
    told = {line.weight: line for line in small.precision_report}
    assert told["dilated.weight"].precision == told["up.weight"].precision == "int8"
    assert told["few.weight"].precision == "float32" and "32 outputs" in told["few.weight"].reason
    assert 40 < told["up.weight"].weight_snr_db < 60
    assert small.weight_bytes < 0.4 * exact.weight_bytes


def test_no_more_instructions_than_memory_is_worth() -> None:
    """On a Cortex-M7 a filter of 64 channels in 8 bits takes about as many instructions as in floats."""
    pytest.importorskip("unicorn")
    pytest.importorskip("ziglang")
    torch.manual_seed(0)
    layer, x = nn.Conv1d(64, 64, 3), torch.randn(1, 64, 34)
    counts = {}
    for kind in ("float32", "int8"):
        engine = compile_engine(layer, (x,), precision=kind, board="daisy-seed")
        there = EngineElsewhere(engine, "cortex-m7", counting=True, target=target.CORTEX_M7)
        counts[kind] = there.count(x.numpy()).instructions
    assert counts["int8"] < 1.15 * counts["float32"], counts


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("kind", NARROW)
def test_no_compiler_finds_fault(kind: Precision, compiler: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    engine = compile_engine(Line().eval(), (torch.zeros(1, 16, 16),), name="quiet", precision=kind)
    assert faults(compiler, engine, tmp_path) == []


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("kind", NARROW)
def test_every_width_of_vectors_makes_the_same_bits(
    kind: Precision, flavour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if flavour not in ("native", "plain loops") and platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("an x86 flavour")
    _, engine, calls = made("a line", kind, strict=True)
    wanted = [engine.process(x.numpy()) for x in calls]
    plain = build.compile_files

    def compiled(files: dict[str, str], command: Sequence[str], *, link: Sequence[str], salt: str = "") -> bytes:
        return plain(files, [*command, *FLAVOURS[flavour]], link=link, salt=salt)

    monkeypatch.setattr(build, "compile_files", compiled)
    _, other, _ = made("a line", kind, strict=True)
    for x, each in zip(calls, wanted, strict=True):
        assert np.array_equal(other.process(x.numpy()), each)
