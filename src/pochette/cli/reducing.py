"""Reducing as a verb of its own: one method or several, one after the other, on what a run trained."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tyro.conf import OmitArgPrefixes

from pochette.cli.console import Answer, Screen, counting, folder_of, table, words
from pochette.cli.training import announce, session_in
from pochette.cli.verb import RunPath, Trains, Verb, budgeted, check_run, command
from pochette.errors import PochetteError, RunError

if TYPE_CHECKING:
    import torch

    from pochette.lab.runs import Run
    from pochette.models.model import Model
    from pochette.reduce.technique import Round
    from pochette.train.session import Session

EARLY_FILE = "dense-early.safetensors"
"""What a run keeps of its weights early in training."""
_LIGHTER = ("parameters", "MACs per second", "network, of dense")
"""Headings of what changes where something is removed."""
_STORED = ("weights alive", "bytes, stored")
"""Headings of what changes where weights become zero, or take few values."""
_SAVES_BYTES = "This saves bytes where weights are stored so; no processor here is faster for it."
_SAVES_BOTH = (
    "Fewer parameters and MACs make it faster. Zeros, and weights of few values, save bytes where they are stored so; "
    "no processor here is faster for these."
)
ROUNDING = 0.02
"""Share of what was asked to be kept by which what is kept may differ unsaid."""
FAR = 1.5
"""How many times less may be kept than was asked before more than whole units must be why."""
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Reduce(Trains, Verb, Generic[R]):
    """Make a trained model smaller: units, or single weights, go and the rest is trained again, round by round.

    Stopped at any time, the same command goes on where it was. `pochette reduce --method METHOD --help` explains the
    method's own options too.
    """

    source: RunPath
    """Folder of a trained run."""
    method: str = "lottery"
    """How (pochette list methods)."""
    then: tuple[str, ...] = ()
    """Further methods, each with its own defaults, on what the one before it left."""
    minutes: float = 10.0
    """Wall time for all rounds of all methods together."""
    steps: int | None = None
    """Bound each method by optimiser steps instead of time."""
    reduction: OmitArgPrefixes[R]
    """The method's own options."""

    resumes = True

    def run(self, screen: Screen) -> Answer:
        """Reduce."""
        from pochette.families import methods
        from pochette.lab.runs import reductions_of
        from pochette.reduce.following import check_order
        from pochette.train.device import device_of
        from pochette.train.session import load_model

        device = device_of(self.device)
        chain: list[tuple[str, Any]] = [(self.method, self.reduction)]
        chain += [(name, methods[name]()) for name in self.then]
        check_run(self.source)
        check_order(reductions_of(self.source), chain, str(self.source))
        folder, minutes, rounds, resumed = self.source, self.minutes / len(chain), list[tuple[str, Any]](), list[str]()
        began, said = None, list[str]()
        for name, method in chain:
            own, folder, session = reduced(folder, name, method, minutes, self.steps, screen, device=device)
            # Of a later method the first round is what the one before left.
            mark = f"{name} " if len(chain) > 1 else ""
            said += _otherwise(name, method, own)
            rounds += [(f"{mark}{item.name}", item) for item in own if not rounds or item.name != "dense"]
            resumed += session.resumed
            began = began or folder
        assert began is not None
        rows = _rows(rounds, load_model(began / "dense.safetensors")[0])
        data = {
            "run": str(folder),
            "resumed": resumed,
            "split": session.held_out.split_note,
            "rounds": rows,
            "not as asked": said,
            "trimmed": [item.report for _, item in rounds if item.report],
        }
        following = (command("export", folder, "--shell", "web"), command("profile", folder, "--board", "daisy-seed"))
        lighter = any(row["parameters"] != rows[0]["parameters"] for row in rows)
        stored = any(item.masks or item.stored_bytes for _, item in rounds)
        # Masks and shared values leave parameters and operations as they are; of both there is no room for the rest.
        aside = ("steps", "stopped") if stored and lighter else _LIGHTER if stored else _STORED
        headings = [heading for heading in rows[0] if heading not in (*aside, "devices")]
        lines: list[Any] = [table(headings, [[row[heading] for heading in headings] for row in rows])]
        lines.append(words(f"kept in {folder_of(folder)}"))
        lines += [words(text) for text in said]
        if stored:
            lines.append(words(_SAVES_BOTH if lighter else _SAVES_BYTES))
        return Answer(data, tuple(lines), following)


def _rows(rounds: list[tuple[str, Any]], dense: Model) -> list[dict[str, Any]]:
    """What is told of each round, by heading, beside the network that all began with."""
    from pochette.measure import profile_model
    from pochette.reduce.sparse.weights import density, not_zero, weights_of

    counted = [profile_model(item.model) for _, item in rounds]
    whole = max(profile_model(dense).part("model.network").cost.macs, 1)
    return [
        {
            "round": name,
            "parameters": cost.parameters,
            "MACs per second": cost.macs_per_second,
            "network, of dense": f"{cost.part('model.network').cost.macs / whole:.1%}",
            "weights alive": f"{density(not_zero(weights_of(item.model))):.2%}",
            "bytes, stored": item.weight_bytes,
            "held-out loss": item.progress.history[-1][2],
            "steps": item.progress.steps,
            "devices": " ".join(item.progress.devices),
            "stopped": item.progress.stopped,
        }
        for (name, item), cost in zip(rounds, counted, strict=True)
    ]


def _otherwise(name: str, method: Any, own: list[Any]) -> list[str]:
    """What a method that removes units left of the network's arithmetic, where it is not what was asked for."""
    from pochette.measure import profile_model

    if not method.axes.over.startswith("units") or len(own) < 2:
        return []
    first, last = (profile_model(item.model).part("model.network").cost.macs for item in (own[0], own[-1]))
    left = last / max(first, 1)
    if abs(left - method.keep) <= ROUNDING * method.keep:
        return []
    why = "units go whole."
    if left < method.keep / FAR and hasattr(method, "strength"):
        why = f"its penalty of {method.strength:g} empties more than that; give a smaller --strength."
    return [
        f"{name} was asked to keep {method.keep:.4%} of the network's multiply-accumulates and kept {left:.2%}: {why}"
    ]


def reduced(
    source: Path, name: str, method: Any, minutes: float, steps: int | None, screen: Screen, *, whole: bool = False,
    device: torch.device | None = None,
) -> tuple[list[Any], Path, Session]:  # fmt: skip
    """Reduce a run's model in a folder of its own inside the run, or go on where that was stopped.

    Args:
        source: folder of the run; of one that was reduced before, its last round is what is reduced further.
        name: of the method.
        method: with its options.
        minutes: wall time for all rounds.
        steps: bound them by steps instead.
        screen: where to tell.
        whole: begin with the network as it was trained, also where the run was reduced since.
        device: what training computes on; the CPU by default.

    Returns:
        the rounds, the folder and the session.

    Raises:
        UsageError: the budget is none.
        RunError: there is no such run, or nothing trained in it.
        ReductionError: the model cannot be cut so far.
    """
    from pochette.lab.runs import FILE, corpus_of, read_run, reductions_of
    from pochette.recipe import signature, to_json
    from pochette.reduce.following import check_order
    from pochette.reduce.sparse.held import Zeros
    from pochette.reduce.technique import DENSE_SHARE
    from pochette.train.loop import Training
    from pochette.train.session import MOMENTS

    budgeted(minutes, steps)
    check_run(source)
    run = read_run(source)
    further = run.reduction is not None and not whole
    if further:
        check_order(reductions_of(source), [(name, method)], str(source))
    dense, phase, holding = _given(source, run, further=further)
    named = {"method": name, **to_json(method)}
    apart = {"whole": True} if whole and run.reduction is not None else {}
    folder = source / f"{name}-{signature({**named, **apart})}"
    new = not folder.exists()
    _take_dense(source, phase, folder)
    alive = read_run(folder).weights_alive if (folder / FILE).is_file() else None
    dataclasses.replace(run, reduction=named, kept=None, weights_alive=alive).write(folder)
    with screen.progress() as tell:
        corpus = corpus_of(run, dense, counting(tell, "listen"))
        training, share = Training(**run.training), 1.0 - DENSE_SHARE
        session = session_in(folder, corpus, dense, training, minutes, steps, tell, share, device=device)
        announce(session, tuple(path.stem for path in sorted(folder.glob("round-*.safetensors"))), screen)
        session.moments = MOMENTS if method.axes.in_training else ()
        if holding:
            session.throughout = Zeros
        with _forgotten_if_refused(folder) if new else nullcontext():
            rounds = method.apply(dense, session)
    return [_counted(item) for item in rounds] if holding else rounds, folder, session


@contextmanager
def _forgotten_if_refused(folder: Path) -> Iterator[None]:
    """Take away a reduction's folder if it is refused before anything was trained in it."""
    try:
        yield
    except PochetteError:
        if {path.name for path in folder.glob("*.safetensors")} <= {"dense.safetensors", EARLY_FILE}:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _given(source: Path, run: Run, *, further: bool) -> tuple[Model, str, bool]:
    """The network that a reduction begins with, the phase it comes from, and whether its zeros are to be held."""
    import torch

    from pochette.families import models
    from pochette.lab.runs import trained_model
    from pochette.recipe import from_json
    from pochette.reduce.sparse.held import holds_zeros
    from pochette.train.checkpoint import load
    from pochette.train.loop import Training

    # The first weights that training began with, also of a network that comes later: some methods rewind to them.
    torch.manual_seed(Training(**run.training).seed)
    first: Model = from_json(models[run.model], run.recipe).build()
    if not further:
        return first, "dense", False
    reduced, phase = trained_model(source)
    return reduced, phase, holds_zeros(load(source / f"{phase}.safetensors")[0])


def _counted(item: Round) -> Round:
    """A round of a network that came with zeros, with all of them told."""
    from pochette.reduce.sparse.weights import not_zero, weights_of

    return dataclasses.replace(item, masks=not_zero(weights_of(item.model)))


def _another(source: Path, began: Path) -> bool:
    """Whether a checkpoint holds another network than the one that a reduction was begun with, or has learnt more."""
    from pochette.train.checkpoint import load

    (now, stands), (then, stood) = (load(path) for path in (source, began))
    shapes = [{name: tuple(tensor.shape) for name, tensor in held.items()} for held in (now, then)]
    steps = [int(about["progress"]["steps"]) for about in (stands, stood)]
    looks = [about["progress"]["history"] for about in (stands, stood)]
    return shapes[0] != shapes[1] or steps[0] > steps[1] or looks[0] != looks[1][: len(looks[0])]


def _take_dense(run: Path, phase: str, folder: Path) -> None:
    """Put the model that a phase left into the reduction's own folder, where the method finds that phase finished."""
    from pochette.train.checkpoint import load

    source = run / f"{phase}.safetensors"
    if not source.is_file():
        raise RunError(
            "There is no trained model in this run.", where=str(run), remedy="Train it: pochette train MODEL SOUNDS."
        )
    copies = {"dense.safetensors": source} | ({EARLY_FILE: run / EARLY_FILE} if phase == "dense" else {})
    missing = {name: file for name, file in copies.items() if file.is_file() and not (folder / name).is_file()}
    for file in (source, *missing.values()):
        load(file)  # a damaged file is named where it is, not as the copy that would be made of it
    began = folder / "dense.safetensors"
    if began.is_file() and _another(source, began):
        raise RunError(
            "This reduction was begun with another network: the run was trained on since, or went another way.",
            where=str(folder),
            remedy="Delete that folder to begin it anew.",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, file in missing.items():
            temporary = folder / f".{name}.{os.getpid()}"
            shutil.copyfile(file, temporary)
            os.replace(temporary, folder / name)
    except OSError as error:
        raise RunError(
            f"The reduction's folder cannot be written: {error.strerror or error}.",
            where=str(folder),
            remedy="Free some space, or copy the run to a place that you may write to.",
        ) from error
