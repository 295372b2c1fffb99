"""Layer after layer, along the signal: choose by what the reader hears, and let the reader make up for what goes.

What the reader ought to hear is the whole network's; what it hears is that of the network as already thinned in front
of it, so that errors do not add up. The reader's own bias never counts. Weights change, nothing is cut here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor

from pochette.errors import ReductionError
from pochette.graph.copying import copy_of
from pochette.graph.rewrite import masked
from pochette.graph.run import Alter
from pochette.graph.units import UnitFamily
from pochette.models.model import Excerpt, Model
from pochette.reduce.channels.choosing import Chooser
from pochette.reduce.channels.consumers import Consumer, consumers_of, rows_of, seen
from pochette.reduce.channels.mending import factors, refitted
from pochette.reduce.channels.signal_order import along_signal
from pochette.reduce.comparing import fed
from pochette.reduce.evidence import FloatArray
from pochette.reduce.sparse.weights import Weight, weights_of
from pochette.reduce.structure import Counts, Structure
from pochette.reduce.trimming import PREFIX

Mending = Literal["factors", "weights"]
"""Whether readers get one factor a channel (Luo et al. 2017) or all their weights anew (He et al. 2017)."""
ROWS = 4000
"""Moments at which a reader is looked at."""
ENTRIES = 4000
"""Single outputs of readers, each at one moment, by which channels are chosen."""


@dataclass(frozen=True)
class How:
    """How channels are chosen and made up for."""

    choose: Chooser
    mend: Mending
    seed: int = 0
    """Draws moments and outputs."""


@dataclass(frozen=True, eq=False)
class _Heard:
    """One reader of a family: what it ought to hear and what it hears."""

    consumer: Consumer
    rows: FloatArray
    """(row, unit, feature), in the network as already thinned."""
    weights: FloatArray
    """(unit, feature, output), as they are."""
    response: FloatArray
    """(row, output) that the family's units brought to it in the whole network."""


class _Scene:
    """A model that is being thinned, and some sound it is watched on.

    Args:
        model: whose copy is changed.
        excerpts: sound, all of one shape.
    """

    def __init__(self, model: Model, excerpts: Sequence[Excerpt]) -> None:
        self.model = cast(Model, copy_of(model))
        form, _ = copy_of(model).trim_form()  # type: ignore[operator]
        with torch.no_grad():
            given = [model.watched(excerpt)[0] for excerpt in excerpts]
        self.structure = Structure.of(form, given[0])
        self.calls = [fed(self.structure.graph, inputs) for inputs in given]
        self.before = self.structure.graph.tensors
        self.acting_before = self._acting()
        self.survivors = {name: np.arange(count) for name, count in self.structure.whole.items()}

    def weight(self, consumer: Consumer) -> Weight:
        """The learnt weight of a consumer, in the copy that is changed."""
        return weights_of(self.model)[consumer.place.path.removeprefix(PREFIX)]

    def _acting(self) -> dict[str, Tensor]:
        return {PREFIX + path: weight.effective() for path, weight in weights_of(self.model).items()}

    def heard(self, family: UnitFamily, seed: int) -> list[_Heard]:
        """What readers of a family ought to hear and hear."""
        consumers = consumers_of(self.structure, family)
        values = [use.data for consumer in consumers for use in consumer.uses]
        now = {**self.before, **{PREFIX + k: v for k, v in self.model.state_dict().items() if PREFIX + k in self.before}}
        alter: Alter | None = None
        if any(len(kept) < self.structure.whole[name] for name, kept in self.survivors.items()):
            alter = masked(self.structure.units, self.structure.remains(self.survivors))
        whole = seen(self.structure, values, self.calls, self.before)
        thinned = seen(self.structure, values, self.calls, now, alter)
        found = []
        for consumer in consumers:
            path = consumer.place.path
            taps = self.structure.graph.stored[path].shape[2:]
            ought, does = (rows_of(consumer, data, taps, ROWS, seed) for data in (whole, thinned))
            old = consumer.weights(self.acting_before[path])
            response = ought.reshape(len(ought), -1) @ old.reshape(-1, old.shape[-1])
            found.append(_Heard(consumer, does, consumer.weights(self.weight(consumer).effective()), response))
        return found

    def keep(self, family: UnitFamily, kept: np.ndarray, new: Sequence[tuple[Consumer, FloatArray]]) -> None:
        """Note which units stay, and give readers their new weights."""
        self.survivors[family.name] = kept
        for consumer, parts in new:
            weight = self.weight(consumer)
            weight.become(consumer.with_weights(weight.effective(), parts))


def reconstructed(
    model: Model, counts: Counts, excerpts: Sequence[Excerpt], how: How
) -> tuple[Model, dict[str, np.ndarray]]:  # fmt: skip
    """The whole model with weights set right for what goes, and what stays.

    Args:
        model: trained; left as it was.
        counts: how many units each family keeps.
        excerpts: sound of one shape, several times as many moments as the widest layer has channels.
        how: choosing and mending.

    Returns:
        the model and the survivors of every family.

    Raises:
        ReductionError: the model does not say how it is watched, or has units that no plain product reads.
    """
    scene = _Scene(model, excerpts)
    if scene.structure.whole.keys() != counts.keys():
        raise ReductionError(
            "The network has other units on sound than where it was counted.",
            remedy="Choose a method that looks at weights alone, such as filters.",
        )
    for family in along_signal(scene.structure):
        count = counts[family.name]
        if count == family.units:
            continue
        heard = scene.heard(family, how.seed)
        contributions, response = entries(heard, how.seed)
        kept = how.choose(contributions, response, count)
        if how.mend == "factors":
            factor = factors(contributions[:, kept], response)[:, None, None]
            new = [(one.consumer, _put(one.weights, kept, one.weights[kept] * factor)) for one in heard]
        else:
            refit = [refitted(one.rows[:, kept], one.weights[kept], one.response) for one in heard]
            new = [(one.consumer, _put(one.weights, kept, parts)) for one, parts in zip(heard, refit, strict=True)]
        scene.keep(family, kept, new)
    return scene.model.eval(), scene.survivors


def _put(weights: FloatArray, kept: np.ndarray, parts: FloatArray) -> FloatArray:
    new = weights.copy()
    new[kept] = parts
    return new


def entries(heard: Sequence[_Heard], seed: int) -> tuple[FloatArray, FloatArray]:
    """Single outputs at single moments, drawn from all readers in proportion to what they have.

    Args:
        heard: of one family.
        seed: draws them.

    Returns:
        contributions (entry, unit) and responses (entry,).
    """
    rng = np.random.default_rng([seed, 1017])
    total = sum(one.response.size for one in heard)
    contributions, responses = [], []
    for one in heard:
        count = min(one.response.size, max(1, round(ENTRIES * one.response.size / total)))
        at = np.sort(rng.choice(one.response.size, count, replace=False))
        row, output = np.unravel_index(at, one.response.shape)
        # One output at a time, as its weights are shared by all its entries.
        part = np.empty((count, len(one.weights)))
        for number in np.unique(output):
            mine = output == number
            part[mine] = np.einsum("ruf,uf->ru", one.rows[row[mine]], one.weights[:, :, number])
        contributions.append(part)
        responses.append(one.response[row, output])
    return np.concatenate(contributions), np.concatenate(responses)
