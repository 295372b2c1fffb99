"""Windows that overlap: the same arithmetic as PyTorch's convolutions, in one piece or in many."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pochette.layers.overlap import (
    HOP_SAMPLES,
    WINDOW_SAMPLES,
    FrameConvolution,
    FrameDecoder,
    FrameEncoder,
    overlap_add,
    squared_hann,
)


def window() -> Tensor:
    """Written a second time: sin^4."""
    return torch.sin(torch.pi * torch.arange(WINDOW_SAMPLES, dtype=torch.float64) / WINDOW_SAMPLES).pow(4).float()


def test_the_windows_add_up_to_one_and_a_half() -> None:
    assert torch.allclose(squared_hann(), window(), atol=1e-7)
    columns = squared_hann().expand(1, 20, -1)
    audio, _ = overlap_add(columns, torch.zeros(1, WINDOW_SAMPLES - HOP_SAMPLES))
    assert torch.allclose(audio[:, WINDOW_SAMPLES - HOP_SAMPLES :], torch.tensor(1.5), atol=1e-6)
    assert audio[0, 128] < 0.5  # the first window alone


@pytest.mark.parametrize("cuts", [[1] * 9, [4, 5], [1, 7, 1]])
def test_overlap_add_in_pieces(cuts: list[int]) -> None:
    columns, tail = torch.randn(2, 9, WINDOW_SAMPLES), torch.randn(2, WINDOW_SAMPLES - HOP_SAMPLES)
    naive = torch.zeros(2, 8 * HOP_SAMPLES + WINDOW_SAMPLES)
    naive[:, : tail.shape[1]] = tail
    for number in range(9):
        naive[:, number * HOP_SAMPLES : number * HOP_SAMPLES + WINDOW_SAMPLES] += columns[:, number]
    pieces = []
    for piece in columns.split(cuts, dim=1):
        audio, tail = overlap_add(piece, tail)
        pieces.append(audio)
    assert torch.allclose(torch.cat([*pieces, tail], dim=1), naive, atol=1e-5)


def test_a_convolution_over_frames_is_a_convolution() -> None:
    layer = FrameConvolution(3, 5, context=4)
    weight = torch.stack([tap.weight for tap in layer.taps], dim=-1)  # type: ignore[misc]
    frames = torch.randn(2, 11, 3)
    expected = nn.functional.conv1d(frames.transpose(1, 2), weight, layer.taps[0].bias).transpose(1, 2)  # type: ignore[arg-type]
    assert torch.allclose(layer(frames), expected, atol=1e-6)
    assert sum(p.numel() for p in layer.parameters()) == sum(p.numel() for p in nn.Conv1d(3, 5, 4).parameters())


def test_the_encoder_is_a_windowed_convolution() -> None:
    encoder = FrameEncoder(channels=6, layers=1, code=2)
    audio = torch.randn(2, 4000)
    kernel = (encoder.input.weight * window())[:, None]
    hidden = torch.relu(nn.functional.conv1d(audio[:, None], kernel, encoder.input.bias, stride=HOP_SAMPLES))
    expected = encoder.head(torch.relu(encoder.rewrites[0](hidden.transpose(1, 2))))
    assert torch.allclose(encoder(audio), expected, atol=1e-5)


def test_the_decoder_is_a_windowed_transposed_convolution() -> None:
    decoder = FrameDecoder(code=2, channels=6, context=3, layers=1)
    codes = torch.randn(2, 14, 2)
    hidden = torch.relu(decoder.rewrites[0](torch.relu(decoder.input(codes)))).transpose(1, 2)
    kernel = (decoder.output.weight * window()[:, None]).T[:, None]
    padding = WINDOW_SAMPLES - HOP_SAMPLES  # keeps what all windows overlap
    expected = nn.functional.conv_transpose1d(hidden, kernel, decoder.offset, stride=HOP_SAMPLES, padding=padding)[:, 0]
    assert torch.allclose(decoder.whole(codes), expected, atol=1e-5)
    assert decoder.whole(codes).shape == (2, 9 * HOP_SAMPLES)


def test_even_contexts_lean_back() -> None:
    assert [(FrameDecoder(1, 1, k, 0).behind, FrameDecoder(1, 1, k, 0).ahead) for k in (1, 6, 9)] == [
        (0, 0),
        (3, 2),
        (4, 4),
    ]
