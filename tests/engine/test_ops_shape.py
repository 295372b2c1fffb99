"""Re-arrangements in C: axes in other orders, ranges, repetition, padding, fresh tensors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tests.engine.operator_cases import IN_C, Table, compiled, error_of, not_shown

CASES: Table = {
    "transpose": (lambda x: x.transpose(1, 2), (2, 3, 5)),
    "transpose back": (lambda x: torch.tanh(x.transpose(0, 2)).transpose(0, 2), (4, 3, 5)),
    "permute": (lambda x: x.permute(2, 0, 3, 1), (2, 3, 4, 5)),
    "permute of ones": (lambda x: x.permute(1, 0, 2), (1, 3, 5)),
    "movedim": (lambda x: x.movedim(0, -1), (2, 3, 4)),
    "t": (lambda x: x.t(), (3, 5)),
    "expand": (lambda x: x.expand(2, 3, 5), (3, 1)),
    "expand to itself": (lambda x: x.expand(3, 5), (3, 5)),
    "expand_as": (lambda x, y: x.expand_as(y), (1, 5), (3, 5)),
    "repeat": (lambda x: x.repeat(2, 3), (2, 5)),
    "repeat with new axes": (lambda x: x.repeat(2, 1, 3), (2, 5)),
    "tile": (lambda x: x.tile(2), (3, 4)),
    "reshape of a transposition": (lambda x: x.transpose(1, 2).reshape(2, -1), (2, 3, 5)),
    "clone, contiguous": (lambda x: x.transpose(0, 1).contiguous().clone(), (3, 5)),
    "zeros_like": (lambda x: x + torch.zeros_like(x), (3, 5)),
    "ones_like": (lambda x: x + torch.ones_like(x), (3, 5)),
    "full_like": (lambda x: x + torch.full_like(x, 2.5), (3, 5)),
    "new_zeros": (lambda x: torch.cat([x, x.new_zeros(2, 5)]), (3, 5)),
    "new_full": (lambda x: torch.cat([x, x.new_full((2, 5), -0.5)]), (3, 5)),
    "arange": (lambda x: x + torch.arange(5).float(), (3, 5)),
    "triangular mask": (lambda x: x * torch.tril(torch.ones(4, 4)), (4, 4)),
    "whole numbers and back": (lambda x: (4 * x).long().float(), (3, 5)),
    "flags": (lambda x: (x > 0.2).float() + (x < 0.5).float(), (3, 5)),
    "flag of a number": (lambda x: torch.relu(x).bool().float(), (3, 5)),
    "slice": (lambda x: x[:, 1:4], (3, 5)),
    "slice with a step": (lambda x: x[:, 1::2], (3, 6, 4)),
    "slice of the last with a step": (lambda x: x[..., ::3], (3, 7)),
    "slices of slices": (lambda x: x[1:, ..., ::2][:, 1:], (3, 4, 7)),
    "select": (lambda x: x[:, 2], (3, 5, 2)),
    "select of the last": (lambda x: x[..., -1], (3, 5)),
    "unbind": (lambda x: x.unbind(1)[1] * x.unbind(-1)[0][:, :1], (3, 5, 5)),
    "split": (lambda x: x.split(2, dim=1)[2] + x.split([3, 1, 1], dim=1)[1], (3, 5, 2)),
    "chunk": (lambda x: x.chunk(2, dim=-1)[1], (3, 6)),
    "cat": (lambda x, y: torch.cat([x, y, x], dim=1), (2, 3, 4), (2, 1, 4)),
    "cat of the last": (lambda x, y: torch.cat([x, y], dim=-1), (2, 3, 4), (2, 3, 2)),
    "stack": (lambda x, y: torch.stack([x, y], dim=0), (2, 3), (2, 3)),
    "stack inside": (lambda x, y: torch.stack([x, y, x], dim=1), (2, 3), (2, 3)),
    "stack behind": (lambda x, y: torch.stack([x, y], dim=-1), (2, 3), (2, 3)),
    "written by index": (lambda x: _written(x, (slice(None), 2)), (3, 5)),
    "written by range": (lambda x: _written(x, (slice(None), slice(1, 5, 2))), (3, 6)),
    "written by another": (lambda x, y: _written(x, (slice(None), slice(1, 4)), y[:, :3]), (3, 6), (3, 4)),
    "written by a broadcast": (lambda x, y: _written(x, (slice(None), slice(1, 5, 2)), y), (3, 6), (3, 1)),
    "glu": (lambda x: F.glu(x, dim=1), (2, 6, 5)),
    "glu of the last": (F.glu, (2, 6)),
    "squeeze, unsqueeze": (lambda x: x.squeeze(1).unsqueeze(0).squeeze(), (3, 1, 5)),
    "flatten, unflatten": (lambda x: x.flatten(1).unflatten(1, (3, 4)), (2, 4, 3)),
    "pad": (lambda x: F.pad(x, (2, 1)), (2, 3, 5)),
    "pad with a number": (lambda x: F.pad(x, (2, 1, 1, 0), value=0.5), (2, 3, 5)),
    "pad cuts": (lambda x: F.pad(x, (-1, 2, 1, -1)), (2, 3, 5)),
    "pad by reflection": (lambda x: F.pad(x, (2, 4), mode="reflect"), (2, 3, 5)),
    "pad by reflection, two axes": (lambda x: F.pad(x, (2, 1, 1, 2), mode="reflect"), (2, 3, 4, 5)),
    "pad by replication": (lambda x: F.pad(x, (3, 7), mode="replicate"), (2, 3, 5)),
    "pad by replication, two axes": (lambda x: F.pad(x, (0, 1, 2, 0), mode="replicate"), (2, 3, 4, 5)),
    "pad in a circle": (lambda x: F.pad(x, (3, 2), mode="circular"), (2, 3, 5)),
    "flip": (lambda x: x.flip(1), (2, 3, 5)),
    "flip two": (lambda x: x.flip(0, -1), (2, 3, 5)),
    "roll": (lambda x: x.roll(2, 1), (2, 5)),
    "roll two back": (lambda x: x.roll((-1, 1), (0, 2)), (2, 3, 4)),
    "roll all": (lambda x: x.roll(3), (2, 5)),
    "unfold": (lambda x: x.unfold(1, 4, 3), (2, 10, 2)),
    "unfold, overlapping": (lambda x: x.unfold(-1, 4, 1), (2, 7)),
    "im2col": (lambda x: F.unfold(x, (2, 3), dilation=(1, 2), padding=(1, 0), stride=(2, 1)), (2, 3, 5, 6)),
    "col2im": (lambda x: F.fold(x, (5, 6), (2, 3), stride=(1, 2), padding=(0, 1)), (2, 12, 12)),
    "overlap-add": (lambda x: F.fold(x, (1, 20), (1, 8), stride=(1, 4)), (1, 8, 4)),
    "pixel shuffle": (lambda x: F.pixel_shuffle(x, 2), (2, 8, 3, 4)),
    "pixel unshuffle": (lambda x: F.pixel_unshuffle(x, 2), (2, 3, 4, 6)),
    "repeat_interleave": (lambda x: x.repeat_interleave(3, dim=1), (2, 3, 4)),
    "repeat_interleave of all": (lambda x: x.repeat_interleave(2), (2, 3)),
}


def _written(x: torch.Tensor, place: Any, what: Any = 0.25) -> torch.Tensor:
    y = torch.tanh(x)
    y[place] = what
    return y


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return compiled(CASES, tmp_path_factory.mktemp("shape"))


@pytest.mark.parametrize("name", CASES)
def test_c_says_what_torch_says(name: str, made: Any) -> None:
    assert error_of(CASES[name], made[name]) <= 1e-6


def test_no_c_lacks_a_case(made: Any) -> None:
    assert not_shown(IN_C["test_ops_shape"], made) == []
