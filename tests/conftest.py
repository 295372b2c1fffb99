"""What every test needs before torch is loaded, and which tests are slow."""

import gc

import pytest

import pochette  # noqa: F401  (sets how torch's threads wait: see pochette/__init__.py)
from tests.costs import dear, function_of


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What was measured to be dear is slow, unless it is being measured."""
    if config.pluginmanager.has_plugin("tests.costs"):
        return
    slow = dear()
    for item in items:
        if function_of(item.nodeid) in slow:
            item.add_marker("slow")


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """What was imported and collected stays to the end: searching it for garbage, test after test, finds none."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
