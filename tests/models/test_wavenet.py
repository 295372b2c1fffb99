"""WaveNet: sizes to the parameter, receptive fields by gradient, the same sound in pieces, and bits that mean bits."""

from __future__ import annotations

import copy
import math
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
from pochette.layers.logistics import bin_number
from pochette.layers.sampling import draw_code
from pochette.models.model import Excerpt, Step
from pochette.models.wavenet import LEVELS, Wavenet, WavenetModel
from pochette.sound import mulaw

PLAIN: dict[str, Any] = {"conditioning": "none"}
SMALL: dict[str, Any] = {"residual_channels": 6, "gate_channels": 5, "skip_channels": 7}


def made(recipe: Wavenet, seed: int = 0) -> WavenetModel:
    torch.manual_seed(seed)
    return recipe.build().eval()


def learnt(recipe: Wavenet) -> int:
    return sum(p.numel() for p in recipe.build().network.parameters())


def excerpt_of(model: WavenetModel, audio: Tensor) -> Excerpt:
    frames = audio.shape[1] // model.hop_samples
    generator = torch.Generator().manual_seed(3)
    return {
        "audio": audio,
        "f0_hz": 100.0 + 500.0 * torch.rand(len(audio), frames, generator=generator),
        "loudness_db": -60.0 * torch.rand(len(audio), frames, generator=generator),
    }


def noise(samples: int, batch: int = 1, level: float = 0.3) -> Tensor:
    return (level * torch.randn(batch, samples, generator=torch.Generator().manual_seed(5))).clamp(-1, 1)


# -- sizes -------------------------------------------------------------------------------------------------------------


def by_hand(recipe: Wavenet) -> int:
    """Parameters counted on paper, with a residual in the last layer too, as published counts have it."""
    r, h, s, k = recipe.residual_channels, recipe.gate_channels, recipe.skip_channels, recipe.kernel
    first, outputs = (256 * r, 256) if recipe.output == "mulaw" else (2 * r, 3 * recipe.mixtures)
    layer = (k * r + 1) * 2 * h + (h + 1) * r + (h + 1) * s
    return int(first + len(recipe.dilations) * layer + (s + 1) * s + (s + 1) * outputs)


@pytest.mark.parametrize(
    ("recipe", "published"),
    [
        (Wavenet.sized("small", **PLAIN), 146_240),
        (Wavenet(16, 16, 32, stacks=1, **PLAIN), 28_576),
        # Esling et al. 2020, their code without conditioning; the teacher of Parallel WaveNet.
        (Wavenet.sized("paper", **PLAIN), 2_470_912),
        (Wavenet(512, 256, 256, 3, 10, 3, output="logistics", **PLAIN), 29_604_126),
    ],
)
def test_parameters_are_the_published_ones_less_the_residual_that_nothing_reads(
    recipe: Wavenet, published: int
) -> None:
    assert by_hand(recipe) == published
    assert learnt(recipe) == published - (recipe.gate_channels + 1) * recipe.residual_channels


def test_conditioning_costs_a_layer_and_two_maps_without_bias() -> None:
    for size in ("tiny", "small", "medium"):
        recipe = Wavenet.sized(size)
        width, layers = recipe.conditioning_channels, len(recipe.dilations)
        added = 3 * width + 2 * layers * width * recipe.gate_channels
        assert learnt(recipe) == learnt(Wavenet.sized(size, **PLAIN)) + added
        classes = learnt(Wavenet.sized(size, conditioning="class", classes=5))
        assert classes == learnt(recipe) - 3 * width + 5 * width


@pytest.mark.parametrize(
    ("stacks", "layers", "kernel", "field"),
    [
        (1, 10, 2, 1024),
        (2, 10, 2, 2047),
        (4, 10, 2, 4093),
        (3, 10, 3, 6139),
        (2, 8, 2, 511),
        (1, 5, 2, 32),
        (2, 3, 4, 43),
    ],
)
def test_receptive_fields(stacks: int, layers: int, kernel: int, field: int) -> None:
    recipe = Wavenet(2, 2, 2, kernel, layers, stacks, output="logistics", mixtures=1, **PLAIN)
    assert recipe.receptive_field == field == 1 + (kernel - 1) * stacks * (2**layers - 1)
    model = made(recipe).double()
    with torch.no_grad():
        for parameter in model.parameters():  # all paths add up, none cancels or dies away
            parameter.fill_(0.1 if parameter.dim() > 1 else 0.01)
    previous = torch.zeros(1, field + 20, dtype=torch.float64, requires_grad=True)
    at = field + 9
    model.network(previous)[0, at].sum().backward()
    assert previous.grad is not None
    (heard,) = torch.nonzero(previous.grad[0], as_tuple=True)
    # `previous` at t is sample t - 1: samples t - 1 to t - field are heard, sample t and what follows never.
    assert heard[0].item() == at - field + 1 and heard[-1].item() == at


def test_the_future_is_not_heard() -> None:
    model = made(Wavenet.sized("tiny"))
    excerpt = excerpt_of(model, noise(160))
    before = model.bits(excerpt)
    changed = {**excerpt, "audio": excerpt["audio"].clone()}
    changed["audio"][:, 100] *= -1.0
    after = model.bits(changed)
    differs = (after != before)[0].nonzero()[:, 0] + 1  # bits begin with sample 1
    # Sample 100 changes what it costs itself and what those after it expect, as far as the receptive field.
    assert differs[0] == 100 and differs[1] == 101 and differs[-1] <= 100 + model.recipe.receptive_field


# -- streaming ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("samples", [8, 24, 32, 200])
@pytest.mark.parametrize("output", ["mulaw", "logistics"])
@pytest.mark.parametrize("conditioning", ["controls", "class", "none"])
def test_sample_by_sample_is_all_at_once(output: str, conditioning: str, samples: int) -> None:
    recipe = Wavenet(**SMALL, layers_per_stack=3, stacks=2, kernel=3, output=output, conditioning=conditioning)  # type: ignore[arg-type]
    assert recipe.receptive_field == 29
    model = made(recipe).double()
    _, previous = model.targets(noise(samples, 2).double())
    frames = samples // 8
    known = None
    if conditioning == "controls":
        known = torch.randn(2, frames, 2).double()
    elif conditioning == "class":
        known = torch.randint(8, (2, frames)).double()
    wanted = model.network(previous, known)
    queues, found = model.network.empty_queues(2), []
    for frame in range(frames):
        gates = model.network.condition(None if known is None else known[:, frame])
        lines = model.network.lines(queues)
        found += [model.network.step(previous[:, frame * 8 + n], lines, gates) for n in range(8)]
        queues = [line.past() for line in lines]
    assert torch.allclose(torch.stack(found, dim=1), wanted, rtol=0, atol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize("output", ["mulaw", "logistics"])
def test_what_is_played_is_what_was_drawn_from_the_offline_network(output: str) -> None:
    """The played samples, given back to the offline network, cost what they cost when they were drawn."""
    model = made(Wavenet.sized("tiny", output=output)).double()
    controls = torch.tensor([220.0, -20.0, 0.7]).double().repeat(1, 40, 1)
    controls[:, 20:, 0] = 700.0
    audio, state = model.advance(controls, model.initial_state(1))
    targets, previous = model.targets(audio)
    parameters = model.network(previous, model.conditioning(controls))
    if output == "logistics":
        assert torch.allclose(previous[0, 1:], audio[0, :-1].double()) and targets.max() < LEVELS
        assert torch.equal(targets, bin_number(audio, LEVELS))
        return
    assert torch.equal(targets, torch.from_numpy(mulaw.encode(audio.numpy())))
    again, _ = draw_code(parameters[0], torch.full((320, 1), 0.7), torch.arange(320))
    assert torch.equal(again, targets[0])
    assert state["counter"].item() == 320 and state["previous"].item() == targets[0, -1]


@torch.no_grad()
def test_the_counter_and_the_temperature_decide_the_sound() -> None:
    model = made(Wavenet.sized("tiny"))
    rest = torch.tensor([440.0, -25.0, 1.0]).repeat(1, 20, 1)

    def play(seed: int | None, temperature: float = 1.0) -> Tensor:
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        controls = rest.clone()
        controls[..., 2] = temperature
        return model.advance(controls, model.initial_state(1, generator))[0]

    assert torch.equal(play(1), play(1)) and torch.equal(play(None), play(None))
    assert not torch.equal(play(1), play(2))
    with torch.no_grad():
        model.network.head.bias.copy_(-((torch.arange(256) - 128.0) ** 2) / 500)
    assert play(1, 0.1).std() < 0.5 * play(1, 1.0).std() < 0.5 * play(1, 2.0).std()


# -- learning ----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_nothing_learnt_costs_eight_bits() -> None:
    for size in ("tiny", "small"):
        model = made(Wavenet.sized(size))
        codes = torch.randint(256, (1, 1600), generator=torch.Generator().manual_seed(0))
        for audio, off in ((model.levels[codes, 0], 0.05), (noise(1600), 0.1), (torch.zeros(1, 1600), 0.3)):
            assert abs(model.loss(excerpt_of(model, audio)).item() - 8.0) < off


@torch.no_grad()
def test_the_loss_is_the_mean_of_minus_log2_of_the_probabilities() -> None:
    model = made(Wavenet.sized("tiny"))
    excerpt = excerpt_of(model, noise(160))
    codes = torch.from_numpy(mulaw.encode(excerpt["audio"].numpy()))
    previous = torch.cat([torch.tensor([[128]]), codes[:, :-1]], dim=1)
    probabilities = torch.softmax(model.network(previous, model.conditioning(model.controls_of(excerpt))), dim=-1)
    bits = [-math.log2(probabilities[0, n, int(codes[0, n])].item()) for n in range(1, 160)]
    assert model.loss(excerpt).item() == pytest.approx(sum(bits) / 159, rel=1e-5)
    settled = bits[model.recipe.receptive_field - 1 :]
    assert model.settled_bits(excerpt).item() == pytest.approx(sum(settled) / len(settled), rel=1e-5)
    short = excerpt_of(model, noise(16))
    assert model.settled_bits(short).item() == pytest.approx(model.bits(short)[0, -1].item())


@torch.no_grad()
def test_what_came_before_an_excerpt_ends_with_the_receptive_field() -> None:
    model = made(Wavenet.sized("tiny"))
    reach, whole = model.recipe.receptive_field, excerpt_of(model, noise(320))
    cut = 160 // model.hop_samples
    part = {name: value[:, 160:] if name == "audio" else value[:, cut:] for name, value in whole.items()}
    late, alone = model.bits(whole)[:, 160:], model.bits(part)
    assert torch.allclose(late[:, reach - 1 :], alone[:, reach - 1 :], atol=1e-4)
    assert not torch.allclose(late[:, :4], alone[:, :4], atol=1e-4)


@torch.no_grad()
def test_the_mixture_knows_sixteen_bits() -> None:
    model = made(Wavenet.sized("tiny", output="logistics"))
    loud = model.loss(excerpt_of(model, noise(1600))).item()
    assert 10.0 < loud < 20.0
    # One narrow component where the samples are: the bits of a logistic distribution, log2(e^2 scale / spacing).
    model.network.head.weight.zero_()
    model.network.head.bias.copy_(torch.tensor([0.0] * 20 + [-3.0] * 10))
    u = torch.rand(1, 16000, generator=torch.Generator().manual_seed(0)).clamp(1e-6, 1 - 1e-6)
    audio = math.exp(-3.0) * (torch.log(u) - torch.log(1 - u))
    wanted = (2.0 - 3.0) / math.log(2.0) + math.log2((LEVELS - 1) / 2)
    assert model.loss(excerpt_of(model, audio)).item() == pytest.approx(wanted, abs=0.03)


@torch.no_grad()
def test_conditioning_is_heard_and_in_its_own_place() -> None:
    model = made(Wavenet.sized("tiny"))
    excerpt = excerpt_of(model, noise(320))
    turned = {**excerpt, "f0_hz": excerpt["f0_hz"].flip(1), "loudness_db": excerpt["loudness_db"].flip(1)}
    assert abs(model.loss(turned).item() - model.loss(excerpt).item()) > 1e-5
    # A change of frame 20 is heard from the first sample of hop 20 on: the same as in playing.
    late = {**excerpt, "loudness_db": excerpt["loudness_db"].clone()}
    late["loudness_db"][:, 20] += 10.0
    differs = (model.bits(late) != model.bits(excerpt))[0].nonzero()[:, 0] + 1
    assert differs[0].item() == 20 * model.hop_samples
    by_class = made(Wavenet.sized("tiny", conditioning="class", classes=3))
    losses = {
        by_class.loss({"audio": excerpt["audio"], "class_number": torch.full((1, 40), float(n))}).item()
        for n in range(3)
    }
    assert len(losses) == 3


def two_sines(samples: int) -> Tensor:
    t = torch.arange(samples) / 16000
    return (0.5 * torch.sin(2 * math.pi * 440 * t) + 0.3 * torch.sin(2 * math.pi * 1234 * t))[None]


@pytest.mark.parametrize(("output", "wanted"), [("mulaw", 0.5), ("logistics", 12.5)])
def test_two_sines_are_learnt(output: str, wanted: float) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Wavenet.sized("tiny", layers_per_stack=7, residual_channels=24, output=output, **PLAIN).build()
    excerpt = {"audio": two_sines(1024)}
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(200):
        losses.append((loss := model.loss(excerpt)).item())
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert losses[0] > 7.9 and min(losses[-30:]) < wanted  # single steps jump, by processor


# -- trimming ----------------------------------------------------------------------------------------------------------


def thinner(model: WavenetModel, residual: list[int], gate: list[int], skip: list[int]) -> WavenetModel:
    """The model with only these channels, cut by hand."""
    small = copy.deepcopy(model)
    network, kernel, width = small.network, model.recipe.kernel, model.recipe.residual_channels
    taps = [tap * width + channel for tap in range(kernel) for channel in residual]

    def cut(layer: Any, rows: list[int] | None = None, columns: list[int] | None = None) -> None:
        if rows is not None:
            layer.weight = nn.Parameter(layer.weight[rows])
            if layer.bias is not None:
                layer.bias = nn.Parameter(layer.bias[rows])
        if columns is not None:
            layer.weight = nn.Parameter(layer.weight[:, columns])

    cut(network.first, columns=residual)
    for layer in network._layers():
        cut(layer.filter, gate, taps)
        cut(layer.gate, gate, taps)
        cut(layer.filter_condition, gate)
        cut(layer.gate_condition, gate)
        cut(layer.skip, skip, gate)
        if layer.residual is not None:
            cut(layer.residual, residual, gate)
    cut(network.hidden, skip, skip)
    cut(network.head, columns=skip)
    return small


@torch.no_grad()
def test_a_thinner_network_plays_and_is_the_masked_one() -> None:
    model = made(Wavenet.sized("tiny", layers_per_stack=4))
    residual, gate, skip = [0, 3, 4, 9], [1, 2, 15], [5, 6, 7, 20, 31]
    small = thinner(model, residual, gate, skip)
    quiet = copy.deepcopy(model)
    for linear, channels in (
        *((m, gate) for layer in quiet.network._layers() for m in (layer.residual, layer.skip) if m is not None),
        *((m, [t * 16 + c for t in range(2) for c in residual]) for layer in quiet.network._layers()
          for m in (layer.filter, layer.gate)),
        (quiet.network.hidden, skip),
        (quiet.network.head, skip),
    ):  # fmt: skip
        silent = torch.ones(linear.weight.shape[1], dtype=torch.bool)
        silent[channels] = False
        linear.weight[:, silent] = 0.0
    excerpt = excerpt_of(model, noise(160))
    assert torch.allclose(small.bits(excerpt), quiet.bits(excerpt), atol=1e-4)
    assert not torch.allclose(small.bits(excerpt), model.bits(excerpt), atol=1e-2)
    assert small.initial_state(1)["queue_3"].shape == (1, 8, 4)
    audio = small(torch.tensor([440.0, -25.0, 1.0]).repeat(1, 10, 1))
    assert audio.shape == (1, 80) and torch.isfinite(audio).all()


@pytest.mark.parametrize("output", ["mulaw", "logistics"])
@pytest.mark.parametrize("conditioning", ["controls", "class", "none"])
def test_the_form_for_trimming_holds_every_weight(output: str, conditioning: str) -> None:
    model = made(Wavenet.sized("tiny", output=output, conditioning=conditioning))
    form, example = model.trim_form()
    assert form.model is model and example[0].shape == (1, 64)
    program = torch.export.export(form, example, strict=False)
    assert set(program.graph_signature.parameters) == {f"model.{name}" for name, _ in model.named_parameters()}


@torch.no_grad()
@pytest.mark.parametrize("conditioning", ["controls", "class", "none"])
def test_units_found_in_the_graph_are_those_of_a_wavenet_and_can_be_removed(conditioning: str) -> None:
    recipe = Wavenet.sized("tiny", layers_per_stack=3, conditioning=conditioning)
    model = made(recipe)
    form, example = model.trim_form()
    graph = capture(form, example)
    units = units_of(graph)
    # One residual bus, one sum of skips, the layer after it; in each layer its own pairs of filter and gate.
    wanted = {"first": 16, "layers.0.skip": 32, "hidden": 32, **{f"layers.{n}.filter": 16 for n in range(3)}}
    if conditioning != "none":
        wanted["conditioner"] = 16
    assert {family.name.removeprefix("model.network."): family.units for family in units.families} == wanted
    assert all(not family.norms for family in units.families)
    removed = np.zeros(int(units.unit.max()) + 1, np.bool_)
    for family in units.families:
        removed[family.numbers[::3]] = True
    remains = Remains(units, removed)
    small = recipe.build().eval()
    tensors = cut_tensors(graph, remains)
    resize(small, {name: tensors[f"model.{name}"] for name in small.state_dict()})
    assert small.network.head.weight.shape == (256, 21) and small.initial_state(1)["queue_2"].shape == (1, 4, 10)
    previous = torch.randint(256, example[0].shape, generator=torch.Generator().manual_seed(0))
    made_small = small.network(previous, *example[1:])
    (masked_whole,) = run(graph, (previous, *example[1:]), alter=masked(units, remains)).outputs
    assert torch.allclose(made_small, masked_whole, atol=1e-5)
    assert not torch.allclose(made_small, model.network(previous, *example[1:]), atol=1e-2)
    rest = torch.tensor([knob.default for knob in small.controls]).repeat(1, 5, 1)
    assert torch.isfinite(small(rest)).all() and Step(small)(rest[:, 0]).shape == (1, 8)


# -- recipes -----------------------------------------------------------------------------------------------------------


def test_sizes_and_rates() -> None:
    assert Wavenet.sized("paper").receptive_field == 2047
    model = made(Wavenet.sized("medium", sample_rate_hz=24000))
    assert (model.sample_rate_hz, model.hop_samples) == (24000, 32)
    assert [knob.name for knob in model.controls] == ["pitch_hz", "loudness_db", "temperature"]
    assert made(Wavenet.sized("tiny", conditioning="class")).features == ("class_number",)


@pytest.mark.parametrize("of", ["residual_channels", "gate_channels", "skip_channels", "kernel", "stacks", "classes"])
def test_a_recipe_that_cannot_be_built_is_refused(of: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Wavenet(**{of: 0})
    assert f"--{of.replace('_', '-')}" in caught.value.remedy
