"""Work for the tests of those who compute: quick, counted, and such that a wrong parent shows."""

from __future__ import annotations

import hashlib
import os
import signal
import time
import uuid
from pathlib import Path
from typing import Any

from pochette.lab import walk
from pochette.lab.execute import Ran, run
from pochette.lab.experiment import Cut, Dense, name_of, path
from pochette.lab.networks import Outcome, Task
from pochette.lab.store import Result, Store
from pochette.lab.workers import Workers
from pochette.models.ddsp import Ddsp

COUNTS = "POCHETTE_TEST_COUNTS"
"""Environment variable with the folder in which every task leaves a trace."""
SECONDS = 0.4
PATIENCE_SECONDS = 120


def dense(seed: int = 0, **changes: Any) -> Dense:
    """An experiment on sounds that nobody looks at."""
    from pochette.train.loop import Training

    return Dense("0123456789ab", "ddsp", Ddsp.sized("tiny"), 10, Training(seed=seed, **changes))


def sweep(seeds: int = 3, stops: tuple[float, ...] = (0.5, 0.8, 0.9)) -> list[Dense | Cut]:
    """Paths of several seeds."""
    made: list[Dense | Cut] = []
    for seed in range(seeds):
        made += [dense(seed), *path(dense(seed), stops, 3)]
    return made


def result(error: float = 1.0, weights: int = 100, **changes: Any) -> Result:
    """A result with made-up figures."""
    figures = {
        "macs_per_second": 1e6, "weight_bytes": 4 * weights, "steps": 1, "digest": "", "training_seconds": 0.1,
        "inference_seconds": 0.01, "machine": "a machine", "version": "0",
    }  # fmt: skip
    return Result(error=error, weights=weights, **{**figures, **changes})


def chained(task: Task, corpus: Any) -> Outcome:
    """An outcome that depends on the task, its parent's weights and the sounds, and on nothing else."""
    text = name_of(task.experiment).encode() + task.weights + repr(corpus).encode()
    digest = hashlib.sha256(text).hexdigest()
    return Outcome(result(digest=digest, weights=int(digest[:6], 16)), digest.encode())


def whoami(task: Any, seconds: float) -> int:
    """The process that this is, after some seconds."""
    time.sleep(seconds)
    return os.getpid()


def _trace(task: Task, what: str) -> None:
    name = f"{name_of(task.experiment)}-{os.getpid()}-{uuid.uuid4().hex[:6]}.{what}"
    (Path(os.environ[COUNTS]) / name).touch()


def counted(task: Task, corpus: Any) -> Outcome:
    """Quick work that leaves a trace when it begins and when it ends."""
    _trace(task, "begun")
    time.sleep(SECONDS)
    outcome = chained(task, corpus)
    _trace(task, "ended")
    return outcome


def training_that_dies_once(task: Task, corpus: Any) -> Outcome:
    """The real work, leaving the same traces; the first process that is given a cut is killed inside it."""
    _trace(task, "begun")
    if isinstance(task.experiment, Cut) and _first("died"):
        time.sleep(SECONDS)  # what it ended before is home by now
        os.kill(os.getpid(), signal.SIGKILL)
    outcome = walk.perform(task, corpus)
    _trace(task, "ended")
    return outcome


def _first(what: str) -> bool:
    """Whether no process was here before."""
    try:
        (Path(os.environ[COUNTS]) / what).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def dies_once(task: Task, corpus: Any) -> Outcome:
    """The first process that is given a cut dies of it, as one that the system kills for its memory."""
    if isinstance(task.experiment, Cut) and _first("died"):
        os.kill(os.getpid(), signal.SIGKILL)
    return counted(task, corpus)


def always_dies(task: Task, corpus: Any) -> Outcome:
    """No process survives a cut."""
    if isinstance(task.experiment, Cut):
        os.kill(os.getpid(), signal.SIGKILL)
    return chained(task, corpus)


def traces(folder: Path, what: str) -> list[str]:
    """Signatures of the tasks that left a trace, each as often as it did."""
    return sorted(path.name.split("-")[0] for path in folder.glob(f"*.{what}"))


def pids(folder: Path, what: str) -> dict[str, set[int]]:
    """Signature to the processes that left a trace of it."""
    found: dict[str, set[int]] = {}
    for path_ in folder.glob(f"*.{what}"):
        name, pid, _ = path_.name.split("-")
        found.setdefault(name, set()).add(int(pid))
    return found


def at_work(folder: Path, seconds: float) -> list[tuple[str, int]]:
    """Tasks that began so long ago and have not ended, each with its process."""
    ended = set(traces(folder, "ended"))
    begun = (path_ for path_ in folder.glob("*.begun") if time.time() - path_.stat().st_mtime >= seconds)
    inside = [path_.name.split("-") for path_ in begun]
    return [(name, int(pid)) for name, pid, _ in inside if name not in ended]


def run_toys(experiments: list[Any], store: Store, workers: Workers, perform: Any = chained, **more: Any) -> Ran:
    return run(experiments, store, lambda _: "sounds", workers, perform=perform, **more)
