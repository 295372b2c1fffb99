"""What the tests of those who compute share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.lab.tasks import COUNTS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "counts"
    folder.mkdir()
    monkeypatch.setenv(COUNTS, str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return folder
