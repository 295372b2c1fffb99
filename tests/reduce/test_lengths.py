"""A rewritten graph knows for which inputs it holds, refuses others, and goes on saying so wherever it is copied."""

from __future__ import annotations

import io
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from pochette.errors import ShapeError
from pochette.graph.capture import capture
from pochette.measure import profile
from pochette.reduce import trim
from tests.graph.networks.case import Net


def halves(y: Tensor) -> Tensor:
    """Sizes written as numbers, so that only the graph can be made smaller."""
    return torch.tanh(y[:, :16]) * torch.sigmoid(y[:, 16:])


def net(run: Callable[..., Any], **parts: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return Net(run, one=nn.Conv1d(1, 32, 3, padding=1), two=nn.Conv1d(16, 1, 1), **parts)


def plain() -> nn.Module:
    return net(lambda m, x: m.two(halves(m.one(x))))


def folded() -> nn.Module:
    """Time in frames of 8, after padding to whole frames: both numbers are those of the length it was captured at."""

    def run(m: Any, x: Tensor) -> Tensor:
        y = halves(m.one(nn.functional.pad(x, (0, -x.shape[-1] % 8))))
        frames = y.reshape(len(y), 16, y.shape[-1] // 8, 8).mean(-1)
        return m.two(frames)

    return net(run)


def counted() -> nn.Module:
    """A mean by a number that is the length."""
    return net(lambda m, x: m.two(halves(m.one(x))).sum(-1) / x.shape[-1])


def one_batch() -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        y = halves(m.one(x)).transpose(1, 2)
        return m.two(m.gru(y, y.new_zeros(1, len(y), 16))[0].transpose(1, 2))

    return net(run, gru=nn.GRU(16, 16, batch_first=True))


def one_batch_lstm() -> nn.Module:
    """PyTorch's LSTM does not compare the batches of state and input; it writes out of bounds."""

    def run(m: Any, x: Tensor) -> Tensor:
        return m.two(m.lstm(halves(m.one(x)).transpose(1, 2))[0].transpose(1, 2))

    return net(run, lstm=nn.LSTM(16, 16, batch_first=True))


def odd_frames() -> nn.Module:
    """Says the same at lengths that 8 divides, whatever they are."""

    def run(m: Any, x: Tensor) -> Tensor:
        return m.two(halves(m.one(nn.functional.pad(x, (0, -x.shape[-1] % 8)))))

    return net(run)


def sized(batch: int, length: int) -> tuple[Tensor, ...]:
    return (torch.randn(batch, 1, length, generator=torch.Generator().manual_seed(length)),)


# Network, example, what is said, (batch, length) that hold, and that do not.
Pairs = list[tuple[int, int]]
CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, int], str, Pairs, Pairs]] = {
    "any": (plain, (1, 40), "any that", [(1, 40), (3, 40), (1, 7), (5, 1000)], []),
    "frames": (folded, (2, 40), "those of the example inputs, (2, 1, 40)", [(2, 40)], [(2, 48), (2, 41), (2, 80)]),
    "a mean": (counted, (2, 40), "inputs of (n, 1, 40)", [(2, 40), (1, 40)], [(2, 80), (2, 41), (2, 39)]),
    "a state": (one_batch, (2, 40), "inputs of (2, 1, ", [(2, 40)], [(1, 40), (4, 40)]),
    "an LSTM's state": (one_batch_lstm, (2, 40), "inputs of (2, 1, n)", [(2, 40), (2, 7)], [(1, 40), (4, 40), (5, 7)]),
    "padding": (odd_frames, (1, 40), "inputs of (n, 1, 40)", [(1, 40), (2, 40)], [(1, 80), (1, 41)]),
}


@pytest.mark.parametrize("name", CASES)
def test_lengths_that_do_not_hold_are_refused_and_those_that_hold_are_right(name: str) -> None:
    build, example, said, holding, others = CASES[name]
    network = build().eval()
    smaller = trim(network, sized(*example)).eval()
    report = smaller.trim_report
    assert report.form == "graph" and report.lengths.startswith(said), report.lengths
    kept = report.survivors
    reads = [(place, torch.from_numpy(kept[place])) for place in kept if place.path == "two.weight" and place.axis == 1]
    masked = deepcopy(network)
    for place, indices in reads:
        readers = masked.get_parameter(place.path).data
        mask = torch.zeros(readers.shape[1])
        mask[indices] = 1
        readers *= mask[:, None]
    for size in holding:
        found = smaller(*sized(*size))
        if "state" not in name:  # there the state's own units are masked, which is more than one reader
            assert torch.allclose(found, masked(*sized(*size)), atol=1e-6), size
    for size in others:
        with pytest.raises(ShapeError, match="holds for") as caught:
            smaller(*sized(*size))
        assert str(tuple(sized(*size)[0].shape)) in caught.value.what and caught.value.remedy


def test_inputs_that_run_along_together_do_so() -> None:
    network = net(lambda m, x, gain: m.two(halves(m.one(x * gain))))
    smaller = trim(network, (torch.randn(1, 1, 40), torch.ones(1, 1, 40)))
    assert smaller(torch.randn(2, 1, 30), torch.ones(2, 1, 30)).shape == (2, 1, 30)
    with pytest.raises(ShapeError, match="m being 30"):
        smaller(torch.randn(2, 1, 30), torch.ones(2, 1, 1))


def test_plain_arguments_are_those_it_was_captured_with() -> None:
    network = net(lambda m, x, options: m.two(halves(m.one(x))) * options["gain"])
    x = sized(1, 20)[0]
    smaller = trim(network, (x, {"gain": 2.0}))
    assert torch.equal(smaller(x, {"gain": 2}), smaller(x, {"gain": 2.0}))
    with pytest.raises(ShapeError, match=r"Argument 1 is 3\.0, and this trimmed network holds for 2\.0"):
        smaller(x, {"gain": 3.0})


@pytest.mark.parametrize("through", ["deepcopy", "torch.save", "safetensors"])
def test_a_copy_knows_what_the_original_knows(through: str) -> None:
    smaller = trim(counted(), sized(2, 40))
    said = smaller(*sized(2, 40))
    copied = deepcopy(deepcopy(smaller))
    if through != "deepcopy":
        with torch.no_grad():
            for value in copied.parameters():
                value.zero_()
        stream = io.BytesIO()
        torch.save(smaller.state_dict(), stream)
        stream.seek(0)
        by_torch = torch.load(stream, weights_only=True)
        copied.load_state_dict(by_torch if through == "torch.save" else load(save(smaller.state_dict())))
    assert torch.equal(copied(*sized(2, 40)), said)
    assert copied.trim_report is not smaller.trim_report
    assert copied.trim_report.to_json() == smaller.trim_report.to_json()
    assert copied.trim_report.survivors.keys() == smaller.trim_report.survivors.keys()
    with pytest.raises(ShapeError):
        copied(*sized(2, 41))


def test_the_guard_costs_nothing_that_is_counted_and_can_be_captured() -> None:
    smaller = trim(plain(), sized(1, 40))
    assert profile(smaller, sized(1, 40)).macs == 40 * (16 * 3 + 8)
    assert {node.op.split(".")[0] for node in capture(smaller, sized(1, 40)).nodes} == {"aten"}
    assert trim(smaller, sized(1, 40)).trim_report.macs_before == smaller.trim_report.macs_after


def test_finding_the_lengths_captures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does data of the example's shapes."""
    calls = []
    export = torch.export.export
    monkeypatch.setattr(torch.export, "export", lambda m, *a, **k: calls.append(type(m)) or export(m, *a, **k))
    network, x = plain(), sized(2, 40)
    data = [(x[0], torch.zeros(2, 1, 40))]
    smaller = trim(network, x, criterion="activation", data=data)
    assert smaller.trim_report.form == "graph"
    assert calls.count(type(network)) == 1
