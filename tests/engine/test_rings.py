"""A past kept in a ring: the next sample is written where a counter points, whatever operator a module says it with."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pochette.engine.compiled import Engine, compile_engine
from pochette.engine.elsewhere import EngineElsewhere
from pochette.errors import ExportError

CHANNELS, LENGTH = 3, 8
Write = Callable[[Tensor, Tensor, Tensor], object]


class Ring(nn.Module):
    """A layer whose outputs go round; what it gives hears five steps back, and all of the past."""

    def __init__(self, write: Write, length: int = LENGTH) -> None:
        super().__init__()
        self.write, self.length, self.layer = write, length, nn.Linear(CHANNELS, CHANNELS)
        self.register_buffer("ring", torch.zeros(1, CHANNELS, length))
        self.register_buffer("at", torch.zeros(1, dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.layer(x))
        self.write(self.ring, self.at, y)
        past = self.ring.index_select(2, (self.at + 3) % self.length)[..., 0]
        heard = past + 0.1 * self.ring[:, :, :LENGTH].sum(-1) + self.ring[:, :, 0]
        self.at.copy_((self.at + 1) % self.length)
        return heard + y


def by_index(ring: Tensor, at: Tensor, y: Tensor) -> None:
    ring[:, :, at] = y[..., None]


def by_points(ring: Tensor, at: Tensor, y: Tensor) -> None:
    ring[torch.tensor([0]), torch.arange(CHANNELS), at] = y[0]


WRITES: dict[str, Write] = {
    "index": by_index,
    "points": by_points,
    "index_copy": lambda ring, at, y: ring.index_copy_(2, at, y[..., None]),
    "index_put": lambda ring, at, y: ring.index_put_((torch.tensor([0]), torch.tensor([1]), at), y[0, :1]),
    "index_add": lambda ring, at, y: ring.index_add_(2, at, y[..., None]),
    "index_fill": lambda ring, at, y: ring.index_fill_(2, at, 0.25),
    "scatter": lambda ring, at, y: ring.scatter_(2, at.view(1, 1, 1).expand(1, CHANNELS, 1), y[..., None]),
    "scatter of one number": lambda ring, at, y: ring.scatter_(2, at.view(1, 1, 1).expand(1, CHANNELS, 1), 0.5),
    "scatter_add": lambda ring, at, y: ring.scatter_add_(2, at.view(1, 1, 1).expand(1, CHANNELS, 1), y[..., None]),
    "of itself": lambda ring, at, y: ring.index_copy_(2, at, ring[:, :, 2:3] * 0.5 + y[..., None]),
    "of itself, moved": lambda ring, at, y: ring.index_copy_(1, at % CHANNELS, ring[:, 1:2].flip(2) + y[:, :1, None]),
    "twice": lambda ring, at, y: (ring.index_copy_(2, at, y[..., None]), ring.index_add_(2, at, 2 * y[..., None])),
}  # fmt: skip


def sounds(steps: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(1, CHANNELS, generator=generator) for _ in range(steps)]


@pytest.mark.parametrize("name", WRITES)
def test_a_ring_goes_round_in_c_as_in_torch(name: str) -> None:
    torch.manual_seed(0)
    module = Ring(WRITES[name]).eval()
    reference = deepcopy(module)
    engine = compile_engine(module, (torch.zeros(1, CHANNELS),), name="ring")
    with torch.no_grad():
        for x in sounds(3 * LENGTH):
            assert np.abs(engine.process(x.numpy()) - reference(x).numpy()).max() <= 1e-5


def test_a_ring_goes_round_on_an_emulated_board() -> None:
    pytest.importorskip("ziglang")
    pytest.importorskip("unicorn")
    torch.manual_seed(0)
    module = Ring(by_index).eval()
    engine = compile_engine(module, (torch.zeros(1, CHANNELS),), name="ring", board="daisy-seed")
    board = EngineElsewhere(engine, "cortex-m7")
    with torch.no_grad():
        for x in sounds(2 * LENGTH):
            assert np.abs(board.process(x.numpy()) - module(x).numpy()).max() <= 1e-5


def _counted(length: int, write: Write) -> Engine:
    torch.manual_seed(0)
    return compile_engine(Ring(write, length).eval(), (torch.zeros(1, CHANNELS),), name="ring")


def test_a_step_does_not_go_through_all_of_a_long_past() -> None:
    """The state is written where it lies and cleaned where it is written: no copy of it, and no loop over it."""
    length = 7919
    engine = _counted(length, by_index)
    assert engine.scratch_bytes < 4 * length
    process = engine.sources["ring.c"].partition("void ring_process")[2]
    assert str(CHANNELS * length) not in process and f"a < {length}" not in process
    # Where something else still reads what was there before, it is copied after all.
    kept = _counted(length, lambda ring, at, y: y.add_(ring[:, :, 0].clone() * 0 + _written(ring, at, y)))
    assert kept.scratch_bytes >= 4 * length * CHANNELS


def _written(ring: Tensor, at: Tensor, y: Tensor) -> Tensor:
    new = ring.index_copy(2, at, y[..., None])
    late = (new - ring).sum(-1)
    ring.copy_(new)
    return late


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e-42, 3e38])
def test_what_goes_into_a_ring_is_cleaned(bad: float) -> None:
    class Kept(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("ring", torch.zeros(1, 4))
            self.register_buffer("at", torch.zeros(1, dtype=torch.int64))

        def forward(self, x: Tensor) -> Tensor:
            self.ring.index_add_(1, self.at, x * x * 1e3)
            self.at.copy_((self.at + 1) % 4)
            return 1.0 * self.ring

    engine = compile_engine(Kept(), (torch.zeros(1, 1),), name="kept")
    engine.process(np.array([[np.sqrt(abs(bad)) if np.isfinite(bad) else bad]], np.float32))
    for _ in range(9):
        made = engine.process(np.zeros((1, 1), np.float32))
        assert isinstance(made, np.ndarray) and np.isfinite(made).all()
        assert ((made == 0) | (np.abs(made) >= np.finfo(np.float32).tiny)).all() and np.abs(made).max() <= 2.0**60


def test_a_place_without_axes_is_refused_with_the_way_out() -> None:
    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("ring", torch.zeros(3, 4))
            self.register_buffer("at", torch.zeros((), dtype=torch.int64))

        def forward(self, x: Tensor) -> Tensor:
            self.ring[:, self.at] = x
            self.at.copy_((self.at + 1) % 4)
            return self.ring.sum(-1)

    with pytest.raises(ExportError, match=r"x\[:, i\.view\(1\)\]"):
        compile_engine(Single(), (torch.zeros(3),))


def test_writes_by_flags_of_another_shape_are_refused() -> None:
    class Flagged(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = 2 * x
            y[x[:, 0] > 0] = 0.5
            return y

    with pytest.raises(ExportError, match="writes by flags"):
        compile_engine(Flagged(), (torch.zeros(3, 4),))
