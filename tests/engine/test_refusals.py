"""What an engine would compute otherwise than torch is refused by name, and what it must bear compiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pochette.engine.compiled import compile_engine
from pochette.errors import ExportError, UnknownNameError


class Kept(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("kept", torch.zeros(1, 3).to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        self.kept.copy_((self.kept + x).to(self.kept.dtype))
        return x * 2


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex64, torch.float16, torch.uint8, torch.int16])
def test_a_state_that_is_not_of_32_bits_is_named(dtype: torch.dtype) -> None:
    with pytest.raises(ExportError, match="kept is " + str(dtype).removeprefix("torch.")):
        compile_engine(Kept(dtype).eval(), (torch.zeros(1, 3),))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.uint8, torch.int16])
def test_a_conversion_that_rounds_or_wraps_is_refused(dtype: torch.dtype) -> None:
    class Rounded(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x * 100).to(dtype).float()

    with pytest.raises(ExportError, match="rounds or wraps"):
        compile_engine(Rounded().eval(), (torch.zeros(1, 3),))


@pytest.mark.parametrize("compare", [torch.eq, torch.ge, torch.lt, torch.ne])
def test_the_place_in_a_ring_can_be_compared_with_any_number(compare: Any) -> None:
    class Ring(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("place", torch.zeros((), dtype=torch.int64))

        def forward(self, x: Tensor) -> Tensor:
            found = compare(torch.arange(-2, 9), self.place).float() + x.sum()
            self.place.copy_((self.place + 1) % 9)
            return found

    module = Ring().eval()
    engine = compile_engine(module, (torch.zeros(1, 4),), name="ring")
    module.place.zero_()
    for _ in range(20):
        assert np.array_equal(engine.process(np.zeros((1, 4))), module(torch.zeros(1, 4)).numpy())


def test_parameters_may_be_taken_apart() -> None:
    class Apart(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rows = nn.Parameter(torch.arange(12.0).view(3, 4))

        def forward(self, x: Tensor) -> Tensor:
            a, b, c = self.rows
            left, right = self.rows.chunk(2, 1)
            return x * a + b - c + left.sum() * right.sum()

    x = torch.randn(1, 4)
    made = compile_engine(Apart().eval(), (x,), name="apart").process(x.numpy())
    assert np.allclose(made, Apart()(x).detach().numpy(), rtol=1e-6)


def test_attention_to_another_sequence_compiles() -> None:
    torch.manual_seed(0)
    module = nn.MultiheadAttention(16, 4, batch_first=True).eval()
    x, y = torch.randn(1, 3, 16), torch.randn(1, 5, 16)
    made = compile_engine(module, (x, y, y), name="cross").process(x.numpy(), y.numpy(), y.numpy())
    wanted = module(x, y, y)
    for mine, theirs in zip(made, wanted, strict=True):
        assert np.allclose(mine, theirs.detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("name", [None, 5, "", "9", "pc_x", "a b", "a" * 65])
def test_what_is_no_name_is_refused(name: Any) -> None:
    with pytest.raises(ExportError, match="no name for C functions"):
        compile_engine(nn.Linear(2, 2).eval(), (torch.zeros(1, 2),), name=name)


def test_an_unknown_board_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="zx81"):
        compile_engine(nn.Linear(2, 2).eval(), (torch.zeros(1, 2),), board="zx81")


def test_a_single_number_goes_in_and_comes_out() -> None:
    class Twice(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2

    engine = compile_engine(Twice().eval(), (torch.tensor(1.0),), name="twice")
    made = engine.process(np.float32(1.5))
    assert isinstance(made, np.ndarray) and made.shape == () and float(made) == 3.0


class Without(nn.Module):
    """Something without elements, beside what it was given."""

    def __init__(self, run: Any, **parts: Any) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.run(self, x), x], 1)


def _weight(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape))


EMPTY: dict[str, Any] = {
    "a layer of no outputs": lambda: Without(lambda m, x: m.out(x), out=nn.Linear(4, 0)),
    "a product of no columns": lambda: Without(lambda m, x: x @ m.weight, weight=_weight(4, 0)),
    "a product of no terms": lambda: Without(lambda m, x: x[:, :0] @ m.weight, weight=_weight(0, 3)),
    "a norm of nothing": lambda: Without(lambda m, x: m.norm(x[:, :0]), norm=nn.LayerNorm(0)),
    "a sorted nothing": lambda: Without(lambda m, x: x[:, :0].sort()[0]),
    "a learnt nothing": lambda: Without(lambda m, x: m.weight, weight=_weight(2, 0)),
    "no inputs": lambda: Without(lambda m, x: m.after(m.before(x)), before=nn.Linear(4, 0), after=nn.Linear(0, 3)),
    "a filter of no channels": lambda: Without(
        lambda m, x: torch.conv1d(x[None, :0], m.weight)[0, :, :2].mT, weight=_weight(2, 0, 1)
    ),
}


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("name", EMPTY)
def test_what_has_no_elements_is_right_or_refused_by_its_place(name: str) -> None:
    """PyTorch bears weights without elements: the C says the same, or the layer is named."""
    torch.manual_seed(0)
    module, x = EMPTY[name]().eval(), torch.randn(2, 4)
    if name == "no inputs":
        with pytest.raises(ExportError, match=r"of the shape .*0.*(?s:.)*where: .* in after"):
            compile_engine(module, (x,))
        return
    made = compile_engine(module, (x,), name="nothing").process(x.numpy())
    assert np.allclose(made, module(x).detach().numpy(), atol=1e-6)


def test_a_parameter_that_is_written_is_no_output() -> None:
    class Drifting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = nn.Module()
            self.part.gain = nn.Parameter(torch.ones(3))

        def forward(self, x: Tensor) -> Tensor:
            self.part.gain.copy_(self.part.gain * 0.5)
            return x * self.part.gain

    with pytest.raises(
        ExportError, match=r"writes into part\.gain, a parameter(?s:.)*where: part\n(?s:.)*register_buf"
    ):
        compile_engine(Drifting().eval(), (torch.zeros(1, 3),))


@pytest.mark.parametrize("overlap", [False, True])
def test_buffers_in_the_same_memory_are_named(overlap: bool) -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            kept = torch.zeros(1, 6)
            self.one, self.two = nn.Module(), nn.Module()
            self.one.register_buffer("past", kept)
            self.two.register_buffer("past", kept[:, :3] if overlap else kept)

        def forward(self, x: Tensor) -> Tensor:
            self.one.past.copy_(0.5 * self.one.past + x)
            return 2 * self.two.past

    with pytest.raises(ExportError, match=r"one\.past and two\.past share their memory(?s:.)*where: one\n(?s:.)*clone"):
        compile_engine(Shared().eval(), (torch.zeros(1, 6),))
