"""NSynth's auto-encoder: sizes and reach as published, codes live as offline, and a decoder that is its own past."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pochette.engine import build
from pochette.engine.compiled import compile_engine
from pochette.engine.export import export_with_twin
from pochette.engine.native import NativeRunner
from pochette.engine.runner import run_frames
from pochette.errors import RecipeError
from pochette.graph.capture import capture
from pochette.graph.rewrite import Remains, cut_tensors, masked
from pochette.graph.run import run
from pochette.graph.trim import resize
from pochette.graph.units import units_of
from pochette.layers.sampling import draw_code
from pochette.layers.temporal_encoder import TemporalEncoder
from pochette.measure import profile_model
from pochette.models.autoregressive import DrawPart
from pochette.models.nsynth import Nsynth, NsynthModel, NsynthNetwork, latest_of
from pochette.sound import mulaw
from tests.contracts.model_checks import built, sound, wandering

BOTH = pytest.mark.parametrize("encoder", ["published", "causal"])


def made(seed: int = 0, **form: Any) -> NsynthModel:
    torch.manual_seed(seed)
    return Nsynth.sized("tiny", **form).build().eval()


def noise(samples: int, batch: int = 1, level: float = 0.3) -> Tensor:
    return (level * torch.randn(batch, samples, generator=torch.Generator().manual_seed(5))).clamp(-1, 1)


# -- sizes and reach ---------------------------------------------------------------------------------------------------


def test_parameters_are_the_published_ones_less_what_nothing_reads() -> None:
    recipe = Nsynth.sized("paper")
    with torch.device("meta"):
        network = NsynthNetwork(recipe)
    encoder, decoder = (sum(p.numel() for p in part.parameters()) for part in (network.encoder, network.decoder))
    assert encoder == 1_976_336
    last_residual, biases = 513 * 512, 30 * 1024 + 256
    assert decoder == 59_827_712 - last_residual - biases
    assert encoder + decoder == 61_804_048 - 293_632


@pytest.mark.slow
def test_macs_are_those_of_the_paper_less_the_last_residual() -> None:
    recipe = Nsynth.sized("paper")
    counted = profile_model(recipe.build())
    layer = 3 * 512 * 1024 + 512 * 512 + 512 * 256
    sample = 3 * 512 + 512 * 256 + 30 * layer - 512 * 512 + 256 * 256 + 256 * 256
    frame = 16 * (30 * 1024 + 256)
    assert counted.macs == frame + 512 * sample
    assert (sample + 512 * 512) / 1e6 == pytest.approx(59.25, abs=0.25)


@torch.no_grad()
def test_four_seconds_are_125_codes_of_16_numbers() -> None:
    network = Nsynth(encoder_channels=2, residual_channels=2, gate_channels=2, skip_channels=2).build().network
    assert network.encode(torch.zeros(1, 64_000)).shape == (1, 125, 16)


@BOTH
def test_a_code_hears_what_it_should_and_nothing_else(encoder: str) -> None:
    """As published to both sides alike; causally its own hop and what was before."""
    recipe = Nsynth.sized("tiny", layers_per_stack=3, stacks=2, encoder=encoder)
    side, hop = 1 + 2 * 7, recipe.hop_samples
    network = recipe.build().network.double().encoder
    with torch.no_grad():
        for parameter in network.parameters():  # all paths add up, none cancels or dies away
            parameter.fill_(0.1)
    audio = torch.zeros(1, 8 * hop, dtype=torch.float64, requires_grad=True)
    network(audio)[0, 4].sum().backward()
    assert audio.grad is not None
    (heard,) = torch.nonzero(audio.grad[0], as_tuple=True)
    behind, ahead = (side, side) if encoder == "published" else (2 * side, 0)
    assert (heard[0].item(), heard[-1].item()) == (4 * hop - behind, 5 * hop - 1 + ahead)
    assert (network.behind_samples, network.ahead_samples) == (behind, ahead)


def test_the_published_encoder_looks_3070_samples_ahead_and_the_decoder_6141_behind() -> None:
    recipe = Nsynth.sized("paper")
    with torch.device("meta"):
        encoder = NsynthNetwork(recipe).encoder
    assert encoder.ahead_samples == encoder.behind_samples == 3070 and recipe.receptive_field == 6141
    small = Nsynth.sized("tiny", layers_per_stack=3, stacks=2)
    network = small.build().network.decoder.double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.01)
    curve = torch.zeros(1, 96, dtype=torch.float64, requires_grad=True)
    network(latest_of(curve), torch.zeros(1, 3, 4, dtype=torch.float64))[0, 80].sum().backward()
    assert curve.grad is not None
    (heard,) = torch.nonzero(curve.grad[0], as_tuple=True)
    assert (heard[0].item(), heard[-1].item()) == (80 - small.receptive_field, 79)


# -- codes -------------------------------------------------------------------------------------------------------------


@torch.no_grad()
@BOTH
@pytest.mark.parametrize("hop", [8, 32])
def test_codes_of_a_live_sound_are_those_of_the_whole(encoder: str, hop: int) -> None:
    model = made(encoder=encoder, hop_samples=hop)
    audio, late = noise(16 * hop, 2), model.delay_samples // hop
    history, found = model.initial_history(2), []
    for piece in (*audio.split(hop * 2, dim=1), torch.zeros(2, model.delay_samples)):
        if piece.shape[1]:
            codes, history = model.encode(piece, history)
            found.append(codes)
    # Offline: the same sound with silence around it, long enough that no layer's zeros are heard.
    around = torch.zeros(2, 20 * hop)
    whole = model.network.encode(model.curve(model.targets(torch.cat([around, audio, around], dim=1))))
    assert torch.allclose(torch.cat(found, dim=1)[:, late:], whole[:, 20:36], atol=1e-6)
    assert (late > 0) == (encoder == "published") and whole.abs().max() < 1.0
    assert model.controls_of({"audio": audio}).shape == (2, 16, 5)
    assert model.resynthesised({"audio": audio}).shape == audio.shape


@torch.no_grad()
def test_a_code_held_is_a_code_repeated() -> None:
    """One code for a hop is the same as one for each of its samples."""
    decoder = made().network.decoder
    curve, code = noise(64), torch.randn(1, 2, 4)
    each = code.repeat_interleave(32, dim=1)
    assert torch.allclose(decoder(latest_of(curve), code), decoder(latest_of(curve), each), atol=1e-6)


@torch.no_grad()
def test_codes_of_any_sound_are_labels_and_silence_is_zero() -> None:
    model = made()
    loud = torch.tensor([[-9.0, -1.0, 0.0, 1.0, 9.0]])
    assert model.targets(loud).tolist() == [[0, 0, mulaw.SILENCE, 255, 255]]
    assert model.curve(model.targets(loud))[0, 2] == 0.0 and model.curve(torch.arange(256)).abs().max() <= 1.0


# -- playing and learning ----------------------------------------------------------------------------------------------


@torch.no_grad()
def test_what_is_played_is_what_was_drawn_from_the_offline_network() -> None:
    model = made().double()
    controls = wandering(model, 10).double()
    controls[..., -1] = 0.7
    audio, state = model.advance(controls, model.initial_state(1))
    codes = model.targets(audio)
    logits = model.network.decoder(latest_of(model.curve(codes)), controls[..., :-1])
    count = codes.shape[1]
    again, _ = draw_code(logits[0], torch.full((count, 1), 0.7), torch.arange(count))
    assert torch.equal(again, codes[0]) and torch.equal(state["latest"], model.curve(codes[:, -3:]))


@torch.no_grad()
def test_the_same_codes_and_sound_give_the_same_bits_and_the_future_is_heard_through_codes_alone() -> None:
    model = made()
    audio = noise(160)
    bits = model.bits({"audio": audio})
    assert torch.equal(bits, model.bits({"audio": audio}))
    changed = audio.clone()
    changed[:, 100] *= -1.0
    curves = [model.curve(model.targets(x)) for x in (audio, changed)]
    silent = torch.zeros(1, 5, 4)
    before, after = (model.network.decoder(latest_of(curve), silent) for curve in curves)
    differs = (before != after).any(-1)[0].nonzero()[:, 0]
    assert differs[0] == 101 and differs[-1] <= 100 + model.recipe.receptive_field
    assert not torch.allclose(model.bits({"audio": changed})[:, :99], bits[:, :99], atol=1e-7)


@torch.no_grad()
def test_nothing_learnt_costs_eight_bits() -> None:
    torch.manual_seed(0)
    for size in ("tiny", "small"):
        model = Nsynth.sized(size).build()
        assert abs(model.loss({"audio": noise(2048)}).item() - 8.0) < 0.2
        # Silence is a single code, whose own first bias shows.
        assert abs(model.loss({"audio": torch.zeros(1, 2048)}).item() - 8.0) < 0.6


def test_codes_are_learnt_and_told_apart() -> None:
    """Two sounds of white noise of different levels: only the code can tell the decoder at once which one it is."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Nsynth.sized("tiny").build()
    audio = torch.cat([noise(512, level=0.3), noise(512, level=0.002)])
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(120):
        optimiser.zero_grad()
        model.loss({"audio": audio}).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.no_grad():
        curve = model.curve(model.targets(audio))
        codes = model.network.encode(curve)
        own = model.network.decoder(latest_of(curve), codes)
        exchanged = model.network.decoder(latest_of(curve), codes.flip(0))
        targets = model.targets(audio)
        costs = [nn.functional.cross_entropy(x.transpose(1, 2), targets).item() for x in (own, exchanged)]
    assert costs[0] < costs[1] - 0.05


# -- engines and trimming ----------------------------------------------------------------------------------------------


@BOTH
def test_it_is_drawn_in_c_as_torch_draws_it(encoder: str, tmp_path: Path) -> None:
    model = built(Nsynth.sized("tiny", encoder=encoder))
    controls = wandering(model, 4)
    source, twin = export_with_twin(model, "code", "float32")
    wanted = sound(model, controls)
    assert np.array_equal(twin.play(controls[0].numpy()), wanted)
    runner = NativeRunner(build.compile_host_library(source, tmp_path))
    assert np.array_equal(run_frames(runner, controls[0].numpy(), 7), wanted)


class Told(DrawPart):
    """The decoder's logits, fed with samples that are known."""

    def example_inputs(self) -> tuple[Tensor, ...]:
        return torch.zeros(1, 3), *super().example_inputs()[1:]

    def forward(self, latest: Tensor, added: Tensor) -> Tensor:  # type: ignore[override]
        state = self._state()
        decoder = self.model.network.decoder
        lines = decoder.sample_lines([state[name] for name in state if name.startswith("queue_")])
        logits = decoder.step(latest, lines, decoder.parted(added))
        return self._keep((logits, {f"queue_{i}": line.past() for i, line in enumerate(lines)}), state)


@torch.no_grad()
def test_a_teacher_forced_engine_says_what_the_offline_network_says() -> None:
    model = built(Nsynth.sized("tiny"))
    assert isinstance(model, NsynthModel)
    told = Told(model)
    engine = compile_engine(told, told.example_inputs(), name="told", strict=True)
    controls, curve = wandering(model, 2), noise(64)
    wanted = model.network.decoder(latest_of(curve), controls[..., :-1])
    for n in range(64):
        _, added = model.hold(controls[:, n // 32])
        logits = engine.process(latest_of(curve)[:, n].numpy(), added.numpy())
        assert np.abs(logits - wanted[:, n].numpy()).max() <= 1e-5


@torch.no_grad()
def test_units_are_found_on_both_sides_of_the_code_and_can_be_removed() -> None:
    recipe = Nsynth.sized("tiny", layers_per_stack=2)
    model = built(recipe)
    form, example = model.trim_form()
    graph = capture(form, example)
    units = units_of(graph)
    found = {family.name.removeprefix("model.network."): family.units for family in units.families}
    # The residual bus, each inner convolution, and the code; the residual bus, each pair of gates, skips, hidden layer.
    assert {name: size for name, size in found.items() if name.startswith("encoder")} == {
        "encoder.first": 8, "encoder.layers.0.dilated": 8, "encoder.layers.1.dilated": 8, "encoder.head": 4,
    }  # fmt: skip
    assert sorted(size for name, size in found.items() if name.startswith("decoder")) == [16, 16, 16, 32, 32]
    removed = np.zeros(int(units.unit.max()) + 1, np.bool_)
    for family in units.families:
        removed[family.numbers[::3]] = True
    remains = Remains(units, removed)
    small = recipe.build().eval()
    tensors = cut_tensors(graph, remains)
    resize(small, {name: tensors[f"model.{name}"] for name in small.state_dict()})
    curve = noise(example[0].shape[1])
    (masked_whole,) = run(graph, (curve,), alter=masked(units, remains)).outputs
    assert torch.allclose(small.network(curve), masked_whole, atol=1e-5)
    assert not torch.allclose(small.network(curve), model.network(curve), atol=1e-2)  # type: ignore[operator]
    assert [knob.name for knob in small.controls] == ["code_1", "code_2", "temperature"]
    assert torch.isfinite(small(wandering(small, 3))).all()


def test_recipes() -> None:
    assert isinstance(made().network.encoder, TemporalEncoder)
    assert [knob.name for knob in made().controls] == [*(f"code_{n}" for n in range(1, 5)), "temperature"]
    for of in ("residual_channels", "encoder_channels", "code", "stacks", "hop_samples"):
        with pytest.raises(RecipeError) as caught:
            Nsynth(**{of: 0})  # type: ignore[arg-type]
        assert f"--{of.replace('_', '-')}" in caught.value.remedy
