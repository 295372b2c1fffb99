"""Verbs of those who take the steps one by one: train and reduce, with the options of their models and methods."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

from tyro import MISSING
from tyro.conf import OmitArgPrefixes, Positional, arg

from pochette.cli.console import Answer, Screen, Tell, counting, folder_of, table, words
from pochette.cli.verb import RunPath, Sounds, Verb, budgeted, building, check_folder, check_run, command
from pochette.errors import ReductionError, RunError

if TYPE_CHECKING:
    from pochette.models.model import Model
    from pochette.reduce.technique import Round, Technique
    from pochette.train.loop import Progress, Trainer
    from pochette.train.session import Session

EARLY_FILE = "dense-early.safetensors"
"""What a run keeps of its weights early in training."""
R = TypeVar("R")
T = TypeVar("T")


@dataclass(frozen=True)
class Nothing:
    """Stands for fields that are known only once a model or method is named."""


@dataclass(frozen=True, kw_only=True)
class Train(Verb, Generic[R, T]):
    """Train a model on a folder of sounds; stops when the held-out loss has settled or the budget is spent.

    Stopped at any time, the same command goes on where it was. `pochette train MODEL --help` explains the model's own
    options too.
    """

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """Which model (pochette list models)."""
    sounds: Sounds
    """Folder of recordings."""
    size: str = "small"
    """Declared size of the model; its own options change parts of it."""
    minutes: float = 10.0
    """Wall time for training."""
    steps: int | None = None
    """Bound training by optimiser steps instead of time."""
    out: Path | None = None
    """Folder of the run; runs/MODEL-SIZE-SOUNDS by default."""
    recipe: OmitArgPrefixes[R]
    """The model's own options."""
    training: OmitArgPrefixes[T]
    """How it is trained."""

    resumes = True

    def run(self, screen: Screen) -> Answer:
        """Train."""
        import torch

        from pochette.corpus.folder import FolderCorpus
        from pochette.families import models
        from pochette.lab.build import Ranges
        from pochette.lab.runs import Run, reopen, sized
        from pochette.recipe import to_json
        from pochette.reduce.technique import EARLY
        from pochette.train.loop import Budget

        recipe: Any = models[self.model]() if isinstance(self.recipe, Nothing) else self.recipe
        training: Any = self.training
        budgeted(self.minutes, self.steps)
        folder = self.out or Path("runs") / f"{self.model}-{self.size}-{self.sounds.resolve().name}"
        torch.manual_seed(training.seed)
        check_folder(folder)
        with building(self.model, _changed(recipe, sized(type(recipe), self.size))):
            model: Model = recipe.build()
        with screen.progress() as tell:
            corpus = FolderCorpus.prepare(
                self.sounds, model.sample_rate_hz, model.hop_samples, progress=counting(tell, "listen")
            )
            for problem in corpus.problems:
                screen.say(f"left out: {problem.name}: {problem.what} {problem.remedy}")
            ranges = Ranges.of(corpus)
            run = Run(
                model=self.model,
                recipe=to_json(recipe),
                corpus=str(self.sounds.resolve()),
                fingerprint=corpus.fingerprint,
                seed=training.seed,
                training=dataclasses.asdict(training),
                pitch_range_hz=ranges.pitch_hz,
                loudness_range_db=ranges.loudness_db,
                sounds=len(corpus),
                seconds=round(corpus.seconds, 1),
            )
            _same_run(folder, run)
            session = _session(folder, corpus, model, training, self.minutes, self.steps, tell)
            run.write(folder)
            if reopen(session.path("dense"), Budget(session.seconds, session.steps)):
                screen.say("The budget was spent before; it is larger now, and training goes on.")
            _announce(session, ("dense",), screen)
            progress = session.phase("dense", model, 1.0, snapshot_at=EARLY)
        return _trained(folder, session, progress)


def _trained(folder: Path, session: Session, progress: Progress) -> Answer:
    """Where a training ended and why, in words and as data."""
    loss, held_out = progress.history[-1][1:]
    why = {
        "settled": "the held-out loss has settled",
        "budget spent": "the budget is spent; more time may still help",
    }[progress.stopped]
    lines = [
        f"{folder_of(folder)}: {progress.steps} steps in {progress.seconds:.0f} s; {why}.",
        f"loss {loss:.4g}, on held-out sound {held_out:.4g}, at best {progress.best:.4g}",
    ]
    data = {
        "run": str(folder),
        "stopped": progress.stopped,
        "resumed": session.resumed,
        "steps": progress.steps,
        "seconds": progress.seconds,
        "loss": loss,
        "held_out_loss": held_out,
        "best_held_out_loss": progress.best,
        "split": session.held_out.split_note,
    }
    following = (command("reduce", folder, "--method", "lottery", "--keep", "0.1"), command("profile", folder))
    return Answer(data, tuple(words(line) for line in lines), following)


def _changed(recipe: Any, declared: Any) -> dict[str, Any]:
    """Fields of a recipe that differ from its declared size, by option."""
    names = [field.name for field in dataclasses.fields(recipe)]
    return {
        "--" + name.replace("_", "-"): getattr(recipe, name)
        for name in names
        if getattr(recipe, name) != getattr(declared, name)
    }


def _same_run(folder: Path, run: Any) -> None:
    """Refuse to go on with a run that was begun with other sounds or another model."""
    from pochette.lab.runs import FILE, read_run

    if not (folder / FILE).is_file():
        return
    before = read_run(folder)
    changed = [name for name in ("model", "fingerprint") if getattr(before, name) != getattr(run, name)]
    for part in ("recipe", "training"):
        old, new = getattr(before, part), getattr(run, part)
        changed += [name for name in {**old, **new} if old.get(name) != new.get(name)]
    if changed:
        raise RunError(
            f"This folder holds a run with another {', '.join(changed).replace('fingerprint', 'set of sounds')}.",
            where=str(folder),
            remedy="Choose another folder with --out, or give the same options to go on with this one.",
        )


def _session(
    folder: Path, corpus: Any, model: Model, training: Any, minutes: float, steps: int | None, tell: Tell,
    share: float = 1.0,
) -> Session:  # fmt: skip
    """A session whose phases after the first `1 - share` of it get the time or steps that were asked for."""
    from pochette.lab.judge import hold_out
    from pochette.train.session import Session

    train, held_out = hold_out(corpus, model, training.seed)

    def report(phase: str, trainer: Trainer) -> None:
        used = trainer.budget.used(trainer.progress.seconds, trainer.progress.steps)
        step, loss, on_held_out = trainer.progress.history[-1]
        tell(phase, used, f"step {step}, loss {loss:.3f}, held out {on_held_out:.3f}")

    seconds = math.inf if steps is not None else minutes * 60.0 / share
    bound = None if steps is None else round(steps / share)
    return Session(folder, train, held_out, training, seconds=seconds, steps=bound, report=report)


def _announce(session: Session, phases: tuple[str, ...], screen: Screen) -> None:
    """Say what is there from before, ahead of the work that builds on it."""
    from pochette.lab.runs import progress_of

    for phase in phases:
        if session.path(phase).is_file():
            progress = progress_of(session.path(phase))
            state = "it was finished" if progress["stopped"] else "training goes on from there"
            screen.say(
                f"{phase}: resuming from the checkpoint at step {progress['steps']} "
                f"({progress['seconds']:.0f} s of training); {state}."
            )


@dataclass(frozen=True, kw_only=True)
class Reduce(Verb, Generic[R]):
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

        chain = [(self.method, self.reduction), *((name, methods[name]()) for name in self.then)]
        folder, minutes, rounds, resumed = self.source, self.minutes / len(chain), list[tuple[str, Any]](), list[str]()
        for name, method in chain:
            own, folder, session = reduced(folder, name, method, minutes, self.steps, screen)
            # Of a later method the first round is what the one before left.
            mark = f"{name} " if len(chain) > 1 else ""
            rounds += [(f"{mark}{item.name}", item) for item in own if not rounds or item.name != "dense"]
            resumed += session.resumed
        rows = _rows(rounds)
        data = {
            "run": str(folder),
            "resumed": resumed,
            "split": session.held_out.split_note,
            "rounds": rows,
            "trimmed": [item.report for _, item in rounds if item.report],
        }
        following = (command("export", folder, "--shell", "web"), command("profile", folder, "--board", "daisy-seed"))
        stored = any(item.masks or item.stored_bytes for _, item in rounds)
        # What only masks or shares values leaves parameters and operations as they are: others are shown then.
        aside = ("parameters", "MACs per second", "network, of dense") if stored else ("weights alive", "bytes, stored")
        headings = [heading for heading in rows[0] if heading not in aside]
        lines: list[Any] = [table(headings, [[row[heading] for heading in headings] for row in rows])]
        lines.append(words(f"kept in {folder_of(folder)}"))
        if stored:
            lines.append(words("This saves bytes where weights are stored so; no processor here is faster for it."))
        return Answer(data, tuple(lines), following)


def _rows(rounds: list[tuple[str, Any]]) -> list[dict[str, Any]]:
    """What is told of each round, by heading."""
    from pochette.measure import profile_model

    counted = [profile_model(item.model) for _, item in rounds]
    whole = max(counted[0].part("model.network").cost.macs, 1)
    return [
        {
            "round": name,
            "parameters": cost.parameters,
            "MACs per second": cost.macs_per_second,
            "network, of dense": f"{cost.part('model.network').cost.macs / whole:.1%}",
            "weights alive": f"{_alive(item):.2%}",
            "bytes, stored": _stored_bytes(item),
            "held-out loss": item.progress.history[-1][2],
            "steps": item.progress.steps,
            "stopped": item.progress.stopped,
        }
        for (name, item), cost in zip(rounds, counted, strict=True)
    ]


def _alive(item: Round) -> float:
    """Share of its single weights that are not zero."""
    from pochette.reduce.sparse.weights import effective, weights_of

    acting = effective(weights_of(item.model)).values()
    return sum(int(tensor.count_nonzero()) for tensor in acting) / sum(tensor.numel() for tensor in acting)


def _stored_bytes(item: Round) -> int:
    """What its matrices and filters take to store, in the smallest form."""
    from pochette.reduce.sparse.storage import stored_bytes
    from pochette.reduce.sparse.weights import all_alive, weights_of

    return item.stored_bytes or stored_bytes(item.masks or all_alive(weights_of(item.model)))


def reduced(
    source: Path, name: str, method: Any, minutes: float, steps: int | None, screen: Screen
) -> tuple[list[Any], Path, Session]:
    """Reduce a run's model in a folder of its own inside the run, or go on where that was stopped.

    Args:
        source: folder of the run; of one that was reduced before, its last round is what is reduced further.
        name: of the method.
        method: with its options.
        minutes: wall time for all rounds.
        steps: bound them by steps instead.
        screen: where to tell.

    Returns:
        the rounds, the folder and the session.

    Raises:
        UsageError: the budget is none.
        RunError: there is no such run, or nothing trained in it.
        ReductionError: the model cannot be cut so far.
    """
    import torch

    from pochette.families import models
    from pochette.lab.runs import corpus_of, read_run
    from pochette.recipe import from_json, signature, to_json
    from pochette.reduce.technique import DENSE_SHARE
    from pochette.train.loop import Training

    budgeted(minutes, steps)
    check_run(source)
    run = read_run(source)
    training = Training(**run.training)
    # The first weights that training began with: some methods rewind to them.
    torch.manual_seed(training.seed)
    dense: Model = from_json(models[run.model], run.recipe).build()
    if run.reduction is not None:
        dense = _reduced_before(source, name, method)
    named = {"method": name, **to_json(method)}
    folder = source / f"{name}-{signature(named)}"
    _take_dense(source, folder)
    dataclasses.replace(run, reduction=named).write(folder)
    with screen.progress() as tell:
        corpus = corpus_of(run, dense, counting(tell, "listen"))
        session = _session(folder, corpus, dense, training, minutes, steps, tell, 1.0 - DENSE_SHARE)
        _announce(session, tuple(path.stem for path in sorted(folder.glob("round-*.safetensors"))), screen)
        rounds = method.apply(dense, session)
    return rounds, folder, session


def _reduced_before(folder: Path, name: str, method: Technique) -> Model:
    """The model that a reduction left, for another that begins with it."""
    from pochette.lab.runs import trained_model

    if method.needs_first_weights:
        raise ReductionError(
            f"{name} goes back to first or early weights, and this model was reduced since.",
            where=str(folder),
            remedy="Reduce the run itself with it, or let it rewind the learning rate alone.",
        )
    return trained_model(folder)[0]


def _take_dense(run: Path, folder: Path) -> None:
    """Put the trained model into the reduction's own folder, where the method finds that phase finished."""
    from pochette.lab.runs import last_phase, read_run

    reduced = read_run(run).reduction is not None
    source = run / f"{last_phase(run) if reduced else 'dense'}.safetensors"
    if not source.is_file():
        raise RunError(
            "There is no trained model in this run.", where=str(run), remedy="Train it: pochette train MODEL SOUNDS."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        copies = {"dense.safetensors": source} | ({} if reduced else {EARLY_FILE: run / EARLY_FILE})
        for name, file in copies.items():
            if file.is_file() and not (folder / name).is_file():
                temporary = folder / f".{name}.{os.getpid()}"
                shutil.copyfile(file, temporary)
                os.replace(temporary, folder / name)
    except OSError as error:
        raise RunError(
            f"The reduction's folder cannot be written: {error.strerror or error}.",
            where=str(folder),
            remedy="Free some space, or copy the run to a place that you may write to.",
        ) from error


def with_fields(verb: str, arguments: list[str]) -> tuple[Any, Any]:
    """The class of a verb with the options of the model or method that the command line names.

    Args:
        verb: "train" or "reduce".
        arguments: after the verb.

    Returns:
        the class to parse with, and the defaults; None for the class's own.

    Raises:
        ImportError: torch is not installed, and it is not just help that was asked for.
        UnknownNameError: there is no such method, or the model declares no such size.
    """
    helping = bool({"--help", "-h"} & set(arguments))
    try:
        from pochette.families import methods, models
        from pochette.lab.runs import sized
        from pochette.train.loop import Training

        known = (models if verb == "train" else methods).names()
    except ImportError:
        if helping:
            return (Train[Nothing, Nothing] if verb == "train" else Reduce[Nothing]), None
        raise
    if verb == "reduce":
        return Reduce[methods[_option(arguments, "--method", "lottery")]], None  # type: ignore[misc]
    name = next((argument for argument in arguments if argument in known), "")
    if not name:
        return Train[Nothing, Training], None
    recipe, training = sized(models[name], _option(arguments, "--size", "small")), Training()
    # tyro takes a default instance for the defaults of its fields, and asks for what is marked missing.
    default = Train(model=MISSING, sounds=MISSING, recipe=recipe, training=training)
    return Train[type(recipe), Training], default  # type: ignore[misc]


def _option(arguments: list[str], name: str, default: str) -> str:
    """The value of an option, found before the options can be parsed."""
    for place, argument in enumerate(arguments):
        if argument == name and place + 1 < len(arguments):
            return arguments[place + 1]
        if argument.startswith(f"{name}="):
            return argument.partition("=")[2]
    return default
