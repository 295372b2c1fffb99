"""Processes that work for another: they end when it does, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.lab.tasks import PATIENCE_SECONDS
from tests.lab.test_dask import until

DRIVER = """
import time
from pochette.lab.workers import LocalProcesses
from tests.lab import tasks

if __name__ == "__main__":
    with LocalProcesses(2) as workers:
        first = [workers.submit(tasks.whoami, None, 0.5) for _ in range(2)]
        print(*(future.result() for future in first), flush=True)
        workers.submit(tasks.whoami, None, 60)
        time.sleep(60)
"""


def ended(pid: int) -> bool:
    """Whether a process is gone, or waits for nothing but to be counted."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], check=False, capture_output=True).stdout.strip()
    return not state or state.startswith(b"Z")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda how: how.name)
def test_processes_end_with_the_one_that_started_them(tmp_path: Path, how: signal.Signals) -> None:
    """One of them busy for a minute, one idle."""
    (tmp_path / "driver.py").write_text(DRIVER)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    driver = subprocess.Popen([sys.executable, tmp_path / "driver.py"], stdout=subprocess.PIPE, env=environment)
    assert driver.stdout is not None
    pids = [int(word) for word in driver.stdout.readline().split()]
    assert len(set(pids)) == 2 and not any(map(ended, pids))
    time.sleep(0.3)  # the long task has begun
    driver.send_signal(how)
    driver.wait(PATIENCE_SECONDS)
    began = time.monotonic()
    until(lambda: all(map(ended, pids)))
    assert time.monotonic() - began < 20
