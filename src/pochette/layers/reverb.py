"""A trainable room: one long impulse response, the dry sound added (Engel et al. 2020, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Reverb(nn.Module):
    """Convolution with a learnt room response whose first tap is fixed at zero; the dry sound passes unchanged.

    Args:
        taps: length of the response in samples.
        hop: samples per frame.
    """

    def __init__(self, taps: int, hop: int) -> None:
        super().__init__()
        self.hop = hop
        # The published code starts the room at almost nothing, N(0, 1e-6).
        self.response = nn.Parameter(torch.randn(taps - 1) * 1e-6)

    def initial_state(self, batch: int) -> Tensor:
        """Silence: the last `taps - 1` dry samples, (batch, taps - 1)."""
        return self.response.new_zeros(batch, len(self.response))

    def forward(self, audio: Tensor, history: Tensor) -> tuple[Tensor, Tensor]:
        """Wet plus dry.

        Args:
            audio: dry, (batch, sample).
            history: dry samples before, (batch, taps - 1), oldest first.

        Returns:
            (batch, sample), and the history after.
        """
        if torch.compiler.is_exporting():
            return torch.ops.pochette.reverb(audio, self.response, history)  # type: ignore[no-any-return]
        return reverb(audio, self.response, history)


def reverb(audio: Tensor, response: Tensor, history: Tensor) -> tuple[Tensor, Tensor]:
    """Convolution by FFT of the past and present with the response, plus the dry sound; see `Reverb.forward`.

    Args:
        audio: dry, (batch, sample).
        response: taps 1, 2, ... of the room; tap 0 is zero.
        history: dry samples before, (batch, tap).

    Returns:
        (batch, sample), and the history after.
    """
    samples, taps = audio.shape[1], len(response)
    whole = torch.cat([history, audio], dim=1)
    n_fft = 1 << (whole.shape[1] + taps - 1).bit_length()
    wet = torch.fft.irfft(torch.fft.rfft(whole, n_fft) * torch.fft.rfft(response, n_fft), n_fft)
    # Tap j of `response` is tap j + 1 of the room: sample n hears whole[n + taps - 1 - j].
    return audio + wet[:, taps - 1 : taps - 1 + samples], whole[:, samples:]


@torch.library.custom_op("pochette::reverb", mutates_args=())
def _reverb_op(audio: Tensor, response: Tensor, history: Tensor) -> tuple[Tensor, Tensor]:
    wet, after = reverb(audio, response, history)
    return wet, after.clone()


@_reverb_op.register_fake
def _(audio, response, history):  # type: ignore[no-untyped-def]
    return torch.empty_like(audio), torch.empty_like(history)
