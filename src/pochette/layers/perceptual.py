"""Timbre spaces: codes whose distances are those that something else says of the sounds (Esling et al. 2018).

The paper takes listeners' ratings of twelve orchestral instruments. A folder of recordings has no ratings; here the
distances are those of the notes' mean descriptors: height, width and flatness of the spectrum as the ear divides it.
"""

from __future__ import annotations

import torch
from torch import Tensor

_SMALL = 1e-12
_NEAR = 1e-6
"""A mismatch below which it is none."""


def mismatch(codes: Tensor, targets: Tensor) -> Tensor:
    """How far the distances between codes are from those wanted: the root of the sum of squared differences of pairs.

    Args:
        codes: (item, number).
        targets: (item, item), symmetric, zeros on the diagonal.

    Returns:
        scalar; turning, mirroring or moving all codes changes nothing.
    """
    first, second = torch.triu_indices(len(codes), len(codes), 1, device=codes.device)
    distances = torch.linalg.vector_norm(codes[first] - codes[second], dim=1)
    missing = (distances - targets[first, second]).square().sum()
    # A root has no slope at zero, where codes are to end up.
    return torch.sqrt(missing + _NEAR**2) - _NEAR


def between_labels(descriptors: Tensor, labels: Tensor) -> Tensor:
    """Distances between the mean descriptors of the groups that items belong to, the largest being 1.

    Args:
        descriptors: (item, descriptor).
        labels: (item,), whole numbers.

    Returns:
        (item, item); zeros where there is one group.
    """
    _, groups = torch.unique(labels, return_inverse=True)
    belongs = torch.nn.functional.one_hot(groups).to(descriptors)
    means = belongs.T @ descriptors / belongs.sum(dim=0)[:, None]
    apart = torch.linalg.vector_norm(means[:, None] - means[None], dim=-1)[groups][:, groups]
    scaled: Tensor = apart / apart.max().clamp(min=_SMALL)
    return scaled


def described(log_power: Tensor) -> Tensor:
    """Mean height, width and flatness of spectra in perceived bands, 0 to 1 each.

    Args:
        log_power: natural logarithms, (item, frame, band).

    Returns:
        (item, 3): centre of the power over the bands, its standard deviation, and geometric over arithmetic mean.
    """
    power, bands = torch.exp(log_power), log_power.shape[-1]
    share = power / power.sum(dim=-1, keepdim=True).clamp(min=1e-30)
    place = torch.linspace(0.0, 1.0, bands, dtype=log_power.dtype, device=log_power.device)
    height = (share * place).sum(dim=-1)
    width = torch.sqrt((share * (place - height[..., None]).square()).sum(dim=-1))
    flatness = torch.exp(log_power.mean(dim=-1)) / power.mean(dim=-1).clamp(min=1e-30)
    return torch.stack([height, width, flatness], dim=-1).mean(dim=1)


def notes_of(f0_hz: Tensor) -> Tensor:
    """The note of each sound: its median pitch, rounded to a semitone.

    Args:
        f0_hz: (item, frame).

    Returns:
        (item,), MIDI numbers.
    """
    return torch.round(12.0 * torch.log2(f0_hz.median(dim=1).values / 440.0) + 69.0).long()
