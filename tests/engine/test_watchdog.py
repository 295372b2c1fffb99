"""What lasts too long is stopped, and who was held meanwhile is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from pochette.engine.watchdog import Watchdog


class Endless:
    """Runs until it is stopped, or until a time is over."""

    def __init__(self) -> None:
        self.stopped = False

    def emu_stop(self) -> None:
        self.stopped = True

    def run(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self.stopped and time.monotonic() < end:
            time.sleep(0.01)


def test_what_lasts_too_long_is_stopped_and_the_next_call_is_not() -> None:
    watchdog, late, quick = Watchdog(), Endless(), Endless()
    with watchdog.limit(late, 0.2):
        late.run(10.0)
    assert late.stopped
    with watchdog.limit(quick, 5.0):
        quick.run(0.3)
    assert not quick.stopped


HELD = """
import sys, time
from pochette.engine.watchdog import Watchdog
class Core:
    stopped = False
    def emu_stop(self): self.stopped = True
core = Core()
with Watchdog().limit(core, 0.5):
    print("runs", flush=True)
    sys.stdin.readline()
    time.sleep(0.15)
print("stopped" if core.stopped else "goes on", flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system holds no processes")
def test_who_is_held_has_time_left_afterwards() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HELD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as held:
        assert held.stdin and held.stdout
        assert held.stdout.readline().strip() == "runs"
        os.kill(held.pid, signal.SIGSTOP)
        time.sleep(1.2)
        held.stdin.write("\n")
        os.kill(held.pid, signal.SIGCONT)
        held.stdin.close()
        assert held.stdout.readline().strip() == "goes on"
