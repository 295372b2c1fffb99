"""WaveGAN: published sizes, the adversary's losses, whole sounds and the same ones hop by hop, classes, trimming."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pochette.boards import target
from pochette.engine import build
from pochette.engine.emulate import EmulatedRunner
from pochette.engine.export import export, write_engine
from pochette.engine.native import NativeRunner
from pochette.engine.runner import run_frames
from pochette.errors import RecipeError
from pochette.graph.capture import capture
from pochette.graph.units import Place
from pochette.layers.strided import PLACES
from pochette.measure import profile, profile_model
from pochette.models.model import Excerpt
from pochette.models.wavegan import CRITIC_UPDATES, PENALTY, Wavegan, WaveganModel
from pochette.reduce.trimming import PREFIX, trim_model
from pochette.train.loop import Training
from tests.contracts.engine_checks import check_engines
from tests.played import costs_of_a_sound


def learnt(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def made(seed: int = 0, size: str = "tiny", **changes: Any) -> WaveganModel:
    """A model that is louder than a fresh one, and whose offsets are not zero."""
    torch.manual_seed(seed)
    model = Wavegan.sized(size, **changes).build().eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter)).mul_(1.7)
    return model


def hits(model: WaveganModel, batch: int = 6) -> Excerpt:
    """Bursts that decay, each of another level and class."""
    rng = np.random.default_rng(0)
    t = np.arange(model.recipe.slice_samples) / model.recipe.slice_samples
    rows = [0.05 * (n + 1) * np.exp(-(3 + n) * t) * rng.standard_normal(len(t)) for n in range(batch)]
    excerpt = {"audio": torch.tensor(np.array(rows), dtype=torch.float32)}
    if model.classes:
        excerpt["class_number"] = torch.arange(batch)[:, None].remainder(model.classes).expand(-1, PLACES).float()
    return excerpt


# -- sizes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channels", "generator", "critic"),
    [(64, 19_065_345, 17_427_969), (16, 1_502_337, 1_092_993), (8, 479_169, None), (4, 171_585, None)],
)
def test_parameter_counts_are_the_published_ones(channels: int, generator: int, critic: int | None) -> None:
    with torch.device("meta"):
        model = Wavegan.sized("paper", channels=channels).build()
    assert learnt(model.network) == generator and (critic is None or learnt(model.critic) == critic)
    # Layer by layer: 25 taps between widths, and an offset a channel.
    widths = [16 * channels, 8 * channels, 4 * channels, 2 * channels, channels, 1]
    filters = sum(25 * a * b for a, b in pairwise(widths))
    assert learnt(model.network) == 101 * 16 * widths[0] + filters + sum(widths[1:])
    assert learnt(model.critic) == 16 * widths[0] + 1 + filters + sum(widths[:-1])


@pytest.mark.parametrize(
    ("length", "strides", "widest"),
    [(1024, (4, 4, 4), 4), (4096, (4,) * 4, 8), (8192, (4, 4, 4, 4, 2), 16), (16384, (4,) * 5, 16),
     (32768, (4, 4, 4, 4, 4, 2), 32), (65536, (4,) * 6, 32)],
)  # fmt: skip
def test_lengths_decide_the_layers(length: int, strides: tuple[int, ...], widest: int) -> None:
    recipe = Wavegan(channels=2, slice_samples=length)
    assert recipe.strides == strides and recipe.widths[0] == 2 * widest
    model = recipe.build()
    with torch.no_grad():
        sound = model.generate(model.notes(2, torch.Generator().manual_seed(0)))
        score = model.critic(sound, None, torch.zeros(4, 1, dtype=torch.int64))
    assert sound.shape == (2, length) and score.shape == (2,)
    assert model.hop_samples == length // 16 and model.excerpt_frames == 16


def test_a_length_that_no_layers_make_is_refused() -> None:
    with pytest.raises(RecipeError, match="slice-samples is 16000") as refused:
        Wavegan(slice_samples=16000)
    assert "--slice-samples 16384" in refused.value.remedy
    with pytest.raises(RecipeError, match="nothing to tell apart"):
        Wavegan(classes=1)


# -- the sound ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_sound_is_the_published_layers_one_after_the_other() -> None:
    """Written out: rows of the dense layer place by place, filters added where they stand, ten samples off in front."""
    model = made()
    note = model.notes(2, torch.Generator().manual_seed(1))
    network = model.network
    x = torch.relu(note @ network.dense.weight.T + network.dense.bias).reshape(2, 16, -1).transpose(1, 2)
    for number, layer in enumerate(network.upsamplings()):
        spread = torch.zeros(2, layer.weight.shape[1], 4 * x.shape[-1] + 25)
        for place in range(x.shape[-1]):
            spread[..., 4 * place : 4 * place + 25] += torch.einsum("bi,iok->bok", x[..., place], layer.weight)
        x = spread[..., 10 : 10 + 4 * x.shape[-1]] + layer.bias[:, None]
        x = torch.tanh(x) if number == 2 else torch.relu(x)
    assert torch.allclose(model.generate(note), x[:, 0], atol=1e-6)


@torch.no_grad()
def test_sounds_stay_within_full_scale_and_latents_are_evenly_drawn() -> None:
    model = made()
    model.network.layers[-1].weight.mul_(1e3)  # type: ignore[operator, union-attr]
    notes = model.notes(4000, torch.Generator().manual_seed(0))
    assert model.generate(notes[:50]).abs().max() == 1.0
    assert -1.0 <= notes.min() < -0.999 and 0.999 < notes.max() <= 1.0
    # Uniform: variance 1/3, fourth moment 1/5; a normal one of that variance has 1/3.
    assert notes.var().item() == pytest.approx(1 / 3, abs=0.01)
    assert notes.pow(4).mean().item() == pytest.approx(1 / 5, abs=0.01)


@pytest.mark.parametrize(
    "changes",
    [{}, {"slice_samples": 4096}, {"slice_samples": 8192, "channels": 2}, {"classes": 3}, {"size": "small"}],
    ids=str,
)
@torch.no_grad()
def test_hop_by_hop_is_the_whole_sound_and_then_silence(changes: dict[str, Any]) -> None:
    model = made(**changes)
    note = model.notes(3, torch.Generator().manual_seed(2))
    whole, length = model.generate(note), model.recipe.slice_samples
    played = model(note[:, None].expand(-1, PLACES + 4, -1))
    assert whole.abs().max() > 0.01 and (played[:, :length] - whole).abs().max() < 1e-6
    assert not played[:, length:].any()
    # Voices that are in different places of their sounds do not meet.
    _, ahead = model.advance(note[:1, None].expand(-1, 5, -1), model.initial_state(1))
    state = {name: torch.cat([value, model.initial_state(1)[name]]) for name, value in ahead.items()}
    mixed, _ = model.advance(note[:2, None].expand(-1, 3, -1), state)
    hop = model.hop_samples
    assert torch.allclose(mixed[0], whole[0, 5 * hop : 8 * hop], atol=1e-6)
    assert torch.allclose(mixed[1], whole[1, : 3 * hop], atol=1e-6)


# -- what the first hop costs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["small", "paper"])
def test_the_first_hop_comes_after_a_tenth_of_the_work_and_all_hops_cost_a_third_more(size: str) -> None:
    model = Wavegan.sized(size).build()  # type: ignore[arg-type]
    whole, hop = profile(*model.trim_form(), reach=False).macs, profile_model(model).macs
    widths = [*model.recipe.widths, 1]
    lengths = [16 * 4**layer for layer in range(5)]
    dense = 16 * widths[0] * model.recipe.latent
    assert whole == dense + sum(25 * n * a * b for n, (a, b) in zip(lengths, pairwise(widths), strict=True))
    # Rows of four outputs that a hop needs in each layer, its own and those ahead of it.
    rows = [2, 5, 17, 65, 256]
    assert hop == 5 * dense // 16 + sum(25 * n * a * b for n, (a, b) in zip(rows, pairwise(widths), strict=True))
    assert whole >= 10 * hop and 16 * hop <= 1.35 * whole


class WholeNote(nn.Module):
    """A whole sound a call."""

    def __init__(self, model: WaveganModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, controls: Tensor) -> Tensor:
        return self.model.generate(controls)


@pytest.mark.slow
def test_the_first_hop_of_an_engine_comes_after_a_tenth_of_the_instructions() -> None:
    pytest.importorskip("ziglang")
    pytest.importorskip("unicorn")
    model = made(size="small")
    note = np.array([[knob.default for knob in model.controls]], np.float32)
    graph = capture(WholeNote(model), (torch.from_numpy(note),))
    at_once = write_engine(graph, "whole", model.controls, 16000, model.recipe.slice_samples, 0)
    counted, sounds = [], []
    for source in (export(model, "hops"), at_once):
        runner = EmulatedRunner(build.compile_elf(source, target.CORTEX_A72), "aarch64", counting=True)
        before = runner.instructions()
        first = runner.process(note[0], 1)
        counted.append(runner.instructions() - before)
        rest = runner.process(note[0], model.hop_samples - 1)
        sounds.append(np.concatenate([first, rest]))
    assert np.abs(sounds[0] - sounds[1]).max() < 1e-6
    assert counted[1] >= 10 * counted[0], counted


def test_after_a_sound_next_to_nothing_is_computed() -> None:
    pytest.importorskip("ziglang")
    pytest.importorskip("unicorn")
    model = made()
    heard, after, again = costs_of_a_sound(model)
    assert max(heard) < 1.02 * min(heard) and max(after) < 0.04 * min(heard)
    assert again == pytest.approx(heard[0], rel=0.02), "a new sound begins as the first did"


# -- learning ----------------------------------------------------------------------------------------------------------


def test_turns_are_the_published_ones() -> None:
    model = made()
    critic, generator = model.turns()
    assert (critic.repeats, generator.repeats) == (CRITIC_UPDATES, 1) == (5, 1)
    assert critic.betas == generator.betas == (0.5, 0.9) and critic.rate == generator.rate
    assert Training().learning_rate * critic.rate == pytest.approx(1e-4)
    assert len(critic.parameters) + len(generator.parameters) == len(list(model.parameters()))


def test_the_critics_loss_is_the_distance_and_ten_times_the_penalty() -> None:
    model = made(shuffle=0)
    excerpt = hits(model)
    # A critic that is a constant: no distance, and a slope of zero.
    with torch.no_grad():
        model.critic.dense.weight.zero_()
    assert model.criticise(excerpt, torch.Generator().manual_seed(0)).item() == pytest.approx(PENALTY)
    assert PENALTY == 10.0
    assert model.deceive(excerpt, torch.Generator()).item() == pytest.approx(-model.critic.dense.bias.item())


@pytest.mark.parametrize("each", [False, True])
def test_real_made_and_mixed_sounds_are_shown_the_same_shuffle(each: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = made(shuffle_each=each)
    seen: list[Tensor] = []
    forward = model.critic.forward

    def watched(audio: Tensor, chosen: Tensor | None, shifts: Tensor) -> Tensor:
        seen.append(shifts)
        return forward(audio, chosen, shifts)

    monkeypatch.setattr(model.critic, "forward", watched)
    drawn = set()
    for seed in range(40):
        seen.clear()
        model.criticise(hits(model, 3), torch.Generator().manual_seed(seed))
        assert len(seen) == 3 and all(torch.equal(shifts, seen[0]) for shifts in seen)
        assert seen[0].shape == (2, 3 if each else 1)
        drawn |= set(seen[0].flatten().tolist())
    assert drawn == {-2, -1, 0, 1, 2}


@torch.no_grad()
def test_shuffle_hides_from_the_critic_where_a_sound_stands() -> None:
    model = made(slice_samples=4096, channels=8)
    pulses = torch.zeros(2, 4096)
    # A stride of the first layer apart: what the shuffle after it may undo.
    pulses[0, 2048] = pulses[1, 2052] = 1.0
    none, one = torch.zeros(3, 1, dtype=torch.int64), torch.tensor([[1], [0], [0]])
    early, late = model.critic(pulses, None, none)
    assert (early - late).abs() > 1e-3
    assert (model.critic(pulses[:1], None, one) - late).abs() < 0.01 * (early - late).abs()


def test_sounds_are_learnt_at_full_scale_unless_told_otherwise() -> None:
    model, plain = made(), made(normalise=False)
    audio = hits(model)["audio"]
    assert torch.allclose(model.heard(audio).abs().amax(dim=1), torch.ones(6))
    assert torch.equal(plain.heard(audio), audio)
    short = plain.heard(audio[:, :300])
    assert short.shape == (6, 1024) and torch.equal(short[:, :300], audio[:, :300]) and not short[:, 300:].any()
    assert not model.heard(torch.zeros(2, 1024)).any()


def test_the_loss_knows_its_own_sounds() -> None:
    model, other = made(seed=0), made(seed=1)
    with torch.no_grad():
        for each, level in ((model, 30.0), (other, 5.0)):
            each.network.layers[-1].weight.mul_(level)  # type: ignore[operator, union-attr]
        own = {"audio": model.generate(model.notes(64, torch.Generator().manual_seed(5)))}
        model.recipe = other.recipe = Wavegan.sized("tiny", normalise=False)
        same, apart = (m.loss(own, torch.Generator().manual_seed(0)).item() for m in (model, other))
    assert abs(same) < 0.05 and apart > 0.5


# -- classes -----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_class_is_one_input_of_the_generator_and_one_row_of_the_critic() -> None:
    model = made(classes=3)
    numbers = torch.tensor([-0.4, 0.5, 0.6, 1.5, 2.0])
    assert model.chosen(numbers).argmax(dim=1).tolist() == [0, 0, 1, 1, 2]
    assert torch.equal(model.chosen(numbers).sum(dim=1), torch.ones(5))
    note = model.notes(3, torch.Generator().manual_seed(0), torch.tensor([[0.0], [1.0], [2.0]]))
    assert note[:, -1].tolist() == [0.0, 1.0, 2.0] and model.controls[-1].name == "class_number"
    note[:, :-1] = note[:1, :-1]
    sounds = model.generate(note)
    assert not torch.equal(sounds[0], sounds[1]) and not torch.equal(sounds[1], sounds[2])
    audio, shifts = model.heard(hits(model, 1)["audio"]).expand(3, -1), torch.zeros(2, 1, dtype=torch.int64)
    scores = model.critic(audio, torch.eye(3), shifts)
    plain = model.critic(audio, torch.zeros(3, 3), shifts)
    assert torch.allclose(plain, plain[:1], atol=1e-5) and scores.diff().abs().min() > 1e-4
    without = made()
    assert learnt(model.critic) == learnt(without.critic) + 3 * 16 * 16
    assert learnt(model.network) == learnt(without.network) + 3 * 16 * 16


def test_excerpts_tell_the_class_that_is_asked_for() -> None:
    model = made(classes=3)
    excerpt = hits(model)
    controls = model.controls_of(excerpt)
    assert controls.shape == (6, 16, 5) and torch.equal(controls[..., -1], excerpt["class_number"])
    assert torch.equal(controls, model.controls_of(excerpt)) and not torch.equal(controls[0, 0, :4], controls[1, 0, :4])
    inputs, wanted = model.watched(excerpt)
    assert torch.allclose(model.trim_form()[0](*inputs), wanted[:, 0])


# -- trimming ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [0, 3])
@torch.no_grad()
def test_a_trimmed_generator_is_the_masked_one(classes: int) -> None:
    model = made(classes=classes, channels=6)
    small, _, report = trim_model(model, keep=0.5)
    assert isinstance(small, WaveganModel)
    assert [family.before for family in report.families] == [24, 12, 6] and report.not_exact == ()
    assert [family.after for family in report.families] == [12, 6, 3]
    assert small.network.dense.weight.shape == (16 * 12, 4 + classes)
    assert learnt(small.critic) == learnt(model.critic)
    # The dense layer loses the same channels at all 16 places.
    rows = report.survivors[_place("network.dense.weight", 0)].reshape(16, -1)
    assert (rows - 24 * np.arange(16)[:, None] == rows[0]).all()
    masked = made(classes=classes, channels=6)
    for number, layer in enumerate(masked.network.upsamplings()):
        gone = torch.ones(len(layer.weight))
        gone[report.survivors[_place(f"network.layers.{number}.weight", 0)]] = 0.0
        layer.weight.mul_(1.0 - gone[:, None, None])
    note = model.notes(4, torch.Generator().manual_seed(3))
    assert torch.allclose(small.generate(note), masked.generate(note), atol=1e-6)
    assert not torch.allclose(small.generate(note), model.generate(note), atol=1e-4)
    played = small(note[:, None].expand(-1, PLACES, -1))
    assert torch.allclose(played, small.generate(note), atol=1e-6)


def _place(path: str, axis: int) -> Place:
    return Place(PREFIX + path, axis)


# -- engines -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{"classes": 3}, {"slice_samples": 8192, "channels": 2}], ids=str)
def test_engines_know_classes_and_strides_of_two(changes: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("ziglang")
    recipe = Wavegan.sized("tiny", **changes)
    # A sound and some silence.
    check_engines(recipe, tmp_path, seconds=1.25 * recipe.slice_samples / recipe.sample_rate_hz)


def test_an_engine_of_a_trimmed_generator_plays_it(tmp_path: Path) -> None:
    pytest.importorskip("ziglang")
    small, _, _ = trim_model(made(channels=6), keep=0.5)
    assert isinstance(small, WaveganModel)
    runner = NativeRunner(build.compile_host_library(export(small, "trimmed"), tmp_path))
    note = np.array([[knob.default for knob in small.controls]], np.float32)
    with torch.no_grad():
        whole = small.generate(torch.from_numpy(note))[0].numpy()
    assert np.abs(run_frames(runner, note.repeat(PLACES, axis=0)) - whole).max() < 1e-6
