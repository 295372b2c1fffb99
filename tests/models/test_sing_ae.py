"""The SING auto-encoder: published sizes, its alignment, its two halves in real time, and what trimming may take."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pochette.errors import RecipeError
from pochette.graph.capture import capture
from pochette.layers.overlap import HOP_SAMPLES
from pochette.models.model import Step
from pochette.models.sing_ae import SingAe, SingAeModel
from pochette.train.loop import annealed


def learnt(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def tiny(seed: int = 0, **changes: int) -> SingAeModel:
    torch.manual_seed(seed)
    return SingAe.sized("tiny", **changes).build()


def test_parameter_counts_are_those_of_the_published_code_and_paper() -> None:
    code = SingAe.sized("paper").build().network
    assert learnt(code) == 21_213_201 and learnt(code.decoder) == 10_688_513
    with torch.device("meta"):
        paper = SingAe(channels=4096, code=128, context=9, rewrites=2).build().network
    assert (learnt(paper), learnt(paper.encoder), learnt(paper.decoder)) == (80_765_057, 38_285_440, 42_479_617)


def test_lengths_of_a_published_note() -> None:
    """4 s: padded by 2,304 at each end, 265 codes; 257 contexts, 65,024 samples; 512 at each end dropped."""
    network = tiny(context=9).network
    padded = nn.functional.pad(torch.randn(1, 64_000), (2304, 2304))
    assert padded.shape[1] == 68_608
    codes = network.encode(padded)
    assert codes.shape[1] == 265 and network.decoder.columns(codes).shape[1] == 257
    assert network.decoder.whole(codes).shape[1] == 65_024


@torch.no_grad()
def test_the_sound_is_in_step_with_the_published_padding() -> None:
    model = tiny(context=9)
    audio = torch.randn(1, 8000 // HOP_SAMPLES * HOP_SAMPLES)
    published = model.network.decoder.whole(model.network.encode(nn.functional.pad(audio, (2304, 2304))))
    assert torch.allclose(model.resynthesise(audio), published[:, 512:-512], atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("context", [1, 4, 6, 9])
def test_encoded_and_played_as_it_is_heard_it_comes_late_and_is_the_same(context: int) -> None:
    model = tiny(context=context)
    audio = torch.randn(2, 30 * HOP_SAMPLES)
    delay = model.delay_samples
    followed_by_silence = nn.functional.pad(audio, (0, delay))
    history, state, heard = model.initial_history(2), model.initial_state(2), []
    for piece in followed_by_silence.split(3 * HOP_SAMPLES, dim=1):
        codes, history = model.encode(piece, history)
        made, state = model.advance(codes, state)
        heard.append(made)
    assert torch.allclose(torch.cat(heard, dim=1)[:, delay:], model.resynthesise(audio), atol=1e-5)
    whole = model(model.controls_of({"audio": followed_by_silence}))
    assert torch.allclose(whole[:, delay:], model.resynthesise(audio), atol=1e-5)
    assert torch.allclose(model.resynthesised({"audio": audio}), model.resynthesise(audio), atol=1e-5)


def test_the_middle_of_the_context_is_above_the_sound() -> None:
    """The sound around a sample depends on the original as far to the left as to the right, for an odd context."""
    model = tiny(context=5)
    audio = torch.randn(1, 40 * HOP_SAMPLES, requires_grad=True)
    middle = 20 * HOP_SAMPLES
    made = model.resynthesise(audio)
    made[:, middle : middle + HOP_SAMPLES].sum().backward()
    assert audio.grad is not None
    read = audio.grad[0].nonzero()
    # 3 hops of other windows and 2 codes on both sides; the first sample of a window has the weight 0.
    assert middle - 5 * HOP_SAMPLES <= read.min() <= middle - 5 * HOP_SAMPLES + 1
    assert middle + 6 * HOP_SAMPLES - 1 == read.max()


def test_codes_stay_within_their_knobs() -> None:
    model = tiny()
    codes = model.controls_of({"audio": 100 * torch.randn(1, 20 * HOP_SAMPLES)})
    assert codes.abs().max() <= 1.0 and codes.shape == (1, 20, len(model.controls))
    assert [knob.name for knob in model.controls] == ["code_1", "code_2", "code_3", "code_4"]


def test_a_code_that_was_removed_takes_its_knob_along() -> None:
    model = tiny()
    network = model.network
    with torch.no_grad():
        network.encoder.head.weight[2:] = 0.0
        network.encoder.head.bias[2:] = 0.0
        audio = torch.randn(1, 10 * HOP_SAMPLES)
        expected = model.resynthesise(audio)
        network.encoder.head.weight = nn.Parameter(network.encoder.head.weight[:2])
        network.encoder.head.bias = nn.Parameter(network.encoder.head.bias[:2])
        for tap in network.decoder.input.taps:
            assert isinstance(tap, nn.Linear)
            tap.weight = nn.Parameter(tap.weight[:, :2])
    assert torch.allclose(model.resynthesise(audio), expected, atol=1e-6)
    assert len(model.controls) == 2
    step = Step(model)
    assert step(*step.example_inputs()).shape == (1, HOP_SAMPLES)
    model.loss({"audio": audio}).backward()  # type: ignore[no-untyped-call]


def test_what_is_trimmed_holds_every_weight() -> None:
    model = tiny()
    form, inputs = model.trim_form()
    assert form.model is model
    captured = {value.path for value in capture(form, inputs).of_kind("parameter")}
    assert captured == {f"model.{name}" for name, _ in model.named_parameters()}


def test_the_state_is_silence_that_was_heard() -> None:
    model = tiny()
    silent, _ = model.encode(torch.zeros(1, 4 * HOP_SAMPLES), model.initial_history(1))
    assert torch.allclose(model.initial_state(1)["codes"], silent[:, :2], atol=1e-7)


def notes(seconds: float = 0.3) -> Tensor:
    """Three rich, decaying notes, (note, sample)."""
    t = torch.arange(int(seconds * 16000) // HOP_SAMPLES * HOP_SAMPLES) / 16000
    f0 = 220.0 * 2 ** (torch.arange(3) * 2 / 12)[:, None]
    partials = [torch.sin(2 * torch.pi * k * f0 * t + k * k) / k**0.5 * (k * f0 < 7800) for k in range(1, 36)]
    sound = torch.stack(partials).sum(0) * torch.exp(-2 * t)
    return 0.3 * sound / sound.std()


@pytest.mark.slow
def test_overfits_a_few_notes() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = SingAe.sized("small", channels=256).build()
    excerpt, steps, rate = {"audio": notes()}, 400, 2e-3
    optimiser = torch.optim.Adam(model.parameters(), rate)
    first = model.loss(excerpt).item()
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * annealed(step / steps, 0.5)
        loss = model.loss(excerpt)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert model.loss(excerpt).item() < first / 5


def test_a_recipe_out_of_range() -> None:
    with pytest.raises(RecipeError, match="--context is 0"):
        SingAe(context=0)
