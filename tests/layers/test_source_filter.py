"""What a source-filter model is made of, against sums done by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pochette.layers.source_filter import FilterBlock, SincPair, moving_filter, smoothed, smoothing
from pochette.layers.synthesis import hann_ramp, white_noise


def test_a_block_whose_last_weights_are_zero_hands_its_input_on() -> None:
    torch.manual_seed(0)
    block = FilterBlock(6, 4)
    with torch.no_grad():
        block.exit.weight.zero_()
    x = torch.randn(2, 1, 50)
    made, _ = block(x, torch.randn(2, 6, 50), block.empty_pasts(2))
    assert torch.equal(made, x)


def test_a_block_looks_back_as_far_as_its_dilations_say_and_never_ahead() -> None:
    torch.manual_seed(0)
    block = FilterBlock(5, 4).double()
    x = torch.randn(1, 1, 60, dtype=torch.float64, requires_grad=True)
    made, _ = block(x, torch.zeros(1, 5, 60, dtype=torch.float64), block.empty_pasts(1))
    (gradient,) = torch.autograd.grad(made[0, 0, 45], x)
    heard = torch.nonzero(gradient[0, 0]).ravel()
    assert heard.min() == 45 - 2 * (1 + 2 + 4 + 8) and heard.max() == 45


@pytest.mark.parametrize("hop", [1, 5, 80])
def test_smoothing_is_two_moving_averages_of_held_frames(hop: int) -> None:
    frames = np.random.default_rng(0).standard_normal((7, 2))
    held = np.repeat(np.concatenate([np.zeros((2, 2)), frames]), hop, axis=0)
    average = np.ones(hop) / hop
    wanted = np.stack([np.convolve(np.convolve(held[:, c], average), average)[: len(held)] for c in (0, 1)])
    signal, after = smoothed(torch.tensor(frames)[None].float(), torch.zeros(1, 2, 2), smoothing(hop))
    assert np.allclose(signal[0].numpy(), wanted[:, 2 * hop :], atol=1e-6)
    assert torch.equal(after[0], torch.tensor(frames[-2:]).float())


def test_both_filters_pass_their_own_end_whole_and_stop_the_other_at_any_cutoff() -> None:
    cutoff = torch.linspace(0.1, 0.9, 33)[None, :, None]
    low, high = SincPair()(cutoff).double().unbind(2)
    signs = torch.tensor([(-1.0) ** n for n in range(31)], dtype=torch.float64) * (-1.0) ** 15
    assert torch.allclose(low.sum(-1), torch.ones(1, 33, dtype=torch.float64), atol=1e-6)
    assert torch.allclose((high * signs).sum(-1), torch.ones(1, 33, dtype=torch.float64), atol=1e-6)
    # Far from the cut-off a Hamming window lets through less than a hundredth.
    middle = slice(8, 25)
    assert (low * signs).sum(-1)[:, middle].abs().max() < 0.01 and high.sum(-1)[:, middle].abs().max() < 0.01
    assert torch.allclose(low, low.flip(-1), atol=1e-7)


def test_a_filter_that_does_not_move_is_a_convolution_and_one_that_moves_lies_between() -> None:
    rng = np.random.default_rng(1)
    hop, frames = 8, 5
    signal, taps = rng.standard_normal(hop * frames), rng.standard_normal((2, 31))
    x, ramp = torch.tensor(signal).float()[None], hann_ramp(hop)
    resting = [torch.tensor(row).float() for row in taps]
    made = []
    for row in resting:
        y, past = moving_filter(x, row.expand(1, frames, 31), torch.zeros(1, 30), row[None], ramp)
        assert np.allclose(y[0], np.convolve(signal, row.numpy()[::-1])[: len(signal)], atol=1e-5)
        assert torch.equal(past[0], x[0, -30:])
        made.append(y)
    moved = torch.stack([resting[0]] * 2 + [resting[1]] * 3)[None]
    y, _ = moving_filter(x, moved, torch.zeros(1, 30), resting[0][None], ramp)
    assert torch.allclose(y[:, : 2 * hop], made[0][:, : 2 * hop], atol=1e-5)
    between = made[0] + ramp.repeat(frames) * (made[1] - made[0])
    assert torch.allclose(y[:, 2 * hop : 3 * hop], between[:, 2 * hop : 3 * hop], atol=1e-5)
    assert torch.allclose(y[:, 3 * hop :], made[1][:, 3 * hop :], atol=1e-5)


def test_white_noise_goes_on_where_it_stopped_and_wraps() -> None:
    start = torch.tensor([5, 2**32 - 10])
    whole, end = white_noise(start, 40)
    first, middle = white_noise(start, 13)
    second, last = white_noise(middle, 27)
    assert torch.equal(torch.cat([first, second], 1), whole) and torch.equal(end, last)
    assert end.tolist() == [45, 30] and torch.equal(whole[1, 10:], white_noise(torch.tensor([0]), 30)[0][0])
