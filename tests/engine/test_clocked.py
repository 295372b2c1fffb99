"""Engines of several clocks: every tier turns when its clock says so, in C as in torch, sampled and teacher-forced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pochette.engine import build
from pochette.engine.compiled import compile_engine
from pochette.engine.export import export, export_with_twin
from pochette.engine.native import NativeRunner
from pochette.engine.runner import run_frames
from pochette.models.clocked import TierPart
from pochette.models.model import Step
from pochette.models.samplernn import SampleRnn, SampleRnnModel
from tests.contracts.model_checks import built, sound, wandering

FORMS: list[dict[str, Any]] = [
    {},
    {"conditioning": "none"},
    {"frame_samples": 4, "big_frame_samples": 0, "rnn_layers": 2},
    {"codes": "even", "rnn_layers": 3, "conditioning": "none"},
]
every_form = pytest.mark.parametrize("form", FORMS, ids=["three", "plain", "two", "even"])


@every_form
def test_every_form_is_drawn_in_c_as_torch_draws_it(form: dict[str, Any], tmp_path: Path) -> None:
    model = built(SampleRnn.sized("tiny", **form))
    controls = wandering(model, 8)
    source, twin = export_with_twin(model, "form", "float32")
    wanted = sound(model, controls)
    assert np.array_equal(twin.play(controls[0].numpy()), wanted)
    runner = NativeRunner(build.compile_host_library(source, tmp_path))
    # A sample is a code's: drawn alike, it is the same to the bit.
    assert np.array_equal(run_frames(runner, controls[0].numpy(), 7), wanted)


def test_in_fewer_bits_the_twin_of_all_parts_is_what_is_played(tmp_path: Path) -> None:
    model = built(SampleRnn.sized("tiny", units=32))
    source, twin = export_with_twin(model, "fewer", "int8")
    assert any("tiers.0" in path for path in twin.rounded) and any("samples" in path for path in twin.rounded)
    controls = wandering(model, 6)
    played = twin.play(controls[0].numpy())
    runner = NativeRunner(build.compile_host_library(source, tmp_path))
    assert np.array_equal(run_frames(runner, controls[0].numpy()), played)
    twin.reset()
    assert np.array_equal(twin.play(controls[0].numpy()), played)


class Told(Step):
    """A model's logits for samples that are known: one sample's codes and what the tiers say of it."""

    def __init__(self, model: SampleRnnModel) -> None:
        super().__init__(model, ())

    def forward(self, codes: Tensor, above: Tensor) -> Tensor:
        # An engine's inputs are floats.
        logits: Tensor = self.model.network.samples((codes + 0.5).long(), above)
        return logits


@torch.no_grad()
@every_form
def test_teacher_forced_engines_say_what_torch_says(form: dict[str, Any]) -> None:
    """Part by part on a known sound, with the same bits on every machine."""
    model = built(SampleRnn.sized("tiny", **form))
    assert isinstance(model, SampleRnnModel)
    heard = (0.3 * torch.randn(1, 128)).clamp(-1, 1)
    held = model.hold(wandering(model, 1)[:, 0])
    for tier, period in enumerate(model.periods):
        part = TierPart(model, tier)
        engine = compile_engine(part, part.example_inputs(), name="tier", strict=True)
        part.reset()
        above = [torch.randn(1, model.recipe.units)] if tier else []
        for n in range(0, 64, period):
            given = [*held, *above, heard[:, n : n + period]]
            said = engine.process(*(x.numpy() for x in given))
            assert np.abs(said - part(*given).numpy()).max() <= 1e-5
    codes = torch.randint(256, (20, 1, model.recipe.frame_samples)).float()
    above = torch.randn(20, 1, model.recipe.units)
    told = Told(model)
    engine = compile_engine(told, (codes[0], above[0]), name="told", strict=True)
    for each, vector in zip(codes, above, strict=True):
        assert np.abs(engine.process(each.numpy(), vector.numpy()) - told(each, vector).numpy()).max() <= 1e-5


def test_a_frame_is_a_loop_in_which_each_tier_turns_when_its_clock_says_so() -> None:
    texts = {}
    for hop in (16, 64):
        files = export(built(SampleRnn.sized("tiny", hop_samples=hop)), "loop").files
        texts[hop] = files["loop.c"]
        assert {"loop_hold.c", "loop_tier0.c", "loop_tier1.c", "loop_draw.c"} <= set(files)
    assert len(texts[16]) == len(texts[64])
    assert "if (n % 8 == 0) loop_tier0_process" in texts[16] and "if (n % 2 == 0) loop_tier1_process" in texts[16]
