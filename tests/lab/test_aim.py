"""What is aimed at can be made: of every model what is left compiles and says what torch says, and can be measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pochette.engine.build import compile_host_library
from pochette.engine.compiled import compile_engine
from pochette.engine.export import export
from pochette.engine.native import NativeRunner
from pochette.engine.runner import run_frames
from pochette.families import boards, models
from pochette.lab.aim import KEEPS, aim_for
from pochette.lab.build import Ranges, golden_curve
from pochette.lab.cost import costs_of
from pochette.reduce.choosing import Choice
from pochette.reduce.trimming import structure_of, trim_model

RANGES = Ranges((110.0, 880.0), (-60.0, -10.0))


@pytest.mark.slow
@pytest.mark.parametrize("name", models.names())
@torch.no_grad()
def test_the_smallest_of_every_model_compiles_and_says_what_torch_says(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = models[name].sized("tiny").build().eval()
    structure = structure_of(model)
    least = max(min(KEEPS) * structure.matrix_macs(), structure.least_macs())
    small, _, _ = trim_model(model, structure.keep_for(least), choice=Choice("random"), structure=structure)
    assert small.played_parameters() and structure.matrix_macs() > least
    controls = golden_curve(small, RANGES)[:4]
    wanted = small.eval()(torch.from_numpy(controls)[None])[0].numpy()
    made = run_frames(NativeRunner(compile_host_library(export(small, "smallest"), tmp_path)), controls)
    scale = max(1.0, float(np.abs(wanted).max()))
    beginning = slice(64 if small.feeds_back else None)
    assert np.abs(made[beginning] - wanted[beginning]).max() < 1e-4 * scale


@pytest.mark.slow
def test_an_auto_encoder_that_loses_knobs_is_planned_counted_and_timed() -> None:
    torch.manual_seed(0)
    model, board = models["sing-ae"].sized("tiny").build(), boards["daisy-seed"]
    assert aim_for(model, board, "float32", lambda *_: None) in KEEPS
    structure = structure_of(model)
    small, _, _ = trim_model(
        model, structure.keep_for(structure.least_macs()), choice=Choice("random"), structure=structure
    )
    assert len(small.controls) < len(model.controls)
    engines = {
        name: (export(each, name), golden_curve(each, RANGES)) for name, each in (("trimmed", small), ("dense", model))
    }
    costs = costs_of(engines, board)
    for cost in costs.values():
        assert cost.instructions_per_second and cost.host_real_time_factor
    assert costs["trimmed"].instructions_per_second < 0.5 * costs["dense"].instructions_per_second  # type: ignore[operator]


class Bends(nn.Module):
    """A scale for each channel behind a bend that something else reads too, or nothing else."""

    def __init__(self, channels: int, twice: bool) -> None:
        super().__init__()
        self.scale, self.twice = nn.Conv1d(channels, channels, 1, groups=channels), twice

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bent = nn.functional.leaky_relu(x + 1.0, 0.2)
        scaled = torch.tanh(self.scale(bent))
        return scaled + bent if self.twice else scaled


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@torch.no_grad()
def test_a_filter_of_one_tap_reads_what_its_own_loop_makes(channels: int, twice: bool) -> None:
    torch.manual_seed(0)
    module, generator = Bends(channels, twice).eval(), torch.Generator().manual_seed(1)
    x = torch.randn(1, channels, 37, generator=generator)
    engine = compile_engine(module, (x,))
    for _ in range(2):
        x = torch.randn(1, channels, 37, generator=generator)
        made = engine.process(x.numpy())
        assert np.abs(np.asarray(made).reshape(x.shape) - module(x).numpy()).max() < 1e-6
