"""Another compiler finds no fault with any operator's C, each in an engine of its own, as users compile it.

What a compiler warns of depends on what it knows: sizes that it can see, functions called but once. Many cases in one
file, as `together` compiles them, hide from it what a single network shows.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pochette.engine.build import WARNINGS
from pochette.engine.compiled import call_names, library_files
from pochette.engine.core import write_core
from pochette.errors import ExportError
from tests.engine import test_networks, test_ops_functions, test_ops_numbers, test_ops_shape, test_ops_signal
from tests.engine.operator_cases import IN_C, Table, modules_of
from tests.engine.together import Modules, graph_of

TABLES: dict[str, Table] = {
    "test_ops_shape": test_ops_shape.CASES,
    "test_ops_numbers": test_ops_numbers.CASES,
    "test_ops_functions": test_ops_functions.CASES,
    "test_ops_signal": test_ops_signal.CASES,
}
COMPILER = ("arm-none-eabi-gcc", "-mcpu=cortex-m7", "-mthumb", "-mfpu=fpv5-d16", "-mfloat-abi=hard")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.system,
    pytest.mark.skipif(not shutil.which(COMPILER[0]), reason="needs the package gcc-arm-none-eabi"),
    pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning"),
]


def modules(group: str) -> Modules:
    """The modules of a test file, and the inputs that each is captured with."""
    return test_networks.modules() if group == "test_networks" else modules_of(TABLES[group])


@pytest.fixture(scope="module", params=IN_C)
def units(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One C file for each case of a test file, beside what it includes."""
    root, found = tmp_path_factory.mktemp(request.param), []
    for number, (module, example) in enumerate(modules(request.param).values()):
        name = f"case{number}"
        try:
            graph = graph_of(module, *example)
            files = library_files(name, graph, write_core(graph, *call_names(graph)), strict=False)
        except ExportError:
            continue  # The test file itself says what is refused.
        folder = root / name
        folder.mkdir()
        for file, text in files.items():
            (folder / file).write_text(text)
        found.append(folder / f"{name}.c")
    return found


@pytest.mark.parametrize("level", ["-Os", "-O3"])
def test_every_operator_is_accepted(units: list[Path], level: str, tmp_path: Path) -> None:
    assert len(units) >= 40
    command = [*COMPILER, *WARNINGS, level, "-c", *map(str, units)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert not done.returncode, "\n".join(line for line in done.stderr.splitlines() if "error:" in line)
    listing = ["arm-none-eabi-nm", "--undefined-only", "--format=posix", *(f"{unit.stem}.o" for unit in units)]
    told = subprocess.run(listing, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    # These two GCC asks of every machine, one without a C library included.
    assert {line.split()[0] for line in told.splitlines() if " U" in line} <= {"memset", "memcpy"}
