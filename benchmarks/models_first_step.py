"""How much more GANSynth computes before a note is heard than its receptive field asks for: counted, without weights.

What is asked for is told by gradients: how many frames of every layer of the whole picture the first step's sound
depends on, times what a frame of that layer takes. Widths do not matter for it, so it is asked of a narrow network.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pochette.measure import profile, profile_model
from pochette.models.gansynth import Gansynth

NARROW = {"channels": 256, "most_channels": 2}


def first_step(recipe: Gansynth) -> dict[str, Any]:
    """Multiply-accumulates of a note's first step, beside those that its sound depends on.

    Args:
        recipe: of the model.

    Returns:
        both, those of the whole note at once, and the number of steps that a note comes in.
    """
    model = recipe.build()
    return {
        "needed_macs": needed_macs(recipe),
        "step_macs": profile_model(model).macs,
        "note_macs": profile(*model.trim_form(), reach=False).macs,
        "steps": model.excerpt_frames,
    }


def needed_macs(recipe: Gansynth) -> int:
    """What the first step's sound depends on, in multiply-accumulates."""
    frames, bins, widths = frames_needed(recipe), recipe.start_bins, recipe.widths
    needed = frames["dense"] * bins * (recipe.latent + recipe.pitches) * widths[0]
    needed += frames["first"] * bins * 9 * widths[0] ** 2
    for number in range(recipe.resolutions - 1):
        before, after, bins = widths[number], widths[number + 1], 2 * bins
        into, again = (frames[f"blocks.{number}.{layer}"] for layer in ("into", "again"))
        needed += 9 * bins * after * (into * before + again * after)
    return int(needed + frames["to_pictures.0"] * bins * 2 * widths[-1])


def frames_needed(recipe: Gansynth) -> dict[str, int]:
    """By gradients: how many frames of each layer of the whole the first step's sound depends on.

    Args:
        recipe: of the model.

    Returns:
        name of a layer to frames.
    """
    torch.manual_seed(0)
    told = {"resolutions": recipe.resolutions, "step_frames": recipe.step_frames, "start_frames": recipe.start_frames}
    model = Gansynth.sized("small", **NARROW, **told).build()
    kept: dict[str, Tensor] = {}

    def keep(name: str, x: Tensor) -> None:
        x.retain_grad()
        kept[name] = x

    for name, layer in model.network.named_modules():
        if name == "first":
            layer.register_forward_pre_hook(lambda _, given: keep("dense", given[0]))
        if name and not list(layer.children()) and name != "dense":
            layer.register_forward_hook(lambda _, __, x, name=name: keep(name, x))
    made = model.generate(model.notes(1, torch.Generator().manual_seed(0)))
    made[:, : model.hop_samples].square().sum().backward()
    return {name: _rows(x) for name, x in kept.items()}


def _rows(x: Tensor) -> int:
    assert x.grad is not None, "every layer is heard"
    return int(x.grad.abs().sum(dim=(0, 1, 3)).count_nonzero())
