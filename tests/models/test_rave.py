"""The low-latency auto-encoder: its filter bank, its delay, what reaches what, its two phases, and sound as input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pochette.engine.compiled import compile_engine
from pochette.layers.critics import Critics, feature_distance, hinge_of_critics, hinge_of_maker
from pochette.layers.filter_bank import FilterBank, overlapped
from pochette.models.model import Excerpt
from pochette.models.rave import Rave, RaveModel, loud
from pochette.models.sing_ae import SingAe
from pochette.models.through import Listener, Through
from pochette.reduce.trimming import trim_model
from pochette.sound.losses import RelativeSpectral
from tests.contracts.model_checks import built


def tiny(seed: int = 0, **changes: int) -> RaveModel:
    model = built(Rave.sized("tiny", **changes), seed)
    assert isinstance(model, RaveModel)
    return model


def tones(batch: int = 2, seconds: float = 0.3) -> Excerpt:
    t = torch.arange(round(seconds * 16000) // 64 * 64) / 16000
    f0 = 220.0 * (1.0 + torch.arange(batch))[:, None]
    return {"audio": 0.2 * sum(torch.sin(2 * math.pi * k * f0 * t) / k for k in range(1, 6)) * torch.exp(-3 * t)}


# -- the filter bank ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bands", [4, 8, 16])
@pytest.mark.parametrize(("attenuation_db", "wanted_db"), [(40.0, 38.0), (70.0, 54.0), (100.0, 57.0)])
def test_bands_put_together_are_the_sound(bands: int, attenuation_db: float, wanted_db: float) -> None:
    torch.manual_seed(0)
    bank = FilterBank(bands, attenuation_db)
    sound, delay = torch.randn(1, 1, bands * 2000), bank.delay_samples
    divided, past = bank.divide(sound, bank.empty_past(1))
    assert divided.shape == (1, bands, 2000) and torch.equal(past, sound[..., -past.shape[-1] :])
    again, _ = bank.unite(divided, bank.empty_tail(1))
    made, real = again[0, 0, delay:], sound[0, 0, : sound.shape[-1] - delay]
    assert 10 * math.log10(real.square().mean() / (made - real).square().mean()) > wanted_db
    assert abs(float((made * real).sum() / real.square().sum()) - 1.0) < 0.002
    # No other delay comes nearer.
    for other in (delay - 1, delay + 1):
        shifted = again[0, 0, other:][: len(real) - 1]
        assert (shifted - real[: len(shifted)]).square().mean() > 100 * (made - real).square().mean()


def test_a_tone_is_heard_in_its_band_and_the_next() -> None:
    bank = FilterBank(8, 100.0)
    for band in range(8):
        frequency = (band + 0.5) / 16  # of the sample rate
        tone = torch.sin(2 * math.pi * frequency * torch.arange(8 * 800))[None, None]
        power = bank.divide(tone, bank.empty_past(1))[0][0, :, 100:].square().mean(dim=1)
        decibels = 10 * torch.log10(power / power.max())
        assert int(power.argmax()) == band
        assert all(decibels[other] < -60 for other in range(8) if abs(other - band) > 1)


def test_bands_hold_the_power_of_the_sound() -> None:
    torch.manual_seed(0)
    bank, sound = FilterBank(8, 70.0), torch.randn(1, 1, 8 * 8000)
    divided, _ = bank.divide(sound, bank.empty_past(1))
    assert float(divided.square().sum() / sound.square().sum()) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(("samples", "tail"), [(8, 3), (8, 8), (3, 8)])
def test_overlapping_is_adding(samples: int, tail: int) -> None:
    made, before = torch.randn(1, 2, samples + tail), torch.randn(1, 2, tail)
    whole = made + torch.cat([before, torch.zeros(1, 2, samples)], dim=-1)
    now, after = overlapped(made, before)
    assert torch.allclose(now, whole[..., :samples]) and torch.allclose(after, whole[..., samples:])


# -- delay and reach ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "milliseconds"), [("small", 7.94), ("paper", 5.74)])
def test_sound_comes_out_within_ten_milliseconds(size: str, milliseconds: float) -> None:
    model = Rave.sized(size).build()  # type: ignore[arg-type]
    assert 1000 * model.through_samples / model.sample_rate_hz == pytest.approx(milliseconds, abs=0.01)
    assert milliseconds < 10.0


def test_counts_at_paper_size() -> None:
    network = Rave.sized("paper").build().network
    # Weight norm keeps a length beside every direction.
    assert sum(p.numel() for p in network.parameters()) == 4_759_296


def test_a_later_sample_changes_no_earlier_one() -> None:
    model = tiny()
    audio = tones(1)["audio"].requires_grad_()
    hop, at = model.hop_samples, 40
    made = model.resynthesised({"audio": audio})
    # Sample `at` hops into the resynthesis was heard until the end of its hop, and the bank's delay on.
    (gradient,) = torch.autograd.grad(made[0, at * hop], audio)
    heard = gradient[0].nonzero()
    assert int(heard.max()) < at * hop + model.through_samples


def test_what_a_code_is_heard_in_is_the_declared_latency() -> None:
    model = tiny()
    codes = torch.zeros(1, 60, 4, requires_grad=True)
    made = model(codes)
    last = 50 * model.hop_samples + model.hop_samples - 1
    (gradient,) = torch.autograd.grad(made[0, last], codes)
    first = int(gradient[0].abs().sum(dim=1).nonzero().min())
    # The frames between span no more than is declared, and only the filter bank's soft ends may round it down.
    assert 0 <= model.latency_samples - (50 - first) * model.hop_samples <= 2 * model.hop_samples


@torch.no_grad()
def test_live_it_says_what_it_says_offline() -> None:
    model, audio = tiny(), tones(1)["audio"]
    whole = model(model.controls_of({"audio": audio}))[0]
    through = Through(model)
    hops = audio.split(model.hop_samples, dim=1)
    assert torch.allclose(torch.cat([through(hop)[0] for hop in hops]), whole, atol=1e-5)
    through.reset()
    assert torch.allclose(through(hops[0])[0], whole[: model.hop_samples], atol=1e-6)
    history, codes = model.initial_history(1), []
    for piece in audio.split(5 * model.hop_samples, dim=1):
        made, history = model.encode(piece, history)
        codes.append(made)
    assert torch.allclose(torch.cat(codes, dim=1), model.controls_of({"audio": audio}), atol=1e-6)


@pytest.mark.parametrize("recipe", [Rave.sized("tiny"), SingAe.sized("tiny")], ids=["rave", "sing-ae"])
def test_sound_played_through_its_engine_is_that_of_torch(recipe: Rave | SingAe) -> None:
    pytest.importorskip("ziglang")
    model = built(recipe)
    assert isinstance(model, Listener)
    through = Through(model)
    engine = compile_engine(through, through.example_inputs(), name="effect")
    through.reset()
    audio = tones(1)["audio"]
    for hop in audio[:, : audio.shape[1] // model.hop_samples * model.hop_samples].split(model.hop_samples, dim=1):
        with torch.no_grad():
            wanted = through(hop).numpy()
        (made,) = engine.process(hop.numpy())
        assert np.abs(made - wanted).max() < 1e-5


# -- learning ----------------------------------------------------------------------------------------------------------


def test_the_loudness_curve() -> None:
    x = torch.linspace(-12, 6, 50, dtype=torch.float64)
    assert torch.allclose(loud(x), 2 * torch.sigmoid(x) ** 2.3)


def test_the_distance_of_spectra_is_relative() -> None:
    torch.manual_seed(0)
    distance, sound = RelativeSpectral((256,)), torch.randn(2, 4000)
    assert float(distance(sound, sound)) < 1e-9
    # Half as loud: the norm of the gap is half the norm, the logarithms differ by log 2.
    assert float(distance(0.5 * sound, sound)) == pytest.approx(0.5 + math.log(2.0), rel=1e-3)
    assert float(distance(0.05 * sound, 0.1 * sound)) == pytest.approx(0.5 + math.log(2.0), rel=1e-3)
    assert torch.isfinite(distance(sound, torch.zeros_like(sound)))
    assert float(RelativeSpectral((256, 8192))(0.5 * sound, sound)) == float(distance(0.5 * sound, sound))


def test_what_critics_and_maker_want() -> None:
    def heard(value: float) -> list[list[Tensor]]:
        return [[torch.full((1, 2, 3), value), torch.full((1, 1, 3), value)]]

    assert float(hinge_of_critics(heard(0.25), heard(-0.5))) == pytest.approx(0.75 + 0.5)
    assert float(hinge_of_critics(heard(2.0), heard(-3.0))) == 0.0
    assert float(hinge_of_maker(heard(0.5))) == -0.5
    assert float(feature_distance(heard(0.25), heard(-0.5))) == 0.75
    rates = [each[-1].shape[-1] for each in Critics(2)(torch.zeros(1, 4096))]
    assert rates == [64, 32, 16]


def moved(model: RaveModel, used: float, *, again: bool = False) -> set[str]:
    """Parts that the turns of one step change."""
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    excerpt = tones()
    for turn in model.turns(again):
        if turn.is_on(used):
            optimiser = torch.optim.SGD(turn.parameters, 0.01)
            loss = turn.losses(excerpt, torch.Generator().manual_seed(0))
            assert isinstance(loss, Tensor)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    parts = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    return {name.split(".")[1] if name.startswith("network") else name.split(".")[0] for name in parts}


def test_two_phases() -> None:
    assert moved(tiny().train(), 0.3) == {"encoder", "decoder"}
    assert moved(tiny().train(), 0.7) == {"critics", "decoder"}
    assert moved(tiny().train(), 0.3, again=True) == {"critics", "encoder", "decoder"}


def test_a_code_like_a_normal_distribution_costs_nothing() -> None:
    model = tiny()
    with torch.no_grad():
        for layer, value in ((model.network.encoder.mean, 0.0), (model.network.encoder.spread, 1.0)):
            layer.conv.parametrizations.weight.original0.zero_()
            layer.conv.bias.fill_(math.log(math.expm1(1.0 - 1e-4)) * value)
    excerpt = tones()
    loss, made, real = model._heard(excerpt, torch.Generator().manual_seed(0))
    again = model.distance(made, real)
    with torch.no_grad():
        bands, _ = model.bank.divide(excerpt["audio"][:, None], model.bank.empty_past(2))
        code = torch.randn((2, 4, bands.shape[-1] // 4), generator=torch.Generator().manual_seed(0))
        made_bands, _ = model.network.decoder(code, model.network.decoder.empty(2))
    again = again + model.band_distance(made_bands.flatten(0, 1), bands.flatten(0, 1))
    assert loss.item() == pytest.approx(again.item(), rel=1e-4)


def test_trimmed_it_has_fewer_knobs_and_still_listens() -> None:
    model = tiny()
    small, _, _ = trim_model(model, keep=0.5)
    assert isinstance(small, RaveModel) and len(small.controls) == 2
    audio = tones(1)["audio"]
    assert small.resynthesised({"audio": audio}).shape == audio.shape
    assert torch.isfinite(small.loss(tones(), torch.Generator().manual_seed(0)))
    assert small.initial_state(1).keys() == model.initial_state(1).keys()
    assert sum(p.numel() for p in small.network.parameters()) < 0.5 * sum(p.numel() for p in model.network.parameters())
    assert sum(p.numel() for p in small.critics.parameters()) == sum(p.numel() for p in model.critics.parameters())
