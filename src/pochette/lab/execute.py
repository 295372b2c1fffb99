"""Running experiments: parents before children, nothing twice, one that fails stops no other.

Who computes is somebody else's business (`workers.py`): whatever takes a task and gives back a future. Results come
home to the store of this process, so workers need no disk in common.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass, field
from typing import Any

from filelock import BaseFileLock

from pochette.errors import PochetteError, ToolError
from pochette.lab.experiment import (
    Anchor,
    Control,
    Cut,
    Dense,
    Disturbed,
    Engine,
    Experiment,
    Properties,
    Reduced,
    Timing,
    ancestors_of,
    name_of,
    starts_from,
    steps_of,
    tag_of,
)
from pochette.lab.networks import Outcome, Task
from pochette.lab.store import Store
from pochette.lab.walk import perform
from pochette.lab.workers import Perform, SchedulerGoneError, Workers

Report = Callable[[float, str], None]
"""Told the share of all work that is done, and a line about the last step."""

POLL_SECONDS = 0.3
"""Between looks at what another process has claimed."""


@dataclass
class Ran:
    """What became of the experiments that were asked for."""

    done: list[Experiment] = field(default_factory=list)
    """Computed now."""
    reused: list[Experiment] = field(default_factory=list)
    """Found in the store, or put there by another process meanwhile."""
    failed: dict[Experiment, str] = field(default_factory=dict)
    """And why; those that were not tried because an ancestor failed are among them."""


def plan(experiments: Iterable[Experiment], store: Store) -> list[Experiment]:
    """What must be computed so that every experiment has a result, ancestors first.

    An ancestor whose result is there but whose weights were deleted is computed once more if a descendant needs them.

    Args:
        experiments: what is wanted.
        store: what is there.

    Returns:
        the work, each experiment once.
    """
    work: dict[Experiment, None] = {}

    def add(experiment: Experiment, weights_too: bool) -> None:
        if experiment in work or (store.has(experiment) and (not weights_too or store.has_weights(experiment))):
            return
        for ancestor in ancestors_of(experiment):
            # Of those that nothing starts from, the results are enough.
            add(ancestor, weights_too=ancestor == starts_from(experiment))
        work[experiment] = None

    for experiment in experiments:
        add(experiment, weights_too=False)
    return list(work)


def steps_missing(experiments: Iterable[Experiment], store: Store) -> int:
    """How much there is to compute, in steps of training.

    Args:
        experiments: what is wanted.
        store: what is there.

    Returns:
        steps of all that `plan` finds missing.
    """
    return sum(steps_of(experiment) for experiment in plan(experiments, store))


def run(
    experiments: Iterable[Experiment],
    store: Store,
    corpus_of: Callable[[Experiment], Any],
    workers: Workers,
    *,
    report: Report | None = None,
    perform: Perform = perform,
    device: str = "cpu",
) -> Ran:
    """Compute what is missing in a store, and keep every result as it comes.

    Args:
        experiments: what is wanted; ancestors are added.
        store: where results are kept.
        corpus_of: the sounds of an experiment, at its model's rate.
        workers: who computes.
        report: told of progress.
        perform: what is done with a task.
        device: what workers train on.

    Returns:
        what became of them.

    Raises:
        RunError: the store cannot be written; what was finished is kept.
        PochetteError: no worker can do a task that asks for a tag.
    """
    wanted = list(dict.fromkeys(experiments))
    work = plan(wanted, store)
    workers.check({tag_of(experiment) for experiment in work} - {""})
    crew = _Crew(store, corpus_of, workers, perform, work, report or (lambda *_: None), device)
    crew.ran.reused = [experiment for experiment in wanted if experiment not in crew.left]
    try:
        while crew.left:
            crew.start_what_is_ready()
            crew.collect()
    finally:
        crew.let_go()
    return crew.ran


class _Crew:
    """The state of one run."""

    def __init__(
        self,
        store: Store,
        corpus_of: Callable[[Experiment], Any],
        workers: Workers,
        perform: Perform,
        work: list[Experiment],
        report: Report,
        device: str,
    ) -> None:
        self.store, self.corpus_of, self.workers, self.perform, self.report = store, corpus_of, workers, perform, report
        self.device = device
        self.left: dict[Experiment, None] = dict.fromkeys(work)
        self.again = {experiment for experiment in work if store.has(experiment)}
        self.flying: dict[Future[Outcome], tuple[Experiment, BaseFileLock]] = {}
        self.lacking = ""
        """Who is waited for, in words."""
        self.ran = Ran()
        self.total = sum(steps_of(experiment) for experiment in work) or 1

    def start_what_is_ready(self) -> None:
        """Hand out tasks whose parents are done, as many as there is room for."""
        aloft = {experiment for experiment, _ in self.flying.values()}
        for experiment in list(self.left):
            if experiment in aloft or any(ancestor in self.left for ancestor in ancestors_of(experiment)):
                continue
            tag = tag_of(experiment)
            if sum(tag_of(other) == tag for other, _ in self.flying.values()) >= self.workers.room(tag):
                continue
            claim = self.store.claim(experiment)
            if claim is None:
                continue  # another process is at it; its result will appear
            if not self._start(experiment, claim):
                claim.release()
            elif self.workers.room(tag) == 1:
                return  # a single pair of hands: keep what it made before giving it more

    def _start(self, experiment: Experiment, claim: BaseFileLock) -> bool:
        """Hand out a task that was claimed; say whether that was necessary and possible."""
        if self._done_elsewhere(experiment):
            return False
        try:
            task, corpus = self._task(experiment), self.corpus_of(experiment)
            self.flying[self.workers.submit(self.perform, task, corpus)] = (experiment, claim)
        except PochetteError as error:
            self._fail(experiment, error)
            return False
        except BaseException:
            claim.release()
            raise
        return True

    def _done_elsewhere(self, experiment: Experiment) -> bool:
        """Whether another process has finished it since the work was planned."""
        done = self.store.has_weights(experiment) if experiment in self.again else self.store.has(experiment)
        if done:
            self.left.pop(experiment)
            self.ran.reused.append(experiment)
        return done

    def _task(self, experiment: Experiment) -> Task:
        parent = starts_from(experiment)
        return Task(
            experiment,
            {ancestor: self.store.result(ancestor) for ancestor in ancestors_of(experiment)},
            b"" if parent is None else self.store.weights(parent),
            str(self.store.work_folder(experiment)) if self.workers.share_disk else "",
            self.device,
        )

    def collect(self) -> None:
        """Keep what has come back; if nothing is on its way, wait for other processes."""
        if not self.flying:
            time.sleep(POLL_SECONDS if self.left else 0.0)
            return
        finished, _ = wait(self.flying, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
        if not finished:
            self._look_for_workers()
        for future in finished:
            experiment, claim = self.flying.pop(future)
            try:
                self._keep(experiment, future)
            finally:
                claim.release()

    def _look_for_workers(self) -> None:
        """Say so, once, if nobody is left to do what was handed out: it is done as soon as somebody comes."""
        lacking = ""
        try:
            self.workers.check({tag_of(experiment) for experiment, _ in self.flying.values()} - {""})
        except SchedulerGoneError:
            raise
        except ToolError as error:
            lacking = f"{error.what} Waiting for one. {error.remedy}"
        if lacking != self.lacking:
            self.lacking = lacking
            if lacking:
                self.report(self._share(), lacking)

    def _keep(self, experiment: Experiment, future: Future[Outcome]) -> None:
        try:
            outcome = future.result()
        except CancelledError as error:  # a cluster takes tasks back when it ends
            self.workers.check(set())
            self._fail(experiment, error)
            return
        except Exception as error:
            self._fail(experiment, error)
            return
        self.store.put(experiment, outcome.result, outcome.weights)
        self.left.pop(experiment)
        self.ran.done.append(experiment)
        self._tell(experiment, f"error {outcome.result.error:.4g}")

    def _fail(self, experiment: Experiment, error: BaseException) -> None:
        if isinstance(error, PochetteError):
            reason = f"{error.what} {error.remedy}"
        else:
            path = self.store.put_failure(experiment, "".join(traceback.format_exception(error)))
            reason = f"{type(error).__name__}: {error} (see {path})"
        self.left.pop(experiment)
        self.ran.failed[experiment] = reason
        for other in list(self.left):
            if experiment in ancestors_of(other):
                self.left.pop(other)
                self.ran.failed[other] = f"{describe(experiment)}, which it starts from, failed."
        self._tell(experiment, f"failed: {reason}")

    def _tell(self, experiment: Experiment, what: str) -> None:
        self.report(self._share(), f"{describe(experiment)}: {what}")

    def _share(self) -> float:
        """Of the work that is behind."""
        return 1.0 - sum(steps_of(other) for other in self.left) / self.total

    def let_go(self) -> None:
        """Take back what is not finished and free every claim."""
        for future, (_, claim) in self.flying.items():
            future.cancel()
            claim.release()


def describe(experiment: Experiment) -> str:
    """An experiment in a few words, for people.

    Args:
        experiment: any.

    Returns:
        "ddsp, seed 1, 80% removed by magnitude (ab12cd34ef56)".
    """

    def words(item: Experiment) -> str:
        if isinstance(item, Dense):
            return f"{item.model}, seed {item.training.seed}"
        if isinstance(item, Anchor):
            return f"{item.model}, mean sound"
        # Of a path's stops each says the whole of what is gone.
        before = ancestors_of(item)[-1] if isinstance(item, Cut) else item.parent
        return f"{words(before)}, {_own_words(item)}"

    return f"{words(experiment)} ({name_of(experiment)})"


def _own_words(item: Cut | Control | Timing | Reduced | Engine | Properties | Disturbed) -> str:
    """What an experiment adds to its parent."""
    if isinstance(item, Cut):
        verb = "removed" if item.removal == "trim" else "masked"
        share = f"{item.removed:.4g}" + (" of operations" if item.of == "operations" else "")
        return f"{share} {verb} by {item.criterion}, {item.scope}"
    if isinstance(item, Control):
        return item.kind
    if isinstance(item, Reduced):
        return f"{item.method} to {item.options.keep:.4g}"
    if isinstance(item, Timing):
        return f"timed on {item.machine}"
    if isinstance(item, Disturbed):
        return f"disturbed, {item.steps} steps a branch"
    return "engine" if isinstance(item, Engine) else "properties"
