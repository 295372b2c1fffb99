"""The documents tell the truth: their code runs, and their figures are the stored ones."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_the_readme_code_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize("script", ["publish.py", "bearing.py", "precision.py"])
def test_the_figures_are_the_stored_ones(script: str) -> None:
    check = subprocess.run(
        [sys.executable, f"benchmarks/{script}", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stdout + check.stderr


def test_the_page_of_models_is_that_of_the_stored_results() -> None:
    """All of it but pictures, which libraries of other versions draw otherwise."""
    script = ROOT / "benchmarks" / "models_page.py"
    found = subprocess.run(
        [sys.executable, "-c", f"import runpy; page = runpy.run_path({str(script)!r}); "
         "print(page['page'](page['stored']()))"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    kept = (ROOT / "docs" / "models.html").read_text(encoding="utf-8")

    def plain(text: str) -> str:
        return re.sub(r"data:image/png[^\"]*|<svg.*?</svg>", "", text, flags=re.S).strip()

    assert plain(found.stdout) == plain(kept), "python benchmarks/models_page.py"
    assert "://" not in re.sub(r"http://www\.w3\.org/[\w/]+", "", plain(kept)) and len(kept) < 4_000_000


def test_links_lead_somewhere() -> None:
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name} points to {target}"
