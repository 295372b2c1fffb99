"""Draws have the distribution they should, and the same counter the same draw."""

from __future__ import annotations

import torch

from pochette.layers.generator import hash32
from pochette.layers.sampling import draw_code, look_up, place_of
from pochette.layers.synthesis import CYCLE

ONE = torch.ones(1, 1)


def test_draws_have_the_frequencies_of_the_softmax() -> None:
    torch.manual_seed(0)
    logits, draws = torch.randn(1, 12) * 1.5, 40_000
    for temperature in (0.5, 1.0, 2.0):
        codes, _ = draw_code(
            logits.expand(draws, -1), torch.full((draws, 1), temperature), torch.arange(draws, dtype=torch.int64)
        )
        share = torch.bincount(codes, minlength=12) / draws
        wanted = torch.softmax(logits[0].double() / temperature, dim=0)
        # Four standard errors of a share.
        assert ((share - wanted).abs() < 4 * (wanted * (1 - wanted) / draws).sqrt() + 1e-9).all()


def test_every_place_of_the_distribution_function_is_met() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0, -1.0]]).log_softmax(-1)
    ends = logits.double().exp().cumsum(-1)[0]
    for code in range(4):
        start = float(ends[code - 1]) if code else 0.0
        inside = torch.tensor([int((start + 1e-5) * 2**24), int((float(ends[code]) - 1e-5) * 2**24)])
        assert place_of(logits.expand(2, -1), ONE.expand(2, 1), inside).tolist() == [code, code]
    corners = torch.tensor([0, 2**24 - 1])
    assert place_of(logits.expand(2, -1), ONE.expand(2, 1), corners).tolist() == [0, 3]
    # One code that is certain, the rest impossible; and all alike.
    certain = torch.full((2, 256), -1e4)
    certain[:, 17] = 0.0
    assert place_of(certain, ONE.expand(2, 1), corners).tolist() == [17, 17]
    assert place_of(torch.zeros(2, 256), ONE.expand(2, 1), corners).tolist() == [0, 255]


def test_the_counter_alone_decides() -> None:
    logits = torch.randn(1, 256, generator=torch.Generator().manual_seed(1))
    first = [draw_code(logits, ONE, torch.tensor([n]))[0].item() for n in range(50)]
    assert first == [draw_code(logits, ONE, torch.tensor([n]))[0].item() for n in range(50)]
    assert len(set(first)) > 20
    assert draw_code(logits, ONE, torch.tensor([CYCLE - 1]))[1].item() == 0
    place = hash32(torch.tensor([7])) >> 8
    assert draw_code(logits, ONE, torch.tensor([7]))[0].item() == place_of(logits, ONE, place).item()
    calm = {draw_code(logits, torch.full((1, 1), 0.05), torch.tensor([n]))[0].item() for n in range(50)}
    assert len(calm) < 5 and logits.argmax().item() in calm


def test_rows_by_number_and_by_knob() -> None:
    table = torch.randn(4, 3, requires_grad=True)
    assert torch.equal(look_up(table, torch.tensor([[2, 0]])), table[[2, 0]][None])
    knob = torch.tensor([-3.0, 0.49, 0.51, 2.7, 9.0])
    assert torch.equal(look_up(table, knob), table[[0, 0, 1, 3, 3]])
    operator = torch.ops.pochette.look_up(table, torch.tensor([1, 1, 3]))
    operator.sum().backward()
    assert table.grad is not None and table.grad[:, 0].tolist() == [0.0, 2.0, 0.0, 1.0]
