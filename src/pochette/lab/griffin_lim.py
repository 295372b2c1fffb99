"""What inverting spectrograms is worth without a network: Griffin and Lim's iteration, and distances in decibels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pochette.models.mcnn import McnnModel
from pochette.sound.inversion import Inversion, spectral_convergence

ITERATIONS = (3, 50)
"""Of the anchors: Arik et al. 2019 put their network between the two."""


def griffin_lim(magnitudes: Tensor, spectral: Inversion, samples: int, iterations: int, seed: int = 0) -> Tensor:
    """A sound whose spectra come near to some magnitudes, from random phases (Griffin & Lim 1984).

    Every iteration keeps the phases of the sound made last and gives them the wanted magnitudes; the sound nearest to
    that is the next. The spectra of what is made never come further away.

    Args:
        magnitudes: (batch, bin, frame), as of `spectral.spectra`.
        spectral: transform, window and hop.
        samples: of the sound.
        iterations: at least 0, after the first sound.
        seed: draws the phases.

    Returns:
        (batch, sample).
    """
    drawn = torch.rand(magnitudes.shape, generator=torch.Generator().manual_seed(seed))
    phases = torch.polar(torch.ones_like(magnitudes), 2.0 * math.pi * drawn)
    window, points = spectral.window, spectral.transform_samples

    def nearest(spectrum: Tensor) -> Tensor:
        return torch.istft(spectrum, points, spectral.hop_samples, len(window), window, length=samples)

    audio = nearest(magnitudes * phases)
    for _ in range(iterations):
        audio = nearest(magnitudes * torch.sgn(spectral.spectra(audio)))
    return audio


def convergence_db(audio: Tensor, reference: Tensor, spectral: Inversion) -> float:
    """Spectral convergence in decibels, less being better: 0 is silence.

    Args:
        audio: (batch, sample).
        reference: of the same shape.
        spectral: transform, window and hop.

    Returns:
        20 log10 of the mean over the batch.
    """
    return 20.0 * math.log10(float(spectral_convergence(spectral.spectra(audio), spectral.spectra(reference))))


@torch.no_grad()
def inversions_db(model: McnnModel, excerpts: list[dict[str, Tensor]]) -> dict[str, float]:
    """Spectral convergence of the network and of Griffin and Lim's iteration on the same spectrograms.

    Args:
        model: trained.
        excerpts: of held-out sound, see `lab.judge.excerpts_of`.

    Returns:
        who to decibels, averaged over the sounds.
    """
    spectral, totals, count = model.distance, dict[str, float](), 0
    for excerpt in excerpts:
        audio = excerpt["audio"]
        wanted, samples = spectral.spectra(audio).abs(), audio.shape[1]
        made = {f"Griffin-Lim, {n} iterations": griffin_lim(wanted, spectral, samples, n) for n in ITERATIONS}
        made["network"] = model.resynthesised(excerpt)
        count += len(audio)
        for who, sound in made.items():
            totals[who] = totals.get(who, 0.0) + len(audio) * convergence_db(sound, audio, spectral)
    return {who: total / count for who, total in totals.items()}
