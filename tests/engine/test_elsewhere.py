"""A dozen networks on every processor there is: what torch says, and in strict mode the same bits everywhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pochette.boards.cycles import Mix
from pochette.engine.compiled import Engine, compile_engine
from pochette.engine.elsewhere import Elsewhere, EngineElsewhere
from pochette.errors import ToolError
from tests.graph.networks import CASES

pytest.importorskip("ziglang")
pytest.importorskip("unicorn")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning"),
]

TWELVE = (
    "causal dilated Conv1d",
    "ConvTranspose1d",
    "grouped Conv1d",
    "sub-pixel by view and permute",
    "LSTM, 2 layers",
    "GRUCell in a loop",
    "GRU, state in a buffer",
    "streaming convolution, cache in a buffer",
    "FiLM by chunk",
    "WaveNet with skip sums",
    "DDSP decoder",
    "GroupNorm of 4",
)
MACHINES: tuple[Elsewhere, ...] = ("aarch64", "armv7", "cortex-m4", "cortex-m7", "wasm")
BY_NAME = {case.name: case for case in CASES}


def calls_of(name: str) -> list[tuple[Tensor, ...]]:
    """Three calls: state is carried over two of them."""
    torch.manual_seed(4)
    example = BY_NAME[name].example()
    return [tuple(torch.randn_like(x) for x in example) for _ in range(3)]


def made_by(engine: Engine | EngineElsewhere, calls: list[tuple[Tensor, ...]]) -> list[np.ndarray]:
    made = []
    for call in calls:
        answer = engine.process(*(x.numpy() for x in call))
        made.append(np.concatenate([np.ravel(part) for part in (answer if isinstance(answer, tuple) else (answer,))]))
    return made


@pytest.fixture(scope="module", params=TWELVE)
def network(request: pytest.FixtureRequest) -> tuple[str, Engine, Engine, list[np.ndarray]]:
    """Name, engine, strict engine, and what torch says."""
    case = BY_NAME[request.param]
    module, engines = case.network().eval(), []
    for strict in (False, True):
        engines.append(compile_engine(module, case.example(), strict=strict))
    wanted = []
    with torch.no_grad():
        for call in calls_of(case.name):
            answer = module(*call)
            parts = answer if isinstance(answer, (tuple, list)) else (answer,)
            wanted.append(np.concatenate([part.numpy().ravel() for part in parts]))
    return case.name, engines[0], engines[1], wanted


@pytest.mark.parametrize("machine", MACHINES)
def test_every_processor_says_what_torch_says(
    network: tuple[str, Engine, Engine, list[np.ndarray]], machine: Elsewhere
) -> None:
    name, engine, _, wanted = network
    for made, right in zip(made_by(EngineElsewhere(engine, machine), calls_of(name)), wanted, strict=True):
        assert np.abs(made - right).max() <= 1e-5 * max(np.abs(right).max(), 1e-3)


@pytest.mark.parametrize("machine", MACHINES)
def test_strict_bits_are_the_same_everywhere(
    network: tuple[str, Engine, Engine, list[np.ndarray]], machine: Elsewhere
) -> None:
    name, _, engine, _ = network
    here, there = made_by(engine, calls_of(name)), made_by(EngineElsewhere(engine, machine), calls_of(name))
    engine.reset()
    assert all(np.array_equal(a.view(np.uint32), b.view(np.uint32)) for a, b in zip(here, there, strict=True))


class Beyond(nn.Module):
    """Infinity less infinity is no number; what bounds it makes it one."""

    def forward(self, x: Tensor) -> Tensor:
        large = x * 3e38 * 3e38
        return torch.tanh(large - large)


@pytest.mark.parametrize("machine", MACHINES)
def test_what_is_no_number_is_bounded_too(machine: Elsewhere) -> None:
    engine = compile_engine(Beyond(), (torch.zeros(1, 32),))
    made = EngineElsewhere(engine, machine).process(np.ones((1, 32), np.float32))
    assert np.abs(np.abs(made) - 1).max() < 1e-6


def test_reset_begins_anew_and_counts_repeat() -> None:
    case = BY_NAME["GRU, state in a buffer"]
    engine = compile_engine(case.network().eval(), case.example())
    there = EngineElsewhere(engine, "cortex-m7", counting=True)
    calls = calls_of(case.name)
    first = made_by(there, calls)
    there.reset()
    assert all(np.array_equal(a, b) for a, b in zip(first, made_by(there, calls), strict=True))
    given = [x.numpy() for x in calls[0]]
    count = there.count(*given)
    assert count == there.count(*given)
    assert isinstance(count, Mix) and 0 < count.divisions < count.arithmetic < count.instructions
    with pytest.raises(ToolError, match="counts nothing"):
        EngineElsewhere(engine, "wasm").count(*given)
