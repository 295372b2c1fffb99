"""State outside buffers is refused wherever a capture would lose it; what only looks like state is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pochette.engine import compile_engine
from pochette.errors import ExportError
from pochette.graph.capture import capture
from pochette.measure import profile
from pochette.reduce import trim


class Keeper(nn.Module):
    """A cell, and whatever a test leaves lying in it."""

    def __init__(self, run: Callable[[Any, Tensor], Tensor], **attributes: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.run, self.cell, self.out = run, nn.GRUCell(2, 8), nn.Linear(8, 1)
        self.line = nn.Linear(4, 8, bias=False)
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def assigned(m: Any, x: Tensor) -> Tensor:
    m.state = m.cell(x, m.state)
    return m.out(m.state)  # type: ignore[no-any-return]


def assigned_in_a_list(m: Any, x: Tensor) -> Tensor:
    m.state[0] = m.cell(x, m.state[0])
    return m.out(m.state[0])  # type: ignore[no-any-return]


def written_in_place(m: Any, x: Tensor) -> Tensor:
    m.state.copy_(m.cell(x, m.state))
    return m.out(m.state)  # type: ignore[no-any-return]


def delayed(m: Any, x: Tensor) -> Tensor:
    """Silence leaves this line as it was, and what is heard comes out of it two calls later."""
    m.state = torch.cat([m.state[:, 2:], x], 1)
    return m.out(m.line(m.state[:, :4]))  # type: ignore[no-any-return]


def looked_at(m: Any, x: Tensor) -> Tensor:
    """Left for others to look at."""
    m.seen = m.cell(x)
    return m.out(m.seen)  # type: ignore[no-any-return]


def made_once(m: Any, x: Tensor) -> Tensor:
    m.scale = torch.ones(8) if m.scale is None else m.scale
    return m.out(m.cell(x) * m.scale)  # type: ignore[no-any-return]


HIDING: dict[str, Keeper] = {
    "assigned": Keeper(assigned, state=torch.zeros(1, 8)),
    "none at first": Keeper(assigned, state=None),
    "in a list": Keeper(assigned_in_a_list, state=[torch.zeros(1, 8)]),
    "in place": Keeper(written_in_place, state=torch.zeros(1, 8)),
    "a delay": Keeper(delayed, state=torch.zeros(1, 8)),
}


@pytest.mark.parametrize("name", HIDING)
@pytest.mark.parametrize("reader", [profile, trim, compile_engine])
def test_state_outside_buffers_is_refused(name: str, reader: Callable[..., Any]) -> None:
    with pytest.raises(ExportError, match=r"keeps state in state") as caught:
        reader(HIDING[name], (torch.zeros(1, 2),))
    assert "register_buffer" in caught.value.remedy and "copy_" in caught.value.remedy
    assert caught.value.where == "Keeper"


@pytest.mark.parametrize("name", ["seen", "scale", "buffer", "weight norm", "layers"])
def test_what_only_looks_like_state_is_not_refused(name: str) -> None:
    x: tuple[Any, ...] = (torch.randn(1, 2),)
    module: nn.Module = Keeper(looked_at) if name == "seen" else Keeper(made_once, scale=None)
    if name == "buffer":
        module = Keeper(assigned)
        module.register_buffer("state", torch.zeros(1, 8))
    elif name == "weight norm":
        module = nn.utils.weight_norm(nn.Linear(2, 3))
    elif name == "layers":
        module, x = nn.LSTM(2, 3), (torch.randn(4, 2),)
    graph = capture(module, x)
    assert list(graph.mutations) == (["state"] if name == "buffer" else [])


def test_a_result_that_a_forward_keeps_is_no_state_and_leaves_no_trace() -> None:
    class Keeping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.kept = torch.tanh(self.first(x))
            return self.second(self.kept)  # type: ignore[no-any-return]

    module, x = Keeping().eval(), torch.randn(3, 4)
    capture(module, (x,))
    assert "kept" not in vars(module)
    module(x)
    before = module.kept
    assert trim(module, (x,), keep=0.5).first.out_features == 4
    assert module.kept is before
