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
from pochette.graph.graph import Value
from pochette.graph.rewrite import Remains, cut_graph, cut_tensors
from pochette.graph.units import UnitFamily
from pochette.models.model import Excerpt, Model
from pochette.reduce.channels.choosing import Chooser
from pochette.reduce.channels.consumers import Consumer, consumers_of, rows_of, seen
from pochette.reduce.channels.mending import factors, refitted
from pochette.reduce.channels.signal_order import along_signal
from pochette.reduce.comparing import fed
from pochette.reduce.evidence import FloatArray
from pochette.reduce.sparse.weights import weights_of
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
class Heard:
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
        how: choosing and mending.
    """

    def __init__(self, model: Model, excerpts: Sequence[Excerpt], how: How) -> None:
        self.how = how
        self.model = cast(Model, copy_of(model))
        form, _ = copy_of(model).trim_form()  # type: ignore[operator]
        with torch.no_grad():
            given = [model.watched(excerpt)[0] for excerpt in excerpts]
        self.structure = Structure.of(form, given[0])
        self.calls = [fed(self.structure.graph, inputs) for inputs in given]
        self.acting_before = {path: weight.effective() for path, weight in weights_of(self.model).items()}
        self.survivors = {name: np.arange(count) for name, count in self.structure.whole.items()}

    def thin(self, family: UnitFamily, count: int) -> None:
        """Choose what stays of a family, and set its readers right.

        A recurrent layer reads itself. That product is set right first, on what the whole layer carried on; then the
        other readers are, on what the layer, and norms in between, make of what is left.
        """
        consumers = consumers_of(self.structure, family)
        values = [use.data for consumer in consumers for use in consumer.uses]
        whole = seen(self.structure.graph, values, self.calls)
        heard = self._heard(consumers, whole)
        kept = self.how.choose(*entries(heard, self.how.seed), count)
        made = {place.path for place in family.makers}
        own = [one for one in heard if one.consumer.place.path in made]
        self._mend(own, kept)
        self.survivors[family.name] = kept
        others = [one for one in heard if one not in own]
        if own or family.norms:
            others = self._heard([one.consumer for one in others], whole)
        self._mend(others, kept)

    def _heard(self, consumers: Sequence[Consumer], whole: Sequence[Mapping[str, Tensor]]) -> list[Heard]:
        """What readers ought to hear and hear.

        Args:
            consumers: the readers.
            whole: what their data were in the whole network, for each call.

        Returns:
            both, for each reader.
        """
        graph, values = self.structure.graph, [use.data for consumer in consumers for use in consumer.uses]
        state = {PREFIX + path: tensor for path, tensor in self.model.state_dict().items()}
        now = {**graph.tensors, **{path: tensor for path, tensor in state.items() if path in graph.tensors}}
        remains = self.structure.remains(self.survivors)
        smaller = cut_graph(graph, remains, cut_tensors(graph, remains, now))
        thinned = [
            {value.name: _at_their_places(remains, value, watched[value.name]) for value in values}
            for watched in seen(smaller, values, self.calls)
        ]
        found, weights = [], weights_of(self.model)
        for consumer in consumers:
            path = consumer.place.path.removeprefix(PREFIX)
            taps = self.acting_before[path].shape[2:]
            ought, does = (rows_of(consumer, data, taps, ROWS, self.how.seed) for data in (whole, thinned))
            old = consumer.weights(self.acting_before[path])
            response = ought.reshape(len(ought), -1) @ old.reshape(-1, old.shape[-1])
            found.append(Heard(consumer, does, consumer.weights(weights[path].effective()), response))
        return found

    def _mend(self, heard: Sequence[Heard], kept: np.ndarray) -> None:
        """Give readers weights that make up for what is not kept."""
        if not heard:
            return
        if self.how.mend == "factors":
            contributions, response = entries(heard, self.how.seed)
            factor = factors(contributions[:, kept], response)[:, None, None]
            parts = [one.weights[kept] * factor for one in heard]
        else:
            parts = [refitted(one.rows[:, kept], one.weights[kept], one.response) for one in heard]
        weights = weights_of(self.model)
        for one, part in zip(heard, parts, strict=True):
            weight = weights[one.consumer.place.path.removeprefix(PREFIX)]
            new = one.weights.copy()
            new[kept] = part
            weight.become(one.consumer.with_weights(weight.effective(), new))


def _at_their_places(remains: Remains, value: Value, tensor: Tensor) -> Tensor:
    """What is left of a value, with zeros where units went."""
    for axis, size in enumerate(value.shape):
        if tensor.shape[axis] < size:
            whole = tensor.new_zeros(*tensor.shape[:axis], size, *tensor.shape[axis + 1 :])
            tensor = whole.index_copy_(axis, torch.from_numpy(remains.indices(value, axis)), tensor)
    return tensor


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
    scene = _Scene(model, excerpts, how)
    if scene.structure.whole.keys() != counts.keys():
        raise ReductionError(
            "The network has other units on sound than where it was counted.",
            remedy="Choose a method that looks at weights alone, such as filters.",
        )
    for family in along_signal(scene.structure):
        if counts[family.name] < family.units:
            scene.thin(family, counts[family.name])
    return scene.model.eval(), scene.survivors


def entries(heard: Sequence[Heard], seed: int) -> tuple[FloatArray, FloatArray]:
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
