"""What a distance means: the marks between which a model's distance to held-out sound is read.

From worst to best: silence and white noise (nothing learnt), the mean spectrum (everything an average can do), another
take of the same note where the corpus has one, and the floor (the same synthesiser with its controls fitted directly to
the very note: what is left is what the synthesiser cannot say).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from pochette.corpus.folder import FolderCorpus
from pochette.models.model import Excerpt, Model, State
from pochette.sound.losses import MultiScaleSpectral
from pochette.train.device import tensors_of
from pochette.train.loop import annealed

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


@dataclass(frozen=True)
class MeanSpectrum:
    """A corpus's one average sound: one harmonic and one noise spectrum, each with one loudness response."""

    model: Model
    total: Tensor
    partials: Tensor
    noise: Tensor
    slopes: Tensor
    """Of the harmonic total and of the noise, per dB of loudness; a twentieth follows it exactly."""

    def raw(self, controls: Tensor) -> Tensor:
        """Unscaled synthesiser controls that say the average sound with this pitch and loudness.

        Args:
            controls: (batch, frame, control).

        Returns:
            (batch, frame, raw control).
        """
        above = controls[..., 1:2] + REFERENCE_DB
        partials = self.partials.expand(*above.shape[:2], -1)
        return torch.cat([self.total + self.slopes[0] * above, partials, self.noise + self.slopes[1] * above], dim=-1)

    def play(self, excerpt: Excerpt, generator: torch.Generator | None = None) -> Tensor:
        """Audio (batch, sample) of the average sound along an excerpt's pitch and loudness."""
        assert isinstance(self.model, Resynthesiser)
        controls = self.model.controls_of(excerpt)
        state = self.model.initial_state(len(controls), generator)
        return self.model.play_raw(self.raw(controls), controls, state)[0]


def mean_spectrum(
    model: Model, corpus: FolderCorpus, *, steps: int = 150, seed: int = 0, report: Report | None = None
) -> MeanSpectrum:
    """Find the corpus's one average sound, to be driven by pitch and loudness.

    Not the arithmetic mean but the constants nearest to all training sounds in the training distance: the best that any
    average can do, and so the strictest form of this anchor.

    Args:
        model: gives the synthesiser and the distance; its network is not asked.
        corpus: training part.
        steps: of Adam.
        seed: draws excerpts.
        report: told the share done.

    Returns:
        the average sound.
    """
    assert isinstance(model, Resynthesiser)
    total, partials, noise = (part.clone().requires_grad_(True) for part in model.plain_raw())
    slopes = torch.tensor([0.05, 0.05], requires_grad=True)
    mean = MeanSpectrum(model, total, partials, noise, slopes)
    rates = (0.1, 0.004)
    optimiser = torch.optim.Adam([{"params": [total, partials, noise]}, {"params": [slopes]}])
    frames = round(0.5 * model.sample_rate_hz / model.hop_samples)
    distance = MultiScaleSpectral(model.sample_rate_hz)
    for step in range(steps):
        excerpt = tensors_of(corpus.excerpt_batch(np.random.default_rng([seed, step]), 4, frames))
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * annealed(step / steps, 0.3)
        loss = distance(mean.play(excerpt, torch.Generator().manual_seed(step)), excerpt["audio"])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if report is not None:
            report((step + 1) / steps)
    return MeanSpectrum(model, total.detach(), partials.detach(), noise.detach(), slopes.detach())


def direct_fit(
    model: Model, excerpt: Excerpt, mean: MeanSpectrum, *, steps: int = 150, report: Report | None = None
) -> Tensor:
    """The floor: the model's synthesiser with its controls fitted to this very sound, frame by frame.

    Args:
        model: gives the synthesiser, and its network a place to start from.
        excerpt: what to fit.
        mean: another place to start from; the nearer of the two is taken, sound by sound.
        steps: of Adam on every frame's controls.
        report: told the share done.

    Returns:
        audio, (batch, sample).
    """
    assert isinstance(model, Resynthesiser)
    controls = model.controls_of(excerpt)
    state = model.initial_state(len(controls))
    distance = MultiScaleSpectral(model.sample_rate_hz)
    wanted = [spectrum.detach() for spectrum in distance.spectra(excerpt["audio"])]
    with torch.no_grad():
        starts = [model.raw_controls(controls, state["hidden"])[0], mean.raw(controls)]
        made = [model.play_raw(start, controls, state)[0] for start in starts]
        rows = []
        for row in range(len(controls)):
            own = [spectrum[row : row + 1] for spectrum in wanted]
            distances = [distance(audio[row : row + 1], own).item() for audio in made]
            rows.append(starts[int(np.argmin(distances))][row])
    raw = torch.stack(rows).requires_grad_(True)
    optimiser = torch.optim.Adam([raw], lr=0.1)
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
