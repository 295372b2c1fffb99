"""The space of timbres: its spectra, its regulariser, its bound, its split by notes, and walks through it."""

from __future__ import annotations

import math
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pochette.corpus.folder import FolderCorpus
from pochette.errors import RecipeError
from pochette.lab.judge import divide
from pochette.layers.laws import normal_divergence
from pochette.layers.mel_frames import POWER_FLOOR, MelFrames, MelReading
from pochette.layers.perceptual import between_labels, described, mismatch, notes_of
from pochette.layers.walk import _cheapest, walk
from pochette.models.timbre_vae import PLAIN, WARM_UP, TimbreNetwork, TimbreVae, TimbreVaeModel
from pochette.reduce.trimming import trim_model
from pochette.sound.descriptors import centroid_hz
from tests.contracts.model_checks import built, note_with_noise
from tests.corpora import write_notes


def tiny(seed: int = 0, **changes: float) -> TimbreVaeModel:
    model = built(TimbreVae.sized("tiny", **changes), seed)
    assert isinstance(model, TimbreVaeModel)
    return model


# -- spectra -----------------------------------------------------------------------------------------------------------


def test_bands_have_the_power_of_sines() -> None:
    ear = MelFrames(64, 16000, 1024, 128)
    t = torch.arange(4096) / 16000
    for frequency in (250.0, 1000.0, 3000.0):
        power = torch.exp(ear(0.5 * torch.sin(2 * math.pi * frequency * t)[None], ear.empty(1))[0][0, 20]) - POWER_FLOOR
        # All bins of the main lobe together: 1.5 times the square of the amplitude.
        assert float(power.sum()) == pytest.approx(1.5 * 0.25, rel=0.02)


def test_a_whole_sound_is_its_pieces() -> None:
    ear, sound = MelFrames(32, 16000, 1024, 128), torch.randn(2, 128 * 20)
    whole, _ = ear(sound, ear.empty(2))
    past, pieces = ear.empty(2), []
    for piece in sound.split([128, 128 * 7, 128 * 12], dim=1):
        made, past = ear(piece, past)
        pieces.append(made)
    assert torch.allclose(torch.cat(pieces, dim=1), whole, atol=1e-5)


@pytest.mark.parametrize(("f0", "tolerance_db"), [(800.0, 2.5), (100.0, 2.5)])
def test_partials_are_read_as_loud_as_they_are(f0: float, tolerance_db: float) -> None:
    """Far apart each has a band of its own (read at its middle, within half a triangle); close, they share it."""
    ear, reading = MelFrames(24, 16000, 2048, 256), MelReading(24, 8, 33, 16000, 2048)
    t = torch.arange(8192) / 16000
    count = int(7000 / f0)
    torch.manual_seed(0)
    phases = 2 * math.pi * torch.rand(count)
    audio = sum(0.02 * torch.sin(2 * math.pi * (k + 1) * f0 * t + phases[k]) for k in range(count))
    assert isinstance(audio, Tensor)
    log_power, _ = ear(audio[None], ear.empty(1))
    read = reading.amplitudes(log_power[:, 16:], torch.full((1, log_power.shape[1] - 16), f0))[..., 1:8]
    decibels = 20 * torch.log10(read / 0.02).mean(dim=1)[0]
    assert float(decibels.mean().abs()) < tolerance_db


def test_noise_is_read_as_loud_as_it_is() -> None:
    torch.manual_seed(0)
    ear, reading = MelFrames(64, 16000, 1024, 128), MelReading(64, 8, 33, 16000, 1024)
    log_power, _ = ear(2.0 * torch.rand(1, 128 * 800) - 1.0, ear.empty(1))
    mean = torch.log(torch.exp(log_power[:, 10:]).mean(dim=1, keepdim=True))
    assert torch.allclose(reading.magnitudes(mean), torch.ones(1, 1, 33), atol=0.08)


# -- the regulariser ---------------------------------------------------------------------------------------------------


def classical_scaling(distances: Tensor, numbers: int) -> Tensor:
    """Coordinates with such distances (Torgerson), by an eigendecomposition."""
    middle = torch.eye(len(distances), dtype=torch.float64) - 1.0 / len(distances)
    values, vectors = torch.linalg.eigh(-0.5 * middle @ distances.square() @ middle)
    return vectors[:, -numbers:] * values[-numbers:].clamp(min=0.0).sqrt()


def test_codes_at_the_coordinates_of_the_targets_cost_nothing() -> None:
    torch.manual_seed(0)
    points = torch.randn(7, 3, dtype=torch.float64)
    targets = torch.cdist(points, points)
    codes = classical_scaling(targets, 3).requires_grad_()
    value = mismatch(codes, targets)
    (gradient,) = torch.autograd.grad(value, codes)
    assert abs(value.item()) < 1e-9 and gradient.abs().max() < 1e-7
    # By the definition, elsewhere; and neither turning nor moving matters.
    other = torch.randn(7, 3, dtype=torch.float64)
    gaps = [(float((other[i] - other[j]).norm()) - float(targets[i, j])) ** 2 for i in range(7) for j in range(i)]
    wanted = math.sqrt(sum(gaps))
    turned = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
    for moved in (other, other @ turned, other + 5.0, -other):
        assert mismatch(moved, targets).item() == pytest.approx(wanted, abs=2e-4)


def test_codes_on_one_place_have_a_gradient() -> None:
    codes = torch.zeros(4, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(mismatch(codes, torch.ones(4, 4)), codes)
    assert torch.isfinite(gradient).all()


def test_targets_are_distances_between_the_means_of_notes() -> None:
    descriptors = torch.tensor([[0.0, 0.0], [2.0, 0.0], [1.0, 3.0], [1.0, 1.0]])
    targets = between_labels(descriptors, torch.tensor([60, 60, 64, 67]))
    assert torch.equal(targets, torch.tensor([[0, 0, 3, 1], [0, 0, 3, 1], [3, 3, 0, 2], [1, 1, 2, 0]]) / 3.0)
    assert torch.equal(between_labels(descriptors, torch.tensor([60] * 4)), torch.zeros(4, 4))
    assert notes_of(torch.tensor([[440.0, 441.0, 10.0], [261.6, 261.6, 261.6]])).tolist() == [69, 60]


def test_descriptors_of_a_line_and_of_flat_noise() -> None:
    line, flat = torch.full((1, 1, 41), -60.0), torch.zeros(1, 1, 41)
    line[..., 10] = 0.0
    height, width, flatness = described(line)[0].tolist()
    assert height == pytest.approx(0.25, abs=1e-3) and width < 1e-3 and flatness < 1e-3
    assert described(flat)[0].tolist() == pytest.approx([0.5, math.sqrt((41 + 1) / (12 * 40)), 1.0], abs=1e-3)


# -- learning ----------------------------------------------------------------------------------------------------------


def test_a_normal_code_has_no_divergence() -> None:
    zeros = torch.zeros(5)
    assert torch.equal(normal_divergence(zeros, zeros, zeros, zeros), zeros)


def settled(model: TimbreVaeModel, mean: float, log_deviation: float) -> TimbreVaeModel:
    """Its encoder says one law whatever it hears."""
    with torch.no_grad():
        for layer, value in ((model.network.mean, mean), (model.network.spread, log_deviation)):
            layer.weight.zero_()
            layer.bias.fill_(value)
    return model


def test_beta_weighs_the_divergence_and_warming_up_only_its_gradient() -> None:
    excerpt = note_with_noise(tiny(), 20)

    def cost(beta: float, log_deviation: float, used: float) -> tuple[float, float]:
        model = settled(tiny(beta=beta), 0.0, log_deviation)
        model.begin_step(used)
        loss = model.loss(excerpt, torch.Generator().manual_seed(0))
        (gradient,) = torch.autograd.grad(loss, model.network.spread.bias)
        return loss.item(), gradient.sum().item()

    free, plain = cost(0.0, -1.0, 1.0)
    # Of four numbers of deviation 1/e: (e^-2 - 1)/2 + 1 nats each, over all bands.
    bands = tiny().recipe.bands
    divergence = 4 * (0.5 * (math.exp(-2.0) - 1.0) + 1.0) / bands
    slope = 4 * (math.exp(-2.0) - 1.0) / bands
    for used, warmth in ((1.0, 1.0), (WARM_UP, 1.0), (0.25 * WARM_UP, 0.25), (0.0, 0.0)):
        value, gradient = cost(3.0, -1.0, used)
        assert value == pytest.approx(free + 3.0 * divergence, rel=1e-4)
        assert gradient - plain == pytest.approx(3.0 * warmth * slope, abs=2e-3)
    assert cost(3.0, 0.0, 1.0)[0] == pytest.approx(cost(0.0, 0.0, 1.0)[0], rel=1e-5)


def test_two_phases() -> None:
    first, second = tiny().turns()
    assert (first.span, second.span) == ((0.0, PLAIN), (PLAIN, 1.0))
    assert [turn.name for turn in tiny().turns(again=True)] == ["perceptual"]
    excerpt = note_with_noise(tiny(), 20)
    two = {name: torch.cat([value, value]) for name, value in excerpt.items()}
    two["f0_hz"] = two["f0_hz"] * torch.tensor([[1.0], [2.0]])
    two["audio"] = torch.stack([two["audio"][0], torch.roll(two["audio"][1], 1) - two["audio"][1]])
    bound, more = (
        tiny(alpha=alpha).perceptual_loss(two, torch.Generator().manual_seed(0)).item() for alpha in (0.0, 1.0)
    )
    model = tiny(alpha=2.0)
    mean = model.network.encode(model.heard(two["audio"]))[0].mean(dim=1)
    # Two notes, so the one distance aimed at is 1.
    missing = abs((mean[0] - mean[1]).norm().item() - 1.0)
    assert more - bound == pytest.approx(missing, abs=1e-3)
    assert bound == model.loss(two, torch.Generator().manual_seed(0)).item()


def test_no_note_is_learnt_and_judged(tmp_path: Path) -> None:
    model = tiny()
    folder = write_notes(tmp_path / "notes", tuple(range(55, 75, 2)))
    corpus = FolderCorpus.prepare(folder, model.sample_rate_hz, model.hop_samples, cache_dir=tmp_path / "cache")
    parts = divide(corpus, model)
    notes = [set(part.pitches()) for part in (parts.training, parts.looks, parts.test)]
    assert all(notes) and not (notes[0] & notes[1] or notes[0] & notes[2] or notes[1] & notes[2])


# -- live, and smaller -------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_live_it_hears_what_it_hears_offline_half_a_window_later() -> None:
    model = tiny()
    audio = note_with_noise(model, 24)["audio"]
    whole = model.network.encode(model.heard(audio))[0]
    past, codes = model.ear.empty(1), []
    for piece in audio.split(3 * model.hop_samples, dim=1):
        made, past = model.encode(piece, past)
        codes.append(made)
    late = model.delay_samples // model.hop_samples
    assert torch.allclose(torch.cat(codes, dim=1)[:, late:], whole[:, :-late], atol=1e-5)


def test_counts_at_paper_size() -> None:
    """Of the released code at 410 bins, 3000 units and a code of 32, and of the paper's 2000 and 64."""
    for width, code in ((3000, 32), (2000, 64)):
        with torch.device("meta"):
            network = TimbreVae.sized("paper", width=width, code=code)
        sizes = layer_sizes(410, width, code)
        with torch.device("meta"):
            held = TimbreNetwork(network)
        assert sum(p.numel() for p in held.parameters()) == sum(a * b + b for a, b in sizes)
    encoder = sum(a * b + b for a, b in layer_sizes(410, 3000, 32)[:5])
    decoder = sum(a * b + b for a, b in layer_sizes(410, 3000, 32)[5:])
    # 19.5 and 20.6 million with batch norm's two numbers a unit; the decoder is told two numbers more.
    assert (encoder, decoder) == (19_431_064, 20_565_820 + 2 * 3000)


def layer_sizes(bins: int, width: int, code: int) -> list[tuple[int, int]]:
    """Inputs and outputs of every layer, encoder first: three hidden layers and two heads on either side."""
    hidden = [(width, width)] * 2
    encoder = [(bins, width), *hidden, (width, code), (width, code)]
    return [*encoder, (code + 2, width), *hidden, (width, bins), (width, bins)]


def test_trimmed_it_has_fewer_knobs_and_still_learns() -> None:
    model = tiny()
    small, _, _ = trim_model(model, keep=0.5)
    assert isinstance(small, TimbreVaeModel)
    assert 2 < len(small.controls) < len(model.controls)
    excerpt = note_with_noise(model, 20)
    assert small.resynthesised(excerpt).shape == excerpt["audio"].shape
    loss = small.perceptual_loss(excerpt, torch.Generator().manual_seed(0))
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in small.network.parameters())


# -- walks -------------------------------------------------------------------------------------------------------------


def bump(codes: Tensor) -> Tensor:
    """A synthetic decoder of two numbers: the first moves a peak up, the second broadens it; centroid in Hz."""
    place = torch.linspace(0.0, 1.0, 257)
    middle, width = 0.5 + 0.15 * codes[:, :1], 0.03 * torch.exp(0.2 * codes[:, 1:2])
    lines = torch.exp(-0.5 * ((place - middle) / width).square())
    return torch.from_numpy(centroid_hz(lines.detach().numpy(), 16000))


def test_a_walk_to_a_rising_centroid_rises() -> None:
    target = np.linspace(2500.0, 5500.0, 60)
    codes = walk(bump, target, 2)
    made = bump(torch.from_numpy(codes)).numpy()
    assert codes.shape == (60, 2) and (np.diff(made) >= 0.0).all() and made[-1] - made[0] > 2500.0
    assert np.abs(made - target).max() < 0.05 * (5500.0 - 2500.0) + 100.0
    # Steps matter: without their cost it follows more closely and goes further.
    loose = walk(bump, target, 2, step_weight=0.0)
    assert np.abs(bump(torch.from_numpy(loose)).numpy() - target).mean() <= np.abs(made - target).mean()
    assert np.abs(np.diff(loose, axis=0)).sum() > 2 * np.abs(np.diff(codes, axis=0)).sum()


@pytest.mark.parametrize("numbers", [2, 8, 32])
def test_a_walk_follows_its_curve_however_many_numbers_a_code_has(numbers: int) -> None:
    target = np.linspace(-2.0, 2.0, 60)
    direction = torch.ones(numbers) / math.sqrt(numbers)
    codes = walk(lambda points: points @ direction, target, numbers)
    made = codes @ direction.double().numpy()
    assert np.sqrt(np.square(made - target).mean()) < 0.2 and (np.diff(made) > -0.02).all()
    assert np.abs(np.diff(codes, axis=0)).max() < 0.6  # no jumps


def test_the_cheapest_way_is_the_cheapest_of_all() -> None:
    rng = np.random.default_rng(0)
    miss, steps = rng.random((5, 4)), rng.random((4, 4))

    def cost(way: tuple[int, ...]) -> float:
        return float(sum(miss[i, p] for i, p in enumerate(way)) + sum(steps[a, b] for a, b in pairwise(way)))

    assert tuple(_cheapest(miss, steps)) == min(product(range(4), repeat=5), key=cost)


def test_a_walk_that_cannot_be_says_why() -> None:
    with pytest.raises(RecipeError, match="finite numbers"):
        walk(bump, np.array([1000.0, np.nan]), 2)
    with pytest.raises(RecipeError, match="every one of 512 points"):
        walk(lambda codes: torch.ones(len(codes)), np.ones(3), 2)


@pytest.mark.parametrize("descriptor", ["centroid", "flatness"])
def test_a_model_walks_through_its_own_space(descriptor: str) -> None:
    model, number = tiny(), ("centroid", "spread", "flatness").index(descriptor)

    def described_as(controls: Tensor) -> Tensor:
        with torch.no_grad():
            return described(model._said(controls)[0][:, None])[:, number]

    torch.manual_seed(0)
    places = torch.cat([torch.tensor([[330.0, -25.0]]).expand(256, 2), 4.0 * torch.rand(256, 4) - 2.0], dim=1)
    low, high = described_as(places).quantile(torch.tensor([0.1, 0.9])).tolist()
    target = np.linspace(low, high, 10)
    curves = model.walked(target, descriptor, 330.0)  # type: ignore[arg-type]
    assert curves.shape == (10, 6) and (curves[:, 0] == 330.0).all() and np.abs(curves[:, 2:]).max() <= 2.0
    followed = described_as(torch.from_numpy(curves)).numpy()
    assert np.abs(followed - target).mean() < 0.25 * (high - low) and followed[-1] > followed[0]
    with torch.no_grad():
        assert torch.isfinite(model(torch.from_numpy(curves)[None])).all()
