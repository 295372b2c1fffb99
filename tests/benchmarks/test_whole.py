"""Every benchmark can at least be begun: what it imports is there."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
NAMES = [
    (path.name, node.module, alias.name)
    for path in sorted(BENCHMARKS.glob("*.py"))
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pochette")
    for alias in node.names
]


def test_all_are_looked_at() -> None:
    assert len(NAMES) > 100


@pytest.mark.parametrize("module", sorted({module for _, module, _ in NAMES}))
def test_what_a_benchmark_imports_is_there(module: str) -> None:
    wanted = {(name, file) for file, of, name in NAMES if of == module}
    there = importlib.import_module(module)
    lacking = sorted((file, name) for name, file in wanted if not hasattr(there, name) and not _module(module, name))
    assert not lacking


def _module(package: str, name: str) -> bool:
    try:
        importlib.import_module(f"{package}.{name}")
    except ModuleNotFoundError:
        return False
    return True
