"""The verb `fit`: the largest part of a trained model that a board bears, trained on and proven there."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pochette.cli.console import Answer, Screen, folder_of, number, table, words
from pochette.cli.training import reduced
from pochette.cli.verb import RunPath, Verb, budgeted, check_run, command, heard, within
from pochette.engine.precision import Precision

if TYPE_CHECKING:
    from pochette.boards.board import Board
    from pochette.corpus.folder import FolderCorpus
    from pochette.instrument import Instrument
    from pochette.lab.fit import Trial
    from pochette.lab.runs import Run
    from pochette.models.model import Model

MARGIN = 0.97
"""Aim a little below the border: which units go, and the sound that is learnt, move the counts a little."""


@dataclass(frozen=True, kw_only=True)
class Fit(Verb):
    """Make a trained run small enough for a board and no smaller: count, trim, train on, prove it in the emulator.

    Where the whole network does not fit in floats, it is tried in fewer bits too, and held-out sounds decide.

    Exit 1 if it does not fit after all. Stopped at any time, the same command goes on where it was.
    """

    source: RunPath
    """Folder of a trained run."""
    board: str
    """The machine (pochette list boards)."""
    minutes: float = 10.0
    """Wall time for training what is left."""
    steps: int | None = None
    """Bound it by optimiser steps instead of time."""
    rounds: int = 3
    """In how many rounds units are removed."""
    precision: Precision | Literal["best"] = "best"
    """In how many bits the engine's large matrices are stored: one of them, or what loses least of those that fit."""

    resumes = True

    def run(self, screen: Screen) -> Answer:
        """Fit."""
        from pochette.errors import FitError
        from pochette.families import boards
        from pochette.lab.evaluate import distance_to_held_out
        from pochette.lab.fit import PRECISIONS, fitted, measured, plan, prove
        from pochette.lab.runs import read_run
        from pochette.measure.energy import estimated

        budgeted(self.minutes, self.steps)
        within("--rounds", self.rounds, 1, 100)
        board: Board = boards[self.board]
        check_run(self.source)
        dense, loss = _dense(self.source)
        run = read_run(self.source)
        allowed = PRECISIONS if self.precision == "best" else (self.precision,)
        with screen.progress() as tell:
            planned = plan(dense, board, run.ranges, tell, precisions=allowed)
            held_out = _held_out(run, dense) if planned.contenders else None
            if held_out is not None:
                planned = measured(planned, dense, held_out, tell)
        chosen = planned.chosen
        if chosen is None:
            raise FitError(
                f"Nothing of this model fits. {planned.broken()}",
                where=board.title,
                remedy="Train a smaller --size or at a lower --sample-rate-hz, or choose a larger board: "
                "pochette list boards.",
            )
        small, small_loss, folder = dense, loss, self.source
        if chosen.keep < 1.0:
            small, small_loss, folder = self._trimmed(chosen.keep * MARGIN, screen)
        instrument, path = self._instrument(small, folder, board, chosen.precision, screen)
        final = fitted(instrument, small, dense, board, held_out)
        energy = estimated(board, final.cost.instructions_per_second)
        distance = None if held_out is None else distance_to_held_out(dense, held_out)
        check = prove(instrument, board)
        proven = final.fits and check.passed
        data = {
            "board": board.name,
            "fits": final.fits,
            "proven": proven,
            "instrument": str(path),
            "run": str(folder),
            "precision": final.precision,
            "energy": energy,
            "held_out_loss": {"dense": loss, "fitted": small_loss},
            "held_out_distance": {"dense": distance, "fitted": final.distance},
            "final": final.to_json(),
            "trials": [trial.to_json() for trial in planned.trials],
            "check": asdict(check),
        }
        said = (
            f"{board.title}: {'it fits' if final.fits else 'it does NOT fit'}; "
            f"{'the golden sound is played right' if check.passed else 'the golden sound is NOT played right'} on "
            f"{check.engine}. Held-out loss {loss:.4g} whole, {small_loss:.4g} fitted; distance to held-out sounds "
            f"{number(distance)} of the whole network in floats, {number(final.distance)} of the engine in "
            f"{final.precision}."
            + ("" if energy is None else f" A second of audio takes {energy} ({energy.obtained}).")
        )
        parts = (_table([*planned.trials], final), words(said), words(f"{folder_of(path)}: the instrument"))
        return Answer(data, parts, (command("verify", path), *heard(path)), exit_code=0 if proven else 1)

    def _trimmed(self, keep: float, screen: Screen) -> tuple[Model, float, Path]:
        """The model trimmed and trained on, its held-out loss, and where it is kept."""
        from pochette.reduce.methods.lottery import Lottery

        method = Lottery(keep=float(f"{keep:.3g}"), rounds=self.rounds)
        rounds, folder, _ = reduced(self.source, "lottery", method, self.minutes, self.steps, screen)
        return rounds[-1].model, rounds[-1].progress.history[-1][2], folder

    def _instrument(
        self, model: Model, folder: Path, board: Board, precision: Precision, screen: Screen
    ) -> tuple[Instrument, Path]:
        """The model's instrument, saved beside its run."""
        from pochette.instrument import remember_built_here
        from pochette.lab.build import build_instrument
        from pochette.lab.runs import read_run

        screen.say(f"building the engine and proving it on {board.title}...")
        run = read_run(self.source)
        name = Path(run.corpus).name
        instrument = build_instrument(model, name, run.ranges, title=name, board=board.name, precision=precision)
        path = folder / f"{instrument.name}-{board.name}.pochette"
        instrument.save(path)
        remember_built_here(path)
        return instrument, path


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

    path = source / "dense.safetensors"
    if not path.is_file():
        raise RunError(
            "There is no trained model in this run.", where=str(source), remedy="Train it: pochette train MODEL SOUNDS."
        )
    history = progress_of(path)["history"]
    return load_model(path)[0], float(history[-1][2]) if history else float("nan")


def _table(trials: list[Trial], final: Trial) -> Any:
    """Every trial and what came of it, each budget in its column."""
    budgets = list(dict.fromkeys(name for trial in (*trials, final) for name in trial.shares))
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
        for name, trial in (*(("counted", trial) for trial in trials), ("trained", final))
    ]
    used = (f"{budget} used" for budget in budgets)
    return table(("", "precision", "network", "parameters", *used, "fits", "held-out distance"), rows)
