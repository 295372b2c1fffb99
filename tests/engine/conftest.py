"""Builds of the toy engine and a control curve, shared by the engine's tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pochette.engine.build import compile_host_library, compile_wasm
from pochette.engine.runner import FloatArray
from tests.toy import toy_source


@pytest.fixture(scope="session")
def curve() -> FloatArray:
    """Forty frames of a rising pitch that grows louder."""
    return np.stack([np.geomspace(50, 4000, 40), np.linspace(-60, 0, 40)], axis=1).astype(np.float32)


@pytest.fixture(scope="session")
def toy_wasm() -> bytes:
    pytest.importorskip("ziglang")
    return compile_wasm(toy_source(), strict=True)


@pytest.fixture(scope="session")
def toy_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_host_library(toy_source(), tmp_path_factory.mktemp("library"), strict=True)
