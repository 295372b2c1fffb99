"""Criteria that ask for a training target, where the data has one and where not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from pochette.errors import ReductionError
from pochette.reduce import trim


def test_data_without_targets_is_said_to_be_that() -> None:
    network = nn.Sequential(nn.Conv1d(1, 16, 3), nn.ReLU(), nn.Conv1d(16, 1, 3))
    data = [torch.randn(4, 1, 30)]
    with pytest.raises(ReductionError, match="inputs without a target") as caught:
        trim(network, (torch.randn(1, 1, 30),), criterion="gradient", data=data, loss=nn.functional.mse_loss)
    assert "(inputs, target)" in caught.value.remedy


@pytest.mark.parametrize("item", [torch.randn(64, 4), (torch.randn(64, 4), None)])
def test_information_of_a_target_wants_one(item: Any) -> None:
    network = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2))
    with pytest.raises(ReductionError, match="has none") as caught:
        trim(network, (torch.randn(1, 4),), criterion="information", data=[item])
    assert "information_input" in caught.value.remedy
    small = trim(network, (torch.randn(1, 4),), criterion="information_input", data=[item])
    assert small[0].weight.shape == (8, 4)  # type: ignore[index]
