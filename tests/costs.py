"""What tests cost: `make quick` leaves out the dear ones, which are those that were measured to be so.

    OMP_NUM_THREADS=1 python -m pytest -n 2 -p tests.costs -m "not slow and not system"    writes costs.json

A function that takes more than `DEAR_SECONDS` of processor time, in all its cases and with what they prepare, is
stored, and counts as `slow` (see `conftest`). What is known of functions that were not measured now stays as it is;
what is written by hand as slow is not stored: it is slow anyway.
"""

from __future__ import annotations

import json
import resource
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

STORED = Path(__file__).with_name("costs.json")
DEAR_SECONDS = 0.4
_PROPERTY = "cpu_seconds"
_spent: Counter[str] = Counter()
_began: dict[str, float] = {}


def function_of(test: str) -> str:
    """A test without its case."""
    return test.split("[", maxsplit=1)[0]


def dear() -> frozenset[str]:
    """Functions that were measured to be dear."""
    return frozenset(json.loads(STORED.read_text(encoding="utf-8")) if STORED.is_file() else ())


def _seconds() -> float:
    """Processor time of this process and of those that it waited for."""
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logstart(nodeid: str) -> None:
    """A test begins."""
    _began[nodeid] = _seconds()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[None]:
    """A test has ended: processes of xdist tell with its report what it cost."""
    outcome: Any = yield
    if call.when == "teardown" and item.get_closest_marker("slow") is None:
        outcome.get_result().user_properties.append((_PROPERTY, _seconds() - _began[item.nodeid]))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up what cases of a function cost."""
    if report.when == "teardown":
        _spent[function_of(report.nodeid)] += sum(value for name, value in report.user_properties if name == _PROPERTY)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Keep the dear ones; a process of xdist leaves that to the one that began it."""
    if hasattr(session.config, "workerinput"):
        return
    known = json.loads(STORED.read_text(encoding="utf-8")) if STORED.is_file() else {}
    found = {name: seconds for name, seconds in known.items() if name not in _spent}
    found |= {name: round(seconds, 1) for name, seconds in _spent.items() if seconds > DEAR_SECONDS}
    STORED.write_text(json.dumps(dict(sorted(found.items())), indent=1) + "\n", encoding="utf-8")
