"""What every model's counts and engines must keep, as plain functions of a recipe; see `model_checks`."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pochette.boards import target
from pochette.engine import build
from pochette.engine.emulate import EmulatedRunner, Machine
from pochette.engine.export import export
from pochette.engine.native import NativeRunner
from pochette.engine.runner import Runner, run_frames
from pochette.engine.source import EngineSource
from pochette.engine.wasm import WasmRunner
from pochette.lab.cost import NETWORK_ONLY
from pochette.measure import profile_model
from pochette.models.model import Model
from tests.contracts.model_checks import built, close, sound, wandering


def heard_parameters(model: Model) -> list[Tensor]:
    """The parameters that the sound depends on, asked of autograd; an encoder that only training needs is not one.

    A sound that is drawn code by code has no gradient: there a parameter is heard if another sound is drawn without it.
    A state at rest that is learnt is not counted; no step computes with it.
    """
    learnt, controls = list(model.parameters()), wandering(model, 20)
    total = model(controls).sum()
    if total.requires_grad:
        gradients = torch.autograd.grad(total, learnt, allow_unused=True)
        return [p for p, gradient in zip(learnt, gradients, strict=True) if gradient is not None]
    rest = model.initial_state(1).values()
    return [p for p in learnt if _is_heard(p, model, controls) and not any(_depends(state, p) for state in rest)]


@torch.no_grad()
def _is_heard(parameter: Tensor, model: Model, controls: Tensor) -> bool:
    before, kept = sound(model, controls[:, :3]), parameter.clone()
    parameter.copy_(100.0 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    after = sound(model, controls[:, :3])
    parameter.copy_(kept)
    return not np.array_equal(after, before)


def _depends(value: Tensor, parameter: Tensor) -> bool:
    return value.requires_grad and torch.autograd.grad(value.sum(), parameter, allow_unused=True)[0] is not None


def check_counted(recipe: Any) -> None:
    model = built(recipe)
    counted = profile_model(model)
    assert counted.unknown == ()
    learnt = heard_parameters(model)
    assert counted.parameters == sum(p.numel() for p in learnt)
    assert counted.calls_per_second == model.sample_rate_hz / model.hop_samples
    matrices = sum(p.numel() for p in learnt if p.dim() > 1)
    assert counted.macs >= matrices and counted.state_bytes > 0
    assert sum(layer.parameters for layer in counted.layers) == counted.parameters


@cache
def exported(recipe: Any) -> tuple[Model, EngineSource]:
    """A model and its engine, written once for all processors that play it."""
    model = built(recipe)
    return model, export(model, "contract")


def check_engines(recipe: Any, folder: Path, seconds: float = 2.0) -> None:
    """Native and sandboxed engines say what torch says."""
    model, source = exported(recipe)
    # A model that hears itself agrees until a rounding turns a draw, about once in 1e5: the beginning must be the same.
    frames = round(seconds * model.sample_rate_hz / model.hop_samples / (40 if model.feeds_back else 1))
    controls = wandering(model, frames)
    wanted = sound(model, controls)
    tolerance = 1e-5 * max(1.0, float(np.abs(wanted).max()))
    native = NativeRunner(build.compile_host_library(source, folder))
    wasm = WasmRunner(build.compile_wasm(source))
    runners: list[Runner] = [native, wasm]
    rows = controls[0].numpy()
    for runner in runners:
        assert (runner.hop_samples, runner.sample_rate_hz) == (model.hop_samples, model.sample_rate_hz)
        assert (runner.n_controls, runner.latency_samples) == (len(model.controls), model.latency_samples)
        whole = run_frames(runner, rows)
        close(whole, wanted, tolerance)
        for block in (1, 7, 64, 511):
            some = frames if block > 7 else 40
            assert np.array_equal(run_frames(runner, rows[:some], block), whole[: some * model.hop_samples]), block
    _check_knobs_are_clamped(native, model)
    # What boards are asked of the network alone.
    build.compile_host_library(source, folder / "alone", defines=NETWORK_ONLY)


def _check_knobs_are_clamped(runner: Runner, model: Model) -> None:
    high = np.array([knob.high for knob in model.controls], np.float32)
    runner.reset()
    inside = runner.process(high, 300)
    runner.reset()
    assert np.array_equal(runner.process(high * 2 + 1, 300), inside)
    runner.reset()
    assert np.isfinite(runner.process(np.full_like(high, np.nan), 300)).all()


def check_emulated(recipe: Any, frames: int = 6) -> None:
    model, source = exported(recipe)
    controls = wandering(model, frames)
    wanted = sound(model, controls)
    targets: dict[Machine, target.Target] = {"aarch64": target.CORTEX_A72, "cortex-m7": target.CORTEX_M7}
    for machine, processor in targets.items():
        runner = EmulatedRunner(build.compile_elf(source, processor), machine)
        tolerance = 1e-5 * max(1.0, float(np.abs(wanted).max()))
        close(run_frames(runner, controls[0].numpy(), 7), wanted, tolerance)
