"""What of a rewound network's weights matters: signs, magnitudes, places, or only how far they are disturbed.

Frankle, Schwab & Morcos 2020, "The Early Phase of Neural Network Training": the weights at a step k are disturbed,
masked, and trained; what the end loses is compared with rewinding to k and to 0. All functions here are of the weights
as they act, touch survivors only, and leave the dead zero; offsets and norms are none of their business.

What to expect differs: in small networks signs alone carry a ticket, in deep ones they do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from pochette.reduce.sparse.weights import Masks, weights_of

Within = Literal["network", "layer", "filter"]
"""Where weights change places: anywhere, in their own tensor, or in their own output's part of it."""
WITHIN: tuple[Within, ...] = ("network", "layer", "filter")
DISTURBANCES = (
    "drawn anew",
    "signs kept",
    "magnitudes kept",
    "signs alone",
    *(f"shuffled in {within}{signs}" for within in WITHIN for signs in ("", ", signs kept")),
)
ABLATIONS = (*DISTURBANCES, *(f"noise like {name}" for name in DISTURBANCES))
"""Names of what `ablations` does, besides "as it was"."""


def signed(signs: Mapping[str, Tensor], magnitudes: Mapping[str, Tensor], masks: Masks) -> dict[str, Tensor]:
    """Signs of one network with the magnitudes of another.

    With the signs of the weights at k and magnitudes drawn anew it is asked whether signs are all that was learnt; the
    other way round, whether magnitudes are.

    Args:
        signs: by path; zero counts as positive.
        magnitudes: by path.
        masks: survivors.

    Returns:
        path to weights.
    """
    return {path: torch.copysign(magnitudes[path].abs(), signs[path]) * mask for path, mask in masks.items()}


def even(weights: Mapping[str, Tensor], masks: Masks) -> dict[str, Tensor]:
    """Signs alone: every survivor as large as the survivors of its tensor are on average.

    Args:
        weights: by path.
        masks: survivors.

    Returns:
        path to weights.
    """
    means = {path: weights[path][mask].abs().mean().nan_to_num() for path, mask in masks.items()}
    return signed(weights, {path: mean.expand_as(weights[path]) for path, mean in means.items()}, masks)


def shuffled(
    weights: Mapping[str, Tensor],
    masks: Masks,
    within: Within,
    *,
    seed: int,
    keep_signs: bool = False,
    axes: Mapping[str, int] | None = None,
) -> dict[str, Tensor]:
    """Survivors in each other's places.

    Args:
        weights: by path.
        masks: survivors; their places stay, only what stands there changes.
        within: which exchange places.
        seed: of the order.
        keep_signs: whether signs stay where they are and magnitudes move alone.
        axes: of the outputs, by path, as `reduce.rounded.output_axes` tells; 0 by default. Looked at for filters.

    Returns:
        path to weights.
    """
    generator = torch.Generator().manual_seed(seed)
    moved = {path: weights[path] * mask for path, mask in masks.items()}
    if within == "network":
        alive = torch.cat([moved[path][mask] for path, mask in masks.items()])
        parts = torch.split(_shuffled(alive, generator), [int(mask.sum()) for mask in masks.values()])
        for (path, mask), part in zip(masks.items(), parts, strict=True):
            moved[path][mask] = part
    else:
        for path, mask in masks.items():
            axis = (axes or {}).get(path, 0)
            rows = [(moved[path], mask)]
            if within == "filter":
                rows = list(zip(moved[path].movedim(axis, 0), mask.movedim(axis, 0), strict=True))
            for row, lives in rows:
                row[lives] = _shuffled(row[lives], generator)  # rows are views
    return signed(weights, moved, masks) if keep_signs else moved


def noisy(weights: Mapping[str, Tensor], masks: Masks, deviations: Mapping[str, float], seed: int) -> dict[str, Tensor]:
    """Survivors with Gaussian noise added.

    Args:
        weights: by path.
        masks: survivors.
        deviations: of the noise, by path; those of another disturbance make the two comparable.
        seed: of the noise.

    Returns:
        path to weights.
    """
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for path, mask in masks.items():
        noise = torch.randn(mask.shape, generator=generator).to(weights[path].dtype)
        found[path] = (weights[path] + deviations[path] * noise) * mask
    return found


def effective_deviations(before: Mapping[str, Tensor], after: Mapping[str, Tensor], masks: Masks) -> dict[str, float]:
    """How far a disturbance moves weights: the standard deviation of the differences, tensor by tensor.

    Of Gaussian weights of deviation s, shuffled, it is sqrt(2) s; with signs kept sqrt(2 - 4 / pi) s, or 0.8525 s.

    Args:
        before: by path.
        after: the same, disturbed.
        masks: survivors.

    Returns:
        path to deviation; 0 where nothing survives.
    """
    moved = {path: (after[path] - before[path])[mask].double() for path, mask in masks.items()}
    return {path: float(by.std(correction=0)) if by.numel() else 0.0 for path, by in moved.items()}


def ablations(
    weights: Mapping[str, Tensor],
    redrawn: Mapping[str, Tensor],
    masks: Masks,
    *,
    seed: int,
    axes: Mapping[str, int] | None = None,
) -> dict[str, dict[str, Tensor]]:
    """Every disturbance there is, by name, each beside noise that moves weights as far.

    Args:
        weights: at the step that is rewound to.
        redrawn: another draw of the first weights.
        masks: survivors.
        seed: of what is drawn.
        axes: see `shuffled`.

    Returns:
        name to weights: "as it was"; "drawn anew"; "signs kept" and "magnitudes kept", the rest from the other draw;
        "signs alone"; "shuffled in WHERE" with and without "signs kept"; and of each but the first "noise like NAME".
    """
    found = {
        "drawn anew": {path: redrawn[path] * mask for path, mask in masks.items()},
        "signs kept": signed(weights, redrawn, masks),
        "magnitudes kept": signed(redrawn, weights, masks),
        "signs alone": even(weights, masks),
    }
    for within in WITHIN:
        for keep in (False, True):
            name = f"shuffled in {within}" + (", signs kept" if keep else "")
            found[name] = shuffled(weights, masks, within, seed=seed, keep_signs=keep, axes=axes)
    noise = {
        f"noise like {name}": noisy(weights, masks, effective_deviations(weights, other, masks), seed)
        for name, other in found.items()
    }
    return {"as it was": {path: weights[path] * mask for path, mask in masks.items()}, **found, **noise}


def put(module: nn.Module, acting: Mapping[str, Tensor]) -> None:
    """Give a network weights that act as told.

    Args:
        module: changed in place.
        acting: by path, as `reduce.sparse.weights.effective` gives them; paths that are left out stay.
    """
    for path, weight in weights_of(module).items():
        if path in acting:
            weight.become(acting[path])


def _shuffled(values: Tensor, generator: torch.Generator) -> Tensor:
    return values[torch.randperm(len(values), generator=generator)]
