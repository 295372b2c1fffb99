"""Engines that draw sample by sample: a loop around one sample, small in text, whatever the model tells its samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pochette.engine import build
from pochette.engine.export import export, export_with_twin
from pochette.engine.native import NativeRunner
from pochette.engine.runner import run_frames
from pochette.lab.cost import NETWORK_ONLY, weight_bytes
from pochette.measure import profile_model
from pochette.models.wavenet import Wavenet
from tests.contracts.model_checks import built, sound, wandering

FORMS: list[dict[str, Any]] = [
    {"conditioning": "none"},
    {"conditioning": "class", "classes": 3},
    {"conditioning": "controls"},
    {"conditioning": "controls", "output": "logistics"},
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(map(str, form.values())))
def test_every_form_of_a_wavenet_is_drawn_as_torch_draws_it(form: dict[str, Any], tmp_path: Path) -> None:
    model = built(Wavenet.sized("tiny", **form))
    controls = wandering(model, 8)
    runner = NativeRunner(build.compile_host_library(export(model, "form"), tmp_path))
    made, wanted = run_frames(runner, controls[0].numpy(), 7), sound(model, controls)
    assert np.abs(made - wanted).max() <= 1e-5 * max(1.0, np.abs(wanted).max())


def test_a_frame_is_a_loop_and_not_its_samples_written_out() -> None:
    """The text does not grow with the hop."""
    lengths = []
    for hop in (8, 64):
        files = export(built(Wavenet.sized("tiny", hop_samples=hop)), "loop").files
        lengths.append(sum(len(text) for name, text in files.items() if name.startswith("loop")))
    assert lengths[1] <= lengths[0] + 20


def test_a_model_of_two_parts_is_counted_sample_by_sample() -> None:
    """By hand: what hears two channels of controls once a frame, all else for each of its samples."""
    recipe = Wavenet.sized("tiny")
    counted, layers = profile_model(recipe.build()), len(recipe.dilations)
    r, g, s, c = recipe.residual_channels, recipe.gate_channels, recipe.skip_channels, recipe.conditioning_channels
    frame = 2 * c + layers * 2 * c * g
    sample = layers * (recipe.kernel * r * 2 * g + g * s) + (layers - 1) * g * r + s * s + s * 256
    assert counted.macs == frame + recipe.hop_samples * sample
    assert counted.macs_per_second == counted.macs * recipe.sample_rate_hz / recipe.hop_samples


def test_in_fewer_bits_the_twin_of_both_parts_is_what_is_played(tmp_path: Path) -> None:
    model = built(Wavenet.sized("tiny", residual_channels=16, gate_channels=16, skip_channels=32))
    source, twin = export_with_twin(model, "fewer", "int8")
    assert weight_bytes(source) < 0.6 * weight_bytes(export(model, "floats"))
    controls = wandering(model, 6)
    runner = NativeRunner(build.compile_host_library(source, tmp_path))
    played = twin.play(controls[0].numpy())
    assert np.abs(run_frames(runner, controls[0].numpy()) - played).max() <= 1e-5
    twin.reset()
    assert np.array_equal(twin.play(controls[0].numpy()), played)


def test_what_the_network_alone_costs_can_be_asked(tmp_path: Path) -> None:
    source = export(built(Wavenet.sized("tiny")), "alone")
    library = build.compile_host_library(source, tmp_path, defines=NETWORK_ONLY)
    assert run_frames(NativeRunner(library), wandering(built(Wavenet.sized("tiny")), 2)[0].numpy()).shape
