"""A listener learns kinds of sounds that can be told, and not those that cannot."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pochette.lab.listener import Listener, trained_listener

RATE, SAMPLES = 8000, 2048


def sounds(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Low hums, high hums and hisses, each of its own pitch and level."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.arange(count)[:, None] % 3
    t = torch.arange(SAMPLES) / RATE
    pitch = (1.0 + 0.3 * torch.rand(count, 1, generator=generator)) * torch.tensor([200.0, 1500.0, 0.0])[classes]
    hum = torch.sin(2 * math.pi * pitch * t)
    hiss = torch.randn(count, SAMPLES, generator=generator) * 0.3
    level = 0.1 + 0.9 * torch.rand(count, 1, generator=generator)
    return level * torch.where(classes == 2, hiss, hum + 0.05 * hiss), classes.float()


@pytest.fixture(scope="module")
def listener() -> Listener:
    return trained_listener(*sounds(90, 0), 3, RATE, steps=120)


def test_it_is_right_on_sounds_that_it_never_heard(listener: Listener) -> None:
    heard = listener.judge(*sounds(60, 1))
    assert heard.accuracy > 0.95 and len(heard.by_class) == 3 and min(heard.by_class) > 0.85


def test_what_is_meant_as_another_class_is_told(listener: Listener) -> None:
    audio, classes = sounds(60, 2)
    heard = listener.judge(audio, (classes + 1) % 3)
    assert heard.accuracy < 0.05
    one = listener.judge(audio[:3], torch.zeros(3, 1))
    assert one.accuracy == pytest.approx(1 / 3) and one.by_class[0] == one.accuracy and math.isnan(one.by_class[1])


def test_labels_that_say_nothing_are_not_heard_in_other_sounds() -> None:
    audio, _ = sounds(90, 3)
    guess = torch.randint(3, (90, 1), generator=torch.Generator().manual_seed(0)).float()
    other, _ = sounds(90, 4)
    wrong = torch.randint(3, (90, 1), generator=torch.Generator().manual_seed(1)).float()
    assert trained_listener(audio, guess, 3, RATE, steps=120).judge(other, wrong).accuracy < 0.55


def test_the_seed_decides_and_torch_is_left_as_it_was(listener: Listener) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    again = trained_listener(*sounds(90, 0), 3, RATE, steps=120)
    assert torch.equal(torch.random.get_rng_state(), before)
    for name, value in listener.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    other = trained_listener(*sounds(90, 0), 3, RATE, steps=2, seed=1)
    assert not torch.equal(other.head.weight, trained_listener(*sounds(90, 0), 3, RATE, steps=2).head.weight)
