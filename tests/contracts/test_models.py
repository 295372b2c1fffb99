"""Every generative model, whoever adds it; and that adding one is writing one short file."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pochette import families
from pochette.control import Control
from pochette.graph.capture import capture
from pochette.graph.units import units_of
from pochette.layers.synthesis import harmonics
from pochette.models.model import Excerpt, Model, State, Step
from pochette.sound.losses import MultiScaleSpectral
from tests.contracts import engine_checks
from tests.contracts import model_checks as checks

LOW_RATE_HZ, HIGH_RATE_HZ = 16000, 48000


def recipes(*rates_hz: int) -> list[Any]:
    """Every model's smallest size, at these rates."""
    return [
        pytest.param(replace(member.sized("tiny"), sample_rate_hz=rate), id=f"{name}-{rate}")
        for name, member in families.models.items()
        for rate in rates_hz
    ]


every_model = pytest.mark.parametrize("recipe", recipes(LOW_RATE_HZ, HIGH_RATE_HZ))
# What takes long is seen at one rate: the other changes sizes alone, which the checks above have seen.
every_model_at_one_rate = pytest.mark.parametrize("recipe", recipes(LOW_RATE_HZ))

QUICK: list[Callable[[Any], None]] = [
    checks.check_shapes,
    checks.check_streamed_equals_offline,
    checks.check_parts_equal_the_whole,
    checks.check_causal,
    checks.check_latency,
    checks.check_reset,
    checks.check_extremes_are_finite,
    checks.check_every_control_matters,
    checks.check_phase_after_a_minute,
    checks.check_every_weight_learns,
    checks.check_turns_reach_what_they_move,
    engine_checks.check_counted,
]


@every_model
@pytest.mark.parametrize("check", QUICK, ids=lambda check: check.__name__.removeprefix("check_"))
def test_contract(recipe: Any, check: Callable[[Any], None]) -> None:
    check(recipe)


@every_model
def test_weights_survive_the_file(recipe: Any, tmp_path: Path) -> None:
    checks.check_file_round_trip(recipe, tmp_path)


@every_model
def test_engines_say_what_torch_says(recipe: Any, tmp_path: Path) -> None:
    pytest.importorskip("ziglang")
    engine_checks.check_engines(recipe, tmp_path)


@every_model_at_one_rate
def test_emulated_processors_say_what_torch_says(recipe: Any) -> None:
    pytest.importorskip("ziglang")
    pytest.importorskip("unicorn")
    engine_checks.check_emulated(recipe)


@every_model_at_one_rate
def test_trains_on_a_device_that_is_not_the_cpu(recipe: Any) -> None:
    checks.check_trains_elsewhere(recipe)


@every_model_at_one_rate
@pytest.mark.slow
def test_a_minute_of_silence(recipe: Any) -> None:
    checks.check_silence(recipe)


@every_model_at_one_rate
@pytest.mark.slow
def test_overfits_one_note(recipe: Any) -> None:
    checks.check_overfits(recipe)


# -- one short file adds a model ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reed:
    """Eight harmonics that a small recurrent layer mixes by pitch and loudness."""

    hidden: int = 8
    sample_rate_hz: int = 16000

    @classmethod
    def sized(cls, size: str = "tiny", **changes: int) -> Reed:
        return replace(cls(), **changes)

    def build(self) -> ReedModel:
        return ReedModel(self)


class ReedModel(Model):
    features = ("f0_hz", "loudness_db")

    def __init__(self, recipe: Reed) -> None:
        super().__init__()
        self.recipe, self.sample_rate_hz = recipe, recipe.sample_rate_hz
        self.hop_samples = self.latency_samples = recipe.sample_rate_hz // 250
        self.controls = (
            Control("pitch_hz", "Hz", 30.0, 0.4 * recipe.sample_rate_hz, 220.0, "logarithmic"),
            Control("loudness_db", "dB", -80.0, 0.0, -20.0),
        )
        self.network = nn.GRU(2, recipe.hidden, batch_first=True)
        self.head = nn.Linear(recipe.hidden, 8)
        self.distance = MultiScaleSpectral(recipe.sample_rate_hz)

    def initial_state(self, batch: int, generator: torch.Generator | None = None) -> State:
        return {
            "hidden": torch.zeros(batch, self.network.hidden_size, device=self.device),
            "f0": torch.zeros(batch, device=self.device),
            "amplitudes": torch.zeros(batch, 8, device=self.device),
            "phase": torch.zeros(batch, dtype=torch.int64, device=self.device),
        }

    def advance(self, controls: Tensor, state: State) -> tuple[Tensor, State]:
        f0, loudness = controls[..., 0], controls[..., 1:]
        features = torch.cat([torch.log2(f0[..., None] / 440.0), loudness / 80.0 + 1.0], dim=-1)
        made, hidden = self.network(features, state["hidden"][None])
        amplitudes = torch.sigmoid(self.head(made)) * torch.exp(loudness * 0.115)
        audio, phase = harmonics(
            f0, amplitudes, state["f0"], state["amplitudes"], state["phase"], self.hop_samples, self.sample_rate_hz
        )
        return audio, {"hidden": hidden[0], "f0": f0[:, -1], "amplitudes": amplitudes[:, -1], "phase": phase}

    def loss(self, excerpt: Excerpt, generator: torch.Generator | None = None) -> Tensor:
        return self.distance(self(self.controls_of(excerpt)), excerpt["audio"])  # type: ignore[no-any-return]


def test_one_short_file_adds_a_model(tmp_path: Path) -> None:
    pytest.importorskip("ziglang")
    assert len(inspect.getsource(Reed).splitlines()) + len(inspect.getsource(ReedModel).splitlines()) < 60
    families.models.add("reed", Reed)
    try:
        recipe = families.models["reed"].sized("tiny")
        assert families.models.help("reed").startswith("Eight harmonics")
        for check in QUICK:
            check(recipe)
        checks.check_file_round_trip(recipe, tmp_path)
        checks.check_trains_elsewhere(recipe)
        engine_checks.check_engines(recipe, tmp_path, seconds=0.3)
        step = Step(recipe.build())
        units = units_of(capture(step, step.example_inputs()))
        assert [family.units for family in units.families] == [8]
    finally:
        families.models.remove("reed")
    assert "reed" not in families.models.names()


# -- a model whose state is handed from name to name -------------------------------------------------------------------


class Delays(Model):
    """Its sound is its input of two frames ago: nothing but state."""

    sample_rate_hz, hop_samples, latency_samples = 16000, 4, 8
    controls = (Control("level", "", 0.0, 1.0, 0.5),)

    def initial_state(self, batch: int, generator: torch.Generator | None = None) -> State:
        return {"position": torch.zeros(batch, 4), "audio": torch.zeros(batch, 4)}

    def advance(self, controls: Tensor, state: State) -> tuple[Tensor, State]:
        out = []
        for frame in range(controls.shape[1]):
            out.append(state["audio"])
            state = {"position": controls[:, frame] * torch.arange(1.0, 5.0), "audio": state["position"]}
        return torch.cat(out, dim=1), state

    def loss(self, excerpt: Excerpt, generator: torch.Generator | None = None) -> Tensor:
        raise AssertionError("it is played and never trained")


def test_state_may_pass_from_name_to_name(tmp_path: Path) -> None:
    from pochette.engine.build import compile_host_library
    from pochette.engine.export import export
    from pochette.engine.native import NativeRunner
    from pochette.engine.runner import run_frames

    model = Delays()
    levels = [0.1, 0.9, 0.4, 0.7, 0.2]
    controls = torch.tensor(levels)[None, :, None]
    wanted = torch.cat([torch.zeros(8), *(x * torch.arange(1.0, 5.0) for x in levels[:3])])
    assert torch.allclose(model(controls)[0], wanted)
    step = Step(model)
    assert torch.allclose(torch.cat([step(row[None])[0] for row in controls[0]]), wanted)
    native = NativeRunner(compile_host_library(export(model, "Glue"), tmp_path))
    checks.close(run_frames(native, controls[0].numpy()), wanted.numpy(), 0.0)
