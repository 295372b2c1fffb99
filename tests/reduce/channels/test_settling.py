"""Norms over fewer units, set right after a cut."""

from __future__ import annotations

import numpy as np
import torch

from pochette.models.ddsp import Ddsp
from pochette.reduce.channels.settling import settled
from pochette.reduce.trimming import structure_of, trim_model
from tests.reduce.channels.test_reconstruction import distance, sound


def test_units_that_nobody_reads_are_missed_less() -> None:
    """Half the units of a layer behind whose norm nobody reads them: without them its mean and variance are others."""
    torch.manual_seed(0)
    model = Ddsp(hidden=8, stack_width=24, stack_layers=1, partials=6, noise_bands=5).build().eval()
    with torch.no_grad():
        model.network.head.weight[:, ::2] = 0.0
        model.network.out_stack[0].bias.mul_(3.0)
    structure = structure_of(model)
    name = next(name for name in structure.whole if "out_stack" in name)
    survivors = {family: np.arange(count) for family, count in structure.whole.items()}
    survivors[name] = np.arange(1, 24, 2)
    small, _, report = trim_model(model, survivors=survivors, structure=structure)
    heard = model.controls_of(sound(model, seed=1))
    before = distance(small, model, heard)
    layers = settled(small, model, survivors, sound(model))
    assert set(layers) == set(report.not_exact) == {"model.network.out_stack.1"}
    assert before > 0.02
    assert distance(small, model, heard) < 0.5 * before
