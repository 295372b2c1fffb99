"""A folder in which phases are trained is one process's at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pochette.errors import RunError
from pochette.train.session import alone_in


def test_one_trains_in_a_folder_at_a_time(tmp_path: Path) -> None:
    with alone_in(tmp_path / "run"):
        with pytest.raises(RunError, match="Another process is training") as caught, alone_in(tmp_path / "run"):
            pass
        assert "--out" in caught.value.remedy
    with alone_in(tmp_path / "run"), alone_in(tmp_path / "other"):
        pass


def test_a_killed_training_leaves_its_folder_free(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from pochette.train.session import alone_in\n"
        f"with alone_in(Path({str(tmp_path)!r})): print('in', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "in\n"
        with pytest.raises(RunError, match="Another process"), alone_in(tmp_path):
            pass
        other.kill()
    with alone_in(tmp_path):
        pass
