"""Sanitisers find nothing: no byte beyond an engine's memory, no undefined arithmetic, no race of two instances."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pochette.engine.build import host_compiler
from tests.engine.realtime import Built, culprit, engines, program

SANITISERS = {
    "address and undefined": ("-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all"),
    "thread": ("-fsanitize=thread",),
}
"""What `undefined` leaves out is added: a number too large for the integer it becomes."""
FAULTS = {
    "reads behind its input": ("address and undefined", "out[0] += in[1 + (int)in[0]];"),
    "takes NaN for an integer": ("address and undefined", "out[0] += (float)(int)(1e9f * in[0]);"),
    "has a variable of its own": ("thread", "static float shared;\n    out[0] += shared;\n    shared = in[0];"),
}


def run(sanitiser: str, table: tuple[Built, ...], folder: Path) -> subprocess.CompletedProcess[str]:
    """Strain a table under a sanitiser, where the compiler has it and its programs run."""
    flags = SANITISERS[sanitiser]
    (folder / "empty.c").write_text("int main(void) { return 0; }\n")
    words = [*host_compiler(), *flags, "empty.c", "-o", "empty"]
    made = subprocess.run(words, cwd=folder, capture_output=True, check=False).returncode == 0
    if sys.platform == "win32" or not made or subprocess.run([folder / "empty"], check=False).returncode:
        pytest.skip("needs a compiler with sanitisers, such as the package gcc with libasan, libubsan and libtsan")
    path = folder / "strain"
    path.write_bytes(program(table, "strain.c", *flags))
    path.chmod(0o755)
    return subprocess.run([path], capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("sanitiser", SANITISERS)
def test_nothing_is_found(sanitiser: str, tmp_path: Path) -> None:
    """Over a hundred calls of every engine in each of two threads, a tenth of them with NaN, infinities and numbers too
    large for any integer; memory begins where no vector would like it to.
    """
    done = run(sanitiser, engines(), tmp_path)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stdout + done.stderr[:4000]


@pytest.mark.parametrize("fault", FAULTS)
def test_an_engine_with_a_fault_is_found_out(fault: str, tmp_path: Path) -> None:
    sanitiser, does = FAULTS[fault]
    done = run(sanitiser, (culprit(does),), tmp_path)
    assert done.returncode and ("anitizer" in done.stderr or "runtime error" in done.stderr)
