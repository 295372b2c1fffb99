"""DDSP: sizes to the parameter, the published constants, and a loss written a second time in numpy."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from pochette.errors import RecipeError
from pochette.models.ddsp import Ddsp, DdspModel, DenseStack, exp_sigmoid
from pochette.sound.losses import MultiScaleSpectral


def learnt(recipe: Ddsp) -> int:
    return sum(p.numel() for p in recipe.build().parameters())


def by_hand(h: int, w: int, layers: int, outputs: int) -> int:
    """Parameters counted on paper."""
    first = w + w + 2 * w if layers else 0  # 1 -> w, bias, gain and offset
    more = (layers - 1) * (w * w + 3 * w) if layers else 0
    features = w if layers else 1
    gru = 3 * h * (2 * features + h) + 6 * h
    after = ((2 * features + h) * w + 3 * w + more) if layers else 0
    head = ((w if layers else 2 + h) + 1) * outputs
    return 2 * (first + more) + gru + after + head


def test_parameter_counts() -> None:
    assert learnt(Ddsp.sized("paper", partials=60)) == 4_801_150
    assert learnt(Ddsp(hidden=256, stack_layers=0, partials=60)) == 232_314
    for recipe in (Ddsp.sized("tiny"), Ddsp(), Ddsp(hidden=24, stack_layers=0), Ddsp.sized("paper", noise_bands=33)):
        outputs = 1 + recipe.partials + recipe.noise_bands
        assert learnt(recipe) == by_hand(recipe.hidden, recipe.stack_width, recipe.stack_layers, outputs)
    assert learnt(Ddsp.sized("tiny", reverb_seconds=1.0)) - learnt(Ddsp.sized("tiny")) == 15_999


def test_the_published_constants() -> None:
    model = Ddsp().build()
    assert {m.negative_slope for m in model.modules() if isinstance(m, nn.LeakyReLU)} == {0.2}
    assert {m.eps for m in model.modules() if isinstance(m, nn.LayerNorm)} == {1e-3}
    assert model.hop_samples == 64 and model.network.gru.input_size == 256
    assert Ddsp(sample_rate_hz=44100).build().hop_samples == 176


def test_stacks_share_nothing() -> None:
    network = Ddsp().build().network
    for a, b in zip(network.pitch_stack.parameters(), network.loudness_stack.parameters(), strict=True):
        assert a is not b
        if a.dim() > 1:
            assert not torch.equal(a, b)
    # Linear, normalise, rectify, in this order: an all-equal input comes out as the offset.
    stack = DenseStack(3, 4, 1)
    with torch.no_grad():
        stack[0].weight.zero_()
        stack[0].bias.fill_(7.0)
        stack[1].bias.copy_(torch.tensor([1.0, -1.0, 0.0, 2.0]))
    assert torch.allclose(stack(torch.randn(2, 3))[0], torch.tensor([1.0, -0.2, 0.0, 2.0]), atol=1e-6)


def test_exp_sigmoid() -> None:
    x = torch.tensor([0.0, -200.0, 200.0])
    assert exp_sigmoid(x).tolist() == pytest.approx([0.405399, 1e-7, 2.0], rel=2e-6)
    assert exp_sigmoid(torch.tensor(-5.0)).item() == pytest.approx(1.98e-5, rel=0.01)


def heard_by_network(model: DdspModel, controls: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs of the two stacks."""
    seen: list[Tensor] = []
    hooks = [
        stack.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        for stack in (model.network.pitch_stack, model.network.loudness_stack)
    ]
    model(controls)
    for hook in hooks:
        hook.remove()
    return seen[0], seen[1]


@torch.no_grad()
def test_inputs_are_scaled_as_published() -> None:
    notes = torch.tensor([21.0, 60.0, 69.0, 108.0])
    hertz = 440.0 * 2 ** ((notes - 69) / 12)
    controls = torch.stack([hertz, torch.tensor([-80.0, -40.0, -20.0, 0.0]), 0 * notes, 0 * notes], dim=-1)[None]
    pitch, loudness = heard_by_network(Ddsp.sized("tiny").build(), controls)
    assert pitch.shape == loudness.shape == (1, 4, 1)
    assert torch.allclose(pitch.flatten(), notes / 127, atol=1e-6)
    assert torch.allclose(loudness.flatten(), torch.tensor([0.0, 0.5, 0.75, 1.0]))


def scaled(raw: Tensor, f0: float, brightness: float = 0.0, breath: float = 0.0) -> tuple[Tensor, Tensor]:
    model = Ddsp.sized("tiny", partials=10, noise_bands=9).build()
    one = torch.ones(1, 1)
    amplitudes, magnitudes = model.synthesiser.controls(raw[None, None], f0 * one, brightness * one, breath * one)
    return amplitudes[0, 0], magnitudes[0, 0]


@pytest.mark.parametrize(("f0", "audible"), [(3000.0, 2), (790.0, 10), (799.0, 10), (1000.0, 7), (4000.0, 1)])
def test_what_is_too_high_is_removed_before_the_rest_is_shared_out(f0: float, audible: int) -> None:
    torch.manual_seed(0)
    raw = torch.randn(20)
    amplitudes, magnitudes = scaled(raw, f0)
    assert (amplitudes[audible:] == 0).all() and (amplitudes[:audible] > 0).all()
    assert amplitudes.sum().item() == pytest.approx(exp_sigmoid(raw[0]).item(), rel=1e-5)
    weights = exp_sigmoid(raw[1 : 1 + audible])
    assert torch.allclose(amplitudes[:audible] / amplitudes.sum(), weights / weights.sum(), atol=1e-6)
    assert torch.allclose(magnitudes, exp_sigmoid(raw[11:] - 5.0))


def test_added_knobs_are_neutral_at_rest_and_mean_decibels() -> None:
    torch.manual_seed(0)
    raw = torch.randn(20)
    model = Ddsp.sized("tiny").build()
    assert [knob.default for knob in model.controls[2:]] == [0.0, 0.0]
    plain, hiss = scaled(raw, 200.0)
    share = exp_sigmoid(raw[1:11])
    assert torch.allclose(plain, exp_sigmoid(raw[0]) * share / share.sum(), atol=1e-6)
    bright, same_hiss = scaled(raw, 200.0, brightness=6.0)
    assert torch.equal(same_hiss, hiss) and bright.sum().item() == pytest.approx(plain.sum().item(), rel=1e-5)
    tilt = 20 * torch.log10((bright / bright[0]) / (plain / plain[0]))
    assert torch.allclose(tilt, 6.0 * torch.log2(torch.arange(1.0, 11.0)), atol=1e-3)
    same, loud_hiss = scaled(raw, 200.0, breath=20.0)
    assert torch.equal(same, plain) and torch.allclose(loud_hiss, 10 * hiss, rtol=1e-5)


@torch.no_grad()
def test_louder_noise_is_ten_times_the_noise() -> None:
    torch.manual_seed(0)
    model = Ddsp.sized("tiny").build()
    rows = torch.tensor([[220.0, -20.0, 0.0, 0.0], [220.0, -20.0, 0.0, 20.0], [220.0, -20.0, 0.0, -40.0]])
    plain, loud, soft = model(rows[:, None].expand(3, 40, 4))
    # The tone is the same in all: the differences are noise alone, in the ratio (10 - 1) : (0.01 - 1).
    assert torch.allclose((loud - plain) / 9.0, (plain - soft) / 0.99, atol=1e-6)


@torch.no_grad()
def test_the_step_of_the_gru_is_the_textbook_one() -> None:
    torch.manual_seed(0)
    gru = Ddsp.sized("tiny", hidden=7).build().network.gru
    x, h = torch.randn(gru.input_size), torch.randn(7)
    w, u, bw, bu = (p.detach() for p in gru.parameters())
    (wr, wz, wn), (ur, uz, un) = w.chunk(3), u.chunk(3)
    (ar, az, an), (br, bz, bn) = bw.chunk(3), bu.chunk(3)
    reset = torch.sigmoid(wr @ x + ar + ur @ h + br)
    update = torch.sigmoid(wz @ x + az + uz @ h + bz)
    new = torch.tanh(wn @ x + an + reset * (un @ h + bn))
    assert torch.allclose(gru(x[None, None], h[None, None])[0][0, 0], (1 - update) * new + update * h, atol=1e-6)


def test_phase_and_noise_are_drawn_in_training_and_only_there() -> None:
    model = Ddsp.sized("tiny").build()
    rest = model.initial_state(3)
    assert all(bool((value == 0).all()) for value in rest.values())
    drawn = model.initial_state(3, torch.Generator().manual_seed(1))
    again = model.initial_state(3, torch.Generator().manual_seed(1))
    for name in ("phase", "noise_counter"):
        assert len(set(drawn[name].tolist())) == 3 and torch.equal(drawn[name], again[name])
    assert torch.equal(drawn["hidden"], rest["hidden"])


@torch.no_grad()
def test_pitch_of_the_sound_is_the_pitch_asked_for() -> None:
    torch.manual_seed(0)
    model = Ddsp.sized("tiny").build()
    for f0 in (110.0, 441.0, 1760.0):
        controls = torch.tensor([f0, -20.0, 0.0, -40.0]).expand(1, 500, 4)
        audio = model(controls)[0, 4000:].double().numpy()
        spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio)), 1 << 19))
        peaks = [k * f0 for k in range(1, 4) if k * f0 < 7900]
        for wanted in peaks:
            near = round(wanted * (1 << 19) / 16000)
            best = near - 500 + int(np.argmax(spectrum[near - 500 : near + 501]))
            assert abs(1200 * math.log2(best / (1 << 19) * 16000 / wanted)) < 2


# -- the loss ----------------------------------------------------------------------------------------------------------


def distance_in_numpy(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], scale: int) -> float:
    """Engel et al. 2020, eq. (5), from frames and FFTs by hand."""
    total = 0.0
    for size in (2048, 1024, 512, 256, 128, 64):
        n, hop = size * scale, size * scale // 4
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)
        spectra = []
        for x in (a, b):
            padded = np.pad(x, ((0, 0), (n // 2, n // 2)))
            starts = range(0, padded.shape[1] - n + 1, hop)
            frames = np.stack([padded[:, s : s + n] for s in starts], axis=1)
            spectra.append(np.abs(np.fft.rfft(frames * window)) / scale)
        made, wanted = spectra
        total += np.abs(made - wanted).mean() + np.abs(np.log(made + 1e-5) - np.log(wanted + 1e-5)).mean()
    return float(total)


@pytest.mark.parametrize(("rate", "scale"), [(16000, 1), (48000, 3), (44100, 3), (22050, 1), (8000, 1)])
def test_the_loss_is_the_published_one(rate: int, scale: int) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 2, 9000)) * 0.1
    ours = MultiScaleSpectral(rate)(torch.tensor(a, dtype=torch.float32), torch.tensor(b, dtype=torch.float32))
    assert ours.item() == pytest.approx(distance_in_numpy(a, b, scale), rel=1e-4)


def test_the_loss_is_a_distance_and_has_gradients_in_silence() -> None:
    torch.manual_seed(0)
    distance = MultiScaleSpectral(16000)
    a, b = torch.randn(2, 1, 4000)
    assert distance(a, a).item() == 0 and distance(a, b).item() == pytest.approx(distance(b, a).item())
    assert distance(a, distance.spectra(b)).item() == pytest.approx(distance(a, b).item())
    assert distance(a, -a).item() == pytest.approx(0, abs=1e-6)  # phase is left out
    silent = torch.zeros(1, 4000, requires_grad=True)
    distance(silent, b).backward()
    assert torch.isfinite(silent.grad).all()  # type: ignore[arg-type]
    assert len(distance.state_dict()) == 0


def test_the_model_trains_on_that_loss() -> None:
    torch.manual_seed(0)
    model = Ddsp.sized("tiny").build()
    excerpt = {
        "audio": 0.1 * torch.randn(2, 3200),
        "f0_hz": torch.full((2, 50), 300.0),
        "loudness_db": torch.full((2, 50), -30.0),
    }
    controls = model.controls_of(excerpt)
    assert controls.shape == (2, 50, 4) and controls[0, 0].tolist() == [300.0, -30.0, 0.0, 0.0]
    audio, _ = model.advance(controls, model.initial_state(2, torch.Generator().manual_seed(4)))
    wanted = model.distance(audio, excerpt["audio"])
    assert torch.equal(model.loss(excerpt, torch.Generator().manual_seed(4)), wanted)


@pytest.mark.parametrize(
    "field", ["hidden", "stack_width", "partials", "noise_bands", "sample_rate_hz", "frame_rate_hz"]
)
def test_a_recipe_that_cannot_be_built_is_refused(field: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Ddsp(**{field: 0})
    assert f"--{field.replace('_', '-')}" in caught.value.remedy
    with pytest.raises(RecipeError):
        Ddsp(reverb_seconds=float("nan"))


def test_frames_of_no_length_are_refused() -> None:
    with pytest.raises(RecipeError, match="samples long"):
        Ddsp(sample_rate_hz=8000, frame_rate_hz=5000)
