"""A causal convolution remembers what another operator made, whichever that was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pochette.errors import ExportError
from tests.engine.together import Step, compile_together, largest_error

C, PAST = 4, 5
Maker = Callable[[nn.Module, Tensor], Tensor]


def turned(layer: nn.Module, x: Tensor) -> Tensor:
    """A layer over the last axis, given channels."""
    made = layer(x.transpose(1, 2))
    return (made[0] if isinstance(made, tuple) else made).transpose(1, 2)


def many(x: Tensor) -> Tensor:
    """The sound and what else there may be of it."""
    return torch.cat([x, x.tanh(), -x, x * x], 1)


MAKERS: dict[str, tuple[Callable[[], nn.Module], Maker]] = {
    "concatenated": (nn.Identity, lambda _, x: torch.cat([x[:, :2], x[:, 2:].tanh()], 1)),
    "concatenated in time": (nn.Identity, lambda _, x: torch.cat([x[..., 3:].sin(), x[..., :3]], 2)),
    "multiplied": (lambda: nn.Linear(C, C, bias=False), lambda m, x: torch.matmul(m.weight, x)),
    "einsum": (lambda: nn.Linear(C, C), lambda m, x: torch.einsum("oi,bit->bot", m.weight, x)),
    "rolled": (nn.Identity, lambda _, x: x.roll(2, -1)),
    "rolled channels": (nn.Identity, lambda _, x: x.roll(1, 1)),
    "flipped": (nn.Identity, lambda _, x: x.flip(-1)),
    "stacked": (nn.Identity, lambda _, x: torch.stack([x[:, 0], x[:, 3], x[:, 1].tanh(), x[:, 2]], 1)),
    "reshaped": (nn.Identity, lambda _, x: x.sin().reshape(1, x.shape[2], C).transpose(1, 2).reshape(x.shape)),
    "flattened and back": (nn.Identity, lambda _, x: x.tanh().flatten().view(x.shape)),
    "cloned": (nn.Identity, lambda _, x: x.clone()),
    "turned": (nn.Identity, lambda _, x: x.tanh().reshape(1, -1, C).transpose(1, 2).contiguous()),
    "sliced": (nn.Identity, lambda _, x: many(x)[:, 3 : 3 + C]),
    "strided": (nn.Identity, lambda _, x: many(x)[:, ::C]),
    "expanded": (nn.Identity, lambda _, x: x[:, :1].tanh().expand(1, C, x.shape[2])),
    "repeated": (nn.Identity, lambda _, x: x[:, :2].repeat(1, 2, 1)),
    "padded": (nn.Identity, lambda _, x: functional.pad(x[..., 2:], (0, 2))),
    "softmax in time": (nn.Identity, lambda _, x: x.softmax(-1)),
    "softmax over channels": (nn.Identity, lambda _, x: x.softmax(1)),
    "summed up": (nn.Identity, lambda _, x: x.cumsum(-1)),
    "attention": (
        nn.Identity,
        lambda _, x: functional.scaled_dot_product_attention(x, x.tanh(), x.flip(-1)),
    ),
    "gated": (lambda: nn.Conv1d(C, 2 * C, 1), lambda m, x: functional.glu(m(x), 1)),
    "linear": (lambda: nn.Linear(C, C), turned),
    "linear in time": (lambda: nn.LazyLinear(16), lambda m, x: m(x)[..., : x.shape[2]]),
    "gru": (lambda: nn.GRU(C, C, batch_first=True), turned),
    "lstm": (lambda: nn.LSTM(C, C, batch_first=True), turned),
    "layer norm": (lambda: nn.LayerNorm(C), turned),
    "group norm": (lambda: nn.GroupNorm(2, C), lambda m, x: m(x)),
    "instance norm": (lambda: nn.InstanceNorm1d(C), lambda m, x: m(x)),
    "batch norm": (lambda: nn.BatchNorm1d(C), lambda m, x: m(x)),
    "pooled": (lambda: nn.MaxPool1d(3, 1, 1), lambda m, x: m(x)),
    "averaged": (lambda: nn.AvgPool1d(3, 1, 1), lambda m, x: m(x)),
    "convolved": (lambda: nn.Conv1d(C, C, 3, padding=1), lambda m, x: m(x)),
    "transposed": (lambda: nn.ConvTranspose1d(C, C, 3, padding=1), lambda m, x: m(x)),
    "convolved by what is computed": (
        lambda: nn.Conv1d(C, C, 3),
        lambda m, x: functional.conv1d(x, m.weight * x.mean().exp(), padding=1),
    ),
    "as a picture": (lambda: nn.Conv2d(1, 1, 3, padding=1), lambda m, x: m(x[:, None])[:, 0]),
    "slower and faster": (nn.Identity, lambda _, x: functional.interpolate(x[..., ::2], scale_factor=2.0)),
    "gathered": (nn.Identity, lambda _, x: x[:, [2, 0, 3, 1]]),
    "chosen": (nn.Identity, lambda _, x: torch.where(x > 0, x, x.roll(1, 1))),
    "less the mean": (nn.Identity, lambda _, x: x - x.mean(-1, keepdim=True)),
    "spectra": (nn.Identity, lambda _, x: torch.fft.irfft(torch.fft.rfft(x), n=x.shape[2])),
    "sorted": (nn.Identity, lambda _, x: x.sort(-1).values),
    "shuffled": (nn.Identity, lambda _, x: x.reshape(1, 2, 2, -1).transpose(1, 2).reshape(x.shape)),
}


class Remembered(nn.Module):
    """What a maker makes, its past, and a convolution over both."""

    def __init__(self, layer: Callable[[], nn.Module], make: Maker, past: int) -> None:
        super().__init__()
        self.layer, self.make, self.conv = layer(), make, nn.Conv1d(C, 3, past + 1)
        self.past: Tensor
        self.register_buffer("past", torch.zeros(1, C, past))

    def forward(self, x: Tensor) -> Tensor:
        made = self.make(self.layer, x)
        whole = torch.cat([self.past, made], 2)
        self.past.copy_(whole[..., -self.past.shape[2] :])
        return self.conv(whole) + made.mean()


CASES = {
    f"{name}, {samples} samples, {past} of the past": (name, samples, past)
    for name, (samples, past) in product(MAKERS, ((8, PAST), (32, PAST), (2, 80)))
    if samples > 3 or name not in ("concatenated in time", "padded")
}
"""Channels side by side, samples side by side, and a past that is written twice."""


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[nn.Module, Step | ExportError]]]:
    torch.manual_seed(0)
    modules = {}
    for case, (name, samples, past) in CASES.items():
        module = Remembered(*MAKERS[name], past).eval()
        with torch.no_grad():
            module(torch.randn(1, C, samples))  # what is lazy has its sizes now
        module.past.zero_()
        modules[case] = (module, (torch.randn(1, C, samples),))
    found = compile_together(modules, tmp_path_factory.mktemp("histories"))
    yield {case: (modules[case][0], step) for case, step in found.items()}


@pytest.mark.parametrize("case", CASES)
def test_what_was_made_is_remembered(steps: dict[str, tuple[nn.Module, Step | ExportError]], case: str) -> None:
    module, step = steps[case]
    if isinstance(step, ExportError):
        pytest.fail(f"refused: {step.what}")
    generator = torch.Generator().manual_seed(1)
    calls = [(torch.randn(1, C, CASES[case][1], generator=generator),) for _ in range(50)]
    module.past.zero_()
    assert largest_error(step, module, calls) < 1e-5
