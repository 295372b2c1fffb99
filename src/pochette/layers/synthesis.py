"""Differentiable synthesis with carried state: a bank of harmonic oscillators and time-varying filtered noise.

Both work frame by frame: frame f turns the controls of frame f-1 (carried) and f into `hop` samples. They are pure
functions, (inputs, state) -> (audio, state), so that a whole sound in one call and the same sound in pieces give the
same samples. While a model is exported they appear as one operator each (`torch.ops.pochette.*`), which the C engine
answers with a hand-written kernel; everywhere else they are ordinary torch code that autograd sees through.

Phase is an integer, 2^32 to the cycle: it wraps by itself, every partial's phase k * phase is exact, and an hour of
playing drifts by nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from pochette.layers.generator import uniform_noise

CYCLE = 2**32
"""Phase units in one cycle."""
FRAMES_TOGETHER = 32
"""Frames whose sines are made at once: about a megabyte of them."""


def hann_ramp(hop: int) -> Tensor:
    """Rising half of a Hann window: the weight of the new frame at each sample of a hop, (hop,), from 0 towards 1.

    The falling half is 1 minus it, so overlap-add of a constant is that constant.
    """
    return 0.5 - 0.5 * torch.cos(torch.arange(hop, dtype=torch.float64) * (math.pi / hop)).float()


def phase_steps(f0_hz: Tensor, sample_rate_hz: int) -> Tensor:
    """Phase advance per sample, in units of 2^-32 cycle.

    One float32 product and a truncation, in this order everywhere, so that C computes the same integer.

    Args:
        f0_hz: any shape, float32, in [0, sample_rate_hz / 2).
        sample_rate_hz: samples per second.

    Returns:
        the same shape, int64.
    """
    return (f0_hz.float() * torch.tensor(CYCLE / sample_rate_hz, dtype=torch.float32)).long()


def phase_track(step: Tensor, previous: Tensor, phase: Tensor, hop: int) -> tuple[Tensor, Tensor, Tensor]:
    """Exact phase at every sample of a frequency that runs linearly from frame to frame.

    Args:
        step: (batch, frame), int64: phase advance at the end of each hop.
        previous: (batch,), int64: phase advance before the first hop; 0 means "begin at the first frame's".
        phase: (batch,), int64 in [0, 2^32).
        hop: samples per frame.

    Returns:
        phase (batch, frame, hop) in [0, 2^32), advance at each sample (batch, frame, hop), and the phase after the
        last sample (batch,); all int64.
    """
    before = torch.cat([torch.where(previous > 0, previous, step[:, 0])[:, None], step[:, :-1]], dim=1)
    slope = torch.div(step - before, hop, rounding_mode="trunc")
    n = torch.arange(hop, device=step.device)
    # The sum of an arithmetic progression, not a running sum: exact, and no loop.
    advance = before[..., None] + slope[..., None] * n
    within = before[..., None] * (n + 1) + slope[..., None] * ((n * (n + 1)) // 2)
    per_hop = before * hop + slope * (hop * (hop - 1) // 2)
    start = phase[:, None] + torch.cumsum(per_hop, dim=1) - per_hop
    return (start[..., None] + within) % CYCLE, advance, (phase + per_hop.sum(1)) % CYCLE


def harmonics(
    f0_hz: Tensor,
    amplitudes: Tensor,
    previous_f0_hz: Tensor,
    previous_amplitudes: Tensor,
    phase: Tensor,
    hop: int,
    sample_rate_hz: int,
) -> tuple[Tensor, Tensor]:
    """Sum of sinusoids at whole multiples of one frequency, amplitudes cross-faded by Hann windows.

    Engel et al. 2020, eq. (2)-(4). A partial is silent at every sample at which it would reach half the sample rate.
    f0 is an input, never learnt: no gradient flows into it.

    Args:
        f0_hz: (batch, frame), at the end of each hop.
        amplitudes: (batch, frame, partial), of partials 1, 2, ..., at the end of each hop, linear.
        previous_f0_hz: (batch,), before the first hop; 0 after a reset.
        previous_amplitudes: (batch, partial), before the first hop.
        phase: (batch,), int64, units of 2^-32 cycle.
        hop: samples per frame.
        sample_rate_hz: samples per second.

    Returns:
        audio (batch, frame * hop) and the phase after it (batch,).
    """
    if torch.compiler.is_exporting():
        return torch.ops.pochette.harmonics(  # type: ignore[no-any-return]
            f0_hz, amplitudes, previous_f0_hz, previous_amplitudes, phase, hop, sample_rate_hz
        )
    batch, frames, partials = amplitudes.shape
    with torch.no_grad():
        steps = phase_steps(f0_hz, sample_rate_hz)
        track, advance, after = phase_track(steps, phase_steps(previous_f0_hz, sample_rate_hz), phase, hop)
        ramp = hann_ramp(hop).to(amplitudes)
    before = torch.cat([previous_amplitudes[:, None], amplitudes[:, :-1]], dim=1)
    pair = torch.stack([before, amplitudes], dim=-1).view(batch * frames, partials, 2)
    sums: Tensor = _Bank.apply(pair, track.view(-1, hop), advance.view(-1, hop))  # type: ignore[no-untyped-call]
    old, new = sums.unbind(-1)
    return (old + ramp * (new - old)).reshape(batch, frames * hop), after


class _Bank(torch.autograd.Function):
    """Sums of partials with two sets of amplitudes, sines made when they are needed and never kept.

    The sines of a second of sound are some hundred megabytes, and their amplitudes are all that learns. So frames are
    taken in groups of like pitch, small enough for the cache; a group makes only the partials that sound in it, and the
    backward pass makes them again, which is faster than reading them back.
    """

    @staticmethod
    def forward(ctx: Any, pair: Tensor, phase: Tensor, advance: Tensor) -> Tensor:
        """(frame, partial, 2) and (frame, hop) twice to (frame, hop, 2)."""
        ctx.save_for_backward(phase, advance)
        ctx.partials = pair.shape[1]
        sums = pair.new_empty(*phase.shape, 2)
        for group, sines in _sines_by_group(phase, advance, ctx.partials):
            sums[group] = torch.bmm(sines, pair[group, : sines.shape[-1]])
        return sums

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """The sums are linear in the amplitudes: the gradient is the product with the same sines, transposed."""
        phase, advance = ctx.saved_tensors
        (sums,) = gradients
        pair = sums.new_zeros(len(phase), ctx.partials, 2)
        for group, sines in _sines_by_group(phase, advance, ctx.partials):
            pair[group, : sines.shape[-1]] = torch.bmm(sines.transpose(1, 2), sums[group])
        return pair, None, None


def _sines_by_group(phase: Tensor, advance: Tensor, partials: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Frames of like pitch together: their numbers, and the sines (frame, hop, partial) of all that sound in them."""
    slowest = advance.amin(dim=1).clamp(min=1)
    order = torch.argsort(slowest)
    audible = torch.div(CYCLE // 2 - 1, slowest[order], rounding_mode="floor").clamp(max=partials)
    for start in range(0, len(order), FRAMES_TOGETHER):
        group = order[start : start + FRAMES_TOGETHER]
        count = int(audible[start])
        yield group, _partial_sines(phase[group], advance[group], count)


def _partial_sines(phase: Tensor, advance: Tensor, partials: int) -> Tensor:
    """Sine of every partial at every sample, zero where it is at or above Nyquist: (frame, hop, partial), float32."""
    k = torch.arange(1, partials + 1, device=phase.device)
    # int32 arithmetic wraps like the phase itself: k * phase modulo one cycle, centred on zero.
    wrapped = phase.to(torch.int32)[..., None] * k.to(torch.int32)
    sines = torch.sin_(wrapped.to(torch.float32).mul_(2 * math.pi / CYCLE))
    if int(advance.max()) * partials >= CYCLE // 2:
        # k * advance >= CYCLE / 2, asked as k > limit: comparing 16-bit numbers is several times cheaper.
        limit = torch.div(CYCLE // 2 - 1, advance.clamp(min=1), rounding_mode="floor").clamp(max=partials)
        sines.masked_fill_(k.to(torch.int16) > limit.to(torch.int16)[..., None], 0.0)
    return sines


def filtered_noise(impulse_response: Tensor, counter: Tensor, tail: Tensor, hop: int) -> tuple[Tensor, Tensor, Tensor]:
    """White noise through a filter that changes every frame.

    Engel et al. 2020, section 3.2: each frame's noise (rectangular, not overlapping) is convolved with the frame's
    impulse response and the tails are added to what follows; nothing is truncated or wrapped.

    Args:
        impulse_response: (batch, frame, tap).
        counter: (batch,), int64: number of the next noise sample.
        tail: (batch, tap - 1): what earlier frames still have to say.
        hop: samples per frame.

    Returns:
        audio (batch, frame * hop), counter after it (batch,), tail after it (batch, tap - 1).
    """
    if torch.compiler.is_exporting():
        return torch.ops.pochette.filtered_noise(  # type: ignore[no-any-return]
            impulse_response, counter, tail, hop
        )
    batch, frames, taps = impulse_response.shape
    noise = uniform_noise(counter, frames * hop).view(batch, frames, hop)
    n_fft = 1 << (hop + taps - 2).bit_length()
    product = torch.fft.rfft(noise, n_fft) * torch.fft.rfft(impulse_response, n_fft)
    pieces = torch.fft.irfft(product, n_fft)[..., : hop + taps - 1]
    whole = _overlap_add(pieces, hop)
    whole = torch.cat([whole[:, : taps - 1] + tail, whole[:, taps - 1 :]], dim=1)
    return whole[:, : frames * hop], (counter + frames * hop) % CYCLE, whole[:, frames * hop :]


def white_noise(counter: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """White noise from a counter, with the counter handed on.

    Args:
        counter: (batch,), int64: number of the next noise sample.
        samples: how many.

    Returns:
        (batch, samples), uniform in [-1, 1), and the counter after it.
    """
    if torch.compiler.is_exporting():
        return torch.ops.pochette.white_noise(counter, samples)  # type: ignore[no-any-return]
    return uniform_noise(counter, samples), (counter + samples) % CYCLE


def _overlap_add(pieces: Tensor, hop: int) -> Tensor:
    """Add frames (batch, frame, length) at distances of hop: (batch, (frame - 1) * hop + length)."""
    batch, frames, length = pieces.shape
    blocks = -(-length // hop)
    padded = torch.nn.functional.pad(pieces, (0, blocks * hop - length)).view(batch, frames, blocks, hop)
    total = padded.new_zeros(batch, frames + blocks - 1, hop)
    for block in range(blocks):
        total[:, block : block + frames] += padded[:, :, block]
    return total.view(batch, -1)[:, : (frames - 1) * hop + length]


def noise_filter_matrix(bands: int) -> Tensor:
    """Turns the magnitudes of equally spaced bands into a windowed linear-phase impulse response, by one product.

    The inverse real FFT of zero-phase magnitudes, rotated so that its centre lies in the middle and Hann-windowed
    over its whole length (Engel et al. 2020, appendix B.5). The delay of half its length, `bands - 1` samples, is not
    compensated: a live instrument cannot look ahead.

    Args:
        bands: number of magnitudes, from 0 Hz to half the sample rate; at least 2.

    Returns:
        (band, tap) with 2 * (bands - 1) taps.
    """
    taps = 2 * (bands - 1)
    responses = torch.fft.irfft(torch.eye(bands, dtype=torch.complex128), taps)
    return (torch.roll(responses, taps // 2, dims=-1) * torch.hann_window(taps, dtype=torch.float64)).float()


@torch.library.custom_op("pochette::harmonics", mutates_args=())
def _harmonics_op(
    f0_hz: Tensor,
    amplitudes: Tensor,
    previous_f0_hz: Tensor,
    previous_amplitudes: Tensor,
    phase: Tensor,
    hop: int,
    sample_rate_hz: int,
) -> tuple[Tensor, Tensor]:
    return harmonics(f0_hz, amplitudes, previous_f0_hz, previous_amplitudes, phase, hop, sample_rate_hz)


@_harmonics_op.register_fake
def _(f0_hz, amplitudes, previous_f0_hz, previous_amplitudes, phase, hop, sample_rate_hz):  # type: ignore[no-untyped-def]
    return amplitudes.new_empty(f0_hz.shape[0], f0_hz.shape[1] * hop), torch.empty_like(phase)


@torch.library.custom_op("pochette::filtered_noise", mutates_args=())
def _filtered_noise_op(
    impulse_response: Tensor, counter: Tensor, tail: Tensor, hop: int
) -> tuple[Tensor, Tensor, Tensor]:
    audio, counter, tail = filtered_noise(impulse_response, counter, tail, hop)
    return audio.clone(), counter.clone(), tail.clone()


@_filtered_noise_op.register_fake
def _(impulse_response, counter, tail, hop):  # type: ignore[no-untyped-def]
    return (
        impulse_response.new_empty(impulse_response.shape[0], impulse_response.shape[1] * hop),
        torch.empty_like(counter),
        torch.empty_like(tail),
    )


@torch.library.custom_op("pochette::white_noise", mutates_args=())
def _white_noise_op(counter: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    return white_noise(counter, samples)


@_white_noise_op.register_fake
def _(counter, samples):  # type: ignore[no-untyped-def]
    return torch.empty(len(counter), samples, device=counter.device), torch.empty_like(counter)
