"""The learnt room."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pochette.layers.reverb import Reverb


def room(taps: int) -> Reverb:
    torch.manual_seed(0)
    reverb = Reverb(taps, 16)
    torch.nn.init.normal_(reverb.response)
    return reverb


@pytest.mark.parametrize(("taps", "samples"), [(2, 5), (30, 100), (100, 30), (64, 64), (300, 1)])
@torch.no_grad()
def test_is_a_plain_convolution(taps: int, samples: int) -> None:
    reverb = room(taps)
    audio, history = torch.randn(2, samples), torch.randn(2, taps - 1)
    wet, after = reverb(audio, history)
    impulse = np.concatenate([[1.0], reverb.response.double().numpy()])  # tap 0 is the dry sound
    for voice in range(2):
        past = torch.cat([history[voice], audio[voice]]).double().numpy()
        expected = np.convolve(past, impulse)[taps - 1 : taps - 1 + samples]
        assert np.abs(wet[voice].numpy() - expected).max() < 1e-4
        assert np.allclose(after[voice].numpy(), past[samples:])


@torch.no_grad()
def test_pieces_make_the_whole() -> None:
    reverb = room(50)
    audio = torch.randn(1, 96)
    whole, end = reverb(audio, reverb.initial_state(1))
    history, pieces = reverb.initial_state(1), []
    for piece in audio.split(16, dim=1):
        wet, history = reverb(piece, history)
        pieces.append(wet)
    assert torch.allclose(torch.cat(pieces, dim=1), whole, atol=1e-5) and torch.equal(history, end)


def test_starts_as_almost_nothing_and_learns() -> None:
    torch.manual_seed(0)
    reverb = Reverb(1000, 16)
    assert reverb.response.shape == (999,) and 5e-7 < reverb.response.std().item() < 2e-6
    audio = torch.zeros(1, 8)
    audio[0, 0] = 1.0
    reverb(audio, reverb.initial_state(1))[0][0, 3].backward()
    # Sample 3 of an impulse's sound is the room's tap 3, which is number 2 of the learnt ones.
    expected = torch.zeros(999)
    expected[2] = 1.0
    assert torch.allclose(reverb.response.grad, expected, atol=1e-6)  # type: ignore[arg-type]
