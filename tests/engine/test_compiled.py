"""Any captured step as C: it computes what torch does, step after step, whatever the layers, shapes and blocks."""

from __future__ import annotations

import copy
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pochette.engine.build import WARNINGS, host_compiler, zig
from pochette.engine.compiled import Engine, compile_engine
from pochette.errors import ExportError, ShapeError

TOLERANCE = 3e-6
"""Of the largest value."""


class Recurrent(nn.Module):
    """A stack of recurrent layers whose state is kept in buffers."""

    def __init__(self, kind: type[nn.RNNBase], inputs: int, units: int, **options: Any) -> None:
        super().__init__()
        batch = options.pop("batch", 1)
        self.layers = kind(inputs, units, **options)
        directions = 2 if self.layers.bidirectional else 1
        stack, wide = directions * self.layers.num_layers, self.layers.proj_size or units
        self.head = nn.Linear(wide * directions, 3)
        self.register_buffer("hidden", torch.randn(stack, batch, wide) / 5)
        self.register_buffer("cells", torch.randn(stack, batch, units) / 5)

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.layers, nn.LSTM):
            y, (hidden, cells) = self.layers(x, (self.hidden, self.cells))
            self.cells.copy_(cells)
        else:
            y, hidden = self.layers(x, self.hidden)
        self.hidden.copy_(hidden)
        return self.head(y)


class Cells(nn.Module):
    """Single steps of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.lstm, self.plain = nn.GRUCell(3, 20), nn.LSTMCell(20, 9), nn.RNNCell(9, 33, nonlinearity="relu")
        for name, units in {"a": 20, "b": 9, "c": 9, "d": 33}.items():
            self.register_buffer(name, torch.zeros(2, units))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a = self.gru(x, self.a)
        b, c = self.lstm(a, (self.b, self.c))
        d = self.plain(b, self.d)
        for old, new in ((self.a, a), (self.b, b), (self.c, c), (self.d, d)):
            old.copy_(new)
        return d, c


class Causal(nn.Module):
    """A convolution that keeps its past."""

    def __init__(self, inputs: int, outputs: int, taps: int, **options: Any) -> None:
        super().__init__()
        self.filter = nn.Conv1d(inputs, outputs, taps, **options)
        dilation, stride = self.filter.dilation[0], self.filter.stride[0]
        self.past = max((taps - 1) * dilation + 1 - stride, 0)
        self.register_buffer("state", torch.randn(1, inputs, self.past) / 5)

    def forward(self, x: Tensor) -> Tensor:
        if not self.past:
            return self.filter(x)
        whole = torch.cat([self.state, x], -1)
        self.state.copy_(whole[..., -self.past :])
        return self.filter(whole)


class Spread(nn.Module):
    """A transposed convolution whose overlapping tails are carried on."""

    def __init__(self, inputs: int, outputs: int, taps: int, stride: int) -> None:
        super().__init__()
        self.filter = nn.ConvTranspose1d(inputs, outputs, taps, stride, bias=False)
        self.tail = taps - stride
        self.register_buffer("state", torch.randn(1, outputs, self.tail) / 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.filter(x)
        made = y.shape[-1] - self.tail
        y = y + functional.pad(self.state, (0, made))
        self.state.copy_(y[..., made:])
        return torch.tanh(y[..., :made])


class Gated(nn.Module):
    """A WaveNet layer: two halves of a dilated convolution, conditioned, gated, with residual and skip outputs."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.causal = Causal(channels, 2 * channels, 2, dilation=dilation)
        self.condition = nn.Conv1d(1, 2 * channels, 1)
        self.residual, self.skip = nn.Conv1d(channels, channels, 1), nn.Conv1d(channels, 5, 1)

    def forward(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        y, gate = (self.causal(x) + self.condition(condition)).chunk(2, 1)
        y = torch.tanh(y) * torch.sigmoid(gate)
        return x + self.residual(y), self.skip(y)


class Stack(nn.Module):
    """Gated layers, one after the other."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, channels, 1)
        self.layers = nn.ModuleList(Gated(channels, 2**n) for n in range(4))

    def forward(self, x: Tensor) -> Tensor:
        y, total = self.first(x), 0
        for layer in self.layers:
            y, skip = layer(y, x)
            total = total + skip
        return functional.leaky_relu(total, 0.1)


class Pointwise(nn.Module):
    """Chains of elementwise operators with every kind of broadcasting, and results that are states of the past."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.randn(7, 1))
        self.row = nn.Parameter(torch.rand(19) + 0.5)
        self.register_buffer("smooth", torch.zeros(1, 7, 19))
        self.register_buffer("before", torch.zeros(1, 7, 19))

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        a = (x * self.gain + y) / self.row
        smooth = 0.9 * self.smooth + 0.1 * a
        self.before.copy_(self.smooth)
        self.smooth.copy_(smooth)
        b = torch.where(a > 0, a, torch.exp(a.clamp(-3, 3)) - 1)
        c = torch.sqrt(a * a + 1) - torch.log(a.abs() + 1) + functional.silu(a)
        return b, self.before + c.transpose(1, 2).transpose(1, 2), torch.maximum(b, c)[:, 2:5, ::2]


def played(module: nn.Module, shapes: tuple[tuple[int, ...], ...], steps: int, **options: Any) -> tuple[Engine, float]:
    """Play the same noise through torch and C, twice with a reset between: the engine, and how far it was off at most.

    What is off is said per the largest number that was wanted, where that is above 1.
    """
    torch.manual_seed(1)
    module = module.eval()
    reference = copy.deepcopy(module)
    engine = compile_engine(module, tuple(torch.zeros(shape) for shape in shapes), **options)
    noise = [tuple(torch.randn(shape) for shape in shapes) for _ in range(steps)]
    with torch.no_grad():
        wanted = [reference(*given) for given in noise]
    worst = 0.0
    for _ in range(2):
        for given, want in zip(noise, wanted, strict=True):
            made = engine.process(*(x.numpy() for x in given))
            for mine, theirs in zip(
                made if isinstance(made, tuple) else (made,), want if isinstance(want, tuple) else (want,), strict=True
            ):
                scale = max(1.0, float(theirs.abs().max()))
                off = float(np.abs(mine - theirs.numpy()).max()) / scale
                worst = max(worst, off if np.isfinite(off) else np.inf)
        engine.reset()
    return engine, worst


def off(module: nn.Module, *shapes: tuple[int, ...], steps: int = 12, **options: Any) -> float:
    """How far C is off what torch says at most; see `played`."""
    return played(module, shapes, steps, **options)[1]


def agree(module: nn.Module, shapes: tuple[tuple[int, ...], ...], steps: int = 12, **options: Any) -> Engine:
    """The engine, which says what torch says; see `played`."""
    engine, worst = played(module, shapes, steps, **options)
    assert worst <= TOLERANCE
    return engine


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN])
@pytest.mark.parametrize(
    ("inputs", "units", "steps", "options"),
    [
        (1, 32, 1, {}),
        (3, 40, 1, {"batch_first": True}),
        (5, 10, 3, {"num_layers": 2}),
        (2, 20, 3, {"num_layers": 2, "bidirectional": True, "batch": 2}),
        (7, 130, 2, {"bias": False}),
        (1, 3, 4, {"batch_first": True, "batch": 3}),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_recurrent_layers(kind: type[nn.RNNBase], inputs: int, units: int, steps: int, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    batch = options.get("batch", 1)
    shape = (batch, steps, inputs) if options.get("batch_first") else (steps, batch, inputs)
    assert off(Recurrent(kind, inputs, units, **options), shape) <= TOLERANCE


@pytest.mark.filterwarnings("ignore")
def test_projected_recurrent_layers_and_cells() -> None:
    torch.manual_seed(0)
    assert off(Recurrent(nn.LSTM, 3, 24, proj_size=10), (2, 1, 3)) <= TOLERANCE
    assert off(Cells(), (2, 3)) <= TOLERANCE


CONVOLUTIONS: dict[str, Callable[[], nn.Module]] = {
    "dilated": lambda: Causal(3, 5, 3, dilation=4),
    "wide": lambda: Causal(16, 33, 3),
    "one channel": lambda: Causal(1, 6, 5),
    "pointwise": lambda: Causal(8, 2, 1),
    "grouped": lambda: Causal(8, 12, 3, groups=4),
    "depthwise": lambda: Causal(6, 6, 4, groups=6, dilation=2),
    "strided": lambda: Causal(4, 7, 8, stride=4),
    "padded": lambda: nn.Conv1d(3, 5, 3, padding=1),
    "same": lambda: nn.Conv1d(3, 5, 4, padding="same", dilation=3),
    "far padded": lambda: nn.Conv1d(3, 5, 4, padding=9, stride=2),
    "no bias": lambda: Causal(4, 4, 2, bias=False),
    "transposed": lambda: Spread(5, 3, 8, 4),
    "transposed far": lambda: Spread(2, 1, 20, 3),
    "transposed grouped": lambda: nn.ConvTranspose1d(4, 6, 5, 2, padding=1, output_padding=1, groups=2, dilation=2),
    "two in a row": lambda: nn.Sequential(Causal(2, 9, 3), nn.LeakyReLU(0.2), Causal(9, 4, 3, dilation=3), nn.Tanh()),
    "decoder": lambda: nn.Sequential(Causal(8, 32, 3), nn.LeakyReLU(0.2), Spread(32, 17, 8, 4), Causal(17, 1, 7)),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("samples", [4, 32, 52])
def test_convolutions(name: str, samples: int) -> None:
    torch.manual_seed(0)
    module = CONVOLUTIONS[name]()
    first = next(part for part in module.modules() if isinstance(part, (nn.Conv1d, nn.ConvTranspose1d)))
    assert off(module, (1, first.in_channels, samples)) <= TOLERANCE


@pytest.mark.parametrize("samples", [1, 3, 16, 21])
@pytest.mark.parametrize("board", ["host", "daisy-seed"])
def test_pasts_of_many_blocks(samples: int, board: str) -> None:
    """Every block is written twice, where it is made in a loop, copied from the input, or made by a convolution."""
    torch.manual_seed(0)
    far = 20 * samples
    layers: list[nn.Module] = [Causal(2, 6, 3, dilation=far), nn.LeakyReLU(0.2), Causal(6, 5, 3, dilation=far - 1)]
    engine = agree(nn.Sequential(*layers, Causal(5, 1, 4, dilation=17 * samples)), ((1, 2, samples),), 150, board=board)
    assert "pc_move(s->" not in engine.sources["net.c"]


class Computed(nn.Module):
    """A filter that comes in with the signal."""

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        return functional.conv_transpose1d(functional.conv1d(x, weight, padding=1), weight, stride=2)


def test_images_and_computed_filters() -> None:
    torch.manual_seed(0)
    image = nn.Sequential(
        nn.Conv2d(3, 8, (3, 2), stride=(1, 2), padding=(1, 0), groups=1),
        nn.Conv2d(8, 8, 3, groups=4, dilation=2, padding="same"),
        nn.ConvTranspose2d(8, 4, 3, stride=2, padding=1, output_padding=1, groups=2),
    )
    assert off(image, (2, 3, 7, 9), steps=2) <= TOLERANCE
    assert off(nn.Conv3d(2, 3, 2), (1, 2, 3, 4, 5), steps=2) <= TOLERANCE
    assert off(Computed(), (1, 4, 20), (4, 4, 3), steps=2) <= TOLERANCE


@pytest.mark.parametrize("samples", [1, 7, 16, 64])
@pytest.mark.parametrize("channels", [3, 16])
def test_gated_layers(channels: int, samples: int) -> None:
    torch.manual_seed(0)
    board = "host" if samples == 64 else "daisy-seed"
    assert off(Stack(channels), (1, 1, samples), steps=40, board=board) <= TOLERANCE


def test_elementwise_chains() -> None:
    torch.manual_seed(0)
    assert off(Pointwise(), (1, 7, 19), (1, 1, 1)) <= TOLERANCE
    assert off(Pointwise(), (1, 7, 19), (1, 7, 19)) <= TOLERANCE


def test_linear_layers_of_all_shapes() -> None:
    torch.manual_seed(0)
    for inputs, outputs in ((1, 1), (3, 17), (40, 1), (65, 5), (33, 130), (200, 300)):
        assert off(nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU()), (2, inputs), steps=2) <= TOLERANCE


def test_two_instances_do_not_touch_each_other() -> None:
    torch.manual_seed(0)
    engine = compile_engine(Causal(3, 5, 3).eval(), (torch.zeros(1, 3, 20),))
    assert engine._library is not None  # loaded: both use the same
    other = copy.copy(engine)
    noise = np.random.default_rng(0).standard_normal((6, 1, 3, 20)).astype(np.float32)
    alone = [engine.process(x) for x in noise]
    engine.reset()
    for x, want in zip(noise, alone, strict=True):
        assert np.array_equal(engine.process(x), want)
        other.process(x[:, :, ::-1])


def test_wrong_use_is_told() -> None:
    engine = compile_engine(nn.Linear(3, 2), (torch.zeros(1, 3),))
    with pytest.raises(ShapeError, match="shapes"):
        engine.process(np.zeros((1, 4)))
    for nonsense in ("a", [[[1j, 2]]], [[1.0], [2.0, 3.0]]):
        with pytest.raises(ShapeError, match=r"no real numbers|shapes"):
            engine.process(nonsense)
    with pytest.raises(ShapeError, match="as at capture"):
        compile_engine(nn.Linear(3, 2), (torch.zeros(1, 3),), samples=[(torch.zeros(3),)])
    with pytest.raises(ExportError, match="name"):
        compile_engine(nn.Linear(3, 2), (torch.zeros(1, 3),), name="2 x")


def test_not_a_number_passes_and_is_forgotten() -> None:
    torch.manual_seed(0)
    engine = compile_engine(nn.Sequential(Causal(2, 6, 3), nn.Tanh(), nn.Sigmoid()).eval(), (torch.zeros(1, 2, 20),))
    clean = np.ones((1, 2, 20), np.float32)
    for _ in range(2):
        want = engine.process(clean)
    for bad in (np.nan, np.inf, -np.inf, 1e38):
        assert np.isfinite(engine.process(np.full_like(clean, bad))).all()
        for _ in range(2):
            after = engine.process(clean)
        assert np.allclose(after, want, atol=1e-6)


@pytest.mark.parametrize("compiler", ["cc", "clang", "clang for C++"])
def test_no_compiler_finds_fault(compiler: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    engine = compile_engine(nn.Sequential(Stack(3)).eval(), (torch.zeros(1, 1, 32),), name="quiet")
    for name, text in engine.sources.items():
        (tmp_path / name).write_text(text)
    command = host_compiler() if compiler == "cc" else zig()
    if compiler == "clang for C++":
        (tmp_path / "user.cpp").write_text('#include "quiet.h"\nint main() { static quiet_state s; quiet_init(&s); }\n')
        calls = [[*WARNINGS, "-c", "quiet.c"], ["-Wall", "-Werror", "user.cpp", "quiet.o", "-o", "user"]]
    else:
        flags = [[*WARNINGS, "-Wshadow", level, "-ffreestanding", "-c", "quiet.c"] for level in ("-O0", "-Os", "-O3")]
        calls = [[*own, *more] for own in flags for more in ([], ["-march=native"])]
    for call in calls:
        done = subprocess.run([*command, *call], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and not done.stderr, done.stderr


def test_loops_that_are_repeated_are_written_once() -> None:
    """A network that takes its samples one after the other: a function for what is alike, and the same sound."""

    class Repeated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(20, 20)

        def forward(self, x: Tensor) -> Tensor:
            for step in range(20):
                x = torch.tanh(self.linear(x)) * (0.5 if step == 3 else 1.5)
            return x

    torch.manual_seed(0)
    module, x = Repeated().eval(), torch.randn(1, 20)
    engine = compile_engine(module, (x,))
    text = engine.sources["net.c"]
    # Nineteen are alike, one stands for itself.
    assert text.count("pc_vtanh(") == 2 and len(re.findall(r"^    loop_\d+\(", text, re.M)) == 19
    with torch.no_grad():
        wanted = module(x).numpy()
    assert np.abs(engine.process(x.numpy()) - wanted).max() < TOLERANCE * np.abs(wanted).max()
