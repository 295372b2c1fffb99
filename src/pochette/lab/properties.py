"""What a study knows of networks: what analyses read in them, and what came of reducing them (`lab.outcomes`).

A property is a network's own, as it is when its training has ended; what reducing it cost is its test error per that of
the dense model of the same seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from safetensors.torch import load as unpack

import pochette
from pochette.errors import PochetteError, ReductionError, SoundError
from pochette.families import analyses
from pochette.lab.experiment import Cut, Dense, Properties, Reduced, root_of
from pochette.lab.judge import Parts, machine
from pochette.lab.networks import Outcome, Task, part, rebuilt
from pochette.lab.outcomes import Network, errors, reaches, spreads
from pochette.lab.relations import Observation
from pochette.lab.store import Store
from pochette.measure.subject import Limit, Subject
from pochette.models.model import Model
from pochette.train.loop import tensors_of

FRAMES, SOUNDS = 60, 4
"""Of held-out sound, which a network is watched on; of one-shot models whole sounds."""
LIMIT = Limit()


def properties_of(task: Task, experiment: Properties, parts: Parts) -> Outcome:
    """Let every analysis read a network that is there.

    Args:
        task: with the network's weights.
        experiment: whose.
        parts: the looks of its training are what it is watched on.

    Returns:
        the network's own result with a figure for each number of each analysis that applies; no weights.
    """
    dense = root_of(experiment)
    assert isinstance(dense, Dense)
    model = rebuilt(dense, part(unpack(task.weights), "model/"))
    subject = _subject(model, parts)
    figures: dict[str, float] = {}
    for name, analysis in analyses.items():
        try:
            found = analysis().find(subject)
        except PochetteError:
            continue  # what does not apply to a model is no property of it
        figures |= {f"{name}: {number}": value for number, value in found.numbers.items()}
    known = task.results[experiment.parent]
    result = replace(
        known, steps=0, training_seconds=0.0, machine=machine(), version=pochette.__version__, figures=figures
    )
    return Outcome(result, b"")


def _subject(model: Model, parts: Parts) -> Subject:
    frames = model.excerpt_frames or FRAMES
    drawn = parts.looks.excerpt_batch(np.random.default_rng(4321), SOUNDS, frames, model.heard_from)
    try:
        return Subject.hearing(model, tensors_of(drawn), limit=LIMIT)
    except (ReductionError, SoundError):
        return Subject.of(model, limit=LIMIT)


@dataclass(frozen=True)
class Studied:
    """What a store can say."""

    networks: list[Network]
    """Reduced networks whose properties are known."""
    missing: list[Properties]
    """Networks whose properties nobody has read yet."""

    @property
    def observations(self) -> list[Observation]:
        """All that a study holds against each other, see `pochette.lab.outcomes`."""
        return [*errors(self.networks), *spreads(self.networks), *reaches(self.networks)]


def studied(*stores: Store) -> Studied:
    """The networks of stores, each with its properties and what its reduction cost.

    Args:
        *stores: of any comparisons; a network that is in several counts once.

    Returns:
        reduced networks whose dense model is known, and what is missing.
    """
    networks: dict[Cut | Reduced, Network] = {}
    missing: dict[Properties, None] = {}
    for store in stores:
        results = store.results(store.experiments())
        for experiment, result in results.items():
            if not isinstance(experiment, Cut | Reduced):
                continue
            dense = reference_of(experiment)
            read = results.get(Properties(experiment))
            if read is None:
                missing[Properties(experiment)] = None
            elif dense in results and results[dense].error > 0:
                known = {name: value for name, value in read.figures.items() if math.isfinite(value)}
                whole = results[dense]
                networks[experiment] = Network(
                    experiment, result.weights, whole.weights, result.error / whole.error, known
                )
    return Studied(list(networks.values()), [item for item in missing if item.parent not in networks])


def reference_of(experiment: Cut | Reduced) -> Dense:
    """The dense model beside which a reduced one is judged: of a technique that which had the whole budget."""
    dense = root_of(experiment)
    assert isinstance(dense, Dense)
    return replace(dense, steps=experiment.steps) if isinstance(experiment, Reduced) else dense
