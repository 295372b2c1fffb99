"""What a technique makes of a model on a budget, and what an engine of the result costs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors.torch import load as unpack
from safetensors.torch import save as pack

import pochette
from pochette.boards.board import Board
from pochette.engine.build import compile_elf
from pochette.engine.export import export
from pochette.engine.runner import FloatArray
from pochette.engine.source import EngineSource
from pochette.errors import ToolError
from pochette.families import boards
from pochette.lab.cost import heard_work, time_on_host
from pochette.lab.experiment import Dense, Engine, Reduced, root_of
from pochette.lab.judge import Parts, digest, inference_seconds, machine, mean_error
from pochette.lab.networks import SPENT, STATE, STORED, Outcome, Task, fresh, part, rebuilt, under
from pochette.lab.shrink import weights_of
from pochette.lab.store import PHASES, Result
from pochette.measure import profile_model
from pochette.models.model import Model
from pochette.reduce.technique import Round
from pochette.train.checkpoint import save
from pochette.train.device import device_of
from pochette.train.loop import Progress
from pochette.train.session import Session, describe

COUNTED_FRAMES = 8
"""Of the engine at rest, on the emulated processor."""
TIMED_ROUNDS = 5
TIMED, COUNTED = "engine, CPU s per s of sound", "engine, instructions per s of sound"
"""Figures of an engine; the second is unknown where the board has no emulator."""


def reduced(task: Task, experiment: Reduced, parts: Parts) -> Outcome:
    """Let a technique make a model small, and judge what it leaves.

    Args:
        task: with the weights of the dense model, which most techniques begin with.
        experiment: which technique, on what budget.
        parts: of the corpus.

    Returns:
        result and weights; masks lie beside them, under "mask/".

    Raises:
        ReductionError: the technique does not suit the model, nothing would go, or nothing would be left.
        RunError: training went astray.
    """
    dense, technique = experiment.parent, experiment.options
    # Who begins with no dense model has its steps too: all train for as many.
    steps = max(1, round(experiment.steps / technique.trains_for))
    with _folder(task) as folder:
        session = Session(folder, parts.training, parts.looks, dense.training, float("inf"), steps)
        session.device = device_of(task.device)
        _put_dense(session, task, dense)
        began = time.process_time()
        rounds = technique.apply(fresh(dense), session)
        spent = time.process_time() - began
        whole = all(state == "dense: finished" for state in session.resumed)
    last, own = rounds[-1], _own_training(rounds)
    weights = {path: tensor.detach() for path, tensor in last.model.state_dict().items()}
    counted = profile_model(last.model)
    result = Result(
        error=mean_error(last.model.loss, last.model, parts.test),
        weights=_living(last),
        macs_per_second=float(counted.macs_per_second or 0.0),
        weight_bytes=counted.weight_bytes,
        steps=sum(progress.steps for progress in own),
        digest=digest(weights),
        training_seconds=sum(progress.seconds for progress in own),
        inference_seconds=inference_seconds(last.model),
        machine=machine(task.device),
        version=pochette.__version__,
        figures={
            STORED: float(last.weight_bytes),
            STATE: float(counted.state_bytes),
            **({SPENT: spent} if whole else {}),
        },
    )
    stored = under("model/", weights) | under("mask/", last.masks)
    return Outcome(result, pack({path: tensor.contiguous() for path, tensor in stored.items()}))


@contextmanager
def _folder(task: Task) -> Iterator[Path]:
    """Where phases leave their checkpoints: beside the experiment, or nowhere that lasts."""
    if task.folder:
        yield Path(task.folder) / PHASES
        return
    with tempfile.TemporaryDirectory(prefix="pochette-") as folder:
        yield Path(folder)


def _put_dense(session: Session, task: Task, dense: Dense) -> None:
    """Leave the dense model in a session as a phase that is finished, with the weights from early in it."""
    path = session.path("dense")
    if path.exists():
        return
    session.folder.mkdir(parents=True, exist_ok=True)
    stored, result = unpack(task.weights), task.results[dense]
    facts = {"model": describe(fresh(dense)), "training": asdict(dense.training), "version": pochette.__version__}
    early = part(stored, "early/")
    save(session.path("dense-early"), under("model/", early), facts)
    progress = Progress(
        steps=result.steps, seconds=result.training_seconds, stopped="so many steps", history=[(result.steps, 0.0, 0.0)]
    )
    save(path, under("model/", part(stored, "model/")), {**facts, "progress": asdict(progress)})


def _own_training(rounds: list[Round]) -> list[Progress]:
    """What was trained after the dense phase; a round that shares another's training took none of its own."""
    dense = {id(item.progress) for item in rounds if item.name == "dense"}
    return list({id(item.progress): item.progress for item in rounds if id(item.progress) not in dense}.values())


def _living(item: Round) -> int:
    """Learnt numbers that are not held at zero."""
    return weights_of(item.model) - sum(int((~mask).sum()) for mask in item.masks.values())


# -- engines -----------------------------------------------------------------------------------------------------------


def engine_of(task: Task, experiment: Engine) -> Outcome:
    """Generate the engine of a network that is there, and measure it.

    Args:
        task: with the network's weights.
        experiment: says on which board's processor instructions are counted.

    Returns:
        the network's own result, with the engine's figures; no weights.

    Raises:
        ExportError: there is no engine of it.
        ToolError: no compiler.
    """
    dense = root_of(experiment)
    assert isinstance(dense, Dense)
    model = rebuilt(dense, part(unpack(task.weights), "model/"))
    source = export(model, "engine")
    rest = torch.tensor([[knob.default for knob in model.controls]]).numpy()
    figures = {TIMED: time_on_host({"engine": (source, rest)}, rounds=TIMED_ROUNDS)["engine"][0]}
    counted = _instructions(source, boards[experiment.board], model, rest.repeat(COUNTED_FRAMES, axis=0))
    if counted is not None:
        figures[COUNTED] = counted
    known = task.results[experiment.parent]
    return Outcome(
        replace(known, steps=0, training_seconds=0.0, machine=machine(), version=pochette.__version__, figures=figures),
        b"",
    )


def _instructions(source: EngineSource, board: Board, model: Model, curve: FloatArray) -> float | None:
    if board.target is None or board.machine is None:
        return None
    try:
        elf = compile_elf(source, board.target)
        return heard_work(elf, board.machine, source, curve).instructions_per_second
    except ToolError:
        return None
