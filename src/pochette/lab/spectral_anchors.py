"""What a log-spectral distance means: the marks between which a model's distance to held-out sound is read.

Both are answers to held-out sound that need no network, given as spectra instead of as sound: the best single spectrum
there is, and the best that memory of the training sounds can do with a frame's pitch and loudness. The first is a floor
for everything that knows nothing of the sound; a resynthesis should be nearer than both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pochette.corpus.folder import FolderCorpus
from pochette.models.model import Excerpt
from pochette.sound.log_spectral import FFT_HOP_SAMPLES, FFT_SAMPLES, log_power
from pochette.train.device import tensors_of

Predict = Callable[[Tensor, Tensor], Tensor]
"""(f0 in Hz, loudness in dB) of some frames, both (frame,), to their log power spectra (frame, bin)."""
SEMITONES_PER_DB = 0.25
"""How far a difference of 1 dB is, beside differences of pitch, when the nearest frame is looked for."""


def spectra_of(excerpt: Excerpt, hop_samples: int) -> tuple[Tensor, Tensor, Tensor]:
    """Log power spectra of an excerpt, each with the pitch and loudness at the middle of its window.

    Args:
        excerpt: its features describe the ends of their hops.
        hop_samples: of the features.

    Returns:
        spectra (frame, bin), f0 in Hz (frame,) and loudness in dB (frame,), all sounds of the batch one after another.
    """
    spectra = log_power(excerpt["audio"], torch.hann_window(FFT_SAMPLES)).transpose(1, 2)
    middle = torch.arange(spectra.shape[1]) * FFT_HOP_SAMPLES + FFT_SAMPLES // 2
    nearest = (middle // hop_samples - 1).clamp(0, excerpt["f0_hz"].shape[1] - 1)
    f0, loudness = (excerpt[name][:, nearest].flatten() for name in ("f0_hz", "loudness_db"))
    return spectra.flatten(0, 1), f0, loudness


def training_spectra(corpus: FolderCorpus) -> tuple[Tensor, Tensor, Tensor]:
    """`spectra_of` of every sound of a corpus that is at least a window long."""
    whole = (tensors_of(corpus.whole(sound)) for sound in corpus.sounds if sound.frames * corpus.hop_samples >= 1024)
    found = [spectra_of(excerpt, corpus.hop_samples) for excerpt in whole]
    spectra, f0, loudness = (torch.cat(parts) for parts in zip(*found, strict=True))
    return spectra, f0, loudness


def median_spectrum(corpus: FolderCorpus) -> Predict:
    """The best constant answer: the median over all training frames, bin by bin, which is the L1 distance's centre.

    Args:
        corpus: training part.

    Returns:
        gives every frame that one spectrum.
    """
    median = training_spectra(corpus)[0].median(dim=0).values
    return lambda f0_hz, loudness_db: median.expand(len(f0_hz), -1)


def nearest_frame(corpus: FolderCorpus) -> Predict:
    """The spectrum of the training frame nearest in pitch and loudness, 4 dB being as far as a semitone.

    Args:
        corpus: training part.

    Returns:
        looks every frame up.
    """
    spectra, f0, loudness = training_spectra(corpus)
    known = _place(f0, loudness)
    return lambda f0_hz, loudness_db: spectra[torch.cdist(_place(f0_hz, loudness_db), known).argmin(dim=1)]


def _place(f0_hz: Tensor, loudness_db: Tensor) -> Tensor:
    """Pitch in semitones and loudness side by side, (frame, 2)."""
    return torch.stack([12 * torch.log2(f0_hz.clamp(min=1.0)), SEMITONES_PER_DB * loudness_db], dim=1)


def distance_of(predict: Predict, excerpt: Excerpt, hop_samples: int) -> float:
    """Log-spectral distance of an anchor's answer to some sound, on the scale of `LogSpectral`.

    Args:
        predict: the anchor.
        excerpt: with the features that the anchor is asked with.
        hop_samples: of the features.

    Returns:
        mean absolute difference of log power.
    """
    spectra, f0, loudness = spectra_of(excerpt, hop_samples)
    return float((predict(f0, loudness) - spectra).abs().mean())


Hear = Callable[[Tensor], list[Tensor]]
"""Sound (batch, sample) to what a squared loss compares, (batch, frame, bin) at each of its resolutions."""


def mean_answer(corpus: FolderCorpus, hear: Hear) -> list[Tensor]:
    """The best constant answer to a squared loss: the mean over all training frames, bin by bin.

    Args:
        corpus: training part.
        hear: as the loss does.

    Returns:
        (bin,) at each resolution.
    """
    whole = (hear(tensors_of(corpus.whole(sound))["audio"]) for sound in corpus.sounds)
    return [torch.cat([one.flatten(0, 1) for one in heard]).mean(dim=0) for heard in zip(*whole, strict=True)]


def squares_from(answer: Sequence[Tensor], audio: Tensor, hear: Hear) -> Tensor:
    """Mean squared distance of a constant answer from a sound, summed over resolutions."""
    parts = [(one - own).square().mean() for one, own in zip(answer, hear(audio), strict=True)]
    return torch.stack(parts).sum()


def principal_components(corpus: FolderCorpus, count: int) -> Callable[[Tensor], Tensor]:
    """The best linear auto-encoder of single spectra with so many numbers a frame: what a deep one has to beat.

    Args:
        corpus: training part, whose frames the components are found in.
        count: components.

    Returns:
        log power spectra (frame, bin) to what is left of them.
    """
    spectra = training_spectra(corpus)[0].double()
    middle = spectra.mean(dim=0)
    _, directions = torch.linalg.eigh(torch.cov((spectra - middle).T, correction=0))
    basis = directions[:, -count:]

    def through(asked: Tensor) -> Tensor:
        # The logarithm of one and a power is never below zero; to leave that out would make the anchor a weak one.
        left: Tensor = ((asked.double() - middle) @ basis @ basis.T + middle).clamp(min=0.0)
        return left.to(asked.dtype)

    return through


def distance_through(through: Callable[[Tensor], Tensor], excerpt: Excerpt, hop_samples: int) -> float:
    """Log-spectral distance of some sound to itself through a code of its spectra, on the scale of `LogSpectral`.

    Args:
        through: spectra to spectra.
        excerpt: a batch of sound.
        hop_samples: of its features.

    Returns:
        mean absolute difference of log power.
    """
    spectra = spectra_of(excerpt, hop_samples)[0]
    return float((through(spectra) - spectra).abs().mean())
