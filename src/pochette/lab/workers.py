"""Who computes: this process, processes of this machine, or the workers of a Dask cluster.

All three take a function, a task and the sounds, and give back a future; what the function returns does not depend on
which of them it was (see `walk.perform`). A worker that dies takes nothing with it but the task it had, which another
then gets.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from types import TracebackType
from typing import Any, Protocol

import numpy as np

import pochette
from pochette.corpus.folder import FolderCorpus, _Store
from pochette.corpus.processes import nameless_main, pool_of
from pochette.errors import ToolError
from pochette.lab.networks import Outcome, Task

Perform = Callable[[Task, Any], Outcome]

ATTEMPTS = 3
"""Workers that may die of one task before it counts as failed."""
CONNECT_SECONDS = 20


class SchedulerGoneError(ToolError):
    """Nobody will ever answer."""


class Workers(Protocol):
    """Whoever computes."""

    share_disk: bool
    """Whether they see the folders of this process, and so may leave checkpoints there."""

    def check(self, tags: set[str]) -> None:
        """Refuse tags that no worker carries, and to go on where nobody is left."""

    def room(self, tag: str) -> int:
        """How many tasks with this tag (empty for none) they can have at one time."""

    def submit(self, perform: Perform, task: Task, corpus: Any) -> Future[Outcome]:
        """Let somebody do a task."""


class _Closing:
    """Workers are let go when a `with` block ends."""

    def close(self) -> None:
        """Let them go."""

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()


class ThisProcess(_Closing):
    """One task after the other, here."""

    share_disk = True

    def check(self, tags: set[str]) -> None:
        """See `Workers.check`."""
        _no_tags(tags)

    def room(self, tag: str) -> int:
        """One."""
        return 1

    def submit(self, perform: Perform, task: Task, corpus: Any) -> Future[Outcome]:
        """Do it now; an interruption passes through.

        Args:
            perform: what to do.
            task: with what.
            corpus: on which sounds.

        Returns:
            a finished future.
        """
        future: Future[Outcome] = Future()
        try:
            future.set_result(perform(task, corpus))
        except Exception as error:
            future.set_exception(error)
        return future


class LocalProcesses(_Closing):
    """Several processes of this machine, each with a pool of its own, so that one that dies breaks no other's work.

    They end with this process, however it ends: a task that one of them had goes on from its checkpoint next time.

    Args:
        count: how many.
    """

    share_disk = True

    def __init__(self, count: int) -> None:
        self.count = count
        self._lock = threading.Lock()
        self._idle = [pool_of(1) for _ in range(count)]
        self._busy: set[ProcessPoolExecutor] = set()
        self._closed = False

    def check(self, tags: set[str]) -> None:
        """See `Workers.check`."""
        _no_tags(tags)

    def room(self, tag: str) -> int:
        """As many as there are processes."""
        return self.count

    def submit(self, perform: Perform, task: Task, corpus: Any) -> Future[Outcome]:
        """Give a task to an idle process, and to another if that one dies.

        Args:
            perform: what to do; found by its name in the other process.
            task: with what.
            corpus: on which sounds.

        Returns:
            a future.
        """
        outer: Future[Outcome] = Future()
        self._give(outer, (perform, task, corpus), 1)
        return outer

    def _give(self, outer: Future[Outcome], work: tuple[Perform, Task, Any], attempt: int) -> None:
        with self._lock:
            pool = self._idle.pop() if self._idle else pool_of(1)
            self._busy.add(pool)
        with nameless_main():
            perform, task, corpus = work
            inner = pool.submit(perform, task, corpus)

        def done(inner: Future[Outcome]) -> None:
            error = None if inner.cancelled() else inner.exception()
            broken = isinstance(error, BrokenProcessPool)
            with self._lock:
                self._busy.discard(pool)
                if not self._closed:
                    self._idle.append(pool_of(1) if broken else pool)
            if inner.cancelled() or self._closed:
                outer.cancel()
            elif broken and attempt < ATTEMPTS:
                self._give(outer, work, attempt + 1)
            elif broken:
                outer.set_exception(_died(f"{ATTEMPTS} processes"))
            elif error is not None:
                outer.set_exception(error)
            else:
                outer.set_result(inner.result())

        inner.add_done_callback(done)

    def close(self) -> None:
        """Let all of them go; those that are busy are stopped, and their checkpoints stay."""
        with self._lock:
            self._closed = True
            busy = list(self._busy)
        for pool in busy:
            for process in list((pool._processes or {}).values()):
                process.terminate()
        for pool in [*busy, *self._idle]:
            pool.shutdown(wait=True, cancel_futures=True)


class DaskWorkers(_Closing):
    """The workers of a Dask cluster, here or anywhere; they need pochette, but no disk in common.

    A worker started with `--resources "raspberry-pi=1"` carries the tag raspberry-pi: only it gets tasks that ask for
    the tag, and tasks without one go to it only if there is no other.

    Args:
        address: of the scheduler, "tcp://HOST:8786".

    Raises:
        ToolError: Dask is not installed, nobody answers, or the workers have no pochette or another one.
    """

    share_disk = False

    def __init__(self, address: str) -> None:
        from distributed import Client

        self.address = address
        try:
            self.client: Any = Client(address, timeout=CONNECT_SECONDS)  # type: ignore[no-untyped-call]
            self.client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except (OSError, ValueError, TimeoutError) as error:
            raise ToolError(
                f"No Dask scheduler with a worker answers: {str(error).splitlines()[0] if str(error) else error!r}.",
                where=address,
                remedy="Start them: dask scheduler, and dask worker ADDRESS --nthreads 1 on every machine.",
            ) from error
        self._corpora: dict[str, Any] = {}
        try:
            versions = self.client.run(_version)
        except Exception as error:
            self.close()
            raise ToolError(
                f"A worker cannot load pochette: {error}.",
                where=address,
                remedy="Install it there: pip install 'pochette[train,cluster]'.",
            ) from error
        if odd := {where: version for where, version in versions.items() if version != pochette.__version__}:
            self.close()
            raise ToolError(
                f"{len(odd)} workers have another pochette than {pochette.__version__}: {odd}.",
                where=address,
                remedy="Install the same version on all of them.",
            )

    def _tags(self) -> dict[str, set[str]]:
        """Worker to the tags it carries."""
        known = self.client.scheduler_info(n_workers=-1)
        if "workers" not in known or self.client.status != "running":
            raise SchedulerGoneError(
                "The Dask scheduler has gone; what was finished is kept.",
                where=self.address,
                remedy="Start it and its workers again, and give the same command with its address.",
            )
        return {address: set(facts.get("resources", {})) for address, facts in known["workers"].items()}

    def check(self, tags: set[str]) -> None:
        """Refuse tags that no worker carries.

        Args:
            tags: all that are asked for.

        Raises:
            ToolError: of the first such tag, or there is no worker at all.
            SchedulerGoneError: there is no scheduler any more.
        """
        workers = self._tags()
        if not workers:
            raise ToolError("No worker is left.", remedy="Start one: dask worker ADDRESS --nthreads 1.")
        carried = set().union(*workers.values())
        for tag in sorted(tags - carried):
            raise ToolError(
                f"No worker carries the tag {tag!r}.",
                remedy=f'Start one there: dask worker ADDRESS --nthreads 1 --resources "{tag}=1".',
            )

    def room(self, tag: str) -> int:
        """Two for each worker that may take them, so that none waits for us."""
        return 2 * max(1, sum(not tag or tag in tags for tags in self._tags().values()))

    def submit(self, perform: Perform, task: Task, corpus: Any) -> Future[Outcome]:
        """Give a task to a worker; if that one dies, the scheduler gives it to another.

        Args:
            perform: what to do; found by its name on the worker.
            task: with what.
            corpus: on which sounds.

        Returns:
            a future.
        """
        from pochette.lab.experiment import tag_of

        tag = tag_of(task.experiment)
        plain = [address for address, tags in self._tags().items() if not tags]
        where: dict[str, Any] = {"resources": {tag: 1}} if tag else {}
        if not tag and plain:
            where = {"workers": plain, "allow_other_workers": True}
        executor = self.client.get_executor(pure=False, **where)
        future: Future[Outcome] = executor.submit(perform, task, self._sent(corpus))
        return future

    def _sent(self, corpus: Any) -> Any:
        """The sounds on the cluster: held by a task, so that they come back if the worker that had them dies."""
        if not isinstance(corpus, FolderCorpus):
            return corpus
        key = f"sounds-{corpus.fingerprint}-{corpus.sample_rate_hz}-{corpus.hop_samples}"
        if key not in self._corpora:
            self._corpora[key] = self.client.submit(_unpack, *_pack(corpus), key=key)
        return self._corpora[key]

    def close(self) -> None:
        """Take back what is not finished, and say good-bye."""
        self._corpora.clear()
        self.client.close()


class _Arrays(_Store):
    """A corpus's arrays in memory, for a machine that has not the files."""

    def __init__(self, audio: np.ndarray, frames: np.ndarray) -> None:
        self.__dict__.update(audio=audio, frames=frames)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_Arrays, (self.audio, self.frames))


def _pack(corpus: FolderCorpus) -> tuple[bytes, FolderCorpus]:
    buffer = io.BytesIO()
    np.savez(buffer, audio=corpus._store.audio, frames=corpus._store.frames)
    return buffer.getvalue(), replace(corpus, _store=_Store(corpus.folder))


def _unpack(data: bytes, corpus: FolderCorpus) -> FolderCorpus:
    with np.load(io.BytesIO(data)) as arrays:
        return replace(corpus, _store=_Arrays(arrays["audio"], arrays["frames"]))


def _version() -> str:
    return pochette.__version__


def _no_tags(tags: set[str]) -> None:
    for tag in sorted(tags):
        raise ToolError(
            f"This machine carries no tag {tag!r}.",
            remedy=f'Start a Dask worker there with --resources "{tag}=1", and name the scheduler with --workers.',
        )


def _died(who: str) -> ToolError:
    return ToolError(
        f"{who} died of this task: it may need more memory than there is.",
        remedy="Use fewer workers at a time, or a smaller model.",
    )


def workers_of(asked: str) -> Any:
    """The workers that a command line asks for.

    Args:
        asked: "" or "1" for this process, a number of processes, or the address of a Dask scheduler.

    Returns:
        workers, to be used in a `with` block.

    Raises:
        ToolError: it is neither, or nobody answers.
    """
    if asked in ("", "1"):
        return ThisProcess()
    if asked.isdecimal() and 1 < int(asked) <= 4 * (os.cpu_count() or 1):
        return LocalProcesses(int(asked))
    if "://" in asked:
        return DaskWorkers(asked)
    raise ToolError(
        f"--workers is {asked!r}, which is neither a sensible number of processes nor an address.",
        remedy="Give a number up to four for each processor, or the address of a Dask scheduler: tcp://HOST:8786.",
    )
