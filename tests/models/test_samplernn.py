"""SampleRNN: sizes and costs to the number, tiers that never hear the future, and training cut where it should be."""

from __future__ import annotations

import copy
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pochette.errors import RecipeError
from pochette.graph.capture import capture
from pochette.graph.rewrite import Remains, cut_tensors, masked
from pochette.graph.run import run
from pochette.graph.trim import resize
from pochette.graph.units import units_of
from pochette.layers.sampling import draw_code
from pochette.layers.tiers import FrameTier
from pochette.measure import profile_model
from pochette.models.clocked import HEARD
from pochette.models.model import Excerpt
from pochette.models.samplernn import GRIDS, SampleRnn, SampleRnnModel, network_of
from pochette.sound import even, mulaw
from tests.contracts.model_checks import built, wandering

PLAIN: dict[str, Any] = {"conditioning": "none"}
TWO: dict[str, Any] = {"frame_samples": 4, "big_frame_samples": 0, "rnn_layers": 2}
FORMS: list[dict[str, Any]] = [{}, PLAIN, TWO, {"codes": "even", "rnn_layers": 3, **PLAIN}]
every_form = pytest.mark.parametrize("form", FORMS, ids=["three", "plain", "two", "even"])


def made(seed: int = 0, **form: Any) -> SampleRnnModel:
    torch.manual_seed(seed)
    return SampleRnn.sized("tiny", **form).build().eval()


def excerpt_of(model: SampleRnnModel, audio: Tensor) -> Excerpt:
    frames = audio.shape[1] // model.hop_samples
    generator = torch.Generator().manual_seed(3)
    return {
        "audio": audio,
        "f0_hz": 100.0 + 500.0 * torch.rand(len(audio), frames, generator=generator),
        "loudness_db": -60.0 * torch.rand(len(audio), frames, generator=generator),
    }


def noise(samples: int, batch: int = 1, level: float = 0.3) -> Tensor:
    return (level * torch.randn(batch, samples, generator=torch.Generator().manual_seed(5))).clamp(-1, 1)


# -- sizes and costs ---------------------------------------------------------------------------------------------------


def published(dim: int, embedding: int, frames: tuple[int, ...], layers: int) -> int:
    """Parameters of the official code, counted on paper: gates and candidate have one bias each, states are learnt."""
    total = 0
    for number, (period, following) in enumerate(pairwise((*frames, 1))):
        below = period // following
        first = (period if number == 0 else dim) * 3 * dim + 3 * dim * dim + 3 * dim
        rest = (layers - 1) * (6 * dim * dim + 3 * dim)
        enter = 0 if number == 0 else (period + 1) * dim
        total += enter + first + rest + layers * dim + (dim + 1) * below * dim
    hidden = 2 * (dim + 1) * dim
    return total + 256 * embedding + frames[-1] * embedding * dim + hidden + (dim + 1) * 256


@pytest.mark.parametrize(("size", "frames"), [("paper", (8, 2)), ("two_tiers", (16,)), ("small", (8, 2))])
def test_parameters_are_the_published_ones_and_a_second_bias_of_every_recurrent_layer(
    size: Any, frames: tuple[int, ...]
) -> None:
    recipe = SampleRnn.sized(size, **PLAIN)
    counted = published(recipe.units, recipe.embedding, frames, recipe.rnn_layers)
    assert size != "paper" or counted == 18_722_048
    with torch.device("meta"):
        network = network_of(recipe)
    second = 3 * recipe.units * recipe.rnn_layers * len(frames)
    assert sum(p.numel() for p in network.parameters()) == counted + second
    # Conditioning: a layer, and its channels beside the frames of every recurrent tier.
    width = recipe.conditioning_channels
    with torch.device("meta"):
        controlled = network_of(SampleRnn.sized(size))
    beside = 3 * width * recipe.units + (len(frames) - 1) * width * recipe.units
    assert sum(p.numel() for p in controlled.parameters()) == counted + second + 3 * width + beside


def test_small_has_the_size_and_cost_that_it_should() -> None:
    recipe = SampleRnn.sized("small", **PLAIN)
    assert 0.34e6 < sum(p.numel() for p in recipe.build().parameters()) < 0.36e6
    per_sample = profile_model(recipe.build()).macs / recipe.hop_samples
    # Unfolded, as published figures are, 0.162 M.
    assert per_sample + 2 * recipe.embedding * recipe.units == pytest.approx(0.162e6, rel=0.005)


@pytest.mark.slow
def test_what_is_counted_is_the_clocked_form_of_the_paper() -> None:
    """Tiers turn when their clock says so: 0.92 + 4.20 + 2.88 M a sample, less the matrix that the table replaces."""
    recipe = SampleRnn.sized("paper", **PLAIN)
    counted, dim = profile_model(recipe.build()), recipe.units
    top = (8 * 3 * dim + 3 * dim * dim + 4 * dim * dim) / 8
    middle = (2 * dim + 6 * dim * dim + 2 * dim * dim) / 2
    bottom = 2 * dim * dim + 256 * dim
    assert counted.macs == (top + middle + bottom) * recipe.hop_samples
    assert (counted.macs / recipe.hop_samples + 2 * 256 * dim) / 1e6 == pytest.approx(8.00, abs=0.005)
    assert counted.macs_per_second == counted.macs * 16000 / recipe.hop_samples


# -- what is heard -----------------------------------------------------------------------------------------------------


@every_form
def test_the_future_is_not_heard_and_every_tier_hears_the_past(form: dict[str, Any]) -> None:
    model = made(**form)
    excerpt = excerpt_of(model, noise(160))
    changed = {**excerpt, "audio": excerpt["audio"].clone()}
    changed["audio"][:, 40] *= -1.0
    differs = (model.bits(changed) != model.bits(excerpt))[0].nonzero()[:, 0] + 1  # bits begin with sample 1
    # Sample 40 changes what it costs itself; the first whose expectation it changes is 41.
    assert differs[0] == 40 and differs[1] == 41 and differs[-1] > 100


@torch.no_grad()
@every_form
def test_each_tier_is_given_the_samples_just_before_its_turn(form: dict[str, Any]) -> None:
    """With only one tier's way of hearing left open, a sample is heard from that tier's next turn on."""
    model = made(**form)
    silent = torch.zeros(1, 96)
    for number, period in enumerate(model.periods):
        alone = copy.deepcopy(model)
        for tier in [t for t in alone.network.tiers if t.frame_samples != period]:
            (tier.enter or tier.recurrent).get_parameter("weight" if tier.enter else "weight_ih_l0")[
                :, : tier.frame_samples
            ] = 0.0
        for place in alone.network.samples.enter:
            place.weight.zero_()
        before = alone.bits(excerpt_of(alone, silent))
        for at in range(32, 32 + period):
            loud = silent.clone()
            loud[:, at] = 0.5
            differs = (alone.bits(excerpt_of(alone, loud)) != before)[0].nonzero()[:, 0] + 1
            own = differs[differs != at]  # what the sample itself costs changes too
            assert own[0] == (at // period + 1) * period, (number, at)


@torch.no_grad()
@every_form
def test_what_is_played_is_what_was_drawn_from_the_offline_network(form: dict[str, Any]) -> None:
    """Turn by turn is all at once: the played samples, given to the offline network, draw themselves again."""
    model = made(**form).double()
    controls = wandering(model, 20).double()
    controls[..., -1] = 0.7
    audio, state = model.advance(controls, model.initial_state(1))
    codes = model.targets(audio)
    assert torch.equal(codes[0], torch.from_numpy(GRIDS[model.recipe.codes].encode(audio[0].numpy())))
    form_of_trimming, _ = model.trim_form()
    known = model.conditioning(controls)
    before = torch.cat([torch.full((1, model.periods[0]), mulaw.SILENCE), codes], dim=1)
    logits = form_of_trimming(before, *(() if known is None else (known,)))
    count = codes.shape[1]
    again, _ = draw_code(logits[0], torch.full((count, 1), 0.7), torch.arange(count))
    assert torch.equal(again, codes[0])
    assert state["counter"].item() == count and torch.equal(state["codes"], codes[:, -model.recipe.frame_samples :])
    assert torch.equal(state[HEARD], audio[:, -model.periods[0] :])


@torch.no_grad()
@every_form
def test_logits_step_by_step_are_the_teacher_forced_ones(form: dict[str, Any]) -> None:
    model = made(**form).double()
    excerpt = {name: value.double() for name, value in excerpt_of(model, noise(96, 2)).items()}
    (codes, *known), _ = model.watched(excerpt)
    wanted = model.trim_form()[0](codes, *known)
    heard, reach = model.levels[codes][..., 0], model.periods[0]
    state, said, found = model.initial_state(2), {}, []
    controls = model.controls_of(excerpt)
    for n in range(96):
        held = model.hold(controls[:, n // model.hop_samples])
        for tier, period in enumerate(model.periods):
            if n % period == 0:
                above = said[tier - 1][:, n % model.periods[tier - 1] // period] if tier else None
                said[tier], after = model.turn(tier, held, above, heard[:, reach + n - period : reach + n], state)
                state |= after
        last = said[len(model.periods) - 1][:, n % model.periods[-1]]
        places = model.recipe.frame_samples
        found.append(model.network.samples(codes[:, reach + n - places : reach + n], last))
    assert torch.allclose(torch.stack(found, dim=1), wanted, rtol=0, atol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize("places", [1, 2, 16])
def test_a_table_says_what_embedding_and_matrix_say(places: int) -> None:
    tier = made(frame_samples=places, big_frame_samples=0).network.samples
    codes = torch.randint(256, (3, 200, places), generator=torch.Generator().manual_seed(1))
    apart = tier.embedding(codes).flatten(-2) @ torch.cat([place.weight for place in tier.enter], dim=1).T
    assert (tier.folded(codes) - apart).abs().max() <= 1e-5 and (tier.unfolded(codes) - apart).abs().max() <= 1e-5
    above = torch.randn(3, 200, 16)
    rows = torch.stack([tier(codes[:, n : n + 1], above[:, n : n + 1]) for n in range(200)], dim=2)[:, 0]
    assert (tier(codes, above) - rows).abs().max() <= 1e-5


def test_silence_before_a_sound_is_silence() -> None:
    for grid in GRIDS.values():
        assert grid.encode(np.zeros(1))[0] == grid.SILENCE == mulaw.SILENCE
    for name, grid in GRIDS.items():
        state = made(codes=name).initial_state(1)
        assert torch.all(state["codes"] == grid.SILENCE)
        # To the bit what a recorded silence sounds like once it is coded.
        assert torch.all(state[HEARD] == np.float32(grid.decode(grid.encode(np.zeros(1)))[0]))
    assert even.decode(np.array([even.SILENCE]))[0] == 0.0


# -- training ----------------------------------------------------------------------------------------------------------


@every_form
def test_windows_carry_the_state_and_cut_the_gradient(form: dict[str, Any]) -> None:
    whole, cut = made(window_samples=10**6, **form), made(window_samples=32, **form)
    audio = noise(96)
    known = excerpt_of(whole, audio)
    assert torch.equal(whole.bits(known), cut.bits(known))  # carried in value
    total, parts = whole.bits(known), cut.bits(known)
    # Bits of the third window depend on weights through all that was heard, or through the window alone.
    for model, bits in ((whole, total), (cut, parts)):
        model.zero_grad()
        bits[:, 63:].mean().backward()
    assert not any(tier.rest.grad.any() for tier in cut.network.tiers)
    assert all(tier.rest.grad.any() for tier in whole.network.tiers)
    # By hand: the state before the window is a constant.
    by_hand = made(window_samples=32, **form)
    codes, reach = by_hand.targets(audio), by_hand.periods[0]
    codes = torch.cat([torch.full((1, reach), mulaw.SILENCE), codes], dim=1)
    heard = by_hand.levels[codes][..., 0]
    told = by_hand.conditioning(by_hand.controls_of(known))
    first, second = (
        None if told is None else part for part in ((None, None) if told is None else (told[:, :4], told[:, 4:]))
    )
    with torch.no_grad():
        _, hidden = by_hand.network(codes[:, : reach + 64], heard[:, : reach + 64], first, by_hand.network.at_rest(1))
    logits, _ = by_hand.network(codes[:, 64:], heard[:, 64:], second, hidden)
    chosen = torch.log_softmax(logits, -1).gather(-1, codes[:, 64 + reach :, None])
    (-chosen.mean() / math.log(2.0)).backward()
    for (name, left), (_, right) in zip(cut.named_parameters(), by_hand.named_parameters(), strict=True):
        by_window = torch.zeros_like(left) if right.grad is None else right.grad
        assert left.grad is not None and torch.allclose(left.grad, by_window, atol=1e-6), name


def test_a_step_of_training_steps_once_a_window() -> None:
    model = made(window_samples=32)
    excerpt = excerpt_of(model, noise(96))
    (turn,) = model.turns()
    assert {id(p) for p in turn.parameters} == {id(p) for p in model.parameters()}
    optimiser = torch.optim.SGD(model.parameters(), 0.5)
    still = [loss.item() for loss in turn.losses(excerpt, torch.Generator())]  # type: ignore[union-attr]
    assert np.average(still, weights=[31, 32, 32]) == pytest.approx(model.loss(excerpt).item(), rel=1e-5)
    moved = []
    for loss in turn.losses(excerpt, torch.Generator()):
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        moved.append(loss.item())
    assert moved[0] == still[0] and all(after < before for after, before in zip(moved[1:], still[1:], strict=True))


@torch.no_grad()
def test_nothing_learnt_costs_eight_bits() -> None:
    torch.manual_seed(0)
    for size in ("tiny", "small"):
        model = SampleRnn.sized(size).build()
        for audio in (noise(1600), torch.zeros(1, 1600)):
            assert abs(model.loss(excerpt_of(model, audio)).item() - 8.0) < 0.2


@torch.no_grad()
def test_the_loss_is_the_mean_of_minus_log2_of_the_probabilities() -> None:
    model = made(window_samples=32)
    excerpt = excerpt_of(model, noise(96))
    (codes, known), _ = model.watched(excerpt)
    probabilities = torch.softmax(model.trim_form()[0](codes, known), dim=-1)
    targets = mulaw.encode(excerpt["audio"][0].numpy())
    bits = [-math.log2(probabilities[0, n, int(targets[n])].item()) for n in range(1, 96)]
    assert model.loss(excerpt).item() == pytest.approx(sum(bits) / 95, rel=1e-5)


def test_bits_say_what_they_are_bits_of() -> None:
    assert made().loss_unit == "bits per mulaw code" and made(codes="even").loss_unit == "bits per even code"


def test_one_window_is_learnt_by_heart() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = SampleRnn.sized("tiny", units=64, embedding=32, window_samples=512, **PLAIN).build()
    t = torch.arange(512) / 16000
    excerpt = {"audio": (0.5 * torch.sin(2 * math.pi * 440 * t) + 0.3 * torch.sin(2 * math.pi * 1234 * t))[None]}
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    losses = []
    for _ in range(250):
        losses.append((loss := model.loss(excerpt)).item())
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert losses[0] > 7.5 and min(losses) < 0.1


# -- trimming ----------------------------------------------------------------------------------------------------------


@torch.no_grad()
@every_form
def test_units_found_in_the_graph_are_those_of_the_tiers_and_can_be_removed(form: dict[str, Any]) -> None:
    recipe = SampleRnn.sized("tiny", **form)
    model = built(recipe)
    module, example = model.trim_form()
    graph = capture(module, example)
    units = units_of(graph)
    wanted = {"samples.embedding": 8, "samples.first": 16, "samples.second": 16}
    for tier in range(len(recipe.periods)):
        # A tier's own state in all its layers, and the bus on which it tells the tier below.
        wanted |= {f"tiers.{tier}.recurrent": 16, f"tiers.{tier}.leave": 16}
    if recipe.conditioning != "none":
        wanted["conditioner"] = 8
    assert {family.name.removeprefix("model.network."): family.units for family in units.families} == wanted
    removed = np.zeros(int(units.unit.max()) + 1, np.bool_)
    for family in units.families:
        removed[family.numbers[::3]] = True
    remains = Remains(units, removed)
    small = recipe.build().eval()
    tensors = cut_tensors(graph, remains)
    resize(small, {name: tensors[f"model.{name}"] for name in small.state_dict()})
    assert all(tier.rest.shape[-1] == 10 for tier in small.network.tiers if isinstance(tier, FrameTier))
    codes = torch.randint(256, example[0].shape, generator=torch.Generator().manual_seed(0))
    thin = small.trim_form()[0](codes, *example[1:])
    (masked_whole,) = run(graph, (codes, *example[1:]), alter=masked(units, remains)).outputs
    assert torch.allclose(thin, masked_whole, atol=1e-5)
    assert not torch.allclose(thin, module(codes, *example[1:]), atol=1e-2)
    controls = wandering(small, 3)
    assert torch.isfinite(small(controls)).all()
    assert profile_model(small).macs < 0.6 * profile_model(model).macs


# -- recipes -----------------------------------------------------------------------------------------------------------


def test_sizes_and_rates() -> None:
    model = made(sample_rate_hz=24000)
    assert (model.sample_rate_hz, model.hop_samples, model.periods) == (24000, 16, (8, 2))
    assert [knob.name for knob in model.controls] == ["pitch_hz", "loudness_db", "temperature"]
    assert made(**TWO).periods == (4,) and [knob.name for knob in made(**PLAIN).controls] == ["temperature"]
    assert isinstance(made().network.tiers[1].enter, nn.Linear) and made().network.tiers[0].enter is None


@pytest.mark.parametrize("of", ["frame_samples", "units", "rnn_layers", "embedding", "window_samples", "hop_samples"])
def test_a_recipe_that_cannot_be_built_is_refused(of: str) -> None:
    with pytest.raises(RecipeError) as caught:
        SampleRnn(**{of: 0})
    assert f"--{of.replace('_', '-')}" in caught.value.remedy


def test_clocks_that_do_not_divide_each_other_are_refused() -> None:
    with pytest.raises(
        RecipeError, match="--big-frame-samples is 8, which is no whole number of times --frame-samples"
    ):
        SampleRnn(frame_samples=3)
    with pytest.raises(RecipeError, match="--hop-samples is 20"):
        SampleRnn(hop_samples=20)
