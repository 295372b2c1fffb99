"""Regular masks, by hand and by brute force."""

from __future__ import annotations

import pytest
import torch

from pochette.errors import RecipeError, ReductionError
from pochette.families import methods
from pochette.reduce.sparse.patterns import blocks, is_regular, n_of_m


def test_two_of_four_by_hand() -> None:
    score = torch.tensor([[4.0, 1.0, 3.0, 2.0, 9.0, 8.0], [1.0, 1.0, 1.0, 1.0, 0.0, 5.0]])
    assert n_of_m({"w": score}, 2, 4)["w"].int().tolist() == [[1, 0, 1, 0, 1, 0], [1, 1, 0, 0, 0, 1]]


def test_every_group_of_a_filter_keeps_as_many() -> None:
    score = torch.rand(6, 8, 3, generator=torch.Generator().manual_seed(0))
    mask = n_of_m({"w": score}, 1, 4)["w"]
    assert mask.view(6, 2, 4, 3).sum(2).eq(1).all()
    groups, kept = score.view(6, 2, 4, 3), mask.view(6, 2, 4, 3)
    assert torch.equal(groups.amax(2), (groups * kept).sum(2))


def test_blocks_are_the_best_ones() -> None:
    score = torch.rand(8, 5, generator=torch.Generator().manual_seed(1))
    mask = blocks({"w": score}, 0.3, 4)["w"]
    means = score.view(2, 4, 5).mean(1)
    assert is_regular({"w": mask}, 4) and int(mask.sum()) == 12
    alive = mask.view(2, 4, 5)[:, 0]
    assert means[alive].min() > means[~alive].max()


def test_blocks_at_an_edge_are_short_and_no_more_than_asked_stay() -> None:
    scores = {"a": torch.rand(7, 9), "b": torch.rand(5, 3, 2)}
    masks = blocks(scores, 0.25, 4)
    assert is_regular(masks, 4) and 0 < sum(int(mask.sum()) for mask in masks.values()) <= 0.25 * 93


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ReductionError, match="No layer has 16 inputs"):
        n_of_m({"w": torch.rand(4, 8)}, 1, 16)
    with pytest.raises(ReductionError, match="One block of 4 outputs"):
        blocks({"w": torch.rand(8, 5)}, 0.01, 4)
    with pytest.raises(RecipeError, match="--n is 4"):
        methods["n-of-m"](n=4, m=4)
