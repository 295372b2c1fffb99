"""What one would like to foretell of a network: what reducing it cost, how far seeds spread, how far it can go.

The first is one network's. The spread is that of the same reduction under several seeds, held against the mean of what
their networks are. The reach is that of a technique on one dense model, over all shares it was asked to keep, held
against what the least reduced of its networks is: what can be read before one goes further.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from pochette.lab.experiment import Cut, Dense, Reduced, method_of, root_of
from pochette.lab.relations import Observation

ERROR = "test error per dense"
SPREAD = "spread over seeds of log test error per dense"
REACH = "smallest share of weights at 1.1 times the dense error"
TOLERATED = 1.1
REMOVED, ZEROED, ROUNDED = "units removed", "weights at zero", "values shared"
"""Kinds of reduction. What one kind leaves differs from what another leaves in most properties, and in its cost, for no
reason but the kind: networks are ranked among those of their own."""
SAME = 0.999
"""A share of the dense model's from which on nothing was saved."""
FEWEST_SEEDS = 3
"""Below which a spread says nothing."""


@dataclass(frozen=True)
class Network:
    """One reduced network of a store."""

    experiment: Cut | Reduced
    weights: int
    """Learnt numbers that are left."""
    dense_weights: int
    """Of the dense model."""
    multiplier: float
    """Test error per that of the dense model."""
    properties: Mapping[str, float]
    kind: str = REMOVED
    """Of the reduction: `REMOVED`, `ZEROED` or `ROUNDED`."""

    @property
    def model(self) -> str:
        """Its registered name."""
        return _dense(self.experiment).model


def errors(networks: Iterable[Network]) -> list[Observation]:
    """Each network and what its reduction cost."""
    return [_seen([network], {ERROR: network.multiplier}) for network in networks]


def spreads(networks: Iterable[Network]) -> list[Observation]:
    """The same reduction under `FEWEST_SEEDS` seeds or more: standard deviation of the logarithm of what it cost."""
    return [
        _seen(alike, {SPREAD: float(np.std([math.log(network.multiplier) for network in alike], ddof=1))})
        for alike in _grouped(networks, lambda network: _with_seed(network.experiment, 0))
        if len(alike) >= FEWEST_SEEDS
    ]


def reaches(networks: Iterable[Network]) -> list[Observation]:
    """Techniques at two shares or more: the smallest that stayed within `TOLERATED` of the dense error, else all."""
    found = []
    for along in _grouped(networks, lambda network: _technique(network.experiment)):
        shares = {network.weights / network.dense_weights for network in along}
        if len(shares) > 1:
            within = [n.weights / n.dense_weights for n in along if n.multiplier <= TOLERATED]
            largest = max(along, key=lambda network: network.weights)
            found.append(_seen([largest], {REACH: min(within, default=1.0)}))
    return found


def _seen(networks: list[Network], outcomes: dict[str, float]) -> Observation:
    """What several networks are on average; a property that one of them lacks is left out."""
    names = set.intersection(*(set(network.properties) for network in networks))
    return Observation(
        group=f"{networks[0].model}, {networks[0].kind}",
        size=float(np.mean([math.log(max(network.weights, 1)) for network in networks])),
        properties={name: float(np.mean([network.properties[name] for network in networks])) for name in sorted(names)},
        outcomes=outcomes,
    )


def _grouped(networks: Iterable[Network], key: Callable[[Network], Hashable]) -> list[list[Network]]:
    groups: dict[Hashable, list[Network]] = {}
    for network in networks:
        groups.setdefault(key(network), []).append(network)
    return list(groups.values())


def _dense(experiment: Cut | Reduced) -> Dense:
    dense = root_of(experiment)
    assert isinstance(dense, Dense)
    return dense


def _with_seed(experiment: Dense | Cut | Reduced, seed: int) -> Dense | Cut | Reduced:
    """The same experiment under another seed."""
    if isinstance(experiment, Dense):
        return replace(experiment, training=replace(experiment.training, seed=seed))
    return replace(experiment, parent=_with_seed(experiment.parent, seed))  # type: ignore[arg-type]  # as it was


def _technique(experiment: Cut | Reduced) -> Hashable:
    """What networks of one technique on one dense model have in common, whatever they keep."""
    if isinstance(experiment, Reduced):
        return experiment.parent, experiment.method, experiment.steps
    return _dense(experiment), method_of(experiment), experiment.steps
