"""What disturbing a model tells of it, at a stated cost: curvature, sensitivity, a barrier between two branches."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from pochette.lab.judge import Parts, excerpts_of
from pochette.lab.stability.apart import Apart, apart
from pochette.lab.stability.branches import Course
from pochette.lab.stability.flatness import TOLERANCE, Flatness, flatness_of
from pochette.lab.stability.interpolation import ErrorOf, Line, line
from pochette.lab.stability.sensitivity import Curve, heard, loss_on, to_bits, to_noise
from pochette.lab.stability.way import Way
from pochette.models.model import Excerpt, Model
from pochette.models.unpaired import Unpaired
from pochette.recipe import check_ranges
from pochette.reduce.sparse.subject import Subject
from pochette.reduce.sparse.weights import Masks, effective, weights_of
from pochette.sound.metrics.log_spectral_db import log_spectral_db
from pochette.train.loop import Trainer, Training
from pochette.train.session import training_excerpt

DB = "dB"
"""Of log-spectral distance."""
WINDOWS = 2
"""Of a model whose gradients go no further back than a window, in each excerpt that curvature is taken on."""
PRODUCTS = 30
"""Of the Hessian with a vector, about: what progress is guessed by."""

SHORTEST = 0.01
"""Seconds of an excerpt of training, see `Training`."""

Told = Callable[[float, str], None]
"""Hears of the progress: the share done, and of what."""


@dataclass(frozen=True)
class Effort:
    """How much is spent on a model."""

    excerpts: int = 4
    """Of training sound, for curvature, and of test sound, for all else."""
    hessian_draws: int = 8
    """For the trace."""
    tolerance: float = TOLERANCE
    """Of the largest and smallest eigenvalue, relative."""
    noise: tuple[float, ...] = (0.02, 0.08, 0.32)
    noise_draws: int = 2
    bits: tuple[int, ...] = (8, 6, 4, 3, 2)
    points: int = 5
    """On the line between two branches."""

    def __post_init__(self) -> None:
        check_ranges(
            self,
            excerpts=(1, 1024),
            hessian_draws=(2, 10**4),
            tolerance=(1e-6, 0.5),
            noise_draws=(1, 1000),
            points=(3, 1001),
        )


@dataclass(frozen=True)
class Stability:
    """What was found of one model."""

    curvature: Flatness
    """Of the training loss."""
    noise: Curve
    """Change of the sound against noise on the weights, see `sensitivity`."""
    bits: Curve
    """And against rounding them."""
    unit: str
    """Of these changes: dB, or what the loss is in of models that draw their samples."""
    line: Line
    """Test loss on the way from one branch to the other."""
    loss_unit: str
    """"" where a loss has none."""
    line_db: Line | None
    """Log-spectral distance to the recordings on that way, in dB; None of models that do not resynthesise."""
    apart: Apart
    """The branches' weights."""
    way: Way
    """Of the branches, beside which all that is said of them is read."""
    steps: int
    """Of each branch."""
    seconds: float = field(compare=False)
    """Of CPU."""

    @property
    def figures(self) -> dict[str, float]:
        """What studies keep.

        `curvature_largest`, `_smallest`, `_trace`, `_trace_error`: of the training loss;
        `noise_area`, `bits_area`: change of the sound, mean over octaves of disturbance, in `unit`;
        `barrier_over_mean`, `_over_line`: between the branches, in test loss; `ends_error`, `ends_apart`: the mean of
        the branches' own errors and how these differ, what to read the barrier by;
        `barrier_db_over_mean`, `_over_line`: the same in dB, where there is `line_db`;
        `branches_distance`, `branches_angle_degrees`: of their weights;
        `branches_travelled`, `branches_apart_per_travelled`, `branches_improvement`: see `way.Way`;
        `cost_steps`, `cost_products`, `cost_seconds`: of training, with the Hessian (each about two gradients), of CPU.
        """
        first, last = self.line.errors[0], self.line.errors[-1]
        found = {
            "curvature_largest": self.curvature.largest,
            "curvature_smallest": self.curvature.smallest,
            "curvature_trace": self.curvature.trace,
            "curvature_trace_error": self.curvature.trace_error,
            "noise_area": self.noise.area_per_octave,
            "bits_area": self.bits.area_per_octave,
            "barrier_over_mean": self.line.over_mean,
            "barrier_over_line": self.line.over_line,
            "ends_error": (first + last) / 2.0,
            "ends_apart": abs(first - last),
            "branches_distance": self.apart.distance,
            "branches_angle_degrees": self.apart.angle_degrees,
            "branches_travelled": self.way.travelled,
            "branches_apart_per_travelled": self.way.apart_per_travelled,
            "branches_improvement": self.way.improvement,
            "cost_steps": 2.0 * self.steps,
            "cost_products": float(self.curvature.products),
            "cost_seconds": self.seconds,
        }
        if self.line_db is not None:
            found |= {
                "barrier_db_over_mean": self.line_db.over_mean,
                "barrier_db_over_line": self.line_db.over_line,
            }
        return found

    def to_json(self) -> dict[str, Any]:
        """All of it as plain data: every curve, and the figures."""
        return {**asdict(self), "way": self.way.to_json(), "figures": self.figures}


def stability_of(
    model: Model,
    parts: Parts,
    training: Training,
    steps: int,
    *,
    masks: Masks | None = None,
    again: bool = True,
    effort: Effort | None = None,
    told: Told | None = None,
) -> Stability:
    """Disturb one model, whole, trimmed or masked; the same for the same model, but for the seconds.

    Args:
        model: trained, or fresh; left as it was. It carries its recipe.
        parts: sounds of a corpus: branches learn the training part, all is heard on the test part.
        training: how branches are trained: from the first learning rate on, annealing over their steps.
        steps: of each of the two branches, which begin with the model's weights and fresh moments.
        masks: where weights live, in branches and under noise; None for everywhere.
        again: the model was trained before; see `Model.turns`.
        effort: how much is spent; the default is small.
        told: hears of the progress.

    Returns:
        curves and figures.

    Raises:
        RunError: something is not finite.
        SoundError: there is too little sound.
    """
    effort, began = effort or Effort(), time.process_time()
    tally = _Tally(told, effort, training, steps)
    test = _some(excerpts_of(parts.test, model), effort.excerpts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        subject = Subject.heard(model, [_curved(model, parts, training, effort)], training.seed)
        curved = flatness_of(subject, draws=effort.hessian_draws, tolerance=effort.tolerance, told=tally.curvature)
        change = tally.counting(heard(model, test), "noise and bits")
        noise = to_noise(model, change, amounts=effort.noise, draws=effort.noise_draws, seed=training.seed, masks=masks)
        bits = to_bits(model, change, bits=effort.bits)
        course = Course(parts.training, parts.looks, training, steps, again)
        one, other = _branches(course, model, masks, tally)
        along, in_db = _lines(one, other, test, effort.points, tally)
        fork, *ends = (effective(weights_of(network)) for network in (model, one, other))
        begun = tally.counting(loss_on(test), "where the branches began")(model)
    loss_unit = str(getattr(model, "loss_unit", ""))
    return Stability(
        curvature=curved,
        noise=noise,
        bits=bits,
        unit=loss_unit if model.feeds_back else DB,
        line=along,
        loss_unit=loss_unit,
        line_db=in_db,
        apart=apart(ends[0], ends[1], masks),
        way=Way.of(fork, (ends[0], ends[1]), (begun, along.errors[0], along.errors[-1]), masks),
        steps=steps,
        seconds=time.process_time() - began,
    )


def _branches(course: Course, model: Model, masks: Masks | None, tally: _Tally) -> tuple[Model, Model]:
    """Two trainings from the model's weights, in two orders."""
    fork, seed = course.trunk(copy.deepcopy(model), 0), course.training.seed
    one, other = (
        course.branch(model, fork, seed + number, masks, after_step=tally.branch(number)) for number in (0, 1)
    )
    return one, other


def _lines(one: Model, other: Model, test: Excerpt, points: int, tally: _Tally) -> tuple[Line, Line | None]:
    """Test loss between two branches, and distance to the recordings in dB where the model resynthesises."""
    ends, what = (one.state_dict(), other.state_dict()), "the line between"
    along = line(one, *ends, tally.counting(loss_on(test), what), points=points)
    if one.feeds_back or isinstance(one, Unpaired):
        return along, None
    return along, line(one, *ends, tally.counting(_distance_on(test), what), points=points)


def _curved(model: Model, parts: Parts, training: Training, effort: Effort) -> Excerpt:
    """Sound that curvature is taken on: as training hears it, but no longer than the gradient sees in some windows.

    A recurrence of thousands of steps is differentiated twice one step after the other; where training itself cuts it
    into windows, a few of them say what there is to say.
    """
    if model.window_frames is not None:
        most = WINDOWS * model.window_frames * model.hop_samples / model.sample_rate_hz
        training = replace(training, excerpt_seconds=min(training.excerpt_seconds, max(most, SHORTEST)))
    return training_excerpt(parts.training, model, training, effort.excerpts)


class _Tally:
    """How much of the work is done, weighed by the gradients that it takes: a forward pass is a third of one."""

    def __init__(self, told: Told | None, effort: Effort, training: Training, steps: int) -> None:
        self.told, self.steps, self.done = told, steps, 0.0
        part = effort.excerpts / training.batch
        self.product, self.pass_ = 2.0 * part, part / 3.0
        passes = len(effort.noise) * effort.noise_draws + len(effort.bits) + 2 * effort.points + 1
        self.whole = PRODUCTS * self.product + passes * self.pass_ + 2.0 * steps

    def tell(self, done: float, what: str) -> None:
        """Count up to, and say."""
        self.done = max(self.done, done)
        if self.told is not None:
            self.told(min(self.done / self.whole, 1.0), what)

    def curvature(self, products: int) -> None:
        """So many products are taken; how many more there will be nobody knows, so each counts for less."""
        self.tell(PRODUCTS * self.product * products / (products + PRODUCTS / 2), f"curvature: product {products}")

    def counting(self, change: ErrorOf, what: str) -> ErrorOf:
        """A measure that says when it is asked."""

        def counted(module: nn.Module) -> float:
            # What curvature did not need of its share is done as well.
            self.tell(max(self.done, PRODUCTS * self.product) + self.pass_, what)
            return change(module)

        return counted

    def branch(self, number: int) -> Callable[[Trainer], None]:
        """What a branch calls after every step."""

        def stepped(trainer: Trainer) -> None:
            step = trainer.progress.steps
            self.tell(self.done + 1.0, f"branch {number + 1} of 2: step {step} of {self.steps}")

        return stepped


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
