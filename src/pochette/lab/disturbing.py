"""How stored networks take being disturbed: `stability.summary` as an experiment of its own, beside what is read.

It costs much more than reading does, since two trainings go on from every network; so it is an experiment apart, and
takes just so many steps, excerpts and products as tell networks of one model apart.
"""

from __future__ import annotations

import math
from dataclasses import replace

from safetensors.torch import load as unpack

import pochette
from pochette.lab.experiment import Dense, Disturbed, root_of
from pochette.lab.judge import Parts, machine
from pochette.lab.networks import Outcome, Task, part, rebuilt
from pochette.lab.stability.of_run import masks_of
from pochette.lab.stability.summary import Effort, stability_of

EFFORT = Effort(
    excerpts=2, hessian_draws=4, tolerance=0.1, noise=(0.02, 0.08, 0.32), noise_draws=1, bits=(8, 4, 2), points=3
)
"""Some five to ten seconds of CPU, of a network as large as those of benchmarks/techniques.py."""
PREFIX = "stability: "
WORDS = {
    "curvature_largest": "largest eigenvalue of the training loss's Hessian",
    "curvature_smallest": "smallest eigenvalue of the training loss's Hessian",
    "curvature_trace": "trace of the training loss's Hessian, estimated",
    "noise_area": "change of the sound under noise on the weights, mean over octaves of it",
    "bits_area": "change of the sound when weights are rounded, mean over the bits taken away",
    "barrier_over_mean": "highest loss between two branches, over the mean of the branches' own",
    "barrier_over_line": "highest loss between two branches, over the line between the branches' own",
    "barrier_db_over_mean": "the barrier over the mean in dB from the recordings",
    "barrier_db_over_line": "the barrier over the line in dB from the recordings",
    "ends_apart": "how much the losses of two branches differ",
    "branches_distance": "how far two branches' weights lie apart",
    "branches_angle_degrees": "angle between two branches' weights, seen from zero",
    "branches_travelled": "how far a branch's weights went from where both began",
    "branches_apart_per_travelled": "how far two branches lie apart, over how far each went",
}
"""Figures of `summary.Stability` that are a network's properties. What they cost is none; nor is the branches' own
error, which is what one would like to foretell, nor the doubt of an estimate."""


def disturbed(task: Task, experiment: Disturbed, parts: Parts) -> Outcome:
    """Disturb a network that is there.

    Args:
        task: with the network's weights.
        experiment: whose, and how long branches are.
        parts: branches hear its training sound; change and error are those of its looks, as of all properties, so that
            the test sound tells nothing but what is foretold.

    Returns:
        the network's own result with the figures, those that are not finite left out; no weights.

    Raises:
        RunError: the network cannot be disturbed: something on the way is not finite.
    """
    dense = root_of(experiment)
    assert isinstance(dense, Dense)
    model = rebuilt(dense, part(unpack(task.weights), "model/")).eval()
    masks = None if isinstance(experiment.parent, Dense) else masks_of(model)
    # Half of what a training step hears: where steps hear little, that little is dear.
    effort = replace(EFFORT, excerpts=max(1, min(EFFORT.excerpts, dense.training.batch // 2)))
    watched = Parts(parts.training, parts.looks, parts.looks)
    found = stability_of(model, watched, dense.training, experiment.steps, masks=masks, effort=effort)
    result = replace(
        task.results[experiment.parent],
        steps=0,  # the network's own training has none of what its branches had
        training_seconds=0.0,
        machine=machine(),
        version=pochette.__version__,
        figures={f"{PREFIX}{name}": value for name, value in found.figures.items() if math.isfinite(value)},
    )
    return Outcome(result, b"")
