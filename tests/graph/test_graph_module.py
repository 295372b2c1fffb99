"""A trimmed graph that was pickled, saved or copied: it checks, draws and names its tensors as before."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pochette.errors import ShapeError
from pochette.reduce import trim


class Literal(nn.Module):
    """Sizes written into forward, noise that no argument decides, a buffer that is not stored, a GRU from rest, and an
    order of memory that is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv1d(1, 16, 3, padding=1), nn.Conv1d(8, 1, 1)
        self.layer = nn.GRU(8, 8, batch_first=True)
        self.register_buffer("gain", torch.ones(1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        gated = y[:, :8] * torch.sigmoid(y[:, 8:]) * self.gain
        gated = gated + self.layer(gated.transpose(1, 2))[0].transpose(1, 2)
        gated = gated.transpose(1, 2).contiguous().transpose(1, 2)
        return self.last(F.pad(gated, (0, 4))[:, :, :24]) + torch.randn(2, 1, 1)  # type: ignore[no-any-return]


def saved(module: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)  # type: ignore[no-any-return]


def twice(module: nn.Module) -> nn.Module:
    return saved(copy.deepcopy(saved(module)))


@pytest.mark.parametrize("again", [saved, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), twice])
def test_it_is_what_it_was(again: Callable[[nn.Module], nn.Module]) -> None:
    small = trim(Literal(), (torch.randn(2, 1, 20),), keep=0.5)
    assert small.trim_report.form == "graph"  # type: ignore[union-attr]
    found = again(small)
    x = torch.randn(2, 1, 20)
    torch.manual_seed(3)
    expected = small(x)
    torch.manual_seed(3)
    assert torch.equal(found(x), expected)
    assert not torch.equal(found(x), found(x)), "what was drawn once is drawn for good"
    with pytest.raises(ShapeError, match="holds for"):
        found(torch.randn(2, 1, 30))
    assert list(found.state_dict()) == list(small.state_dict()) == stored_names()
    found.load_state_dict(small.state_dict())
    assert vars(found.trim_report).keys() == vars(small.trim_report).keys()
    assert not found.train(False).training and found.train().training


@pytest.mark.parametrize("again", [copy.deepcopy, saved])
def test_other_numbers_reach_states_that_begin_at_zero(again: Callable[[nn.Module], nn.Module]) -> None:
    x = torch.randn(2, 1, 20)
    small = trim(Literal(), (x,), keep=0.5)
    torch.manual_seed(3)
    expected = small(x)
    exact = again(copy.deepcopy(small).double())
    torch.manual_seed(3)
    made = exact(x.double())
    # Draws are of the dtype, and other numbers therefore.
    torch.manual_seed(3)
    noise = torch.randn(2, 1, 1)
    torch.manual_seed(3)
    exact_noise = torch.randn(2, 1, 1, dtype=torch.float64)
    assert made.dtype == torch.float64
    torch.testing.assert_close(made - exact_noise, (expected - noise).double(), atol=1e-5, rtol=1e-5)
    torch.manual_seed(3)
    assert torch.equal(exact.float()(x), expected)


def stored_names() -> list[str]:
    """What the original stores: the buffer is not among it."""
    return [name for name in Literal().state_dict() if name != "gain"]
