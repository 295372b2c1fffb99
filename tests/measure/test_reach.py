"""Receptive field and look-ahead, against the literature's tables and against gradients."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pochette.measure import profile
from pochette.measure.reach import Probe


class Causal(nn.Module):
    """A convolution that looks back alone."""

    def __init__(self, inputs: int, outputs: int, taps: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv, self.past = nn.Conv1d(inputs, outputs, taps, dilation=dilation), (taps - 1) * dilation

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (self.past, 0)))  # type: ignore[no-any-return]


def wavenet(taps: int, stacks: int, layers: int, first: int = 1, *, padded: bool = True) -> nn.Sequential:
    """Dilated convolutions alone: the rest of a WaveNet does not look around."""
    make = Causal if padded else nn.Conv1d
    parts: list[nn.Module] = [make(1, 2, first)]
    for _ in range(stacks):
        parts += [make(2, 2, taps, dilation=2**layer) for layer in range(layers)]
    return nn.Sequential(*parts)


def reach(module: nn.Module, *inputs: Tensor, time_axis: int | None = None) -> tuple[int | None, int | None]:
    torch.manual_seed(0)
    found = profile(module, inputs, time_axis=time_axis)
    return found.receptive_field_samples, found.look_ahead_samples


# Measured before with gradients, on the published configurations.
@pytest.mark.parametrize(
    ("taps", "stacks", "layers", "first", "samples"),
    [(2, 1, 10, 1, 1024), (2, 2, 10, 2, 2048), (2, 4, 10, 1, 4093), (3, 3, 10, 1, 6139), (2, 1, 4, 1, 16)],
)
@pytest.mark.parametrize("padded", [True, False])
def test_wavenets(taps: int, stacks: int, layers: int, first: int, samples: int, padded: bool) -> None:
    module = wavenet(taps, stacks, layers, first, padded=padded)
    assert reach(module, torch.zeros(1, 1, samples + 100)) == (samples, 0)


def test_an_example_as_short_as_the_field_says_nothing_wrong() -> None:
    module = wavenet(2, 1, 6)
    assert [reach(module, torch.zeros(1, 1, length))[0] for length in (32, 64, 200)] == [None, None, 64]


def test_whole_numbers_are_followed_through_their_table() -> None:
    class Categorical(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.net = nn.Embedding(256, 1), wavenet(2, 2, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(self.table(x).mT)  # type: ignore[no-any-return]

    assert reach(Categorical(), torch.zeros(1, 200, dtype=torch.long)) == (63, 0)
    assert reach(nn.Embedding(9, 3), torch.zeros(1, 40, dtype=torch.long)) == (1, 0)


def by_gradient(module: nn.Module, x: Tensor) -> int:
    """Longest stretch of input with a gradient from one output, over all outputs well inside."""
    module = module.double()
    x = x.double().requires_grad_()
    out = module(x)
    length, samples = out.shape[-1], x.shape[-1]
    longest = 0
    for place in range(length // 3, 2 * length // 3):
        (slope,) = torch.autograd.grad(out[..., place].sum(), x, retain_graph=True)
        heard = slope.abs().sum((0, 1)).nonzero().ravel()
        assert heard[0] > 0 and heard[-1] < samples - 1
        longest = max(longest, int(heard[-1] - heard[0]) + 1)
    module.float()
    return longest * max(1, round(length / samples))


def chain(*layers: nn.Module) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(*layers)


CONVOLVED: dict[str, tuple[Callable[[], nn.Module], int | None]] = {
    "centred": (chain(nn.Conv1d(2, 3, 9, padding=4)), 4),
    "two centred": (chain(nn.Conv1d(2, 3, 9, padding=4), nn.Conv1d(3, 3, 5, dilation=4, padding=8)), 12),
    "lopsided": (chain(nn.ConstantPad1d((5, 2), 0.0), nn.Conv1d(2, 3, 8)), 2),
    # Output o reads inputs 4 o - 2 ... 4 o + 5 and belongs to 4 o ... 4 o + 3.
    "strided": (lambda: nn.Conv1d(2, 3, 8, stride=4, padding=2), 2),
    "blocks": (lambda: nn.Conv1d(2, 3, 4, stride=4), 0),
    # Output 4 q + r hears frames up to q, or q + 1 if r >= 2; frame f reads up to 4 f + 5: at r = 2 seven ahead.
    "there and back": (
        chain(nn.Conv1d(2, 3, 8, stride=4, padding=2), nn.ConvTranspose1d(3, 2, 8, stride=4, padding=2)), 7
    ),
    "twice there and back": (
        chain(
            nn.Conv1d(2, 3, 4, stride=2, padding=1), nn.Conv1d(3, 3, 6, stride=3, padding=2),
            nn.ConvTranspose1d(3, 3, 6, stride=3, padding=2, output_padding=1),
            nn.ConvTranspose1d(3, 2, 4, stride=2, padding=1),
        ),
        None,
    ),
    "longer": (lambda: nn.ConvTranspose1d(2, 3, 12, stride=4, padding=4), None),
    "longer, with a tail": (lambda: nn.ConvTranspose1d(2, 3, 12, stride=4), 0),
    "pooled": (chain(nn.AvgPool1d(4), nn.Conv1d(2, 2, 3, padding=1)), 4),
    "nearest": (chain(nn.Upsample(scale_factor=4), nn.Conv1d(2, 2, 3, padding=1)), None),
    "gated": (chain(nn.Conv1d(2, 6, 3, padding=1), nn.GLU(1), nn.BatchNorm1d(3), nn.Tanh()), 1),
}  # fmt: skip


@pytest.mark.parametrize("name", CONVOLVED)
def test_what_gradients_say(name: str) -> None:
    make, ahead = CONVOLVED[name]
    torch.manual_seed(1)
    module, x = make().eval(), torch.randn(1, 2, 240)
    field, found = reach(module, x)
    assert field == by_gradient(module, x)
    if ahead is not None:
        assert found == ahead


class Every(nn.Module):
    """Every fourth sample, held: frames that no stride shows."""

    def forward(self, x: Tensor) -> Tensor:
        return x[..., ::4].repeat_interleave(4, -1)


class Folded(nn.Module):
    """Frames of 8, mixed, and a sample of its own beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(x.unflatten(-1, (-1, 8))).flatten(-2) + F.pad(x, (3, 0))[..., :-3]


# Receptive field and look-ahead by hand.
AROUND: dict[str, tuple[Callable[[], nn.Module], int | None, int | None]] = {
    "round a corner": (lambda: nn.Conv1d(2, 2, 5, padding=2, padding_mode="circular"), 5, 2),
    "mirrored": (lambda: nn.Conv1d(2, 2, 9, padding=4, padding_mode="reflect"), 9, 4),
    "held at the ends": (lambda: nn.Conv1d(2, 2, 9, padding=4, padding_mode="replicate"), 9, 4),
    # A held sample is the first of its four, and none of them waits for a later one.
    "every fourth": (Every, 1, 0),
    # The first of a frame hears all eight, seven of them to come, and three samples back.
    "frames and samples": (Folded, 11, 7),
    "late": (lambda: nn.ConstantPad1d((5, -5), 0.0), 1, 0),
    "early": (lambda: nn.ConstantPad1d((-5, 5), 0.0), 1, 5),
    "there and back, many": (
        chain(nn.Conv1d(2, 3, 32, stride=16, padding=8), nn.Conv1d(3, 3, 16, stride=8, padding=4),
              nn.ConvTranspose1d(3, 3, 8, stride=8), nn.ConvTranspose1d(3, 2, 16, stride=16)), 272, 199),
}  # fmt: skip


@pytest.mark.parametrize("name", AROUND)
def test_by_hand(name: str) -> None:
    make, field, ahead = AROUND[name]
    torch.manual_seed(1)
    assert reach(make(), torch.randn(1, 2, 1024)) == (field, ahead)


# Runs of the graph; with every output of a period halved to its own answer there were 86, 70 and 265.
RUNS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "dilated": (lambda: wavenet(3, 1, 9), (1, 1, 4000), 8),
    "recurrent": (lambda: nn.GRU(1, 8, batch_first=True), (1, 4000, 1), 8),
    "there and back": (AROUND["there and back, many"][0], (1, 2, 4096), 60),
}


@pytest.mark.parametrize("name", RUNS)
def test_it_takes_few_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, shape, most = RUNS[name]
    runs = 0
    plain = Probe._run

    def counted(probe: Probe, *given: Any) -> Any:
        nonlocal runs
        runs += 1
        return plain(probe, *given)

    monkeypatch.setattr(Probe, "_run", counted)
    reach(make(), torch.zeros(shape))
    assert 0 < runs <= most


def test_frames_to_samples_count_in_samples() -> None:
    """Each frame becomes 8 samples; frames are read one back and one ahead: three frames, one of them to come."""

    class Frames(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.out = nn.Conv1d(4, 6, 3, padding=1), nn.Linear(6, 8)

        def forward(self, x: Tensor) -> Tensor:  # (batch, frame, feature)
            return self.out(self.conv(x.mT).mT).flatten(1)  # type: ignore[no-any-return]

    assert reach(Frames(), torch.zeros(2, 40, 4)) == (24, 8)


def test_which_axis_is_time() -> None:
    class TimeFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.out = nn.Conv1d(5, 5, 3, padding=1), nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.net(x.mT).mT)  # type: ignore[no-any-return]

    assert reach(TimeFirst(), torch.zeros(1, 50, 5)) == (3, 1)
    assert reach(nn.Tanh(), torch.zeros(1, 50, 70)) == (1, 0)
    plane = nn.Conv2d(1, 1, (3, 5), padding=(1, 2))
    assert reach(plane, torch.zeros(1, 1, 40, 60)) == (5, 2)
    assert reach(plane, torch.zeros(1, 1, 40, 60), time_axis=2) == (3, 1)
    assert reach(plane, torch.zeros(1, 1, 40, 60), time_axis=-2) == (3, 1)
    # Both inputs have the same time.
    both = nn.Bilinear(3, 4, 2)
    assert reach(both, torch.zeros(1, 30, 3), torch.zeros(1, 30, 4), time_axis=1) == (1, 0)


@pytest.mark.parametrize("batch_first", [True, False])
def test_recurrent_layers_have_no_end_but_do_not_wait(batch_first: bool) -> None:
    class Network(nn.Module):
        def __init__(self, two_ways: bool) -> None:
            super().__init__()
            self.layer = nn.GRU(3, 4, batch_first=batch_first, bidirectional=two_ways)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)[0]  # type: ignore[no-any-return]

    axis = 1 if batch_first else 0
    x = torch.zeros(1, 60, 3) if batch_first else torch.zeros(60, 1, 3)
    assert reach(Network(False), x, time_axis=axis) == (None, 0)
    assert reach(Network(True), x, time_axis=axis) == (None, None)


def test_what_has_no_time_has_no_reach() -> None:
    assert reach(nn.Linear(4, 3), torch.zeros(2, 4)) == (None, None)
    assert reach(nn.GroupNorm(1, 3), torch.zeros(1, 3, 50)) == (None, None)  # all of the signal
    assert reach(nn.AdaptiveAvgPool1d(3), torch.zeros(1, 3, 50), time_axis=2) == (None, None)  # always as long

    class Rounding(nn.Module):
        """Whole numbers made inside cannot be not-a-number."""

        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.table(x.clamp(0, 3).long())  # type: ignore[no-any-return]

    assert reach(Rounding(), torch.zeros(1, 50)) == (None, None)


def test_it_can_be_left_out_and_is_plain_data() -> None:
    layer, x = nn.Conv1d(1, 1, 5, padding=2), torch.zeros(1, 1, 60)
    data = json.loads(json.dumps(profile(layer, (x,)).to_json()))
    assert (data["receptive_field_samples"], data["look_ahead_samples"]) == (5, 2)
    without = profile(layer, (x,), reach=False)
    assert without.receptive_field_samples is None and without.cost == profile(layer, (x,)).cost


def test_the_module_is_left_as_it_was() -> None:
    module = nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2), nn.Dropout())
    before = {name: value.clone() for name, value in module.state_dict().items()}
    x = torch.randn(1, 1, 60)
    copy = x.clone()
    profile(module, (x,))
    assert module.training and torch.equal(x, copy)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


class LastOfCells(nn.Module):
    """A loop of cells over the first axis, of which the last state is returned."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(5, 7)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[1], 7)
        for sample in x:
            h = self.cell(sample, h)
        return h


@pytest.mark.parametrize(
    ("module", "shape", "expected"),
    [
        (nn.LSTM(5, 7, bidirectional=True), (11, 3, 5), (None, None)),
        (nn.GRU(5, 7), (40, 3, 5), (None, 0)),
        (nn.GRU(5, 7, batch_first=True), (3, 40, 5), (None, 0)),
        (LastOfCells(), (11, 3, 5), (None, None)),
    ],
    ids=["both ways", "time first", "batch first", "last of cells"],
)
def test_a_batch_is_not_taken_for_time(
    module: nn.Module, shape: tuple[int, ...], expected: tuple[int | None, int | None]
) -> None:
    assert reach(module, torch.randn(shape)) == expected


@pytest.mark.parametrize("batch", [1, 2, 3, 5])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(("bidirectional", "ahead"), [(False, 0), (True, None)])
def test_time_of_recurrent_layers_is_not_the_batch(
    batch: int, batch_first: bool, bidirectional: bool, ahead: int | None
) -> None:
    layer = nn.GRU(5, 7, bidirectional=bidirectional, batch_first=batch_first)
    found = profile(layer, (torch.randn(*((batch, 60) if batch_first else (60, batch)), 5),))
    assert (found.receptive_field_samples, found.look_ahead_samples) == (None, ahead)
