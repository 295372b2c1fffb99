"""When a ticket is drawn: sequences by hand, what epsilon means, and a training that ends for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pochette.reduce.methods.early_bird import EarlyBird
from pochette.reduce.tickets import DRAWN, distance, is_drawn
from tests.contracts.test_methods import Corpora, fresh, session
from tests.corpora import notes_corpus


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Corpora:
    return notes_corpus(tmp_path_factory.mktemp("corpus"))


def choices(*flipped: int, units: int = 100) -> list[Tensor]:
    """Choices that keep the first half of the units, some of whose entries are turned over."""
    kept = torch.arange(units) < units // 2
    return [torch.where(torch.arange(units) < count, ~kept, kept) for count in flipped]


def test_sequences_by_hand() -> None:
    assert not is_drawn(choices(0, 0, 0, 0), 0.1)
    assert is_drawn(choices(0, 0, 0, 0, 0), 0.1)
    assert not is_drawn(choices(11, 0, 0, 0, 0), 0.1)
    assert is_drawn(choices(11, 0, 0, 0, 0, 0), 0.1)
    assert is_drawn(choices(10, 0, 0, 0, 0), 0.1)
    assert distance(*choices(0, 25)) == 0.25


def test_where_little_stays_the_published_epsilon_says_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    random = [torch.rand(1000, generator=generator) > 0.95 for _ in range(5)]
    assert is_drawn(random, 0.1) and not is_drawn(random, 0.1, relative=True)
    halves = [torch.rand(1000, generator=generator) > 0.5 for _ in range(5)]
    assert not is_drawn(halves, 0.1) and not is_drawn(halves, 0.1, relative=True)
    assert is_drawn(choices(10, 0, 0, 0, 0), 0.1, relative=True)


@pytest.mark.parametrize(("epsilon", "stopped"), [(1.0, DRAWN), (0.0, "budget spent")])
def test_a_training_ends_with_its_ticket(epsilon: float, stopped: str, corpora: Corpora, tmp_path: Path) -> None:
    """With an epsilon that all meet, at the fifth look; with none that a training meets, at the end of its share."""
    asked = EarlyBird(keep=0.3, every=1, epsilon=epsilon)
    path = asked.apply(fresh(), session(tmp_path, corpora))
    search = path[0].progress
    assert search.stopped == stopped and search.steps == (5 if stopped == DRAWN else 8)
    again = session(tmp_path, corpora)
    repeated = asked.apply(fresh(), again)
    assert again.resumed == ["search: finished", "round-1: finished"]
    for name, tensor in path[-1].model.state_dict().items():
        assert torch.equal(tensor, repeated[-1].model.state_dict()[name])
