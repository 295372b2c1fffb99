"""Programs written by hand for the same networks, where a folder of them is given: what generated code is measured by.

The folder is no part of the project. What it holds is built where it lies, with this module's glue, and gets the very
weights that the other peers have.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from engine_build import MissingError, load, native, scratch, vectors
from engine_nets import Streaming, WaveNet
from engine_peers import Candidate, Peer, Runner

PREFIXES = {"gru32": "g32", "gru64": "g64", "lstm40": "l40", "ddsp": "ddsp512", "wavenet": "wn",
            "wavenet-small": "wnnano", "decoder": "dec"}  # fmt: skip
"""What the folder calls them."""
TILES = {"wavenet": ["-DOT=8", "-DTT=32"], "wavenet-small": ["-DOT=4", "-DTT=64"]}
FLAGS = ("-O3", "-ffast-math")

GLUE = """#include "{source}"
#include <stdio.h>
#include <stdlib.h>
long bench_bytes(void) {{ return 64; }}
void bench_reset(void *s)
{{
    static int loaded;
    (void)s;
    if (!loaded) {{
        float *weights = malloc({floats} * sizeof(float));
        FILE *file = fopen("{weights}", "rb");
        if (!weights || !file || fread(weights, sizeof(float), {floats}, file) != {floats})
            abort();
        {prefix}_load(weights);
        fclose(file);
        free(weights);
        loaded = 1;
    }}
    {prefix}_{reset}();
}}
void bench_call(void *s, const float *in, float *out) {{ (void)s; {prefix}_call(in, out); }}
"""


def sketch_peer(folder: Path) -> Peer:
    """The folder's programs as a peer."""

    def prepare(made: Candidate) -> Runner:
        files, flags = sketch_sources(folder, made, lanes=_lanes())
        library = load(files, "cc", flags, warnings=["-std=gnu11", "-w"])
        return native(library, made.net, made.out_floats)

    return Peer("sketch", "by hand", prepare)


def sketch_sources(folder: Path, made: Candidate, lanes: int) -> tuple[dict[str, str], list[str]]:
    """Files and flags of the folder's program for a network.

    Raises:
        MissingError: the folder has none, or its generator fails.
    """
    name, prefix = made.net.name, PREFIXES[made.net.name]
    source = {"wavenet": "hand_wn.c", "wavenet-small": "hand_wn.c", "decoder": "hand_dec.c"}.get(name, "hand_rnn.c")
    try:
        files = {part: (folder / part).read_text(encoding="utf-8") for part in (source, "kern.h")}
    except OSError as error:
        raise MissingError(f"no program for this network in {folder.name}/") from error
    weights = np.concatenate([p.detach().numpy().ravel() for p in made.module.parameters()])
    if name == "decoder":
        files["dec_cfg.h"], weights = _decoder(folder, made.module, lanes)
    elif source == "hand_wn.c":
        files["wn_cfg.h"] = _generate(folder / "wn_gen.py", prefix, "wn_cfg.h")
        weights = np.append(weights, np.float32(WaveNet.scale))
    kept = scratch() / f"{name}-{lanes}.weights"
    weights.astype(np.float32).tofile(kept)
    # A program is named by the C it includes, so that it is not compiled twice.
    text = files.pop(source)
    glue = GLUE.format(
        source="sketch.h", floats=len(weights), weights=kept, prefix=prefix,
        reset="reset" if source == "hand_rnn.c" else "reset0",
    )  # fmt: skip
    return {**files, "sketch.h": text, "glue.c": glue}, [*FLAGS, "-DVEC=1", f"-DVB={4 * lanes}", *TILES.get(name, [])]


def _lanes() -> int:
    """Floats in a vector of this processor."""
    return 16 if vectors() == "AVX-512" else 8


def _generate(script: Path, argument: str, made: str) -> str:
    """What a generator of the folder writes."""
    work = scratch() / "sketch"
    (work / "data").mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, str(script.resolve()), argument], cwd=work, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise MissingError(f"{script.name} failed: {done.stderr.strip().splitlines()[-1:]}")
    return (work / made).read_text(encoding="utf-8")


def _decoder(folder: Path, module: Streaming, lanes: int) -> tuple[str, np.ndarray]:
    """The decoder's generated part and its weights, packed by the folder's own generator."""
    work = scratch() / "sketch"
    shutil.rmtree(work, ignore_errors=True)
    (work / "data").mkdir(parents=True)
    torch.save({_their_name(path): p.detach() for path, p in module.named_parameters()}, work / "data" / "dec.pt")
    text = _generate(folder / "dec_gen.py", str(lanes), "dec_cfg.h")
    return text, np.fromfile(work / "data" / f"dec{lanes}.pw", np.float32)


def _their_name(path: str) -> str:
    """A parameter of our decoder under the sketches' name."""
    for ours, theirs in (("last.", "L.13."), ("bands.", "L.14."), ("parts.", "L."), ("dilated.conv.", "a.c."),
                         ("mix.", "b."), ("conv.", "c.")):  # fmt: skip
        path = path.replace(ours, theirs)
    return path[: -len("bias")] + "b" if path.endswith("bias") and path.count(".") == 2 else path
