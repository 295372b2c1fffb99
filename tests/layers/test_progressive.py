"""GANSynth's networks: published sizes, norms, growing, and each layer against PyTorch's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from pochette.layers.progressive import (
    ProgressiveCritic,
    ProgressiveGenerator,
    Scaled,
    enlarged,
    pixel_norm,
    position_of,
    shares,
    widths_of,
    with_likeness,
)
from pochette.reduce import trim


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def pair() -> tuple[ProgressiveGenerator, ProgressiveCritic]:
    torch.manual_seed(0)
    widths = widths_of(16, 8, 3)
    return ProgressiveGenerator(6, widths, (2, 4)), ProgressiveCritic(3, widths, (2, 4))


def test_the_published_networks_have_as_many_parameters_as_published() -> None:
    widths = widths_of(4096, 256, 7)
    assert widths == (256, 256, 256, 256, 128, 64, 32)
    with torch.device("meta"):
        assert parameters(ProgressiveGenerator(256 + 61, widths, (2, 16))) == 7_311_246
        assert parameters(ProgressiveCritic(61, widths, (2, 16))) == 6_831_230


@pytest.mark.parametrize(
    ("inputs", "base", "most", "resolutions", "bins", "count"),
    [(88, 256, 64, 5, 16, 327_850), (96, 512, 64, 6, 16, 418_220), (56, 256, 32, 5, 8, 83_882)],
)
def test_small_generators_have_as_many_as_counted_elsewhere(
    inputs: int, base: int, most: int, resolutions: int, bins: int, count: int
) -> None:
    # 64 latents and 24 pitches are told of the first; of the others, inputs are those with which the counts come out.
    made = ProgressiveGenerator(inputs, widths_of(base, most, resolutions), (2, bins))
    assert parameters(made) == count
    assert made(torch.randn(1, inputs)).shape == (1, 2, 2 << (resolutions - 1), bins << (resolutions - 1))


def test_pixel_norm_leaves_a_root_mean_square_of_one() -> None:
    normed = pixel_norm(7.0 * torch.randn(2, 5, 3, 4))
    assert torch.allclose(normed.square().mean(dim=1).sqrt(), torch.ones(2, 3, 4), atol=1e-5)


@pytest.mark.parametrize("places", [(1, 1), (3, 3), (2, 16)])
def test_scaled_layers_neither_raise_nor_lower_the_variance(places: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 64, 20, 20)
    linear = Scaled(64, 256, places, slope=1.0)(x, padded=False)
    assert float(linear.detach().var()) == pytest.approx(1.0, abs=0.1)
    rectified = functional.leaky_relu(Scaled(64, 256, places)(x, padded=False), 0.2)
    assert float(rectified.detach().square().mean()) == pytest.approx(1.0, abs=0.1)


def test_a_layer_spreads_numbers_as_its_filter_would_from_one_place() -> None:
    layer, told = Scaled(5, 3, (2, 4)), torch.randn(2, 5)
    nn.init.normal_(layer.bias)
    weight = (layer.weight * layer.scale).transpose(0, 1)
    wanted = functional.conv_transpose2d(told[..., None, None], weight, layer.bias)
    assert torch.allclose(layer.spread(told), wanted, atol=1e-5)


@pytest.mark.parametrize("resolutions", [1, 2, 7])
def test_shares_add_up_to_one_all_the_way(resolutions: int) -> None:
    positions = [position_of(step / 1000, resolutions) for step in range(1001)]
    assert positions == sorted(positions)
    assert positions[0] == 0.0
    assert positions[-1] == resolutions - 1
    for position in positions:
        given = shares(position, resolutions)
        assert sum(given) == pytest.approx(1.0, abs=1e-12)
        assert min(given) >= 0.0
        assert sum(share > 0 for share in given) <= 2


def test_a_growing_picture_is_blended_of_two_whole_resolutions() -> None:
    generator, _ = pair()
    told = torch.randn(2, 6)
    coarse, fine, finest = (generator(told, position) for position in (0.0, 1.0, 2.0))
    assert torch.equal(finest, generator(told))
    assert torch.allclose(generator(told, 0.25), 0.75 * coarse + 0.25 * fine, atol=1e-6)
    assert torch.equal(coarse, enlarged(coarse[:, :, ::4, ::4], 4))
    assert not torch.allclose(coarse, fine, atol=1e-2)


def test_a_critic_that_grows_goes_over_without_a_leap() -> None:
    _, critic = pair()
    picture = torch.randn(3, 2, 8, 16).tanh()
    for whole in (1.0, 2.0):
        for before, after in zip(critic(picture, whole - 1e-5), critic(picture, whole), strict=True):
            assert torch.allclose(before, after, atol=1e-3)
    score, pitch = critic(picture)
    assert (score.shape, pitch.shape) == ((3,), (3, 3))
    assert torch.equal(score, critic(picture, 2.0)[0])
    assert not torch.allclose(score, critic(picture, 1.5)[0], atol=1e-4)


def test_a_coarse_critic_is_blind_to_what_only_finer_ones_see() -> None:
    _, critic = pair()
    # A board of black and white squares is grey from afar.
    board = torch.ones(8, 16)
    board[::2, ::2] = board[1::2, 1::2] = -1.0
    picture = torch.randn(3, 2, 8, 16)
    assert torch.allclose(critic(picture, 1.0)[0], critic(picture + board, 1.0)[0], atol=1e-4)
    assert not torch.allclose(critic(picture)[0], critic(picture + board)[0], atol=1e-3)


def test_likeness_is_near_zero_in_a_batch_of_one_sound_and_the_deviation_in_others() -> None:
    one = torch.randn(1, 3, 2, 2).expand(4, -1, -1, -1)
    assert float(with_likeness(one)[:, -1].max()) == pytest.approx(1e-4, rel=1e-3)
    crowd = torch.stack([torch.full((3, 2, 2), -2.0), torch.full((3, 2, 2), 2.0)])
    assert torch.allclose(with_likeness(crowd)[:, -1], torch.tensor(2.0))


def test_every_layer_learns_while_growing() -> None:
    generator, critic = pair()
    score, pitch = critic(generator(torch.randn(4, 6), 1.5), 1.5)
    (score.mean() + pitch.square().mean()).backward()
    seen = {name for name, held in [*generator.named_parameters()] if held.grad is None or not held.grad.any()}
    # At this position the coarsest resolution makes no picture of its own.
    assert seen == {"to_pictures.0.weight", "to_pictures.0.bias"}
    unseen = {name for name, held in critic.named_parameters() if held.grad is None or not held.grad.any()}
    assert unseen == {"from_pictures.0.weight", "from_pictures.0.bias"}


# -- some frames alone -------------------------------------------------------------------------------------------------

FIRST_HOP = range(7)
"""Frames that the first hop of a sound is made of: four windows, and the turns before them."""


@pytest.mark.parametrize("wanted", [range(7), range(1), range(5, 6), range(3, 11), range(29, 32), range(32)], ids=str)
@torch.no_grad()
def test_a_stretch_is_that_part_of_the_whole(wanted: range) -> None:
    torch.manual_seed(0)
    generator, told = ProgressiveGenerator(6, widths_of(64, 8, 5), (2, 4)), torch.randn(2, 6)
    for path, held in generator.named_parameters():
        if path.endswith("bias"):
            nn.init.normal_(held)
    whole = generator(told)[:, :, wanted.start : wanted.stop]
    assert torch.allclose(generator.stretch(told, wanted), whole, atol=1e-5)


@pytest.mark.parametrize("wanted", [range(7), range(8, 12), range(20, 32)], ids=str)
def test_a_stretch_makes_nothing_that_it_does_not_depend_on(wanted: range) -> None:
    """By gradients: the frames of every layer of the whole that the wanted frames depend on."""
    torch.manual_seed(0)
    generator = ProgressiveGenerator(6, widths_of(64, 8, 5), (2, 4))
    made: list[torch.Tensor] = []

    def keep(_: nn.Module, __: object, x: torch.Tensor) -> None:
        x.retain_grad()
        made.append(x)

    layers = [generator.first, *(layer for block in generator.blocks for layer in block.children())]
    hooks = [layer.register_forward_hook(keep) for layer in layers]
    generator(torch.randn(1, 6))[:, :, wanted.start : wanted.stop].square().sum().backward()
    for hook in hooks:
        hook.remove()
    needed = []
    for x in made:
        assert x.grad is not None
        needed.append(x.grad.abs().sum(dim=(0, 1, 3)).nonzero()[:, 0].tolist())
    coarse, *finer = generator.stretches(wanted)
    says = [coarse.made, *(frames for fine in finer for frames in (fine.between, fine.made))]
    assert needed == [list(frames) for frames in says]


@pytest.mark.parametrize(
    ("inputs", "widths", "start", "most"),
    [(88, widths_of(256, 64, 5), (2, 16), 0.5), (317, widths_of(4096, 256, 7), (2, 16), 0.15)],
    ids=["small", "paper"],
)
def test_the_first_hop_costs_what_it_depends_on(
    inputs: int, widths: tuple[int, ...], start: tuple[int, int], most: float
) -> None:
    with torch.device("meta"):
        generator = ProgressiveGenerator(inputs, widths, start)
        told = torch.empty(1, inputs)

    def macs(make: object) -> int:
        with FlopCounterMode(display=False) as counter:
            make()  # type: ignore[operator]
        return int(counter.get_total_flops()) // 2

    hop, whole = macs(lambda: generator.stretch(told, FIRST_HOP)), macs(lambda: generator(told))
    coarse, *finer = generator.stretches(FIRST_HOP)
    needs = len(coarse.between) * start[1] * inputs * widths[0] + len(coarse.made) * start[1] * 9 * widths[0] ** 2
    for number, fine in enumerate(finer, 1):
        before, after, bins = widths[number - 1], widths[number], start[1] << number
        needs += 9 * bins * after * (len(fine.between) * before + len(fine.made) * after)
    needs += len(FIRST_HOP) * (start[1] << len(finer)) * 2 * widths[-1]
    assert hop == needs
    assert hop < most * whole, hop / whole


@torch.no_grad()
def test_a_trimmed_generator_is_a_narrower_one_and_its_norms_are_named() -> None:
    torch.manual_seed(0)
    generator, told = ProgressiveGenerator(6, widths_of(64, 8, 4), (2, 4)).eval(), torch.randn(2, 6)
    small = trim(generator, (told,), 0.5)
    assert isinstance(small, ProgressiveGenerator)
    assert small.get_parameter("to_pictures.3.weight").shape == (2, 2, 1, 1)
    assert small.get_parameter("dense.weight").shape == (4, 6, 2, 4)
    # The mean over a place's channels is over fewer of them.
    report: Any = small.trim_report
    named = report.not_exact
    assert {"blocks.0", "blocks.1", "blocks.2"} < set(named) and len(named) == 4
    # What is left is the kept units' network, its scales those it was trained with.
    kept = small.get_parameter("blocks.2.again.weight").flatten()
    assert torch.isin(kept, generator.get_parameter("blocks.2.again.weight")).all()
    assert small(told).shape == generator(told).shape
    assert torch.allclose(small.stretch(told, FIRST_HOP), small(told)[:, :, :7], atol=1e-5)
