"""Forks: a branch of the trunk's own order is the trunk going on; masks hold from the fork on."""

from __future__ import annotations

import copy

import pytest
import torch

from pochette.corpus.folder import FolderCorpus
from pochette.errors import RecipeError
from pochette.lab.judge import mean_error
from pochette.lab.stability.apart import instability, to_order, to_pruning
from pochette.lab.stability.branches import Course
from pochette.models.model import Model
from pochette.reduce.sparse.weights import all_alive, weights_of
from tests.lab.stability.conftest import TRAINING


@pytest.fixture
def course(corpus: FolderCorpus) -> Course:
    return Course(*corpus.split(), TRAINING, steps=6)


def test_a_branch_of_the_trunk_s_order_is_the_trunk_going_on(course: Course, model: Model) -> None:
    whole = copy.deepcopy(model)
    course.trunk(whole, 6)
    fork = course.trunk(model, 3)
    before = {path: tensor.clone() for path, tensor in model.state_dict().items()}
    same, other = (course.branch(model, fork, order) for order in (TRAINING.seed, TRAINING.seed + 1))
    assert all(torch.equal(same.state_dict()[path], tensor) for path, tensor in whole.state_dict().items())
    assert any(not torch.equal(other.state_dict()[path], tensor) for path, tensor in whole.state_dict().items())
    assert all(torch.equal(model.state_dict()[path], tensor) for path, tensor in before.items())


def test_a_fork_at_the_end_has_branches_that_are_one(course: Course, model: Model) -> None:
    fork = course.trunk(model, 6)
    found = instability(
        course.trains(model, fork), lambda m: mean_error(m.loss, m, course.held_out), points=3
    )  # fmt: skip
    assert found.line.over_mean == 0.0 == found.apart.distance
    with pytest.raises(RecipeError, match="fork"):
        course.trunk(model, 7)


def test_masks_hold_from_the_fork_on_and_both_stabilities_are_measured(course: Course, model: Model) -> None:
    fork = course.trunk(model, 2)
    generator = torch.Generator().manual_seed(0)
    masks = {
        path: torch.rand(mask.shape, generator=generator) < 0.5 for path, mask in all_alive(weights_of(model)).items()
    }
    train = course.trains(model, fork)
    small = train(masks, 0)
    for path, weight in weights_of(small).items():
        assert not weight.parameter[~masks[path]].any() and weight.parameter[masks[path]].any()
    assert to_pruning(train, masks).distance > 0.0 < to_order(train, masks).distance
    # With nothing removed the two networks of stability to pruning are one.
    assert to_pruning(train, all_alive(weights_of(model))).distance == 0.0
