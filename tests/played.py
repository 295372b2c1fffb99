"""How far an engine is from what torch says of the same model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from pochette.boards.target import CORTEX_A72
from pochette.engine.build import compile_elf, compile_host_library
from pochette.engine.compiled import compile_engine
from pochette.engine.emulate import EmulatedRunner
from pochette.engine.export import export
from pochette.engine.native import NativeRunner
from pochette.engine.runner import FloatArray, run_frames
from pochette.models.model import Model


def off(model: Model, controls: FloatArray, folder: Path) -> float:
    """The largest difference of the sounds along some controls.

    Args:
        model: a streaming one.
        controls: (frame, control).
        folder: to compile in.

    Returns:
        of full scale.
    """
    made = run_frames(NativeRunner(compile_host_library(export(model, "played"), folder)), controls)
    with torch.no_grad():
        wanted = model.eval()(torch.from_numpy(controls)[None])[0].numpy()
    return float(np.abs(made - wanted).max())


def parts_off(model: Any, calls: int = 4) -> float:
    """The largest difference of what each part of a sample-by-sample model puts out, over some calls."""
    worst = 0.0
    for part in model.parts():
        inputs = part.example_inputs()
        engine = compile_engine(part, inputs)
        for _ in range(calls):
            given = tuple(x + 0.1 * torch.randn_like(x) for x in inputs)
            (wanted, *_), made = engine.twin.process(*given), engine.process(*(x.numpy() for x in given))
            first = made[0] if isinstance(made, tuple) else made
            worst = max(worst, float(np.abs(first - wanted.numpy()).max()))
    return worst


def costs_of_a_sound(model: Model) -> tuple[list[int], list[int], int]:
    """What the engine of a model whose sounds end asks of a processor; it must be silent after the sound.

    Args:
        model: whose sounds are one piece and begin at once.

    Returns:
        instructions of each frame that is heard, of two frames behind them, and of the first frame of a new sound.
    """
    note, frames = np.array([knob.default for knob in model.controls], np.float32), model.excerpt_frames
    assert frames is not None
    runner = EmulatedRunner(compile_elf(export(model, "once"), CORTEX_A72), "aarch64", counting=True)

    def cost(silent: bool) -> int:
        before = runner.instructions()
        assert runner.process(note, model.hop_samples).any() != silent
        return runner.instructions() - before

    heard = [cost(silent=False) for _ in range(frames)]
    after = [cost(silent=True) for _ in range(2)]
    runner.reset()
    return heard, after, cost(silent=False)
