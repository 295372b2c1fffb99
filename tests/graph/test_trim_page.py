"""The published matrix is the stored one, and the stored one is of these networks."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.graph.networks import CASES, NOTHING

ROOT = Path(__file__).resolve().parents[2]
STORED = ROOT / "benchmarks" / "results" / "trim-matrix.json"

stored = pytest.mark.skipif(not STORED.exists(), reason="no stored matrix: python benchmarks/trim_matrix.py")


def test_the_code_on_the_page_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "trimming.md").read_text(encoding="utf-8"), re.S)
    assert blocks
    for block in blocks:
        exec(compile(block, "trimming.md", "exec"), {})


@stored
def test_the_page_is_the_stored_matrix() -> None:
    check = subprocess.run(
        [sys.executable, "benchmarks/trim_matrix.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stdout + check.stderr


@stored
def test_the_stored_matrix_is_of_these_networks() -> None:
    rows = json.loads(STORED.read_text(encoding="utf-8"))["rows"]
    assert [row["name"] for row in rows] == [case.name for case in (*CASES, *NOTHING)]
