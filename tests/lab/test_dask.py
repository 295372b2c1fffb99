"""Running experiments over a Dask cluster: who dies, who is asked for, and the same numbers as here."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from pochette.corpus.folder import FolderCorpus
from pochette.errors import ToolError
from pochette.lab.execute import Ran, run
from pochette.lab.experiment import Anchor, Control, Dense, Experiment, Timing, name_of, path
from pochette.lab.store import Store
from pochette.lab.workers import LocalProcesses, ThisProcess, workers_of
from pochette.models.ddsp import Ddsp
from pochette.train.loop import Training
from tests.corpora import write_notes
from tests.lab import tasks
from tests.lab.tasks import PATIENCE_SECONDS, dense, run_toys, sweep

KILL_AFTER_SECONDS = 0.15
"""A task is killed so far inside that what its process ended before is home."""


class Cluster:
    """A scheduler and workers, each a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.processes = folder, []
        self.address = self._scheduler()

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{arguments[0]}-{len(self.processes)}.log").open("wb")
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        started = subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments], stdout=log, stderr=log, env=environment, cwd=self.folder
        )
        self.processes.append(started)
        return started

    def _scheduler(self) -> str:
        import json

        facts = self.folder / "scheduler.json"
        self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(facts))
        until(facts.is_file)
        return str(json.loads(facts.read_text())["address"])

    def worker(self, *options: str) -> subprocess.Popen[bytes]:
        return self._start("worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard", *options)


def until(true: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def cluster(tmp_path: Path, counts: Path) -> Iterator[Cluster]:
    pytest.importorskip("distributed", reason="needs the package `distributed`: pip install 'pochette[cluster]'")
    folder = tmp_path / "cluster"
    folder.mkdir()
    made = Cluster(folder)
    yield made
    for process in reversed(made.processes):
        with contextlib.suppress(OSError):
            process.kill()
        process.wait()


def in_background(work: Callable[[], Ran]) -> Future[Ran]:
    future: Future[Ran] = Future()

    def target() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=target, daemon=True).start()
    return future


def kill_in_the_middle(counts: Path, after: int) -> str:
    """Kill whoever is well inside a task once so many tasks have ended; the name of that task."""
    until(lambda: len(tasks.traces(counts, "ended")) >= after)
    until(lambda: tasks.at_work(counts, KILL_AFTER_SECONDS))
    name, pid = tasks.at_work(counts, KILL_AFTER_SECONDS)[0]
    os.kill(pid, signal.SIGKILL)
    return name


@pytest.mark.slow
def test_a_worker_killed_half_way_loses_nothing(tmp_path: Path, counts: Path, cluster: Cluster) -> None:
    cluster.worker()
    cluster.worker()
    store, wanted = Store(tmp_path / "store"), sweep(4)

    def work() -> Ran:
        with workers_of(cluster.address) as workers:
            until(lambda: workers.room("") == 4)
            return run_toys(wanted, store, workers, tasks.counted)

    running = in_background(work)
    lost = kill_in_the_middle(counts, len(wanted) // 2)
    ran = running.result(PATIENCE_SECONDS)
    assert set(ran.done) == set(wanted) and not ran.failed and store.missing(wanted) == []
    assert tasks.traces(counts, "ended") == sorted(map(name_of, wanted))
    assert tasks.traces(counts, "begun") == sorted([*map(name_of, wanted), lost])
    here = Store(tmp_path / "here")
    run_toys(wanted, here, ThisProcess())
    assert all(store.result(e).exact == here.result(e).exact for e in wanted)


@pytest.mark.slow
def test_a_tagged_task_goes_to_the_tagged_worker_only(tmp_path: Path, counts: Path, cluster: Cluster) -> None:
    cluster.worker()
    cluster.worker()
    tagged = cluster.worker("--resources", "raspberry-pi=1")
    store = Store(tmp_path / "store")
    networks = sweep(3, (0.5,))
    timings = [Timing(network, "raspberry-pi") for network in networks]
    with workers_of(cluster.address) as workers:
        until(lambda: workers.room("") == 6)
        with pytest.raises(ToolError, match="teensy"):
            workers.check({"teensy"})
        ran = run_toys([*networks, *timings], store, workers, tasks.counted)
    assert not ran.failed and len(ran.done) == 12
    where = tasks.pids(counts, "ended")
    assert all(where[name_of(timing)] == {tagged.pid} for timing in timings)


@pytest.mark.slow
def test_what_has_no_tag_goes_elsewhere_while_somebody_else_is_idle(
    tmp_path: Path, counts: Path, cluster: Cluster
) -> None:
    tagged = cluster.worker("--resources", "raspberry-pi=1")
    cluster.worker()
    store = Store(tmp_path / "store")
    with workers_of(cluster.address) as workers:
        until(lambda: workers.room("") == 4)
        for seed in range(4):  # one at a time: where several wait, the tagged worker may help
            run_toys([dense(seed)], store, workers, tasks.counted)
    where = tasks.pids(counts, "ended")
    assert len(where) == 4 and all(tagged.pid not in pids for pids in where.values())


@pytest.mark.slow
def test_a_tagged_worker_that_dies_is_asked_for_and_waited_for(tmp_path: Path, counts: Path, cluster: Cluster) -> None:
    cluster.worker()
    tagged = cluster.worker("--resources", "raspberry-pi=1")
    store, said = Store(tmp_path / "store"), list[str]()
    timings = [Timing(network, "raspberry-pi") for network in sweep(1, (0.5,))]

    def work() -> Ran:
        with workers_of(cluster.address) as workers:
            until(lambda: workers.room("") == 4)
            return run_toys(timings, store, workers, tasks.counted, report=lambda _, line: said.append(line))

    running = in_background(work)
    until(lambda: tasks.traces(counts, "ended"))
    tagged.kill()
    until(lambda: any("Waiting" in line for line in said))
    cluster.worker("--resources", "raspberry-pi=1")
    ran = running.result(PATIENCE_SECONDS)
    assert not ran.failed and store.missing(timings) == []
    assert sum("Waiting" in line and "raspberry-pi=1" in line for line in said) == 1


@pytest.mark.slow
def test_a_scheduler_that_dies_ends_the_run_with_what_to_do(tmp_path: Path, counts: Path, cluster: Cluster) -> None:
    cluster.worker()
    store, wanted = Store(tmp_path / "store"), sweep(4)

    def work() -> Ran:
        with workers_of(cluster.address) as workers:
            return run_toys(wanted, store, workers, tasks.counted)

    running = in_background(work)
    until(lambda: len(list(tmp_path.rglob("result.json"))) >= 2)
    cluster.processes[0].kill()
    with pytest.raises(ToolError, match="scheduler has gone") as error:
        running.result(PATIENCE_SECONDS)
    assert "same command" in error.value.remedy and len(store.results(wanted)) >= 2


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="needs the package `distributed`: pip install 'pochette[cluster]'")
    monkeypatch.setattr("pochette.lab.workers.CONNECT_SECONDS", 0.5)
    with pytest.raises(ToolError, match="No Dask scheduler") as error:
        workers_of("tcp://127.0.0.1:9")
    assert "dask worker" in error.value.remedy


# -- the same numbers everywhere ---------------------------------------------------------------------------------------


def real_sweep(corpus: FolderCorpus, recipe: Ddsp) -> list[Experiment]:
    """A little of everything, with real training."""
    training = Training(batch=2, excerpt_seconds=0.2, evaluate_steps=2)
    whole = Dense(corpus.fingerprint, "ddsp", recipe, 6, training)
    trimmed = path(whole, (0.5, 0.8), 3)
    masked = path(whole, (0.5,), 3, removal="mask", rewind="weights")
    anchor = Anchor(corpus.fingerprint, "ddsp", recipe, 5)
    return [whole, *trimmed, *masked, Control(trimmed[1], "scratch_epochs"), anchor]


@pytest.mark.slow
def test_the_same_to_the_bit_here_in_processes_and_over_dask_with_one_killed(
    tmp_path: Path, counts: Path, cluster: Cluster
) -> None:
    recipe = Ddsp.sized("tiny", sample_rate_hz=8000, partials=10, noise_bands=5)
    hop = recipe.build().hop_samples
    corpus = FolderCorpus.prepare(write_notes(tmp_path / "notes"), 8000, hop, cache_dir=tmp_path / "cache")
    wanted = real_sweep(corpus, recipe)

    def done(workers: Any, name: str, perform: Any) -> dict[Experiment, Any]:
        store = Store(tmp_path / name)
        with workers:
            ran = run(wanted, store, lambda _: corpus, workers, perform=perform)
        assert not ran.failed and set(ran.done) == set(wanted)
        return {experiment: result.exact for experiment, result in store.results(wanted).items()}

    from pochette.lab.walk import perform

    here = done(ThisProcess(), "here", perform)
    assert done(LocalProcesses(2), "processes", perform) == here
    cluster.worker()
    cluster.worker()
    dask = workers_of(cluster.address)
    until(lambda: dask.room("") == 4)
    assert done(dask, "dask", tasks.training_that_dies_once) == here
    assert (counts / "died").exists() and tasks.traces(counts, "ended") == sorted(map(name_of, wanted))
