"""The networks of the trimming matrix as C: all that compile say what torch says, and as many compile as did."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pochette.errors import ExportError
from tests.engine.operator_cases import IN_C, not_shown
from tests.engine.together import Modules, Step, compile_together, largest_error
from tests.graph.networks import CASES, NOTHING, Case

ALL = (*CASES, *NOTHING)
REFUSED: dict[str, str] = {
    "embedding, LSTM, linear": "32-bit floats",
}
"""Networks that are refused, and by what."""
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning"),
]


def calls_of(case: Case) -> list[tuple[Tensor, ...]]:
    """Two calls: what is carried from one to the next is held against torch too."""
    first = case.example()
    torch.manual_seed(2)
    return [first, tuple(torch.randn_like(x) if x.is_floating_point() else x for x in first)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[nn.Module, Any]]:
    return compiled(tmp_path_factory.mktemp("networks"))


@cache
def modules() -> Modules:
    """Each network and its first call, the same objects whenever they are asked for."""
    return {case.name: (case.network(), case.example()) for case in ALL}


def compiled(folder: Path) -> dict[str, tuple[nn.Module, Any]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    steps = compile_together(modules(), folder)
    torch.set_num_threads(threads)
    return {name: (module, steps[name]) for name, (module, _) in modules().items()}


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_c_says_what_torch_says(case: Case, made: dict[str, tuple[nn.Module, Any]]) -> None:
    module, step = made[case.name]
    if case.name in REFUSED:
        assert isinstance(step, ExportError) and REFUSED[case.name] in str(step)
        return
    assert isinstance(step, Step), step
    assert largest_error(step, module, calls_of(case)) <= 1e-5


def test_few_are_refused() -> None:
    assert len(ALL) - len(REFUSED) >= 128


def test_no_c_lacks_a_network(made: dict[str, tuple[nn.Module, Any]]) -> None:
    """But those that stand in `test_ops_numbers`."""
    assert not_shown(IN_C["test_networks"], made) == ["aten.convolution.default", "aten.rnn_relu_cell.default"]
