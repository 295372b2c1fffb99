"""Sound to log magnitude and instantaneous frequency and back, whole and frame by frame."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pochette.errors import RecipeError, ShapeError
from pochette.sound.instantaneous import InstantaneousFrequency, Scale, half_turns_wrapped, normalisation

RATE_HZ = 16000
FFT, HOP = 512, 128
every_scale = pytest.mark.parametrize("scale", ["linear", "mel"])


def noisy(hops: int = 40) -> Tensor:
    """Two voices of noise and a tone, quiet at low frequencies as sounds are: the bin at 0 Hz is not kept."""
    torch.manual_seed(0)
    time = torch.arange(hops * HOP) / RATE_HZ
    noise = torch.randn(2, hops * HOP)
    return 0.05 * torch.diff(noise, prepend=torch.zeros(2, 1)) + 0.3 * torch.sin(2 * math.pi * 437.0 * time)


def snr_db(wanted: Tensor, got: Tensor) -> float:
    return 10 * math.log10(float(wanted.square().sum() / (wanted - got).square().sum()))


def test_the_linear_scale_gives_back_what_it_was_given() -> None:
    code, audio = InstantaneousFrequency(FFT, RATE_HZ, "linear"), noisy()
    back = code.sound(code.picture(audio))
    assert back.shape == audio.shape
    # The last three hops lack windows; the first ones lack nothing.
    assert snr_db(audio[:, : -3 * HOP], back[:, : -3 * HOP]) > 40.0


def test_the_mel_scale_keeps_a_tone_where_it_is_and_as_loud() -> None:
    code = InstantaneousFrequency(2048, RATE_HZ, "mel")
    time = torch.arange(60 * 512) / RATE_HZ
    audio = 0.3 * torch.sin(2 * math.pi * 437.0 * time)[None]
    middle = slice(10 * 512, 42 * 512)
    back = code.sound(code.picture(audio))[:, middle]
    spectra = [torch.fft.rfft(sound * torch.hann_window(32 * 512)).abs()[0] for sound in (audio[:, middle], back)]
    assert int(spectra[0].argmax()) == int(spectra[1].argmax())
    assert abs(20 * math.log10(float(back.square().mean().sqrt() / audio[:, middle].square().mean().sqrt()))) < 1.0


def test_a_third_of_an_offset_comes_back() -> None:
    # Without its mean the Hann window is -cos / 2; four of its products with the window add up to 1/2 where whole
    # windows would to 3/2.
    pictures = InstantaneousFrequency(FFT, RATE_HZ, "linear")
    back = pictures.sound(pictures.picture(torch.full((1, 20 * HOP), 0.3)))
    assert torch.allclose(back[:, 6 * HOP : -6 * HOP], torch.tensor(0.1), atol=1e-4)


@every_scale
def test_frame_by_frame_is_the_whole(scale: Scale) -> None:
    code = InstantaneousFrequency(FFT, RATE_HZ, scale)
    picture = code.picture(noisy())
    phase, tail = code.initial_state(2)
    hops = []
    for frame in range(picture.shape[2]):
        hop, phase, tail = code.advance(picture[:, :, frame : frame + 1], phase, tail)
        hops.append(hop)
    audio = torch.cat([*hops, tail], dim=1)[:, 6 * HOP :]
    assert torch.equal(audio, code.sound(picture))
    assert float(phase.abs().max()) <= 1.0


@every_scale
def test_the_whole_is_an_inverse_transform_of_summed_turns(scale: Scale) -> None:
    """By torch's own inverse in double precision, phases summed without wrapping."""
    code = InstantaneousFrequency(FFT, RATE_HZ, scale)
    picture = code.picture(noisy()).double()
    kept = torch.relu(torch.exp((picture[:, 0] - code.offset) / code.factor) - 1e-6)
    turned = picture[:, 1] / 0.8
    if scale == "mel":
        kept, turned = (kept @ code.to_bins.double().T).sqrt(), turned @ code.to_bins.double().T
    spectrum = torch.nn.functional.pad(torch.polar(kept, math.pi * turned.cumsum(dim=1)), (1, 0))
    window = torch.hann_window(FFT, dtype=torch.float64)
    windows = torch.fft.irfft(spectrum, FFT) * window / 1.5
    frames = windows.shape[1]
    length = (frames - 1) * HOP + FFT
    wanted = torch.nn.functional.fold(windows.transpose(1, 2), (1, length), (1, FFT), stride=(1, HOP))[:, 0, 0]
    assert torch.allclose(code.sound(picture.float()).double(), wanted[:, 6 * HOP :], atol=1e-5)


def test_a_tone_turns_alike_in_every_frame() -> None:
    code, hertz = InstantaneousFrequency(FFT, RATE_HZ, "linear"), 1010.0
    audio = 0.5 * torch.sin(2 * math.pi * hertz * torch.arange(60 * HOP) / RATE_HZ)[None]
    level, turned = code.picture(audio)[0]
    steady = slice(7, 60)
    peak = int(level[20].argmax())
    assert peak + 1 == round(hertz * FFT / RATE_HZ)
    expected = half_turns_wrapped(torch.tensor(2.0 * hertz * HOP / RATE_HZ))
    assert torch.allclose(turned[steady, peak], 0.8 * expected.expand(53), atol=1e-3)


def test_the_published_sizes() -> None:
    code = InstantaneousFrequency(2048, RATE_HZ, "mel")
    assert code.picture(torch.zeros(1, 64000)).shape == (1, 2, 128, 1024)
    assert code.samples(128) == 64000
    assert normalisation(2048, "mel") == pytest.approx((0.0661371661726, 0.113718730221))


@every_scale
@pytest.mark.parametrize("fft_samples", [128, 512, 2048])
def test_a_full_scale_sine_is_within_the_range_and_silence_at_its_end(fft_samples: int, scale: Scale) -> None:
    code = InstantaneousFrequency(fft_samples, RATE_HZ, scale)
    time = torch.arange(24 * code.hop_samples) / RATE_HZ
    level = code.picture(torch.stack([torch.zeros_like(time), torch.sin(2 * math.pi * 4000.0 * time)]))[:, 0]
    assert torch.allclose(level[0], torch.tensor(-0.8), atol=1e-5)
    assert 0.7 < float(level[1].max()) < 0.999


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(RecipeError, match="4 hops"):
        InstantaneousFrequency(510, RATE_HZ)
    with pytest.raises(ShapeError, match="whole hops"):
        InstantaneousFrequency(512, RATE_HZ).picture(torch.zeros(1, 1000))
