"""Results by the signature of their experiment: what is there was done, and is never done again.

    STORE/results/ab/abcdef012345/experiment.json   what was asked
                                  result.json       what came out; its presence means that all is done
    STORE/work/ab/abcdef012345/weights.safetensors  what descendants start from
                               checkpoint.safetensors, claim.lock, failure.txt

`results` is small and made to be kept under version control; `work` can be deleted at any time and hides itself from
git: weights that a new descendant needs are then computed once more. A claim is a lock of the operating system, which
ends with the process that holds it, however that ends; so nobody computes what another is computing, and the dead block
nobody.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout

from pochette.errors import RunError
from pochette.lab.experiment import Experiment, from_data, name_of, to_data

SCHEMA = 1
EXPERIMENT, RESULT = "experiment.json", "result.json"
WEIGHTS, CHECKPOINT, CLAIM, FAILURE = "weights.safetensors", "checkpoint.safetensors", "claim.lock", "failure.txt"
PHASES = "phases"
"""Folder of the checkpoints of an experiment that trains in several phases."""


@dataclass(frozen=True)
class Result:
    """What came out of one experiment."""

    error: float
    """Mean of the model's own loss over the test excerpts, which no training and no look ever touched."""
    weights: int
    """Learnt numbers that are left; those held at zero do not count."""
    macs_per_second: float
    """Multiply-accumulates per second of audio, synthesis included, counted."""
    weight_bytes: int
    """Parameters and tables as float32; zeros take room like any other number."""
    steps: int
    """Of training, in this experiment alone."""
    digest: str
    """SHA-256 of the trained weights: two computations agree to the bit if it is the same."""
    training_seconds: float
    """Wall time."""
    inference_seconds: float
    """Wall time of torch for a second of audio, one thread, smallest of several."""
    machine: str
    """What measured the two."""
    version: str
    """Of pochette."""
    figures: dict[str, float] = field(default_factory=dict)
    """What only some kinds of experiment tell, by name with its unit."""

    @property
    def exact(self) -> tuple[float, int, float, int, int, str]:
        """What another computation of the same experiment must give again."""
        return self.error, self.weights, self.macs_per_second, self.weight_bytes, self.steps, self.digest


@dataclass
class Store:
    """A folder of results.

    Args:
        folder: made when something is put into it.
    """

    folder: Path

    def results_folder(self, experiment: Experiment) -> Path:
        """Where its record is kept."""
        return self._place("results", name_of(experiment))

    def work_folder(self, experiment: Experiment) -> Path:
        """Where its weights, checkpoint and claim are kept."""
        return self._place("work", name_of(experiment))

    def _place(self, part: str, name: str) -> Path:
        return self.folder / part / name[:2] / name

    def has(self, experiment: Experiment) -> bool:
        """Whether its result is there."""
        return (self.results_folder(experiment) / RESULT).is_file()

    def has_weights(self, experiment: Experiment) -> bool:
        """Whether the weights that its descendants start from are there."""
        return (self.work_folder(experiment) / WEIGHTS).is_file()

    def missing(self, experiments: Iterable[Experiment]) -> list[Experiment]:
        """Those without a result, in the order given."""
        return [experiment for experiment in experiments if not self.has(experiment)]

    def result(self, experiment: Experiment) -> Result:
        """What came out of an experiment.

        Args:
            experiment: one that `has` a result.

        Returns:
            the result.

        Raises:
            RunError: there is none, it is damaged, or a later version wrote it.
        """
        path = self.results_folder(experiment) / RESULT
        data = _read(path)
        try:
            return Result(**data["result"])
        except (KeyError, TypeError) as error:
            raise _damaged(path, error) from error

    def results(self, experiments: Iterable[Experiment]) -> dict[Experiment, Result]:
        """The results that are there.

        Args:
            experiments: of which.

        Returns:
            experiment to result; those without one are left out.

        Raises:
            RunError: one is damaged.
        """
        return {experiment: self.result(experiment) for experiment in experiments if self.has(experiment)}

    def set_aside_damaged(self) -> list[Path]:
        """Put records that cannot be read out of the way, so that their experiments count as not done.

        Returns:
            the folders; what was in them stays there, under another name.

        Raises:
            RunError: one is of a later version, or the disk cannot be written.
            RecipeError: one is of another version.
        """
        found = []
        for path in sorted(self.folder.glob(f"results/*/*/{RESULT}")):
            if not _readable(path):
                try:
                    path.replace(path.with_name(f"{RESULT}.damaged"))
                except OSError as error:
                    raise _unwritable(path, error) from error
                found.append(path.parent)
        return found

    def experiments(self) -> list[Experiment]:
        """Every experiment that has a result here, by signature.

        Returns:
            the experiments.

        Raises:
            RunError: a record is damaged.
        """
        found = sorted(self.folder.glob(f"results/*/*/{RESULT}"))
        return [from_data(_read(path.with_name(EXPERIMENT))["experiment"]) for path in found]

    def weights(self, experiment: Experiment) -> bytes:
        """The weights that descendants start from, as safetensors.

        Args:
            experiment: one that `has_weights`.

        Returns:
            the file's contents.

        Raises:
            RunError: they cannot be read.
        """
        path = self.work_folder(experiment) / WEIGHTS
        try:
            return path.read_bytes()
        except OSError as error:
            raise RunError(
                f"The weights of an experiment cannot be read: {error.strerror or error}.",
                where=str(path),
                remedy="Delete the file; they are then computed again.",
            ) from error

    def put(self, experiment: Experiment, result: Result, weights: bytes) -> None:
        """Keep what an experiment gave; a result that is already there stays.

        Args:
            experiment: which.
            result: its record.
            weights: what descendants start from; may be empty if there can be none.

        Raises:
            RunError: the disk is full, or the folder cannot be written; what was there is untouched.
        """
        self._prepare()
        work, record = self.work_folder(experiment), self.results_folder(experiment)
        if weights:
            _write(work / WEIGHTS, weights)
        if not self.has(experiment):
            _write(record / EXPERIMENT, _text({"experiment": to_data(experiment)}))
            # Last: whoever sees the result may rely on all that goes with it.
            _write(record / RESULT, _text({"result": asdict(result)}))
        for name in (CHECKPOINT, FAILURE):
            with contextlib.suppress(OSError):
                (work / name).unlink()
        shutil.rmtree(work / PHASES, ignore_errors=True)

    def put_failure(self, experiment: Experiment, reason: str) -> Path:
        """Keep what is known of why an experiment failed; it counts as not done.

        Args:
            experiment: which.
            reason: text of any length.

        Returns:
            the file.

        Raises:
            RunError: it cannot be written.
        """
        self._prepare()
        path = self.work_folder(experiment) / FAILURE
        _write(path, reason.encode(errors="backslashreplace"))
        return path

    def claim(self, experiment: Experiment) -> BaseFileLock | None:
        """Take an experiment for this process.

        Args:
            experiment: which.

        Returns:
            what to release when it is done; None if another living process has it.

        Raises:
            RunError: the store cannot be written.
        """
        self._prepare()
        path = self.work_folder(experiment) / CLAIM
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path, thread_local=False)
            lock.acquire(timeout=0)
        except Timeout:
            return None
        except OSError as error:
            raise _unwritable(path, error) from error
        return lock

    def _prepare(self) -> None:
        ignore = self.folder / "work" / ".gitignore"
        if not ignore.is_file():
            _write(ignore, b"*\n")


def _text(data: dict[str, Any]) -> bytes:
    return (json.dumps({"schema": SCHEMA, **data}, indent=1, allow_nan=False) + "\n").encode()


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        schema = data["schema"]
    except FileNotFoundError as error:
        raise RunError("There is no such result.", where=str(path), remedy="Run the experiment.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error
    if schema != SCHEMA:
        raise RunError(
            f"The record has schema {schema}; this pochette reads {SCHEMA}.",
            where=str(path),
            remedy="Update pochette: pip install --upgrade pochette.",
        )
    return dict(data)


def _readable(path: Path) -> bool:
    """Whether a result and the experiment beside it are what was written; of later versions nothing is said."""
    beside = path.with_name(EXPERIMENT)
    try:
        Result(**_read(path)["result"])
        return beside.is_file() and bool(from_data(_read(beside)["experiment"]))
    except (DamagedError, KeyError, TypeError, AttributeError):
        return False


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> RunError:
    return RunError(
        f"The store of results cannot be written: {error.strerror or error}.",
        where=str(path),
        remedy="Free some space or choose another folder; what was finished is untouched, and is not done again.",
    )


class DamagedError(RunError):
    """A record is no longer what was written."""


def _damaged(path: Path, error: Exception) -> DamagedError:
    return DamagedError(
        f"A record is damaged: {error}.", where=str(path), remedy="Delete its folder; it is then redone."
    )
