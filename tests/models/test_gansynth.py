"""GANSynth: published sizes, whole notes and the same step by step, what the first step costs, losses, trimming."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.models_first_step import first_step, frames_needed
from torch import Tensor, nn
from torch.nn import functional

from pochette.boards import target
from pochette.engine import build
from pochette.engine.emulate import EmulatedRunner
from pochette.engine.export import export, write_engine
from pochette.engine.native import NativeRunner
from pochette.engine.runner import run_frames
from pochette.errors import RecipeError
from pochette.graph.capture import capture
from pochette.graph.units import Place
from pochette.layers.adversary import DRIFT, PENALTY, PITCH
from pochette.models.gansynth import FARTHEST, Gansynth, GansynthModel
from pochette.models.model import Excerpt
from pochette.reduce.trimming import PREFIX, trim_model
from pochette.train.loop import Training
from tests.played import costs_of_a_sound

ROUNDING = 1e-4
"""Of a loud sound: levels are exponents over 140 dB, so that what is rounded before a tanh is heard twenty times, and
turns add up over a note."""


def learnt(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def made(seed: int = 0, size: str = "tiny", **changes: Any) -> GansynthModel:
    """A model whose offsets are not zero, and whose pictures are not too loud."""
    torch.manual_seed(seed)
    model = Gansynth.sized(size, **changes).build().eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for path, parameter in model.network.named_parameters():
            if path.endswith("bias"):
                parameter.add_(0.2 * torch.randn_like(parameter))
        for layer in model.network.to_pictures:
            layer.weight.mul_(10.0)  # type: ignore[operator, union-attr]
            layer.bias[0] -= 0.5  # type: ignore[operator, index]
    return model


def tones(model: GansynthModel, notes: tuple[float, ...] = (57, 60, 64, 69)) -> Excerpt:
    """Tones that decay, one a note, whose last frames are said to have no pitch."""
    frames, samples = model.excerpt_frames, model.excerpt_frames * model.hop_samples
    hertz = 440.0 * 2.0 ** ((torch.tensor(notes) - 69.0) / 12.0)
    t = torch.arange(samples) / model.sample_rate_hz
    f0 = hertz[:, None].repeat(1, frames + 1)
    f0[:, frames // 2 + 1 :] *= 1.9
    voiced = torch.ones_like(f0)
    voiced[:, frames // 2 + 1 :] = 0.1
    audio = 0.2 * torch.sin(2 * math.pi * hertz[:, None] * t) * torch.exp(-3 * t / t[-1]) + 0.05
    return {"audio": audio, "f0_hz": f0, "confidence": voiced}


# -- sizes -------------------------------------------------------------------------------------------------------------


def test_the_published_size_is_as_published() -> None:
    with torch.device("meta"):
        model = Gansynth.sized("paper").build()
    assert (learnt(model.network), learnt(model.critic)) == (7_311_246, 6_831_230)
    assert (model.recipe.frames, model.recipe.bins, model.pictures.fft_samples) == (128, 1024, 2048)
    assert model.pictures.samples(128) == 64_000
    assert len(model.controls) == 257 and model.controls[0].name == "pitch_hz"
    # Layers to coarser pictures are not played.
    coarser = sum(2 * width + 2 for width in model.recipe.widths[:-1])
    assert sum(p.numel() for p in model.played_parameters().values()) == 7_311_246 - coarser


def test_the_small_size_makes_a_second() -> None:
    model = Gansynth.sized("small").build()
    assert model.pictures.samples(model.recipe.frames) == 16_000 == model.sample_rate_hz
    assert model.excerpt_frames * model.hop_samples == 16_000 + 3 * model.pictures.hop_samples
    assert list(model.played_parameters()) == [f"network.{path}" for path, _ in model.network.named_parameters()]


@pytest.mark.parametrize(
    ("changes", "says", "remedy"),
    [
        ({"step_frames": 24}, "128 frames does not come in steps of 24", "divides 128"),
        ({"step_frames": 128}, "does not come in steps of 128", "leaves 6 frames"),
        ({"channels": 64}, "64 halved at each of 7", "--channels 128"),
        ({"lowest_note": 100}, "beyond note 127", "--pitches 28"),
    ],
)
def test_what_makes_no_sound_is_refused(changes: dict[str, int], says: str, remedy: str) -> None:
    with pytest.raises(RecipeError, match=says) as refused:
        Gansynth.sized("small", **changes)
    assert remedy in refused.value.remedy


# -- the sound ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [{}, {"scale": "mel"}, {"step_frames": 8}, {"resolutions": 5, "step_frames": 16}, {"step_frames": 2},
     {"step_frames": 1}, {"resolutions": 3, "start_frames": 6, "step_frames": 12}, {"grow": True}],
    ids=str,
)  # fmt: skip
@torch.no_grad()
def test_step_by_step_is_the_whole_note_and_then_silence(changes: dict[str, Any]) -> None:
    model = made(**changes)
    note = model.notes(3, torch.Generator().manual_seed(2))
    whole, steps = model.generate(note), model.excerpt_frames
    length, peak = steps * model.hop_samples, float(whole.abs().max())
    played = model(note[:, None].expand(-1, steps + 3, -1))
    assert whole.shape == (3, length) and peak > 0.001
    assert (played[:, :length] - whole).abs().max() < ROUNDING * max(1.0, peak)
    assert not played[:, length - 3 * model.pictures.hop_samples :].any()
    # Voices that are in different places of their notes do not meet.
    _, ahead = model.advance(note[:1, None], model.initial_state(1))
    state = {name: torch.cat([value, model.initial_state(1)[name]]) for name, value in ahead.items()}
    mixed, _ = model.advance(note[:2, None], state)
    hop = model.hop_samples
    assert torch.allclose(mixed[0], whole[0, hop : 2 * hop], atol=ROUNDING * max(1.0, peak))
    assert torch.allclose(mixed[1], whole[1, :hop], atol=ROUNDING * max(1.0, peak))


@torch.no_grad()
def test_the_nearest_pitch_known_is_played() -> None:
    model = made(lowest_note=57, pitches=3)
    hertz = torch.tensor([20.0, 220.0, 226.0, 228.0, 247.0, 4000.0])
    chosen = model.told(torch.cat([hertz[:, None], torch.zeros(6, 4)], dim=1))[:, 4:]
    assert torch.equal(chosen.sum(dim=1), torch.ones(6)) and chosen.argmax(dim=1).tolist() == [0, 0, 0, 1, 2, 2]
    low, rest, high = (getattr(model.controls[0], end) for end in ("low", "default", "high"))
    assert (low, rest, high) == pytest.approx((220.0, 233.082, 246.942), abs=1e-3)
    drawn = model.notes(500, torch.Generator().manual_seed(0))
    rows = model.told(drawn)[:, 4:].argmax(dim=1)
    assert torch.allclose(drawn[:, 0], 220.0 * 2.0 ** (rows / 12.0))
    assert rows.bincount().min() > 120 and drawn[:, 1:].std().item() == pytest.approx(1.0, abs=0.05)
    assert drawn[:, 1:].abs().max() <= FARTHEST


# -- what the first step costs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["small", "paper"])
def test_the_first_step_comes_after_the_work_that_it_depends_on(size: str) -> None:
    recipe = Gansynth.sized(size)  # type: ignore[arg-type]
    assert frames_needed(recipe)["to_pictures.0"] == recipe.step_frames + 6
    told = first_step(recipe)
    needs, first, whole = told["needed_macs"], told["step_macs"], told["note_macs"]
    # Coarse resolutions are made whole: that is the difference.
    assert needs <= first <= 1.15 * needs
    # A note needs 2 more frames on either side at every resolution, and six for its windows, at each of its 16 steps.
    assert first < 0.22 * whole and 3.3 * whole < told["steps"] * first < 3.5 * whole


class WholeNote(nn.Module):
    """A whole note a call."""

    def __init__(self, model: GansynthModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, controls: Tensor) -> Tensor:
        return self.model.generate(controls)


@pytest.mark.slow
def test_the_first_step_of_an_engine_comes_after_a_third_of_the_instructions() -> None:
    pytest.importorskip("ziglang")
    pytest.importorskip("unicorn")
    model = made(size="small", channels=256, most_channels=16)
    note = np.array([[knob.default for knob in model.controls]], np.float32)
    graph = capture(WholeNote(model), (torch.from_numpy(note),))
    at_once = write_engine(
        graph, "whole", model.controls, model.sample_rate_hz, model.excerpt_frames * model.hop_samples, 0
    )
    counted, sounds = [], []
    for source in (export(model, "steps"), at_once):
        runner = EmulatedRunner(build.compile_elf(source, target.CORTEX_A72), "aarch64", counting=True)
        before = runner.instructions()
        first = runner.process(note[0], 1)
        counted.append(runner.instructions() - before)
        sounds.append(np.concatenate([first, runner.process(note[0], model.hop_samples - 1)]))
    assert np.abs(sounds[0] - sounds[1]).max() < ROUNDING * max(1.0, float(np.abs(sounds[1]).max()))
    assert counted[1] >= 3 * counted[0], counted


def test_after_a_note_next_to_nothing_is_computed() -> None:
    pytest.importorskip("ziglang")
    pytest.importorskip("unicorn")
    model = made()
    heard, after, again = costs_of_a_sound(model)
    assert max(heard) < 1.02 * min(heard) and max(after) < 0.002 * min(heard)
    assert again == pytest.approx(heard[0], rel=0.02), "a new sound begins as the first did"


# -- learning ----------------------------------------------------------------------------------------------------------


def test_turns_are_the_published_ones() -> None:
    model = made()
    critic, generator = model.turns()
    assert critic.repeats == generator.repeats == 1 and critic.betas == generator.betas == (0.0, 0.99)
    assert Training().learning_rate * critic.rate == Training().learning_rate * generator.rate == pytest.approx(8e-4)
    assert len(critic.parameters) + len(generator.parameters) == len(list(model.parameters()))


def test_losses_are_the_published_sums() -> None:
    """Of a critic that scores all alike and thinks one pitch likely: no distance, no slope, and two logarithms."""
    assert (PENALTY, DRIFT, PITCH) == (10.0, 0.001, 10.0)
    model = made(lowest_note=57, pitches=3)
    with torch.no_grad():
        for head in (model.critic.score, model.critic.pitch):
            head.weight.zero_()
        model.critic.score.bias.fill_(3.0)
        model.critic.pitch.bias.copy_(torch.tensor([2.0, 0.0, 0.0]))
    excerpt = tones(model, (57.0, 57.0, 58.0, 59.0))
    alike = math.log(math.exp(2.0) + 2.0)
    told = 0.5 * (alike - 2.0) + 0.5 * alike
    wanted = PENALTY + DRIFT * 9.0 + PITCH * told
    assert model.criticise(excerpt, torch.Generator().manual_seed(0)).item() == pytest.approx(wanted, rel=1e-5)
    assert model.deceive(excerpt, torch.Generator().manual_seed(0)).item() == pytest.approx(
        PITCH * told - 3.0, rel=1e-5
    )
    # What was learnt is what is drawn.
    assert model.learnt_of.tolist() == [2.0, 1.0, 1.0]
    rows = model.told(model.notes(2000, torch.Generator().manual_seed(0)))[:, 4:].sum(dim=0) / 2000
    assert torch.allclose(rows, torch.tensor([0.5, 0.25, 0.25]), atol=0.04)


def test_pitches_are_read_off_the_voiced_frames() -> None:
    model = made(lowest_note=57, pitches=8)
    assert model.rows_of(tones(model, (57.3, 60.0, 40.0, 90.0))).tolist() == [0, 3, 0, 7]
    nothing = {"f0_hz": torch.zeros(2, 5), "confidence": torch.zeros(2, 5)}
    assert model.rows_of(nothing).tolist() == [0, 0]
    controls = model.controls_of(tones(model))
    assert controls.shape == (4, model.excerpt_frames, 5)
    assert torch.allclose(controls[:, 0, 0], 440.0 * 2.0 ** ((torch.tensor([57.0, 60.0, 64.0, 64.0]) - 69.0) / 12.0))
    inputs, wanted = model.watched(tones(model))
    assert torch.equal(model.trim_form()[0](*inputs), wanted)
    assert wanted.shape == (4, 2 * model.recipe.bins, model.recipe.frames)


@torch.no_grad()
def test_recordings_are_heard_as_their_pictures_sound() -> None:
    model = made(resolutions=6, start_bins=4, channels=64)
    audio = tones(model)["audio"]
    heard = model.heard(audio)
    picture = model.pictures.picture(model.pictures.begun(audio, model.recipe.frames))
    through = functional.pad(model.pictures.sound(picture), (0, 3 * model.pictures.hop_samples))
    assert heard.shape == audio.shape
    # A tone that leaks into bin 0 loses a little there; after the first windows, of which half is missing, no more.
    noise = (heard - through)[:, 4 * model.pictures.hop_samples :]
    assert 10 * torch.log10(heard.square().sum() / noise.square().sum()) > 30.0
    short = model.heard(audio[:, :100])
    assert short.shape == audio.shape and not short[:, 100:].any()
    assert short[:, :100].mean().abs() < 1e-6


def test_the_loss_knows_its_own_sounds() -> None:
    model, other = made(seed=0), made(seed=1)
    with torch.no_grad():
        other.network.to_pictures[0].bias[0] += 0.5  # type: ignore[operator, index]
        audio = model.generate(model.notes(64, torch.Generator().manual_seed(5)))
    own = {"audio": audio, "f0_hz": torch.full((64, 9), 220.0)}
    same, apart = (m.loss(own, torch.Generator().manual_seed(0)).item() for m in (model, other))
    assert abs(same) < 0.1 and apart > 5 * abs(same)


def test_a_model_that_grows_begins_coarse_and_does_so_once() -> None:
    model = made(grow=True).train()
    note = model.notes(2, torch.Generator().manual_seed(0))
    model.turns()
    model.begin_step(0.0)
    coarse = model.network(model.told(note), model.position)
    assert torch.equal(coarse, coarse[:, :, ::8, ::8].repeat_interleave(8, 2).repeat_interleave(8, 3))
    excerpt = tones(model)
    model.criticise(excerpt, torch.Generator().manual_seed(0)).backward()  # type: ignore[no-untyped-call]
    assert model.critic.from_pictures[-1].weight.grad is None
    between = model.generate(note)
    model.begin_step(1.0)
    assert model.position == 3.0
    grown = model.generate(note)
    assert not torch.allclose(grown, between)
    model.turns(again=True)
    model.begin_step(0.0)
    assert model.position is None and torch.allclose(model.generate(note), grown, atol=1e-5)
    plain = made()
    plain.turns()
    plain.begin_step(0.3)
    assert plain.position is None and len(plain.network.to_pictures) == len(plain.critic.from_pictures) == 1


# -- trimming, engines -------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_trimmed_generator_is_made_of_what_is_left() -> None:
    model = made()
    small, _, report = trim_model(model, keep=0.5)
    assert isinstance(small, GansynthModel)
    assert learnt(small.critic) == learnt(model.critic) and learnt(small.network) < 0.5 * learnt(model.network)
    # Means over a place's channels are over fewer of them: every block says so.
    assert len(report.not_exact) == model.recipe.resolutions
    for path, before in model.network.named_parameters():
        kept = before
        for axis in (0, 1):
            rows = report.survivors.get(Place(PREFIX + "network." + path, axis))
            kept = kept if rows is None else kept.index_select(axis, torch.as_tensor(rows))
        assert torch.equal(small.network.get_parameter(path), kept), path
    note = small.notes(3, torch.Generator().manual_seed(3))
    whole = small.generate(note)
    assert not torch.allclose(whole, model.generate(note), atol=1e-3)
    played = small(note[:, None].expand(-1, small.excerpt_frames, -1))
    assert torch.allclose(played, whole, atol=ROUNDING * max(1.0, float(whole.abs().max())))


@pytest.mark.parametrize(
    ("changes", "keep"), [({}, 0.5), pytest.param({"scale": "mel"}, None, marks=pytest.mark.slow)], ids=str
)
@torch.no_grad()
def test_engines_play_trimmed_models_and_pictures_in_mel_bands(
    changes: dict[str, Any], keep: float | None, tmp_path: Path
) -> None:
    pytest.importorskip("ziglang")
    model = made(**changes)
    player = model if keep is None else trim_model(model, keep=keep)[0]
    assert isinstance(player, GansynthModel)
    runner = NativeRunner(build.compile_host_library(export(player, "note"), tmp_path))
    note = np.array([[knob.default for knob in player.controls]], np.float32)
    whole = player.generate(torch.from_numpy(note))[0].numpy()
    played = run_frames(runner, note.repeat(player.excerpt_frames, axis=0))
    # Phases are sums of turns, and roundings with them.
    assert np.abs(played - whole).max() < 3e-5 * max(1.0, float(np.abs(whole).max()))
