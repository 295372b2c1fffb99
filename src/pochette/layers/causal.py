"""Causal dilated convolution as a linear map of taps: a whole signal at once, or sample by sample with a queue.

A convolution with kernel k and dilation d is a matrix times the k values that stand d samples apart. Here the values
are gathered and the matrix is an ordinary `nn.Linear`, (out, k * in), taps oldest first; so the same layer serves the
offline and the streamed form, and only the gathering differs.

What came before the first sample is zeros, in every layer its own: an empty queue and per-layer zero padding are the
same thing. (Padding the waveform is not: biases make the hidden values of silence other than zero.)
"""

from __future__ import annotations

import torch
from torch import Tensor


def dilated_taps(x: Tensor, past: Tensor, dilation: int) -> Tensor:
    """The taps of every sample of a signal.

    Args:
        x: (batch, sample, channel).
        past: what came before, (batch, (kernel - 1) * dilation, channel), oldest first.
        dilation: samples between taps.

    Returns:
        (batch, sample, kernel * channel), oldest tap first.
    """
    samples, reach = x.shape[1], past.shape[1]
    whole = torch.cat([past, x], dim=1)
    return torch.cat([whole[:, start : start + samples] for start in range(0, reach + 1, dilation)], dim=-1)


class DelayLine:
    """A queue of past values for a stretch of samples that come one by one.

    Values are not shifted along: those of this stretch wait in a list, and the new past is put together once, at its
    end.

    Args:
        past: values before the stretch, (batch, (kernel - 1) * dilation, channel), oldest first.
        dilation: samples between taps.
    """

    def __init__(self, past: Tensor, dilation: int) -> None:
        self._past, self._dilation = past, dilation
        self._new: list[Tensor] = []

    def taps(self, x: Tensor) -> Tensor:
        """Take in a sample and give its taps.

        Args:
            x: (batch, channel).

        Returns:
            (batch, kernel * channel), oldest tap first, `x` last.
        """
        now, reach = len(self._new), self._past.shape[1]
        self._new.append(x)
        places = range(now, now + reach + 1, self._dilation)
        return torch.cat([self._past[:, p] if p < reach else self._new[p - reach] for p in places], dim=-1)

    def past(self) -> Tensor:
        """The past after the samples taken in, of the shape of the one before."""
        reach, count = self._past.shape[1], len(self._new)
        if count < reach:
            return torch.cat([self._past[:, count:], *(x[:, None] for x in self._new)], dim=1)
        return torch.cat([x[:, None] for x in self._new[count - reach :]], dim=1)


class SampleLine:
    """The same queue for a single sample: one stretch, read and handed on, to whose memory an engine appends.

    Args:
        past: values before the sample, (batch, (kernel - 1) * dilation, channel), oldest first.
        dilation: samples between taps.
    """

    def __init__(self, past: Tensor, dilation: int) -> None:
        self._whole, self._dilation = past, dilation

    def taps(self, x: Tensor) -> Tensor:
        """See `DelayLine.taps`; to be called once."""
        self._whole = torch.cat([self._whole, x[:, None]], dim=1)
        places = range(0, self._whole.shape[1], self._dilation)
        return torch.cat([self._whole[:, place] for place in places], dim=-1)

    def past(self) -> Tensor:
        """The past after it, of the shape of the one before."""
        return self._whole[:, 1:]
