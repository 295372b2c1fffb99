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
REFERENCE_DB = 25.0
"""Loudness, below full scale, at which levels are written down."""


@runtime_checkable
class Resynthesiser(Protocol):
    """A model whose synthesiser can be driven directly, without its network."""

    def play_raw(self, raw: Tensor, controls: Tensor, state: State) -> tuple[Tensor, State]:
        """Sound of unscaled synthesiser controls; see `DdspModel.play_raw`."""

    def raw_controls(self, controls: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """What the network says; see `DdspModel.raw_controls`."""

    def plain_raw(self) -> tuple[Tensor, Tensor, Tensor]:
        """A plain sound to start a fit from; see `DdspModel.plain_raw`."""


def mean_spectrum(
    model: Model, corpus: FolderCorpus, *, steps: int = 200, seed: int = 0, report: Report | None = None
) -> Callable[[Excerpt], Tensor]:
    """The corpus's one average sound, driven by pitch and loudness.

    One harmonic spectrum and one noise spectrum for the whole corpus, each with one loudness response (a level and a
    slope). Not the arithmetic mean but the constants nearest to all training sounds in the training distance: the best
    that any average can do, and so the strictest form of this anchor.

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
    # In the synthesiser's scale one unit is about 20 dB, so a twentieth a dB follows loudness exactly.
    total, partials, noise = (part.clone().requires_grad_(True) for part in model.plain_raw())
    slopes = torch.tensor([0.05, 0.05], requires_grad=True)
    rates = (0.1, 0.004)
    optimiser = torch.optim.Adam([{"params": [total, partials, noise]}, {"params": [slopes]}])
    frames = round(0.5 * model.sample_rate_hz / model.hop_samples)

    def play(excerpt: Excerpt, generator: torch.Generator | None = None) -> Tensor:
        controls = model.controls_of(excerpt)
        above = controls[..., 1:2] + REFERENCE_DB
        raw = torch.cat(
            [total + slopes[0] * above, partials.expand(*above.shape[:2], -1), noise + slopes[1] * above], dim=-1
        )
        return model.play_raw(raw, controls, model.initial_state(len(controls), generator))[0]

    distance = MultiScaleSpectral(model.sample_rate_hz)
    for step in range(steps):
        excerpt = tensors_of(corpus.excerpt_batch(np.random.default_rng([seed, step]), 4, frames))
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
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
