"""What a distance means: the marks between which a model's distance to held-out sound is read.

From worst to best: silence and white noise (nothing learnt), the mean spectrum (everything an average can do), another
take of the same note where the corpus has one, and the floor (the same synthesiser with its controls fitted directly to
the very note: what is left is what the synthesiser cannot say).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from pochette.corpus.folder import FolderCorpus
from pochette.models.model import Excerpt, Model, State
from pochette.sound.losses import MultiScaleSpectral
from pochette.train.loop import annealed, tensors_of

Report = Callable[[float], None]


@runtime_checkable
class Resynthesiser(Protocol):
    """A model whose synthesiser can be driven directly, without its network."""

    def play_raw(self, raw: Tensor, controls: Tensor, state: State) -> tuple[Tensor, State]:
        """Sound of unscaled synthesiser controls; see `DdspModel.play_raw`."""

    def raw_controls(self, controls: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """What the network says; see `DdspModel.raw_controls`."""


def mean_spectrum(
    model: Model, corpus: FolderCorpus, *, steps: int = 200, seed: int = 0, report: Report | None = None
) -> Callable[[Excerpt], Tensor]:
    """The corpus's one average sound, driven by pitch and loudness.

    One harmonic spectrum, one noise spectrum and one loudness response (gain and slope of each, in dB per dB) for the
    whole corpus. Not the arithmetic mean but the constant that is nearest to all training sounds in the training
    distance: the best that any average can do, and so the strictest form of this anchor.

    Args:
        model: gives the synthesiser and the distance; its network is not asked.
        corpus: training part.
        steps: of Adam.
        seed: draws excerpts.
        report: told the share done.

    Returns:
        a function from an excerpt to audio (batch, sample).
    """
    assert isinstance(model, Resynthesiser)
    size = model.raw_controls(torch.zeros(1, 1, len(model.controls)) + 1.0, model.initial_state(1)["hidden"])[0].shape
    spectrum = torch.zeros(size[-1], requires_grad=True)
    slope = torch.full((size[-1],), 0.05, requires_grad=True)
    optimiser = torch.optim.Adam([{"params": [spectrum], "lr": 0.1}, {"params": [slope], "lr": 0.01}])
    frames = round(0.5 * model.sample_rate_hz / model.hop_samples)

    def play(excerpt: Excerpt, generator: torch.Generator | None = None) -> Tensor:
        controls = model.controls_of(excerpt)
        raw = spectrum + slope * (controls[..., 1:2] + 30.0)
        return model.play_raw(raw, controls, model.initial_state(len(controls), generator))[0]

    distance = MultiScaleSpectral(model.sample_rate_hz)
    for step in range(steps):
        excerpt = tensors_of(corpus.excerpt_batch(np.random.default_rng([seed, step]), 8, frames))
        for group, rate in zip(optimiser.param_groups, (0.1, 0.01), strict=True):
            group["lr"] = rate * annealed(step / steps, 0.3)
        loss = distance(play(excerpt, torch.Generator().manual_seed(step)), excerpt["audio"])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if report is not None:
            report((step + 1) / steps)

    @torch.no_grad()
    def baseline(excerpt: Excerpt) -> Tensor:
        return play(excerpt)

    return baseline


def direct_fit(model: Model, excerpt: Excerpt, *, steps: int = 150, report: Report | None = None) -> Tensor:
    """The floor: the model's synthesiser with its controls fitted to this very sound, frame by frame.

    Args:
        model: gives the synthesiser, and the starting point (its network's own controls).
        excerpt: what to fit.
        steps: of Adam on every frame's controls.
        report: told the share done.

    Returns:
        audio, (batch, sample).
    """
    assert isinstance(model, Resynthesiser)
    controls = model.controls_of(excerpt)
    state = model.initial_state(len(controls))
    with torch.no_grad():
        start, _ = model.raw_controls(controls, state["hidden"])
    raw = start.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([raw], lr=0.1)
    distance = MultiScaleSpectral(model.sample_rate_hz)
    wanted = [spectrum.detach() for spectrum in distance.spectra(excerpt["audio"])]
    best, best_audio = float("inf"), excerpt["audio"]
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 0.1 * annealed(step / steps, 0.3)
        audio = model.play_raw(raw, controls, state)[0]
        loss = distance(audio, wanted)
        if loss.item() < best:
            best, best_audio = loss.item(), audio.detach()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if report is not None:
            report((step + 1) / steps)
    return best_audio
