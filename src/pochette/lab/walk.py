"""Doing one experiment: build, cut or mask, rewind, train for a counted number of steps, and judge on test sound.

A process does one experiment at a time, on one thread: seeds and capture belong to the whole process, and sums over one
thread come out the same everywhere. So an experiment's numbers do not depend on who computes what beside it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import numpy as np
import torch
from safetensors.torch import load as unpack
from torch import Tensor

import pochette
from pochette.corpus.folder import FolderCorpus
from pochette.errors import ReductionError
from pochette.lab.anchors import Resynthesiser, mean_spectrum
from pochette.lab.bits_anchors import codes_of, previous_code_bits
from pochette.lab.disturbing import disturbed
from pochette.lab.experiment import (
    CAP,
    Anchor,
    Control,
    Cut,
    Dense,
    Disturbed,
    Engine,
    Properties,
    Reduced,
    Timing,
    ancestors_of,
    has_known_shape,
    root_of,
)
from pochette.lab.judge import Parts, digest, divide, excerpts_of, inference_seconds, machine, mean_error
from pochette.lab.networks import (
    SPENT,
    STORED,
    Outcome,
    Task,
    Trained,
    begun,
    fresh,
    judged,
    part,
    rebuilt,
    train,
)
from pochette.lab.properties import properties_of
from pochette.lab.reducing import engine_of, reduced
from pochette.lab.shrink import Kept, compose, cut_tensors, masks, shrink, weights_of
from pochette.lab.spectral_anchors import distance_of, mean_answer, median_spectrum, squares_from
from pochette.lab.store import Result
from pochette.measure import profile_model
from pochette.models.model import Excerpt, Model
from pochette.models.nsf import NsfModel
from pochette.models.sing_ae import SingAeModel
from pochette.models.timbre_vae import TimbreVaeModel
from pochette.models.wavenet import WavenetModel
from pochette.reduce.choosing import Choice
from pochette.reduce.drawn_small import scaled_to_size
from pochette.reduce.evidence import Evidence
from pochette.reduce.sparse.storage import stored_bytes
from pochette.reduce.sparse.weights import all_alive
from pochette.reduce.sparse.weights import weights_of as single_weights
from pochette.reduce.trimming import structure_of
from pochette.reduce.witness import witness
from pochette.sound import mulaw
from pochette.sound.log_spectral import FFT_SAMPLES
from pochette.sound.losses import MultiScaleSpectral

WITHOUT_SYNTHESISER = WavenetModel, SingAeModel, NsfModel, TimbreVaeModel
"""Models whose anchor is told in their loss without any sound being played."""
EARLY = 0.1
"""Share of dense training after which the weights are kept that "weights" rewinds to."""
FRESH = 1_000_003
"""Added to the seed where a control draws its weights anew."""

_ONE_AT_A_TIME = threading.Lock()


def perform(task: Task, corpus: FolderCorpus) -> Outcome:
    """Do an experiment.

    Args:
        task: the experiment with what it starts from.
        corpus: the whole corpus it names, at the rate and hop of its model.

    Returns:
        its result and weights.

    Raises:
        ReductionError: the model cannot be cut so far.
        RunError: training went astray.
    """
    with _ONE_AT_A_TIME, _one_thread(), torch.random.fork_rng(devices=[]):
        experiment = task.experiment
        parts = divide(corpus, root_of(experiment).recipe.build())
        if isinstance(experiment, Anchor):
            return _anchor(experiment, parts)
        if isinstance(experiment, Timing):
            return _timed(task, experiment)
        if isinstance(experiment, Engine):
            return engine_of(task, experiment)
        if isinstance(experiment, Properties | Disturbed):
            return _looked_into(task, experiment, parts)
        if isinstance(experiment, Reduced):
            return reduced(task, experiment, parts)
        if isinstance(experiment, Dense):
            trained = _dense(task, experiment, parts)
        elif isinstance(experiment, Cut):
            trained = _cut(task, experiment, parts)
        else:
            trained = _control(task, experiment, parts)
        return judged(trained, parts, task.device)


# -- the kinds of experiment -------------------------------------------------------------------------------------------


def _looked_into(task: Task, experiment: Properties | Disturbed, parts: Parts) -> Outcome:
    if isinstance(experiment, Properties):
        return properties_of(task, experiment, parts)
    return disturbed(task, experiment, parts)


def _dense(task: Task, dense: Dense, parts: Parts) -> Trained:
    model, whole = fresh(dense), not begun(task)
    began = time.process_time()
    progress, early = train(task, model, parts, dense.training, dense.steps, early=EARLY)
    figures = {STORED: float(stored_bytes(all_alive(single_weights(model))))}
    if whole:
        figures[SPENT] = time.process_time() - began
    return Trained(model, progress.steps, progress.seconds, weights_of(model), early=early, figures=figures)


def _cut(task: Task, cut: Cut, parts: Parts) -> Trained:
    dense = root_of(cut)
    assert isinstance(dense, Dense)
    stored = unpack(task.weights)
    before, early = part(stored, "kept/"), part(stored, "early/")
    survivors = rebuilt(dense, cut_tensors(part(stored, "model/"), before if cut.removal == "mask" else {}))
    choice = cut.choice(dense.training.seed, task.results[dense].weights)
    evidence = witness(survivors, choice, excerpts_of(parts.looks, survivors)[0])
    small, newly = _shrunk(task, cut, survivors, choice, evidence)
    kept = compose(before, newly)
    masked = cut.removal == "mask"
    # A trimmed model's tensors have their parent's numbering, a masked one's that of the dense model.
    last = kept if masked else newly
    early = early if masked else cut_tensors(early, last)
    if cut.rewind == "weights":
        start = early
    elif cut.rewind == "init":
        start = fresh(dense).state_dict() if masked else cut_tensors(fresh(dense).state_dict(), kept)
    else:
        start = part(stored, "model/") if masked else small.state_dict()
    model = rebuilt(dense, start)
    held, again = masks(model, kept) if masked else None, cut.rewind == "learning_rate"
    progress, _ = train(task, model, parts, dense.training, cut.steps, masked=held, again=again)
    return Trained(model, progress.steps, progress.seconds, weights_of(small), kept, early)


def _shrunk(
    task: Task, cut: Cut, model: Model, choice: Choice, evidence: Evidence | None = None
) -> tuple[Model, Kept]:  # fmt: skip
    """A model with as much left as a cut allows of the dense one."""
    dense = root_of(cut)
    assert isinstance(dense, Dense)
    if cut.of == "operations":
        macs = (1.0 - cut.removed) * structure_of(fresh(dense)).matrix_macs()
        return shrink(model, None, choice, evidence, macs=macs)
    return shrink(model, round((1.0 - cut.removed) * task.results[dense].weights), choice, evidence)


def _control(task: Task, control: Control, parts: Parts) -> Trained:
    cut, dense = control.parent, root_of(control)
    assert isinstance(dense, Dense)
    drawn = fresh(dense, FRESH)
    if control.kind == "reinit":
        kept, steps = _shape(task, cut, drawn), cut.steps
    else:
        uniform = Choice("random", seed=dense.training.seed)
        if cut.of == "weights":
            _, kept = shrink(drawn, task.results[cut].weights, uniform)
        else:
            _, kept = _shrunk(task, cut, drawn, uniform)
        steps = dense.steps
    masked = control.kind == "reinit" and cut.removal == "mask"
    weights = drawn.state_dict()
    small = cut_tensors(weights, kept)
    model = drawn if masked else rebuilt(dense, scaled_to_size(small, weights))
    if control.kind == "scratch_compute":
        ratio = task.results[dense].macs_per_second / (profile_model(model).macs_per_second or 1.0)
        steps = lengthened(dense.steps, ratio)
    progress, _ = train(task, model, parts, dense.training, steps, masked=masks(model, kept) if masked else None)
    left = weights_of(rebuilt(dense, small))
    return Trained(model, progress.steps, progress.seconds, left, kept)


def _shape(task: Task, cut: Cut, drawn: Model) -> Kept:
    """As many units of a network that was just drawn as the cut left; which of them is as random as their weights."""
    dense = root_of(cut)
    assert isinstance(dense, Dense)
    if not has_known_shape(cut):
        return part(unpack(task.weights), "kept/")
    kept: Kept = {}
    for stop in (*reversed([a for a in ancestors_of(cut) if isinstance(a, Cut)]), cut):
        drawn, newly = _shrunk(task, stop, drawn, Choice("random", seed=dense.training.seed))
        kept = compose(kept, newly)
    assert weights_of(drawn) == task.results[cut].weights, "the cut and its twin differ in shape"
    return kept


def lengthened(steps: int, ratio: float) -> int:
    """Training steps of a smaller network that cost what a larger one's did, at most `CAP` times as many.

    Args:
        steps: of the larger.
        ratio: of their multiply-accumulates, larger per smaller.

    Returns:
        steps, rounded down as in the published code.
    """
    return int(steps * min(max(ratio, 1.0), CAP))


def _timed(task: Task, timing: Timing) -> Outcome:
    dense = root_of(timing)
    assert isinstance(dense, Dense)
    model = rebuilt(dense, part(unpack(task.weights), "model/"))
    known = asdict(task.results[timing.parent])
    measured = {"inference_seconds": inference_seconds(model), "machine": machine(), "version": pochette.__version__}
    return Outcome(Result(**{**known, **measured, "steps": 0, "training_seconds": 0.0}), b"")


def _anchor(anchor: Anchor, parts: Parts) -> Outcome:
    model: Model = anchor.recipe.build()
    if isinstance(model, WITHOUT_SYNTHESISER):
        return _anchor_without_synthesiser(model, parts)
    if not isinstance(model, Resynthesiser):
        raise ReductionError(
            f"The model {anchor.model!r} has no synthesiser that could play a mean sound.",
            remedy="Compare it without an anchor.",
        )
    began = time.monotonic()
    mean = mean_spectrum(model, parts.training, steps=anchor.steps)
    seconds = time.monotonic() - began
    distance = MultiScaleSpectral(model.sample_rate_hz)

    def loss(excerpt: Excerpt, _: torch.Generator) -> Tensor:
        return torch.as_tensor(distance(mean.play(excerpt), excerpt["audio"]))

    error = mean_error(loss, model, parts.test)
    tensors = {"total": mean.total, "partials": mean.partials, "noise": mean.noise, "slopes": mean.slopes}
    numbers = sum(tensor.numel() for tensor in tensors.values())
    return Outcome(
        Result(
            error, numbers, 0.0, 4 * numbers, anchor.steps, digest(tensors), seconds, 0.0, machine(),
            pochette.__version__,
        ),
        b"",
    )  # fmt: skip


def has_anchor(model: Model) -> bool:
    """Whether there is a simple answer to the model's test sound that its error can be read against."""
    return isinstance(model, (Resynthesiser, *WITHOUT_SYNTHESISER))


def _anchor_without_synthesiser(model: Model, parts: Parts) -> Outcome:
    """The error of who knows the sample before (in bits), or of the constant spectrum that is best in the model's loss.

    That is the median of the training sounds' for absolute differences, their mean for squared ones.
    """
    began = time.monotonic()
    if isinstance(model, WavenetModel):
        known, asked = codes_of(parts.training), codes_of(parts.test)
        error, numbers = previous_code_bits(known, asked), mulaw.CODES**2
    elif isinstance(model, NsfModel | TimbreVaeModel):
        error, numbers = _mean_answer_error(model, parts)
    else:
        predict = median_spectrum(parts.training)
        excerpts = excerpts_of(parts.test, model)
        shares = [len(excerpt["audio"]) for excerpt in excerpts]
        found = [distance_of(predict, excerpt, model.hop_samples) for excerpt in excerpts]
        error, numbers = float(np.average(found, weights=shares)), FFT_SAMPLES // 2 + 1
    seconds = time.monotonic() - began
    version = pochette.__version__
    return Outcome(Result(error, numbers, 0.0, 4 * numbers, 0, digest({}), seconds, 0.0, machine(), version), b"")


@torch.no_grad()
def _mean_answer_error(model: NsfModel | TimbreVaeModel, parts: Parts) -> tuple[float, int]:
    """Test error of the mean of what the model's loss hears, and how many numbers that is."""

    def hear(audio: Tensor) -> list[Tensor]:
        if isinstance(model, NsfModel):
            return [spectrum.transpose(1, 2) for spectrum in model.distance.spectra(audio)]
        return [model.heard(audio)]

    # Half of the square is the loss of the bands; a code that says nothing has no divergence.
    weight = 1.0 if isinstance(model, NsfModel) else 0.5
    answer = mean_answer(parts.training, hear)
    error = mean_error(lambda excerpt, _: weight * squares_from(answer, excerpt["audio"], hear), model, parts.test)
    return error, sum(one.numel() for one in answer)


# -- small things ------------------------------------------------------------------------------------------------------


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums come out the same wherever they are computed."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
