"""Running experiments: in order, once, whoever computes and whoever dies; the same numbers everywhere."""

from __future__ import annotations

import contextlib
import hashlib
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
from pochette.errors import ReductionError, ToolError
from pochette.lab.execute import Ran, describe, plan, run
from pochette.lab.experiment import Anchor, Control, Dense, Experiment, Timing, name_of, path
from pochette.lab.networks import Outcome, Task
from pochette.lab.store import Store
from pochette.lab.workers import LocalProcesses, ThisProcess, Workers, workers_of
from pochette.models.ddsp import Ddsp
from pochette.train.loop import Training
from tests.corpora import write_notes
from tests.lab import tasks
from tests.lab.tasks import COUNTS, chained, dense, sweep

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 120
KILL_AFTER_SECONDS = 0.15
"""A task is killed so far inside that what its process ended before is home."""


@pytest.fixture
def counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "counts"
    folder.mkdir()
    monkeypatch.setenv(COUNTS, str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return folder


def run_toys(experiments: list[Any], store: Store, workers: Workers, perform: Any = chained, **more: Any) -> Ran:
    return run(experiments, store, lambda _: "sounds", workers, perform=perform, **more)


# -- order and economy -------------------------------------------------------------------------------------------------


def test_parents_come_first_and_their_weights_arrive(tmp_path: Path) -> None:
    store, wanted = Store(tmp_path), sweep(1)
    ran = run_toys(list(reversed(wanted)), store, ThisProcess())
    assert ran.done == wanted and not ran.failed
    expected = b""
    for experiment in wanted:
        text = name_of(experiment).encode() + expected + repr("sounds").encode()
        expected = hashlib.sha256(text).hexdigest().encode()
        assert store.result(experiment).digest.encode() == expected


def test_nothing_is_computed_twice(tmp_path: Path) -> None:
    store, wanted = Store(tmp_path), sweep(2)
    assert len(run_toys(wanted[:5], store, ThisProcess()).done) == 5
    again = run_toys(wanted, store, ThisProcess())
    assert again.done == wanted[5:] and again.reused == wanted[:5]
    assert run_toys(wanted, store, ThisProcess(), perform=None).done == []


def test_ancestors_are_added(tmp_path: Path) -> None:
    store = Store(tmp_path)
    control = Control(path(dense(), (0.5, 0.8), 3)[1], "reinit")
    assert [type(e).__name__ for e in plan([control], store)] == ["Dense", "Cut", "Cut", "Control"]
    assert run_toys([control], store, ThisProcess()).done[-1] == control


def test_controls_need_no_weights_of_a_cut_whose_shape_is_known(tmp_path: Path) -> None:
    store, cuts = Store(tmp_path), [dense(), *path(dense(), (0.5, 0.8), 3)]
    run_toys(cuts, store, ThisProcess())
    for weights in tmp_path.rglob("weights.safetensors"):
        weights.unlink()
    for kind in ("scratch_epochs", "scratch_compute", "reinit"):
        assert plan([Control(cuts[2], kind)], store) == [Control(cuts[2], kind)]


def test_a_drawn_twin_needs_the_weights_where_scores_decided_the_shape(tmp_path: Path) -> None:
    store, cuts = Store(tmp_path), [dense(), *path(dense(), (0.5, 0.8), 3, scope="global")]
    run_toys(cuts, store, ThisProcess())
    for weights in tmp_path.rglob("weights.safetensors"):
        weights.unlink()
    assert plan([Control(cuts[2], "reinit")], store) == [*cuts, Control(cuts[2], "reinit")]


def test_weights_that_were_deleted_are_computed_again_only_if_needed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    short, long = [dense(), *path(dense(), (0.5, 0.8), 3)], path(dense(), (0.5, 0.8, 0.9), 3)
    run_toys(short, store, ThisProcess())
    before = store.results(short)
    for weights in tmp_path.rglob("weights.safetensors"):
        weights.unlink()
    assert plan(short, store) == []
    ran = run_toys(list(long), store, ThisProcess())
    assert ran.done == [*short, long[2]] and store.results(short) == before
    assert (
        store.result(long[2]).digest == chained(Task(long[2], weights=store.weights(long[1])), "sounds").result.digest
    )


def test_a_failure_stops_only_what_follows_from_it(tmp_path: Path) -> None:
    store, wanted = Store(tmp_path), sweep(2)

    def perform(task: Task, corpus: Any) -> Outcome:
        if task.experiment == wanted[1]:
            raise ReductionError("There is too little to remove.", remedy="Remove less.")
        if task.experiment == wanted[6]:
            raise ZeroDivisionError("a defect")
        return chained(task, corpus)

    told: list[tuple[float, str]] = []
    ran = run_toys(wanted, store, ThisProcess(), perform, report=lambda share, line: told.append((share, line)))
    assert ran.done == [wanted[0], wanted[4], wanted[5]]
    assert ran.failed[wanted[1]] == "There is too little to remove. Remove less."
    assert "ZeroDivisionError: a defect" in ran.failed[wanted[6]]
    assert "failed" in ran.failed[wanted[2]] and set(ran.failed) == {*wanted[1:4], *wanted[6:]}
    assert "ZeroDivisionError" in (store.work_folder(wanted[6]) / "failure.txt").read_text()
    assert told[-1][0] == 1.0 and [share for share, _ in told] == sorted(share for share, _ in told)
    # What failed is not done: it is tried again.
    assert len(run_toys(wanted, store, ThisProcess()).done) == 5


def test_an_interruption_keeps_what_is_done_and_frees_what_is_not(tmp_path: Path) -> None:
    store, wanted = Store(tmp_path), sweep(1)

    def perform(task: Task, corpus: Any) -> Outcome:
        if task.experiment == wanted[2]:
            raise KeyboardInterrupt
        return chained(task, corpus)

    with pytest.raises(KeyboardInterrupt):
        run_toys(wanted, store, ThisProcess(), perform)
    assert store.missing(wanted) == wanted[2:]
    claim = store.claim(wanted[2])
    assert claim is not None
    claim.release()
    assert run_toys(wanted, store, ThisProcess()).done == wanted[2:]


def test_two_runs_share_the_work_of_one_store(tmp_path: Path, counts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "SECONDS", 0.05)
    wanted, ran = sweep(4), []
    threads = [
        threading.Thread(target=lambda: ran.append(run_toys(wanted, Store(tmp_path), ThisProcess(), tasks.counted)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert tasks.traces(counts, "begun") == tasks.traces(counts, "ended") == sorted(map(name_of, wanted))
    assert all(len(each.done) + len(each.reused) == len(wanted) and each.done for each in ran)


def test_experiments_are_told_apart_in_words() -> None:
    cut = path(dense(2), (0.5,), 3, removal="mask")[0]
    said = [describe(e) for e in (dense(2), cut, Control(cut, "reinit"), Timing(cut, "raspberry-pi"))]
    assert said[1].startswith("ddsp, seed 2, 0.5 masked by magnitude, local (") and len(set(said)) == 4


# -- processes of this machine -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_process_that_dies_loses_nothing(tmp_path: Path, counts: Path) -> None:
    store, wanted = Store(tmp_path / "store"), sweep(2, (0.5, 0.8))
    with LocalProcesses(2) as workers:
        ran = run_toys(wanted, store, workers, tasks.dies_once)
    assert (counts / "died").exists() and not ran.failed and store.missing(wanted) == []
    assert tasks.traces(counts, "ended") == sorted(map(name_of, wanted))


@pytest.mark.slow
def test_a_task_that_kills_every_process_is_given_up(tmp_path: Path, counts: Path) -> None:
    store, wanted = Store(tmp_path / "store"), [dense(), *path(dense(), (0.5, 0.8), 3), dense(1)]
    with LocalProcesses(2) as workers:
        ran = run_toys(wanted, store, workers, tasks.always_dies)
    assert set(ran.done) == {wanted[0], wanted[3]} and "died" in ran.failed[wanted[1]]


# -- what may be asked of whom -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["", "1", "2"])
def test_a_tag_needs_a_worker_that_carries_it(tmp_path: Path, asked: str) -> None:
    with workers_of(asked) as workers, pytest.raises(ToolError, match="raspberry-pi") as error:
        run_toys([dense(), Timing(dense(), "raspberry-pi")], Store(tmp_path), workers)
    assert "--resources" in error.value.remedy and not list(tmp_path.rglob("result.json"))


@pytest.mark.parametrize("asked", ["0", "-1", "100000", "two"])
def test_workers_that_make_no_sense_are_refused(asked: str) -> None:
    with pytest.raises(ToolError, match="--workers"):
        workers_of(asked)


# -- Dask --------------------------------------------------------------------------------------------------------------


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
