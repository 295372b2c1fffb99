"""All analyses of all rounds of a run, as plain data."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pochette.errors import PochetteError, ReductionError, RunError, SoundError
from pochette.families import analyses, models
from pochette.lab.heard import held_out_part
from pochette.lab.runs import Run, read_run
from pochette.lab.stages import Stage, notes_on, stages_of
from pochette.measure.subject import Limit, Subject
from pochette.measure.wiring import wiring_of
from pochette.models.model import Excerpt, Model
from pochette.recipe import from_json
from pochette.train.device import tensors_of
from pochette.train.session import load_model

PAGE, DATA = "analysis.html", "analysis.json"
FRAMES, SOUNDS = 250, 4
"""Of held-out sound, where the model leaves it open."""

LISTENING, WATCHING = 1.0, 12.0
"""How long it takes to find held-out sound, and to watch a network on it, beside `Analysis.effort`."""

Told = Callable[[str, float, str], None]


def analysed(folder: Path, limit: Limit | None = None, told: Told | None = None) -> dict[str, Any]:
    """Read every network that a run kept, before, during and after its reduction, by every analysis.

    Args:
        folder: of the run.
        limit: how much may be looked at.
        told: hears of the progress: what, the share done, and what of it.

    Returns:
        "course": of each round in order its `Stage`, and "properties", its numbers by "ANALYSIS: NUMBER";
        "rounds": name of a round to name of an analysis to its finding, or to "left_out", why it does not apply;
        "layers": name of a round to its layers and their sizes; "wiring": to who hears whom, see `measure.wiring`;
        "notes": what holds for all.

    Raises:
        RunError: nothing was trained there, or a checkpoint is damaged.
        UnknownNameError: the run is of no known model, or of one that has no such options.
        RecipeError: the run's recipe is impossible.
    """
    run, stages = read_run(folder), stages_of(folder)
    from_json(models[run.model], run.recipe)  # what it says of itself must be possible
    found: dict[str, Any] = {"run": str(folder), "model": run.model}
    found |= {"course": [], "rounds": {}, "layers": {}, "wiring": {}, "notes": notes_on(folder, stages)}
    progress, first = _Progress(told, len(stages)), None
    for number, (name, path) in enumerate(stages.items()):
        progress.begin(number, name)
        model, facts = load_model(path)
        _check_numbers(model, path)
        stage = Stage.of(name, model, facts, first)
        first = first or stage
        subject, why = _subject(run, model, limit or Limit(), progress)
        if why and why not in found["notes"]:
            found["notes"].append(why)
        found["layers"][name] = {layer.name: list(layer.weights.shape) for layer in subject.layers}
        found["wiring"][name] = asdict(wiring_of(subject.graph, subject.layers))
        found["rounds"][name] = {}
        for key, analysis in analyses.items():
            watched = replace(subject, told=progress.part(analysis.effort, key))
            try:
                found["rounds"][name][key] = asdict(analysis().find(watched))
            except PochetteError as error:
                found["rounds"][name][key] = {"left_out": f"{error.what} {error.remedy}"}
        found["course"].append({**asdict(stage), "properties": _properties(found["rounds"][name])})
    if told is not None:
        told("analysing", 1.0, f"{len(stages)} rounds")
    return found


def _properties(findings: dict[str, dict[str, Any]]) -> dict[str, float]:
    """All numbers of a network by "ANALYSIS: NUMBER", as studies name them."""
    return {
        f"{key}: {name}": value for key, found in findings.items() for name, value in found.get("numbers", {}).items()
    }


class _Progress:
    """One share of all rounds, in which each part weighs what it takes."""

    def __init__(self, told: Told | None, rounds: int) -> None:
        self.told, self.name, self.done = told, "", 0.0
        self.round = LISTENING + WATCHING + sum(analysis.effort for _, analysis in analyses.items())
        self.whole = rounds * self.round

    def begin(self, number: int, name: str) -> None:
        """Begin a round, whatever of the one before was left out."""
        self.name, self.done = name, number * self.round

    def part(self, effort: float, what: str) -> Callable[[float, str], None]:
        """Begin the next part.

        Args:
            effort: how long it takes, beside others.
            what: it is.

        Returns:
            what the part calls: with the share of itself that is done, and what comes next.
        """
        before, self.done = self.done, self.done + effort

        def tell(share: float, of: str) -> None:
            if self.told is not None:
                detail = f"{self.name}: {what}{', ' if of else ''}{of}"
                self.told("analysing", (before + share * effort) / self.whole, detail)

        tell(0.0, "")
        return tell


def kept(out: Path) -> dict[str, Any]:
    """What an earlier analysis found.

    Args:
        out: see `write`.

    Returns:
        as `analysed`, `stability.of_run` and `stability.early_of_run` gave it; empty where there is none that can be
        read, or somebody else's.
    """
    try:
        found = json.loads((out / DATA).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    known, early = found.get("stability", {}), found.get("early_phase", {})
    told = isinstance(known, dict) and all(isinstance(each, dict) for each in known.values())
    return found if told and isinstance(early, dict) else {}


def check_place(out: Path) -> None:
    """Refuse a place where nothing can be written, before anything is computed.

    Args:
        out: see `write`.

    Raises:
        RunError: the folder or a file in it cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in (PAGE, DATA):
            new = not (out / name).exists()
            (out / name).open("a").close()
            if new:
                (out / name).unlink()
    except OSError as error:
        raise _unwritten(error, out) from error


def write(found: dict[str, Any], page: str, out: Path) -> tuple[Path, Path]:
    """Keep findings as a page and as JSON.

    Args:
        found: see `analysed`.
        page: HTML.
        out: folder, made if missing.

    Returns:
        both files.

    Raises:
        RunError: they cannot be written.
    """
    html, data = out / PAGE, keep(found, out)
    try:
        html.write_text(page, encoding="utf-8")
    except OSError as error:
        raise _unwritten(error, out) from error
    return html, data


def keep(found: dict[str, Any], out: Path) -> Path:
    """Keep findings as JSON alone, whole or not at all; the page follows when all is done.

    Args:
        found: see `analysed`.
        out: see `write`.

    Returns:
        the file.

    Raises:
        RunError: it cannot be written.
    """
    data = out / DATA
    temporary = data.with_suffix(".tmp")
    try:
        out.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        os.replace(temporary, data)
    except OSError as error:
        raise _unwritten(error, out) from error
    return data


def _unwritten(error: OSError, out: Path) -> RunError:
    return RunError(
        f"The analysis cannot be written: {error.strerror or error}.",
        where=str(error.filename or out),
        remedy="Choose another folder with --out, or make room: space on the disk, or what has the page's name.",
    )


def _check_numbers(model: Model, path: Path) -> None:
    """Refuse weights that are no numbers: nothing can be read in them."""
    broken = [name for name, weight in model.state_dict().items() if not torch.isfinite(weight).all()]
    if broken:
        raise RunError(
            f"Weights are not numbers, or infinite: {', '.join(broken[:3])}{' and others' if len(broken) > 3 else ''}.",
            where=str(path),
            remedy="Its training ran away: train again with a smaller learning rate.",
        )


def _subject(run: Run, model: Model, limit: Limit, progress: _Progress) -> tuple[Subject, str]:
    """A model watched on held-out sound, or its weights alone and why."""
    listening = progress.part(LISTENING, "held-out sound")
    begun = progress.done
    try:
        excerpt = _excerpt(run, model, lambda done, total, sound: listening(done / max(total, 1), sound))
        watching = progress.part(WATCHING, "watching the network")
        return Subject.hearing(model, excerpt, limit=limit, told=watching), ""
    except (SoundError, RunError, ReductionError) as error:
        progress.done = begun  # it may have begun to be watched
        watching = progress.part(WATCHING, "its weights alone")
        return Subject.of(model, limit=limit, told=watching), f"No sound was played to it: {error.what}"


def _excerpt(run: Run, model: Model, progress: Callable[[int, int, str], None]) -> Excerpt:
    frames = model.excerpt_frames or FRAMES
    held_out = held_out_part(run, model, progress)
    return tensors_of(held_out.excerpt_batch(np.random.default_rng(4321), SOUNDS, frames, model.heard_from))
