"""Running experiments: in order, once, whoever computes and whoever dies; the same numbers everywhere."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

import pytest

from pochette.errors import ReductionError, ToolError
from pochette.lab.execute import describe, plan
from pochette.lab.experiment import Control, Timing, name_of, path
from pochette.lab.networks import Outcome, Task
from pochette.lab.store import Store
from pochette.lab.workers import LocalProcesses, ThisProcess, workers_of
from tests.lab import tasks
from tests.lab.tasks import PATIENCE_SECONDS, chained, dense, run_toys, sweep

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
