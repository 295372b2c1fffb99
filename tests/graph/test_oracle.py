"""The judge of the trimming matrix is judged: cuts made by hand are right, and every kind of mistake is found."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping

import pytest
import torch
from torch import Tensor, nn

from tests.graph import oracle
from tests.graph.networks import CASES, Case

NAMED = {case.name: case for case in CASES}
KEPT = [1, 2, 5, 6, 9, 11, 12, 14]
OTHER = [0, 1, 2, 3, 4, 5, 6, 8]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def cut(case: Case, places: Mapping[str, Mapping[int, list[int]]], width: int = 8) -> nn.Module:
    """The network built smaller, with chosen rows and columns of the larger one's tensors."""
    tensors: dict[str, Tensor] = dict(case.network().state_dict())
    for path, axes in places.items():
        for axis, kept in axes.items():
            tensors[path] = tensors[path].index_select(axis, torch.tensor(kept))
    smaller = case.network(width)
    smaller.load_state_dict(tensors)
    return smaller


def gate_rows(kept: list[int]) -> list[int]:
    return [16 * gate + i for gate in range(3) for i in kept]


def convolution(second: list[int], read: list[int]) -> dict[str, dict[int, list[int]]]:
    return {
        "one.weight": {0: KEPT}, "one.bias": {0: KEPT}, "two.weight": {0: second, 1: KEPT}, "two.bias": {0: second},
        "three.weight": {0: KEPT, 1: read}, "three.bias": {0: KEPT}, "head.weight": {1: KEPT},
    }  # fmt: skip


def recurrent(recurrent_columns: list[int]) -> dict[str, dict[int, list[int]]]:
    rows = {0: gate_rows(KEPT)}
    return {
        "first.weight": {0: OTHER}, "first.bias": {0: OTHER}, "core.weight_ih_l0": {**rows, 1: OTHER},
        "core.weight_hh_l0": {**rows, 1: recurrent_columns}, "core.bias_ih_l0": rows, "core.bias_hh_l0": rows,
        "head.weight": {1: KEPT},
    }  # fmt: skip


def test_a_right_cut_is_exact() -> None:
    case = NAMED["causal dilated Conv1d"]
    smaller = cut(case, convolution(OTHER, OTHER))
    left = oracle.survivors(case.network(), smaller)
    assert left["two.weight", 0].tolist() == OTHER and left["two.weight", 1].tolist() == KEPT
    assert left["head.weight", 1].tolist() == KEPT and ("head.weight", 0) not in left
    assert oracle.judge(case, smaller, 0.5).answer == "exact"
    gru = NAMED["GRU, 1 layer"]
    assert oracle.judge(gru, cut(gru, recurrent(KEPT)), 0.5).answer == "exact"


def test_misaligned_channels_are_found() -> None:
    case = NAMED["causal dilated Conv1d"]
    assert oracle.judge(case, cut(case, convolution(OTHER, KEPT)), 0.5).answer == "wrong output"


def test_gates_and_states_of_different_units_are_found() -> None:
    """The defect of separate choices for the two matrices of a recurrent layer."""
    case = NAMED["GRU, 1 layer"]
    assert oracle.judge(case, cut(case, recurrent(OTHER)), 0.5).answer == "wrong output"


def test_changed_values_are_found() -> None:
    case = NAMED["causal dilated Conv1d"]
    smaller = cut(case, convolution(OTHER, OTHER))
    with torch.no_grad():
        smaller.two.weight[3, 3, 1] += 1e-3  # type: ignore[union-attr,index]
    verdict = oracle.judge(case, smaller, 0.5)
    assert verdict.answer == "wrong output" and "two.weight" in verdict.detail


def test_a_wrong_ratio_is_found() -> None:
    case = NAMED["causal dilated Conv1d"]
    assert oracle.judge(case, cut(case, convolution(OTHER, OTHER)), 0.25).answer == "wrong ratio"
    assert oracle.judge(case, case.network(), 0.5).answer == "nothing removed"


@pytest.mark.parametrize("corrected", [True, False])
def test_gains_of_weight_norm_must_follow(corrected: bool) -> None:
    case = NAMED["weight_norm, parametrization"]
    g, v = "parametrizations.weight.original0", "parametrizations.weight.original1"
    places = {
        f"one.{g}": {0: KEPT}, f"one.{v}": {0: KEPT}, "one.bias": {0: KEPT},
        f"two.{g}": {0: OTHER}, f"two.{v}": {0: OTHER, 1: KEPT}, "two.bias": {0: OTHER}, f"head.{v}": {1: OTHER},
    }  # fmt: skip
    smaller = cut(case, places)
    if corrected:
        before = case.network().state_dict()
        after = smaller.state_dict()
        for layer, rows in (("two", OTHER), ("head", [0])):
            whole = before[f"{layer}.{v}"][rows].flatten(1).norm(dim=1)
            after[f"{layer}.{g}"] *= (after[f"{layer}.{v}"].flatten(1).norm(dim=1) / whole)[:, None, None]
        smaller.load_state_dict(after)
    assert oracle.judge(case, smaller, 0.5).answer == ("exact" if corrected else "wrong output")


def test_statistics_run_over_the_survivors() -> None:
    case = NAMED["LayerNorm through transposes"]
    places = {
        "one.weight": {0: KEPT}, "one.bias": {0: KEPT}, "norm.weight": {0: KEPT}, "norm.bias": {0: KEPT},
        "two.weight": {0: OTHER, 1: KEPT}, "two.bias": {0: OTHER}, "head.weight": {1: OTHER},
    }  # fmt: skip
    assert oracle.judge(case, cut(case, places), 0.5).answer == "exact"


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_without_a_cut_the_mask_hides_nothing(case: Case) -> None:
    assert oracle.difference(oracle.masked(case, {}), case.network(), case.example()) <= 1e-6
