"""Norms over fewer units, set right on sound after a cut: without it even units that nobody read are missed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import numpy as np
import torch

from pochette.errors import ReductionError
from pochette.graph.copying import copy_of
from pochette.graph.rewrite import cut_tensors
from pochette.graph.trim import put
from pochette.models.model import Excerpt, Model
from pochette.reduce.comparing import fed
from pochette.reduce.recalibration import recalibrated
from pochette.reduce.structure import Structure
from pochette.reduce.trimming import PREFIX


def settled(small: Model, whole: Model, survivors: Mapping[str, np.ndarray], excerpt: Excerpt) -> tuple[str, ...]:
    """Fit gains and offsets of norms over trimmed units, so that what is left comes out as it did.

    Args:
        small: the cut model; changed in place.
        whole: what it was cut from.
        survivors: of every family.
        excerpt: sound to fit them on.

    Returns:
        the layers that were fitted; none of a model that does not say how it is watched.
    """
    form, _ = copy_of(whole).trim_form()  # type: ignore[operator]
    with torch.no_grad(), suppress(ReductionError):
        inputs = whole.watched(excerpt)[0]
        structure = Structure.of(form, inputs)
        remains = structure.remains(survivors)
        tensors = cut_tensors(structure.graph, remains)
        new, layers = recalibrated(structure, remains, tensors, fed(structure.graph, inputs))
        own = small.state_dict()
        changed = {path.removeprefix(PREFIX): tensor for path, tensor in new.items() if tensor is not tensors[path]}
        put(small, {path: tensor.detach() for path, tensor in changed.items() if path in own})
        return layers
    return ()
