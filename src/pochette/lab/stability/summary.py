"""What a study asks of every experiment's model, for a stated cost: curvature, sensitivity, and a barrier."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from pochette.corpus.folder import FolderCorpus
from pochette.lab.judge import divide, excerpts_of
from pochette.lab.stability.apart import instability
from pochette.lab.stability.branches import Course
from pochette.lab.stability.flatness import flatness_of
from pochette.lab.stability.interpolation import ErrorOf, line
from pochette.lab.stability.sensitivity import heard, loss_on, to_bits, to_noise
from pochette.models.model import Excerpt, Model
from pochette.models.unpaired import Unpaired
from pochette.recipe import check_ranges
from pochette.reduce.sparse.subject import Subject
from pochette.reduce.sparse.weights import Masks
from pochette.sound.metrics.log_spectral_db import log_spectral_db
from pochette.train.loop import Training
from pochette.train.session import training_excerpt


@dataclass(frozen=True)
class Effort:
    """How much is spent on a model."""

    excerpts: int = 4
    """Of training sound, for curvature, and of test sound, for all else."""
    hessian_draws: int = 8
    """For the trace."""
    noise: tuple[float, ...] = (0.02, 0.08, 0.32)
    noise_draws: int = 2
    bits: tuple[int, ...] = (8, 6, 4, 3, 2)
    points: int = 5
    """On the line between two branches."""

    def __post_init__(self) -> None:
        check_ranges(self, excerpts=(1, 1024), hessian_draws=(2, 10**4), noise_draws=(1, 1000), points=(3, 1001))


def stability_of(
    model: Model,
    corpus: FolderCorpus,
    training: Training,
    steps: int,
    *,
    masks: Masks | None = None,
    again: bool = True,
    effort: Effort | None = None,
) -> dict[str, float]:
    """Figures of one model, whole, trimmed or masked; the same for the same model, seconds apart.

    Args:
        model: trained, or fresh; left as it was. It carries its recipe.
        corpus: whole; divided as for experiments, so that the test sound is theirs.
        training: how branches are trained: from the first learning rate on, annealing over their steps.
        steps: of each of the two branches, which begin with the model's weights and fresh moments.
        masks: where weights live, in branches and under noise; None for everywhere.
        again: the model was trained before; see `Model.turns`.
        effort: how much is spent; the default is small.

    Returns:
        `curvature_largest`, `_smallest`, `_trace`, `_trace_error`: of the training loss;
        `noise_area`, `bits_area`: change of the sound in dB, mean over octaves of disturbance; of models that draw
        their samples that of the loss;
        `barrier_over_mean`, `_over_line`: between the branches, in test loss; `ends_error`, `ends_apart`: the mean of
        the branches' own errors and how these differ, what to read the barrier by;
        `barrier_db_over_mean`, `_over_line`: in dB of log-spectral distance to the recordings, of models that
        resynthesise;
        `branches_distance`, `branches_angle_degrees`: of their weights;
        `cost_steps`, `cost_products`, `cost_seconds`: of training, with the Hessian (each about two gradients), of CPU.

    Raises:
        RunError: something is not finite.
        SoundError: there is too little sound to divide.
    """
    effort, began = effort or Effort(), time.process_time()
    parts = divide(corpus, model)
    test = _some(excerpts_of(parts.test, model), effort.excerpts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        taught = training_excerpt(parts.training, model, training, effort.excerpts)
        curved = flatness_of(Subject.heard(model, [taught], training.seed), draws=effort.hessian_draws)
        change = heard(model, test)
        noise = to_noise(model, change, amounts=effort.noise, draws=effort.noise_draws, seed=training.seed, masks=masks)
        bits = to_bits(model, change, bits=effort.bits)
        course = Course(parts.training, parts.looks, training, steps, again)
        found = _barriers(course, model, masks, test, effort.points, training.seed)
    return {
        "curvature_largest": curved.largest,
        "curvature_smallest": curved.smallest,
        "curvature_trace": curved.trace,
        "curvature_trace_error": curved.trace_error,
        "noise_area": noise.area_per_octave,
        "bits_area": bits.area_per_octave,
        **found,
        "cost_steps": 2.0 * steps,
        "cost_products": float(curved.products),
        "cost_seconds": time.process_time() - began,
    }


def _barriers(
    course: Course, model: Model, masks: Masks | None, test: Excerpt, points: int, seed: int
) -> dict[str, float]:
    """Between two branches, in loss and in dB."""
    ends: list[nn.Module] = []
    branch = course.trains(model, course.trunk(copy.deepcopy(model), 0))

    def train(masks: Masks | None, order: int) -> nn.Module:
        ends.append(branch(masks, order))
        return ends[-1]

    unstable = instability(train, loss_on(test), masks=masks, orders=(seed, seed + 1), points=points)
    errors = unstable.line.errors
    found = {
        "barrier_over_mean": unstable.line.over_mean,
        "barrier_over_line": unstable.line.over_line,
        "ends_error": (errors[0] + errors[-1]) / 2.0,
        "ends_apart": abs(errors[0] - errors[-1]),
        "branches_distance": unstable.apart.distance,
        "branches_angle_degrees": unstable.apart.angle_degrees,
    }
    if not model.feeds_back and not isinstance(model, Unpaired):
        one, other = (end.state_dict() for end in ends)
        in_db = line(model, one, other, _distance_on(test), points=points)
        found |= {"barrier_db_over_mean": in_db.over_mean, "barrier_db_over_line": in_db.over_line}
    return found


def _distance_on(excerpt: Excerpt) -> ErrorOf:
    """Log-spectral distance of a resynthesis to its recordings, in dB."""

    def distance(model: nn.Module) -> float:
        assert isinstance(model, Model)
        rows = zip(excerpt["audio"].numpy(), model.resynthesised(excerpt).numpy(), strict=True)
        return float(np.mean([log_spectral_db(sound, made, model.sample_rate_hz) for sound, made in rows]))

    return distance


def _some(batches: list[Excerpt], most: int) -> Excerpt:
    """So many excerpts, evenly from all."""
    whole = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    chosen = np.unique(np.linspace(0, len(whole["audio"]) - 1, most).astype(int))
    return {name: values[chosen] for name, values in whole.items()}
