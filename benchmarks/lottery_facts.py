"""What the page of the lottery says about sounds, anchors, machine and dates, computed once where the recordings are.

python benchmarks/lottery_page.py --facts writes results/lottery-facts.json, so that the page itself needs no recording.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lottery import BY_OPERATIONS, CONTROL_STOPS, RECIPES, SOUNDS, STORE

from pochette.corpus.folder import FolderCorpus
from pochette.graph.capture import capture
from pochette.graph.units import units_of
from pochette.lab import bits_anchors
from pochette.lab.judge import Parts, divide, excerpts_of, machine
from pochette.lab.shrink import shrink, weights_of
from pochette.lab.spectral_anchors import distance_of, median_spectrum, nearest_frame
from pochette.models.sing_ae import SingAeModel
from pochette.models.wavenet import WavenetModel
from pochette.reduce.choosing import Choice
from pochette.reduce.trimming import structure_of
from pochette.train.loop import Training

FACTS = Path(__file__).resolve().parent / "results" / "lottery-facts.json"
TRIED = FACTS.with_name("lottery-tried.json")


def gather() -> dict[str, Any]:
    """Everything, for all models; needs the recordings and takes a minute or two.

    Returns:
        plain data.
    """
    torch.set_num_threads(1)
    return {
        "sounds": SOUNDS.name,
        "computed": _computed(),
        "anchors_computed": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": {"processor": machine(), "cores": os.cpu_count(), "system": platform.system()},
        "versions": {"python": platform.python_version(), "torch": version("torch"), "pochette": version("pochette")},
        "models": {name: of_model(recipe.build()) for name, recipe in (RECIPES | BY_OPERATIONS).items()},
    }


def of_model(model: Any) -> dict[str, Any]:
    """Sounds, their division and the anchors of one model.

    Args:
        model: with any weights.

    Returns:
        plain data.
    """
    corpus = FolderCorpus.prepare(SOUNDS, model.sample_rate_hz, model.hop_samples)
    parts = divide(corpus, model)
    return {
        "fingerprint": corpus.fingerprint,
        "sample_rate_hz": corpus.sample_rate_hz,
        "sounds": len(corpus),
        "seconds": round(corpus.seconds, 3),
        "split_by": model.split_by,
        "training": len(parts.training),
        "looks": len(parts.looks),
        "test": [sound.name for sound in parts.test.sounds],
        "test_seconds": round(parts.test.seconds, 3),
        "test_excerpts": sum(len(excerpt["audio"]) for excerpt in excerpts_of(parts.test, model)),
        "anchors": _anchors(model, parts),
        "left": _left(model),
        "rates": _rates(model),
    }


def _rates(model: Any) -> list[list[float]]:
    """How often weights are used: times as often as those used least, and the share of all weights that are."""
    structure = structure_of(model)
    macs, shares = structure.macs_by_parameter(), Counter[float]()
    for path, value in structure.graph.stored.items():
        if macs.get(path):
            shares[round(macs[path] / value.size, 6)] += value.size
    total, least = sum(shares.values()), min(shares)
    return [[round(rate / least, 3), round(size / total, 4)] for rate, size in sorted(shares.items())]


def _left(model: Any) -> list[list[int]]:
    """What ranking within layers leaves: units a layer has, how many such layers, units left at each control stop."""
    whole = structure_of(model)
    sizes = {family.name: [family.units] for family in whole.families}
    for stop in CONTROL_STOPS:
        allowed = round((1.0 - stop) * weights_of(model))
        small, _ = shrink(model, allowed, Choice("random"))
        form, inputs = small.trim_form()
        left = {family.name: family.units for family in units_of(capture(form, inputs)).families}
        for name, units in sizes.items():
            units.append(left.get(name, 1))
    rows = Counter(tuple(units) for units in sizes.values())
    return [[units[0], layers, *units[1:]] for units, layers in sorted(rows.items(), reverse=True)]


def _computed() -> dict[str, Any] | None:
    """When the first and the last of the stored results came; a checkout writes them anew and changes neither."""
    known = (stored() or {}).get("computed")
    written = sorted(path.stat().st_mtime for path in STORE.glob("results/*/*/result.json"))
    if not written or (known and known["results"] == len(written)):
        return known
    days = [datetime.datetime.fromtimestamp(moment, datetime.UTC).date().isoformat() for moment in written]
    return {"first": known["first"] if known else days[0], "last": days[-1], "results": len(written)}


@torch.no_grad()
def _anchors(model: Any, parts: Parts) -> dict[str, float]:
    """Simple answers to the test sound, on the scale of the model's own loss."""
    if isinstance(model, WavenetModel):
        return bits_anchors.anchors(parts.training, parts.test)
    if not isinstance(model, SingAeModel):
        return {}
    excerpts = excerpts_of(parts.test, model)
    shares = [len(excerpt["audio"]) for excerpt in excerpts]
    known = {"median spectrum": median_spectrum(parts.training), "nearest frame": nearest_frame(parts.training)}
    return {
        name: float(np.average([distance_of(predict, e, model.hop_samples) for e in excerpts], weights=shares))
        for name, predict in known.items()
    }


def write() -> None:
    """Gather and store."""
    FACTS.write_text(json.dumps(gather(), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def stored() -> dict[str, Any] | None:
    """What was gathered; None if nothing was."""
    return json.loads(FACTS.read_text(encoding="utf-8")) if FACTS.is_file() else None


def tried() -> tuple[list[str], list[list[str]]]:
    """Settings that were given up for the present ones, and what had been looked at when they were.

    Returns:
        heading and rows of a table.
    """
    heading = ["model", "settings", "what they gave", "given up after looking at", "stored"]
    known = json.loads(TRIED.read_text(encoding="utf-8"))
    return heading, [[e["model"], e["settings"], e["found"], e["chosen_by"], e["stored"]] for e in known]


def varied(training: Training) -> str:
    """By how much training excerpts are transposed and amplified.

    Args:
        training: how.

    Returns:
        for a cell.
    """
    if not training.shift_semitones and not training.gain_db:
        return "nothing"
    return f"±{training.shift_semitones:g} semitones, ±{training.gain_db:g} dB"


def left(facts: Mapping[str, Any], model: str) -> tuple[list[str], list[list[str]]]:
    """How narrow layers become where each loses its share.

    Args:
        facts: what was gathered.
        model: its name.

    Returns:
        heading and rows of a table.
    """
    heading = ["units of a layer", "such layers", *(f"left at {stop:.0%}" for stop in CONTROL_STOPS)]
    return heading, [[str(cell) for cell in row] for row in facts["models"][model].get("left", [])]
