"""The verb `fit`: the largest part of a trained model that a board bears, trained on and proven there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pochette.cli.console import Answer, Screen, folder_of, number, table, words
from pochette.cli.reducing import reduced
from pochette.cli.verb import RunPath, Trains, Verb, budgeted, check_run, command, heard, within
from pochette.engine.precision import Precision

if TYPE_CHECKING:
    from pochette.boards.board import Board
    from pochette.corpus.folder import FolderCorpus
    from pochette.engine.verify import Check
    from pochette.instrument import Instrument
    from pochette.lab.runs import Run
    from pochette.lab.trials import Plan, Trial
    from pochette.models.model import Model

DENSE = "dense.safetensors"
MARGIN = 0.97
"""Aim a little below the border: which units go, and the sound that is learnt, move the counts a little."""


@dataclass(frozen=True)
class Made:
    """A contender, trained on and built: what would be delivered."""

    instrument: Instrument
    folder: Path
    loss: float
    """Of its network, in floats, on held-out sound."""
    trial: Trial
    """Its engine, counted and heard."""


@dataclass(frozen=True, kw_only=True)
class Fit(Trains, Verb):
    """Make a trained run small enough for a board and no smaller: count, trim, train on, prove it in the emulator.

    Where the whole network does not fit in floats, it is tried in fewer bits too: the largest that fits in each is
    trained on, for an equal part of the time, and the engine nearest to held-out sounds is the one delivered.

    Exit 1 if it does not fit after all. Stopped at any time, the same command goes on where it was.
    """

    source: RunPath
    """Folder of a trained run."""
    board: str
    """The machine (pochette list boards)."""
    minutes: float = 10.0
    """Wall time for training what is left, of all contenders together."""
    steps: int | None = None
    """Bound it by optimiser steps instead of time."""
    rounds: int = 3
    """In how many rounds units are removed."""
    precision: Precision | Literal["best"] = "best"
    """In how many bits the engine's large matrices are stored: one of them, or what loses least of those that fit."""

    resumes = True

    def run(self, screen: Screen) -> Answer:
        """Fit."""
        from pochette.families import boards
        from pochette.lab.evaluate import distance_to_held_out
        from pochette.lab.fit import prove
        from pochette.lab.runs import read_run
        from pochette.lab.trials import best_of
        from pochette.train.device import device_of

        budgeted(self.minutes, self.steps)
        within("--rounds", self.rounds, 1, 100)
        device_of(self.device)
        board: Board = boards[self.board]
        check_run(self.source)
        dense, loss = _dense(self.source)
        run = read_run(self.source)
        planned = self._planned(dense, run, board, screen)
        held_out = _held_out(run, dense)
        # Where nothing can be heard there is nothing to decide by but size.
        contenders = planned.contenders if held_out is not None else planned.contenders[-1:]
        trained = [trial for trial in contenders if trial.keep < 1.0]
        made = [
            self._made(trial, 1 / max(len(trained), 1), (dense, loss), run, board, held_out, screen)
            for trial in contenders
        ]
        best = made[best_of([each.trial for each in made])]
        path = self._saved(best, board)
        distance = None if held_out is None else distance_to_held_out(dense, held_out)
        screen.say(f"proving it on {board.title}...")
        check = prove(best.instrument, board)
        return self._told(planned, made, best, path, board, (loss, distance), check)

    def _planned(self, dense: Model, run: Run, board: Board, screen: Screen) -> Plan:
        """What fits; refused where nothing does."""
        from pochette.errors import FitError
        from pochette.lab.fit import notes_for, plan
        from pochette.lab.trials import PRECISIONS

        allowed = PRECISIONS if self.precision == "best" else (self.precision,)
        notes = notes_for(self.source / DENSE, board, run.ranges)
        if notes.known:
            screen.say(f"{len(notes.known)} engines were counted for {board.title} before; they are not counted again.")
        with screen.progress() as tell:
            planned = plan(dense, board, run.ranges, tell, precisions=allowed, notes=notes)
        if not planned.contenders:
            raise FitError(
                f"Nothing of this model fits. {planned.broken()}",
                where=board.title,
                remedy="Train a smaller --size or at a lower --sample-rate-hz, or choose a larger board: "
                "pochette list boards.",
            )
        return planned

    def _made(
        self, trial: Trial, share: float, whole: tuple[Model, float], run: Run, board: Board,
        held_out: FolderCorpus | None, screen: Screen,
    ) -> Made:  # fmt: skip
        """One contender: trained on for a share of the budget where it is trimmed, built, counted and heard."""
        from pochette.lab.build import build_instrument
        from pochette.lab.fit import fitted

        (dense, loss), folder = whole, self.source
        screen.say(f"{trial.keep:.1%} of the network in {trial.precision}: it is trained on, built, counted and heard")
        small, small_loss = dense, loss
        if trial.keep < 1.0:
            aim = trial.keep * MARGIN
            screen.say(f"It is cut to {aim:.1%} at most, whole units, since what is learnt moves the counts a little.")
            small, small_loss, folder = self._trimmed(aim, share, screen)
        name = Path(run.corpus).name
        instrument = build_instrument(small, name, run.ranges, title=name, board=board.name, precision=trial.precision)
        return Made(instrument, folder, small_loss, fitted(instrument, small, dense, board, held_out))

    def _trimmed(self, keep: float, share: float, screen: Screen) -> tuple[Model, float, Path]:
        """The model trimmed and trained on, its held-out loss, and where it is kept."""
        from pochette.reduce.methods.lottery import Lottery
        from pochette.train.device import device_of

        method = Lottery(keep=float(f"{keep:.3g}"), rounds=self.rounds)
        steps = None if self.steps is None else max(1, round(self.steps * share))
        minutes = self.minutes * share
        rounds, folder, _ = reduced(
            self.source, "lottery", method, minutes, steps, screen, whole=True, device=device_of(self.device)
        )
        return rounds[-1].model, rounds[-1].progress.history[-1][2], folder

    def _saved(self, best: Made, board: Board) -> Path:
        """The instrument, saved beside its run."""
        from pochette.instrument import remember_built_here

        path = best.folder / f"{best.instrument.name}-{board.name}.pochette"
        best.instrument.save(path)
        remember_built_here(path)
        return path

    def _told(
        self, planned: Plan, made: list[Made], best: Made, path: Path, board: Board,
        whole: tuple[float, float | None], check: Check,
    ) -> Answer:  # fmt: skip
        """What came of it, in words and as data."""
        from pochette.measure.energy import estimated

        final, (loss, distance) = best.trial, whole
        energy = estimated(board, final.cost.instructions_per_second)
        proven = final.fits and check.passed
        data = {
            "board": board.name,
            "fits": final.fits,
            "proven": proven,
            "instrument": str(path),
            "run": str(best.folder),
            "precision": final.precision,
            "energy": energy,
            "held_out_loss": {"dense": loss, "fitted": best.loss},
            "held_out_distance": {"dense": distance, "fitted": final.distance},
            "final": final.to_json(),
            "trained": [{**each.trial.to_json(), "held_out_loss": each.loss} for each in made],
            "trials": [trial.to_json() for trial in planned.trials],
            "check": asdict(check),
        }
        said = (
            f"{board.title}: {'it fits' if final.fits else 'it does NOT fit'}; "
            f"{'the golden sound is played right' if check.passed else 'the golden sound is NOT played right'} on "
            f"{check.engine}. Held-out loss of the network in floats {loss:.4g} whole, {best.loss:.4g} fitted; "
            f"distance to held-out sounds {number(distance)} of the whole network in floats, {number(final.distance)} "
            f"of the engine delivered, in {final.precision}."
            + ("" if energy is None else f" A second of audio takes {energy} ({energy.obtained}).")
        )
        parts = (_table(planned.trials, made, best), words(said), words(f"{folder_of(path)}: the instrument"))
        return Answer(data, parts, (command("verify", path), *heard(path)), exit_code=0 if proven else 1)


def _held_out(run: Run, model: Model) -> FolderCorpus | None:
    """The sounds a run kept from training; None where they are not what they were."""
    from pochette.errors import RunError, SoundError
    from pochette.lab.heard import held_out_part

    try:
        return held_out_part(run, model)
    except (SoundError, RunError):
        return None


def _dense(source: Path) -> tuple[Model, float]:
    """The trained model of a run and its loss on held-out sound."""
    from pochette.errors import RunError
    from pochette.lab.runs import progress_of
    from pochette.train.session import load_model

    path = source / DENSE
    if not path.is_file():
        raise RunError(
            "There is no trained model in this run.", where=str(source), remedy="Train it: pochette train MODEL SOUNDS."
        )
    history = progress_of(path)["history"]
    return load_model(path)[0], float(history[-1][2]) if history else float("nan")


def _table(counted: Sequence[Trial], made: Sequence[Made], best: Made) -> Any:
    """Every trial and what came of it, each budget in its column."""
    named = [("counted", trial) for trial in counted]
    named += [("delivered" if each is best else "trained", each.trial) for each in made]
    budgets = list(dict.fromkeys(name for _, trial in named for name in trial.shares))
    rows = [
        (
            name,
            trial.precision,
            f"{trial.keep:.1%}",
            number(trial.parameters),
            *(f"{trial.shares[budget]:.1%}" if budget in trial.shares else "" for budget in budgets),
            "yes" if trial.fits else "no",
            number(trial.distance),
        )
        for name, trial in named
    ]
    headings = ("", "precision", "network", "parameters", *budgets, "fits", "held-out distance")
    return table(headings, rows, title="Each try, and what it takes of every budget of the board")
