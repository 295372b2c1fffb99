"""What a study knows of networks: what analyses read in them, how they take being disturbed, what reducing them cost.

A property is a network's own, as it is when its training has ended, read or found by disturbing it (`disturbing`); what
reducing it cost is its test error per that of the dense model of the same seed (`outcomes`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from safetensors.torch import load as unpack

import pochette
from pochette.errors import PochetteError, ReductionError, SoundError
from pochette.families import analyses
from pochette.lab.disturbing import PREFIX, WORDS
from pochette.lab.experiment import BRANCH_STEPS, Cut, Dense, Disturbed, Experiment, Properties, Reduced, root_of
from pochette.lab.judge import Parts, machine
from pochette.lab.networks import Outcome, Task, part, rebuilt
from pochette.lab.outcomes import REMOVED, ROUNDED, SAME, ZEROED, Network, errors, reaches, spreads
from pochette.lab.relations import Observation
from pochette.lab.store import Result, Store
from pochette.measure.subject import Limit, Subject
from pochette.models.model import Model
from pochette.train.device import tensors_of

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
        the network's own result with a figure for each finite number of each analysis that applies; no weights.
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
        figures |= {f"{name}: {number}": value for number, value in found.numbers.items() if math.isfinite(value)}
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
    undisturbed: list[Disturbed]
    """Networks that nobody has disturbed yet, with branches as long as the others'; they may be among `networks`, by
    what was read in them."""
    branch_steps: int
    """Of the branches of those that were disturbed: other branches' figures cannot be compared with theirs."""

    @property
    def observations(self) -> list[Observation]:
        """All that a study holds against each other, see `pochette.lab.outcomes`."""
        return [*errors(self.networks), *spreads(self.networks), *reaches(self.networks)]

    @property
    def origin(self) -> str:
        """How many networks there are and what they come from; empty where there are none."""
        if not self.networks:
            return ""
        dense = {reference_of(network.experiment) for network in self.networks}
        kinds = Counter(network.kind for network in self.networks)
        told = ", ".join(f"{count} with {kind}" for kind, count in sorted(kinds.items()))
        return (
            f"{len(self.networks)} networks ({told}) were made from {len(dense)} dense ones of "
            f"{len({network.model for network in self.networks})} models. Those of one dense network are not "
            "independent of each other, which neither intervals nor probabilities know: they flatter. Each is ranked "
            "among networks of its model and of its kind of reduction alone, which together are called a group here: "
            "kinds differ in most properties for no reason but the kind. The error is per that of the dense model: "
            "above 1 it sounds worse, so a property with a negative sign goes with sounding better."
        )

    @property
    def of_stability(self) -> str:
        """Of how many networks it is known, and what it is; empty where it is of none."""
        known = [each for each in self.networks if any(name.startswith(PREFIX) for name in each.properties)]
        if not known:
            return ""
        dense, models = {reference_of(each.experiment) for each in known}, {each.model for each in known}
        return (
            f"Stability is known of {len(known)} of {len(self.networks)} networks, made from {len(dense)} dense "
            f"one{'s' if len(dense) != 1 else ''} of {', '.join(sorted(models))}. Each was disturbed after its "
            "training: curvature is that of the loss on training sound, all else is heard on the sound that training "
            "looked at to see how it fared, not on test sound. Barriers and distances are those of two trainings that "
            f"went on for {self.branch_steps} steps each; longer ones end further apart."
        )


def studied(*stores: Store, branch_steps: int | None = None) -> Studied:
    """The networks of stores, each with its properties and what its reduction cost.

    Args:
        *stores: of any comparisons; a network that is in several counts once.
        branch_steps: of the branches whose stability is looked at; those that most networks have by default.

    Returns:
        reduced networks whose dense model is known, and what is missing.
    """
    results: dict[Experiment, Result] = {}
    for store in stores:
        results |= store.results(store.experiments())
    steps = branch_steps or _usual_steps(results)
    networks: list[Network] = []
    missing: list[Properties] = []
    undisturbed: list[Disturbed] = []
    for experiment, result in results.items():
        if not isinstance(experiment, Cut | Reduced):
            continue
        read, shaken = Properties(experiment), Disturbed(experiment, steps)
        whole = results.get(reference_of(experiment))
        if shaken not in results:
            undisturbed.append(shaken)
        if read not in results:
            missing.append(read)
        elif whole is not None and whole.error > 0:
            cost, properties = result.error / whole.error, _properties(results, read, shaken)
            networks.append(Network(experiment, result.weights, whole.weights, cost, properties, _kind(result, whole)))
    return Studied(networks, missing, undisturbed, steps)


def _kind(result: Result, whole: Result) -> str:
    """What a reduction did: operations are saved where units went, numbers that live where weights are zero."""
    if result.macs_per_second < SAME * whole.macs_per_second:
        return REMOVED
    return ZEROED if result.weights < whole.weights else ROUNDED


def _usual_steps(experiments: Iterable[Experiment]) -> int:
    """Of branches: as many as most networks have, the longer of as many."""
    counted = Counter(experiment.steps for experiment in experiments if isinstance(experiment, Disturbed))
    return max(counted, key=lambda steps: (counted[steps], steps), default=BRANCH_STEPS)


def _properties(results: Mapping[Experiment, Result], read: Properties, disturbed: Disturbed) -> dict[str, float]:
    """What was read in a network, and how it took being disturbed, where that is known."""
    found = dict(results[read].figures)
    if disturbed in results:
        own = {f"{PREFIX}{name}" for name in WORDS}
        found |= {name: value for name, value in results[disturbed].figures.items() if name in own}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def reference_of(experiment: Cut | Reduced) -> Dense:
    """The dense model beside which a reduced one is judged: of a technique that which had the whole budget."""
    dense = root_of(experiment)
    assert isinstance(dense, Dense)
    return replace(dense, steps=experiment.steps) if isinstance(experiment, Reduced) else dense
