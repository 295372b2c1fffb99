"""How far an engine is from what torch says of the same model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from pochette.engine.build import compile_host_library
from pochette.engine.compiled import compile_engine
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
