"""The source-filter model beyond the contracts: published sizes, its sources, and trimming of whole channels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pochette.models.nsf import HISS, Nsf, NsfModel
from pochette.reduce.trimming import trim_model
from pochette.sound.losses import LogPowerSpectral


def sources(model: NsfModel, f0_hz: float, voicing: float, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """The harmonic and the noise source on their own, (sample,)."""
    controls = torch.tensor([f0_hz, -20.0, voicing]).repeat(1, frames, 1)
    with torch.no_grad():
        buzz, hiss = model._sources(controls, model.initial_state(1), {})
    return buzz[0, 0].numpy(), hiss[0, 0].numpy()


def test_the_paper_size_has_the_published_filters_and_source() -> None:
    network = Nsf.sized("paper").build().network
    assert sum(p.numel() for block in network.all_blocks().values() for p in block.parameters()) == 682_464
    assert sum(p.numel() for p in network.weigh.parameters()) == 9


def test_the_source_has_eight_harmonics_a_tenth_high_and_little_between() -> None:
    model = Nsf().build()
    with torch.no_grad():
        model.network.weigh.weight.fill_(0.05)  # small: the tanh behind it is nearly a straight line
        model.network.weigh.bias.zero_()
    buzz, _ = sources(model, 200.0, 1.0, 220)
    second = buzz[1600 : 1600 + 16000] * np.hanning(16000)
    heights = 2 * np.abs(np.fft.rfft(second)) / np.hanning(16000).sum()
    assert heights[200:1601:200] == pytest.approx(np.full(8, 0.1 * 0.05), rel=0.02)
    assert heights[1700:].max() < 1e-3
    between = np.delete(heights[100:1700], [h + d - 100 for h in range(200, 1601, 200) for d in range(-3, 4)])
    assert between.max() < 2e-4


def test_without_voice_both_sources_are_noise_of_the_published_deviation() -> None:
    torch.manual_seed(0)  # the weights that gather harmonics bend the buzz as they were drawn
    buzz, hiss = sources(Nsf().build(), 200.0, 0.0, 800)
    with_bias = buzz[80:] - buzz[80:].mean()
    assert hiss.std() == pytest.approx(HISS, rel=0.02) and pytest.approx(0.1 / 3) == HISS
    assert with_bias.std() == pytest.approx(HISS, rel=0.04)  # a tanh flattens it a little
    assert abs(np.corrcoef(with_bias, hiss[80:])[0, 1]) < 0.02


def test_pieces_join_without_a_click_at_any_cut() -> None:
    torch.manual_seed(0)
    model = Nsf.sized("tiny").build().eval()
    controls = torch.tensor([523.3, -15.0, 1.0]).repeat(1, 60, 1)
    with torch.no_grad():
        whole = model(controls)[0]
        state, pieces = model.initial_state(1), []
        for piece in controls.split([7, 1, 22, 30], dim=1):
            audio, state = model.advance(piece, state)
            pieces.append(audio[0])
    assert torch.allclose(torch.cat(pieces), whole, atol=1e-6)


def test_trimming_takes_whole_channels_of_all_blocks_together() -> None:
    torch.manual_seed(0)
    model = Nsf.sized("tiny", channels=8).build().eval()
    small, _, report = trim_model(model, 0.5)
    network = small.network
    assert network.steer.weight.shape[0] == 4
    assert {block.entrance.weight.shape[0] for block in network.all_blocks().values()} == {4}
    assert report.macs_after < 0.4 * report.macs_before
    assert small(torch.tensor([200.0, -20.0, 1.0]).repeat(1, 3, 1)).isfinite().all()


def test_the_loss_is_the_square_of_a_level_difference() -> None:
    """All bins far above the floor: twice as loud is log 4 apart in power, at each of three resolutions."""
    noise = torch.randn(2, 16000, generator=torch.Generator().manual_seed(0))
    distance = LogPowerSpectral(16000)
    assert distance(noise, noise) == 0
    assert float(distance(2 * noise, noise)) == pytest.approx(3 * np.log(4.0) ** 2, rel=1e-3)
    assert [r[0] for r in LogPowerSpectral(48000).resolutions] == [1024, 256, 8192]
