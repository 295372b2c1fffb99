"""What properties and outcomes are called in a sentence; data keep their identifiers, and tables show them small."""

from __future__ import annotations

from pochette.lab.outcomes import ERROR, REACH, SPREAD, TOLERATED

NAMES = {
    "connectivity: density": "share of weights that are not zero",
    "connectivity: effective_density": "share of weights on a way from input to output",
    "connectivity: dead_units": "share of units that hear nothing",
    "connectivity: dead_columns": "share of units that nobody hears",
    "connectivity: collapsed_layers": "number of layers that nothing passes",
    "connectivity: components": "number of parts that a layer falls into",
    "connectivity: paths_log10": "number of ways through the network",
    "degrees: in": "number of units that a unit hears",
    "degrees: out": "number of units that hear a unit",
    "degrees: effective_in": "number of units that a unit hears, by weight",
    "degrees: effective_out": "number of units that hear a unit, by weight",
    "degrees: effective_share": "evenness of a unit's weights",
    "degrees: spread_in": "unevenness among units in what they hear",
    "degrees: spread_out": "unevenness among units in who hears them",
    "dimension: dimension": "dimension of the activations",
    "dimension: share": "dimension of the activations per unit",
    "dimension: copies": "number of moments that copy others",
    "dimension: largest": "largest dimension of a layer's activations",
    "homology: longest_gap": "distance of the activations' loneliest cluster",
    "homology: longest_loop": "life of the longest loop in the activations",
    "homology: total_loops": "life of all loops in the activations",
    "homology: loops": "number of lasting loops in the activations",
    "information-plane: input_nats": "information about the input",
    "information-plane: target_nats": "information about the target",
    "persistence: normalised": "persistence of the weights' clusters, of its bound",
    "persistence: norm": "persistence of the weights' clusters",
    "redundancy: explained": "share of a unit that the others explain",
    "redundancy: participation": "number of directions in use",
    "redundancy: participation_share": "number of directions in use per unit",
    "redundancy: constant_units": "share of units that never change",
    "similarity: input_linear": "linear likeness to the input",
    "similarity: input_gaussian": "likeness to the input",
    "similarity: target_linear": "linear likeness to the target",
    "similarity: target_gaussian": "likeness to the target",
    "spectrum: gap": "spectral gap of the wiring",
    "spectrum: weighted_gap": "spectral gap of the weights",
    "spectrum: second": "second singular value of the wiring",
    "spectrum: bound": "bound of the second singular value",
    "spectrum: ramanujan": "share of layers wired as well as random ones",
    "stability: curvature_largest": "largest curvature of the loss",
    "stability: curvature_smallest": "smallest curvature of the loss",
    "stability: curvature_trace": "sum of the loss's curvatures",
    "stability: noise_area": "change of the sound under noise on the weights",
    "stability: bits_area": "change of the sound under rounding",
    "stability: barrier_over_mean": "barrier between two trainings, over their mean",
    "stability: barrier_over_line": "barrier between two trainings, over their line",
    "stability: barrier_db_over_mean": "barrier in decibels, over the mean",
    "stability: barrier_db_over_line": "barrier in decibels, over the line",
    "stability: ends_apart": "difference of two trainings' losses",
    "stability: branches_distance": "distance of two trainings' weights",
    "stability: branches_angle_degrees": "angle between two trainings' weights",
    "stability: branches_travelled": "way of a training that goes on",
    "stability: branches_apart_per_travelled": "distance of two trainings per way of each",
}
"""By "ANALYSIS: NUMBER", or "stability: FIGURE"; all of them can be more or less."""
OUTCOMES = {
    ERROR: "test error",
    SPREAD: "spread of the error over seeds",
    REACH: f"smallest size at {TOLERATED:g} times the dense error",
}


def called(identifier: str) -> str:
    """What a property is called.

    Args:
        identifier: "ANALYSIS: NUMBER".

    Returns:
        its name; of an analysis that is not of pochette itself the number's own, with spaces.
    """
    analysis, _, number = identifier.partition(": ")
    return NAMES.get(identifier) or (f"{number.replace('_', ' ')} ({analysis})" if number else identifier)


def outcome_called(outcome: str) -> str:
    """What an outcome is called.

    Args:
        outcome: as `pochette.lab.outcomes` names it.

    Returns:
        its name.
    """
    return OUTCOMES.get(outcome, outcome)
