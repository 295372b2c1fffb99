"""Oscillators and filtered noise, held against loops that anyone can check."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pochette.layers.generator import uniform_noise
from pochette.layers.synthesis import (
    CYCLE,
    filtered_noise,
    hann_ramp,
    harmonics,
    noise_filter_matrix,
    phase_steps,
    phase_track,
)

RATE, HOP = 16000, 64


def played(f0: Tensor, amplitudes: Tensor, *, hop: int = HOP, rate: int = RATE, phase: int = 0) -> Tensor:
    """Sound of one voice whose controls stood at their first frame before, (sample,)."""
    audio, _ = harmonics(f0[None], amplitudes[None], f0[:1], amplitudes[:1], torch.tensor([phase]), hop, rate)
    return audio[0]


def one_hot(k: int, partials: int, frames: int) -> Tensor:
    amplitudes = torch.zeros(frames, partials)
    amplitudes[:, k - 1] = 1.0
    return amplitudes


@pytest.mark.parametrize("hop", [1, 2, 7, 64, 192])
def test_cross_fades_of_a_constant_are_that_constant(hop: int) -> None:
    up = hann_ramp(hop)
    assert up[0] == 0 and up.shape == (hop,)
    # The falling half of one frame and the rising half of the next are one Hann window over two hops.
    window = torch.cat([up, 1 - up])
    assert torch.allclose(window, torch.hann_window(2 * hop, dtype=torch.float64).float(), atol=1e-6)
    assert torch.allclose(window[:hop] + window[hop:], torch.ones(hop), atol=1e-6)


def test_phase_is_that_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    hop, frames = 7, 40
    steps = rng.integers(0, 2**31, (2, frames))
    previous, phase = np.array([0, 123456789]), np.array([5, 2**32 - 1])
    track, advance, after = phase_track(*map(torch.from_numpy, (steps, previous, phase)), hop)
    for voice in range(2):
        at = int(phase[voice])
        begin = int(previous[voice]) or int(steps[voice, 0])
        for frame in range(frames):
            end = int(steps[voice, frame])
            slope = math.trunc((end - begin) / hop)
            step = begin
            for n in range(hop):
                at = (at + step) % CYCLE
                assert (int(track[voice, frame, n]), int(advance[voice, frame, n])) == (at, step)
                step += slope
            begin = end
        assert int(after[voice]) == at


def test_a_step_is_a_float32_product() -> None:
    f0 = torch.tensor([0.0, 20.0, 440.0, 7199.9])
    expected = [int(np.float32(np.float32(x) * np.float32(CYCLE / RATE))) for x in f0.tolist()]
    assert phase_steps(f0, RATE).tolist() == expected


@pytest.mark.parametrize(("k", "f0"), [(1, 440.0), (3, 200.0), (60, 100.0), (2, 3999.0)])
def test_one_harmonic_is_a_sine(k: int, f0: float) -> None:
    frames = 250
    audio = played(torch.full((frames,), f0), one_hot(k, 60, frames), phase=CYCLE // 8).double()
    # Rounded to a whole step: one part in four million, a thousandth of a cent.
    stepped = phase_steps(torch.tensor(f0), RATE).item() * RATE / CYCLE
    assert stepped == pytest.approx(f0, rel=2**-22)
    n = torch.arange(1, frames * HOP + 1, dtype=torch.float64)
    expected = torch.sin(2 * math.pi * k * (0.125 + stepped * n / RATE))
    assert (audio - expected).abs().max() < 1e-5
    if (k, f0) == (3, 200.0):
        assert (audio - torch.sin(2 * math.pi * k * (0.125 + f0 * n / RATE))).abs().max() < 1e-4


def test_a_glide_has_the_frequencies_asked_for() -> None:
    frames = 50
    f0 = torch.linspace(300, 600, frames)
    audio = played(f0, one_hot(1, 1, frames)).double()
    # Between zero crossings of a slow glide the frequency is the mean of the controls around them.
    whole = np.cumsum(np.concatenate([np.full(1, 300.0), f0.numpy()]))
    cycles = (whole[-1] - whole[0] - (f0[-1] - f0[0]).item() / 2) * HOP / RATE
    crossings = int(((audio[:-1] < 0) & (audio[1:] >= 0)).sum())
    assert abs(crossings - cycles) <= 1


def test_partials_at_or_above_half_the_rate_are_exactly_silent() -> None:
    for f0, first_silent in ((3000.0, 3), (4000.0, 2), (2000.0, 4), (1999.0, 5), (100.0, 80)):
        for k in (first_silent - 1, first_silent, first_silent + 3):
            audio = played(torch.full((4,), f0), one_hot(k, 90, 4))
            # 4000 Hz and 2000 Hz have partials exactly on 8000 Hz: silent as well.
            assert bool((audio == 0).all()) == (k >= first_silent), (f0, k)


def test_a_glide_across_half_the_rate_falls_silent_at_the_right_sample() -> None:
    f0 = torch.tensor([3900.0, 4100.0])
    steps = phase_steps(f0, RATE)
    _, advance, _ = phase_track(steps[None], steps[:1], torch.tensor([0]), HOP)
    audio = played(f0, one_hot(2, 2, 2)).view(2, HOP)
    loud = 2 * advance[0] < CYCLE // 2
    assert loud[0].all() and loud[1].any() and not loud[1].all()
    assert (audio[~loud] == 0).all()
    assert (audio[loud] != 0).float().mean() > 0.9
    # Never anything but the fundamental's own frequency: no partial folds back.
    rising = played(torch.linspace(2000, 7000, 100), torch.ones(100, 8) / 8)
    assert torch.isfinite(rising).all()


def test_two_partials_add_up() -> None:
    frames, f0 = 20, torch.full((20,), 150.0)
    mixed = torch.zeros(frames, 5)
    mixed[:, 1], mixed[:, 4] = 0.3, 0.5
    parts = 0.3 * played(f0, one_hot(2, 5, frames)) + 0.5 * played(f0, one_hot(5, 5, frames))
    assert torch.allclose(played(f0, mixed), parts, atol=1e-6)


def test_energy_is_half_the_sum_of_squares() -> None:
    torch.manual_seed(0)
    amplitudes = torch.rand(40).repeat(500, 1)
    audio = played(torch.full((500,), 190.0), amplitudes)
    assert audio.square().mean().item() == pytest.approx(0.5 * amplitudes[0].square().sum().item(), rel=1e-3)


def test_amplitudes_cross_fade_along_hann() -> None:
    amplitudes = torch.tensor([[0.2], [0.8]])
    audio = played(torch.tensor([1000.0, 1000.0]), amplitudes)
    sine = played(torch.tensor([1000.0, 1000.0]), torch.ones(2, 1))
    window = torch.hann_window(2 * HOP)[:HOP]
    assert torch.allclose(audio[HOP:], sine[HOP:] * (0.2 + 0.6 * window), atol=1e-5)


def test_pieces_make_the_whole() -> None:
    torch.manual_seed(0)
    f0, amplitudes = 100 + 3000 * torch.rand(2, 30), torch.rand(2, 30, 20)
    rest = (torch.zeros(2), torch.zeros(2, 20), torch.tensor([3, 4]))
    whole, phase = harmonics(f0, amplitudes, *rest, HOP, RATE)
    pieces, state = [], rest
    for a, b in ((0, 1), (1, 4), (4, 30)):
        audio, after = harmonics(f0[:, a:b], amplitudes[:, a:b], *state, HOP, RATE)
        state = (f0[:, b - 1], amplitudes[:, b - 1], after)
        pieces.append(audio)
    assert torch.equal(torch.cat(pieces, dim=1), whole) and torch.equal(state[2], phase)


def test_gradients_are_those_of_differences() -> None:
    torch.manual_seed(0)
    f0 = torch.tensor([[300.0, 350.0]])
    before = torch.rand(1, 3, dtype=torch.float64, requires_grad=True)
    amplitudes = torch.rand(1, 2, 3, dtype=torch.float64, requires_grad=True)

    def tone(a: Tensor, b: Tensor) -> Tensor:
        sines = [
            harmonics(f0, torch.eye(3)[k].expand(1, 2, 3), f0[:, 0], torch.eye(3)[k][None], torch.tensor([9]), 8, RATE)[
                0
            ]
            for k in range(3)
        ]
        held = torch.cat([b[:, None], a[:, :-1]], dim=1)
        ramp = hann_ramp(8).double()
        mix = held[..., None] + ramp * (a - held)[..., None]
        return torch.stack([(s.view(1, 2, 8) * mix[:, :, k]).reshape(1, -1) for k, s in enumerate(sines)]).sum(0)

    weights = torch.randn(1, 16, dtype=torch.float64)
    (tone(amplitudes, before) * weights).sum().backward()
    ours_a, ours_b = (x.detach().float().requires_grad_() for x in (amplitudes, before))
    audio, _ = harmonics(f0, ours_a, f0[:, 0], ours_b, torch.tensor([9]), 8, RATE)
    (audio * weights.float()).sum().backward()
    assert torch.allclose(ours_a.grad, amplitudes.grad.float(), atol=1e-5)  # type: ignore[arg-type, union-attr]
    assert torch.allclose(ours_b.grad, before.grad.float(), atol=1e-5)  # type: ignore[arg-type, union-attr]


# -- filtered noise ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hop", "taps"), [(64, 128), (10, 37), (37, 10), (5, 2), (1, 6), (8, 8)])
def test_noise_is_a_plain_convolution_with_nothing_cut_off(hop: int, taps: int) -> None:
    torch.manual_seed(0)
    frames = 9
    response = torch.randn(2, frames, taps)
    tail, counter = torch.randn(2, taps - 1), torch.tensor([0, CYCLE - 20])
    audio, after, rest = filtered_noise(response, counter, tail, hop)
    noise = uniform_noise(counter, frames * hop).double().numpy()
    for voice in range(2):
        whole = np.zeros(frames * hop + taps - 1)
        whole[: taps - 1] += tail[voice].numpy()
        for frame in range(frames):
            piece = np.convolve(noise[voice, frame * hop : (frame + 1) * hop], response[voice, frame].double().numpy())
            whole[frame * hop : frame * hop + len(piece)] += piece
        assert np.abs(torch.cat([audio[voice], rest[voice]]).numpy() - whole).max() < 2e-5
    assert after.tolist() == [frames * hop, (CYCLE - 20 + frames * hop) % CYCLE]


def test_noise_in_pieces_is_the_whole() -> None:
    torch.manual_seed(0)
    response = torch.randn(1, 12, 50)
    state = (torch.tensor([7]), torch.zeros(1, 49))
    whole = filtered_noise(response, *state, 16)
    pieces = []
    for a, b in ((0, 1), (1, 2), (2, 12)):
        audio, *rest = filtered_noise(response[:, a:b], *state, 16)
        state = tuple(rest)  # type: ignore[assignment]
        pieces.append(audio)
    assert torch.allclose(torch.cat(pieces, dim=1), whole[0], atol=1e-6)
    assert torch.equal(state[0], whole[1]) and torch.allclose(state[1], whole[2], atol=1e-6)


def spectrum_of(magnitudes: Tensor, frames: int = 4000) -> tuple[np.ndarray, Tensor]:  # type: ignore[type-arg]
    """Power of each band's centre, and the sound itself."""
    bands = len(magnitudes)
    response = (magnitudes @ noise_filter_matrix(bands)).expand(1, frames, -1)
    audio = filtered_noise(response, torch.tensor([0]), torch.zeros(1, 2 * (bands - 1) - 1), HOP)[0][0]
    n = 2 * (bands - 1) * 4
    pieces = audio[: len(audio) // n * n].view(-1, n) * torch.hann_window(n)
    power = torch.fft.rfft(pieces).abs().square().mean(0).numpy()
    return power[:: n // (2 * (bands - 1))], audio


def test_flat_magnitudes_give_white_noise_of_their_level() -> None:
    power, audio = spectrum_of(torch.full((65,), 0.7))
    # Uniform noise has variance 1/3; the centre of the Hann window is 1, so the response is one tap of 0.7.
    assert audio[200:].var().item() == pytest.approx(0.49 / 3, rel=0.01)
    assert np.abs(10 * np.log10(power[1:-1] / power[1:-1].mean())).max() < 1.5


@pytest.mark.parametrize("band", [5, 30, 60])
def test_one_band_is_alone(band: int) -> None:
    magnitudes = torch.zeros(65)
    magnitudes[band] = 1.0
    power, _ = spectrum_of(magnitudes)
    decibels = 10 * np.log10(power / power[band])
    far = np.abs(np.arange(65) - band) >= 2
    assert decibels[far].max() < -30 and decibels[band - 1] < -3


@pytest.mark.parametrize("bands", [2, 9, 65])
def test_the_filter_is_linear_phase_and_interpolates_its_magnitudes(bands: int) -> None:
    matrix = noise_filter_matrix(bands).double()
    taps = 2 * (bands - 1)
    assert matrix.shape == (bands, taps)
    # Symmetric about the middle tap, so the delay is bands - 1 samples at every frequency.
    assert torch.allclose(matrix[:, 1:], matrix[:, 1:].flip(-1), atol=1e-7)
    flat = matrix.sum(0)
    assert torch.allclose(flat, torch.nn.functional.one_hot(torch.tensor(taps // 2), taps).double(), atol=1e-6)
    smooth = 1 + 0.5 * torch.cos(torch.linspace(0, math.pi, bands, dtype=torch.float64))
    heard = torch.fft.rfft(smooth @ matrix).abs()
    # The window smears each magnitude over its neighbours with the weights 1/4, 1/2, 1/4.
    mirrored = torch.cat([smooth[1:2], smooth, smooth[-2:-1]])
    assert torch.allclose(heard, 0.5 * smooth + 0.25 * (mirrored[:-2] + mirrored[2:]), atol=1e-6)


def test_noise_has_gradients_to_the_response_and_the_tail() -> None:
    torch.manual_seed(0)
    response = torch.randn(1, 3, 6, requires_grad=True)
    tail = torch.randn(1, 5, requires_grad=True)
    weights = torch.randn(1, 12)
    audio, _, _ = filtered_noise(response, torch.tensor([3]), tail, 4)
    (audio * weights).sum().backward()
    noise = uniform_noise(torch.tensor([3]), 12)[0]
    for frame in range(3):
        for tap in range(6):
            by_hand = sum(
                noise[4 * frame + n] * weights[0, 4 * frame + n + tap] for n in range(4) if 4 * frame + n + tap < 12
            )
            assert response.grad[0, frame, tap].item() == pytest.approx(float(by_hand), abs=1e-5)  # type: ignore[index]
    assert torch.allclose(tail.grad, weights[:, :5], atol=1e-6)  # type: ignore[arg-type]
