"""Training as a verb of its own, for those who take the steps one by one."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

from tyro.conf import OmitArgPrefixes, Positional, arg

from pochette.cli.console import Answer, Screen, Tell, counting, folder_of, words
from pochette.cli.verb import Sounds, Trains, Verb, budgeted, building, check_folder, command
from pochette.errors import RunError

if TYPE_CHECKING:
    import torch

    from pochette.lab.runs import Run
    from pochette.models.model import Model
    from pochette.train.loop import Progress, Trainer
    from pochette.train.session import Session

R = TypeVar("R")
T = TypeVar("T")


@dataclass(frozen=True)
class Nothing:
    """Stands for fields that are known only once a model or method is named."""


@dataclass(frozen=True, kw_only=True)
class Train(Trains, Verb, Generic[R, T]):
    """Train a model on a folder of sounds; stops when the held-out loss has settled or the budget is spent.

    Stopped at any time, the same command goes on where it was. `pochette train MODEL --help` explains the model's own
    options too. With the folder of a reduced run as --out its last network is trained on: units that went stay away,
    and weights that its methods set to zero stay zero.
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
        from pochette.lab.runs import Run, reductions_of, reopen, sized
        from pochette.reduce.following import check_trained_on
        from pochette.reduce.technique import EARLY
        from pochette.train.device import device_of
        from pochette.train.loop import Budget

        recipe: Any = models[self.model]() if isinstance(self.recipe, Nothing) else self.recipe
        training: Any = self.training
        budgeted(self.minutes, self.steps)
        device = device_of(self.device)
        folder = self.out or Path("runs") / f"{self.model}-{self.size}-{self.sounds.resolve().name}"
        torch.manual_seed(training.seed)
        check_folder(folder)
        check_trained_on(done := reductions_of(folder), str(folder))
        with building(self.model, _changed(recipe, sized(type(recipe), self.size))):
            model: Model = recipe.build()
        with screen.progress() as tell:
            corpus = FolderCorpus.prepare(
                self.sounds, model.sample_rate_hz, model.hop_samples, progress=counting(tell, "listen")
            )
            for problem in corpus.problems:
                screen.say(f"left out: {problem.name}: {problem.what} {problem.remedy}")
            run = Run.of(self.model, recipe, self.sounds, corpus, training)
            before = _same_run(folder, run)
            session = session_in(folder, corpus, model, training, self.minutes, self.steps, tell, device=device)
            if before is not None and done:
                return _trained_on(before, done, session, screen)
            (run if before is None else dataclasses.replace(run, kept=before.kept)).write(folder)
            if reopen(session.path("dense"), Budget(session.seconds, session.steps)):
                screen.say("The budget was spent before; it is larger now, and training goes on.")
            announce(session, ("dense",), screen)
            progress = session.phase("dense", model, 1.0, snapshot_at=EARLY)
        return _trained(folder, session, progress)


def _trained_on(run: Run, done: list[tuple[str, Any]], session: Session, screen: Screen) -> Answer:
    """Train a reduced network on, in a phase of its own that holds the zeros that its methods left."""
    from pochette.lab.runs import TRAINED_ON, last_phase, progress_of, reopen
    from pochette.reduce.sparse.held import Zeros, holds_zeros
    from pochette.reduce.sparse.weights import density, not_zero, weights_of
    from pochette.train.checkpoint import load
    from pochette.train.loop import Budget
    from pochette.train.session import load_model

    folder, phase = session.folder, last_phase(session.folder)
    if phase != TRAINED_ON and (phase == "dense" or not progress_of(session.path(phase))["stopped"]):
        raise RunError(
            f"The reduction by {done[-1][0]} was stopped before its end.",
            where=str(folder),
            remedy="Give its command again, pochette reduce, which goes on where it was; then train on.",
        )
    model = load_model(session.path(phase))[0]
    gone = sum(int((~mask).sum()) for mask in not_zero(weights_of(model)).values())
    if holding := holds_zeros(load(session.path(phase))[0]):
        session.throughout = Zeros
    if reopen(session.path(TRAINED_ON), Budget(session.seconds, session.steps)):
        screen.say("The budget was spent before; it is larger now, and training goes on.")
    announce(session, (TRAINED_ON,), screen)
    progress = session.phase(TRAINED_ON, model, 1.0, again=True)
    share = density(not_zero(weights_of(model)))
    dataclasses.replace(run, weights_alive=share).write(folder)
    told = _trained(folder, session, progress)
    by = [name for name, method in done if method.leaves_zeros] or [name for name, _ in done]
    said = words(f"{gone} weights that {' and '.join(by)} set to zero stayed so; {share:.2%} of all are alive")
    data = {**told.data, "weights_alive": share, "weights_held_at_zero": gone if holding else 0}
    return Answer(data, (*told.show, said) if holding else told.show, told.next)


def _trained(folder: Path, session: Session, progress: Progress) -> Answer:
    """Where a training ended and why, in words and as data."""
    loss, held_out = progress.history[-1][1:]
    best = min(look[2] for look in progress.history)
    why = {
        "settled": "the held-out loss has settled",
        "budget spent": "the budget is spent; more time may still help",
    }[progress.stopped]
    lines = [
        f"{folder_of(folder)}: {progress.steps} steps in {progress.seconds:.0f} s; {why}.",
        f"loss {loss:.4g}, on held-out sound {held_out:.4g}, at best {best:.4g}",
    ]
    data = {
        "run": str(folder),
        "stopped": progress.stopped,
        "resumed": session.resumed,
        "steps": progress.steps,
        "seconds": progress.seconds,
        "devices": progress.devices,
        "loss": loss,
        "held_out_loss": held_out,
        "best_held_out_loss": best,
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


def _same_run(folder: Path, run: Any) -> Run | None:
    """The run that a folder holds; refuses to go on with one that was begun with other sounds or another model."""
    from pochette.lab.runs import FILE, read_run

    if not (folder / FILE).is_file():
        return None
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
    return before


def session_in(
    folder: Path, corpus: Any, model: Model, training: Any, minutes: float, steps: int | None, tell: Tell,
    share: float = 1.0, *, device: torch.device | None = None,
) -> Session:  # fmt: skip
    """A session whose phases after the first `1 - share` of it get the time or steps that were asked for."""
    from pochette.lab.judge import hold_out
    from pochette.train.device import CPU
    from pochette.train.session import Session

    train, held_out = hold_out(corpus, model, training.seed)

    def report(phase: str, trainer: Trainer) -> None:
        used = trainer.budget.used(trainer.progress.seconds, trainer.progress.steps)
        step, loss, on_held_out = trainer.progress.history[-1]
        tell(phase, used, f"step {step}, loss {loss:.3f}, held out {on_held_out:.3f}")

    seconds = math.inf if steps is not None else minutes * 60.0 / share
    bound = None if steps is None else round(steps / share)
    return Session(folder, train, held_out, training, seconds=seconds, steps=bound, report=report, device=device or CPU)


def announce(session: Session, phases: tuple[str, ...], screen: Screen) -> None:
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
