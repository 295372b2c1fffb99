"""LiteRT as a peer: its runtime here, its converter in a Python of its own."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

from engine_build import MissingError, harness, scratch
from engine_peers import Candidate, Peer, Runner, opened, shapes_of, silence

CONVERTER = Path(__file__).resolve().parent / "engine_litert_convert.py"


def litert_version(python: Path) -> dict[str, str]:
    """Version of the runtime that a Python has, by package; empty if it has none."""
    ask = "from importlib.metadata import version; print(version('ai-edge-litert'))"
    try:
        done = subprocess.run([str(python), "-c", ask], capture_output=True, text=True, check=False)
    except OSError:
        return {}
    return {"ai-edge-litert": done.stdout.strip()} if done.returncode == 0 else {}


def litert_peer(python: Path) -> Peer:
    """LiteRT with its XNNPACK delegate, through its C interface.

    Args:
        python: with litert-torch installed.
    """

    def prepare(made: Candidate) -> Runner:
        model = scratch() / f"{made.net.name}.tflite"
        words = [str(python), str(CONVERTER), made.net.name, str(model)]
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=False)
        except OSError as error:
            raise MissingError(f"{python.name} cannot be run ({error.strerror})") from error
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise MissingError(f"not converted: {last[:200]} (its Python needs: pip install litert-torch)")
        library = harness("litert.c", link=["-ldl"])
        library.lrt_open.restype = ctypes.c_void_p
        with silence():
            runtime = done.stdout.strip().splitlines()[-1]
            context = library.lrt_open(runtime.encode(), str(model).encode(), *shapes_of(made))
        return opened(library, "lrt", context, made)

    return Peer("litert", "LiteRT", prepare)
