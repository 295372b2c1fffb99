"""What a model says of an excerpt, whatever it is trained by: logits of every sample, or sound."""

from __future__ import annotations

from torch import Tensor

from pochette.models.model import Excerpt, Model


def said_of(model: Model, excerpt: Excerpt) -> Tensor:
    """What depends on all that is learnt, and is compared with the recording in the end.

    Args:
        model: any that resynthesises, or draws sample by sample.
        excerpt: a batch of sound with its features.

    Returns:
        logits of every sample given those before it, (batch, sample, class), of a model that draws sample by sample;
        else the resynthesised sound, (batch, sample).
    """
    if not model.feeds_back:
        return model.resynthesised(excerpt)
    form, _ = model.trim_form()
    said: Tensor = form(*model.watched(excerpt)[0])
    return said


def says_classes(model: Model) -> bool:
    """Whether what it says of a sample are logits of classes."""
    return model.feeds_back and str(getattr(model, "loss_unit", "")).startswith("bits per mulaw code")
